//! A Repository's remote: its credentials, mirror and trusted keys, when it is left alone, and its forge.

pub mod credentials;
mod error;
pub mod forges;
pub mod mirrors;
mod pauses;
pub mod trust;

use std::{path::PathBuf, time::Duration};

pub use self::{
    error::{RepositoryError, Unsigned},
    pauses::Pauses,
};
use crate::{git::Limits, net::Network};

/// How often a remote is asked when nobody tells of changes and the Repository does not say.
pub const INTERVAL: Duration = Duration::from_mins(1);

/// How remotes may be reached, and where their mirrors lie.
#[derive(Clone, Debug)]
pub struct RepositorySettings {
    /// Folder for the mirrors, one in it for each Repository.
    pub mirrors: PathBuf,
    /// Which addresses may be called.
    pub network: Network,
    /// How much a remote may ask of this process.
    pub limits: Limits,
    /// Which of them are left alone for a while.
    pub pauses: Pauses,
}

impl RepositorySettings {
    /// For a caller on its own machine, who says what is called: this machine may be called too.
    pub fn local(mirrors: PathBuf) -> Self {
        Self {
            mirrors,
            network: Network::new(crate::net::AddressPolicy::local()),
            limits: Limits::default(),
            pauses: Pauses::default(),
        }
    }
}
