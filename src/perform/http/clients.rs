//! Clients for the TLS settings of Connections. A client keeps its connections, so one is kept for each settings.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::net::{ClientTls, Network, TlsError};

/// How many are kept.
const MOST: usize = 64;

/// The clients. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<HashMap<ClientTls, reqwest::Client>>>);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The settings cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client could not be made of them.
    #[error("its TLS settings are refused")]
    Refused(#[from] reqwest::Error),
}

impl Clients {
    /// The client for these settings.
    pub(super) fn get(&self, network: &Network, tls: &ClientTls) -> Result<reqwest::Client, ClientError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(tls) {
            return Ok(client.clone());
        }
        let client = network.client_with(tls)?.retry(reqwest::retry::never()).build()?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(tls.clone(), client.clone());
        Ok(client)
    }
}
