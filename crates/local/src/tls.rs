//! The certificate authority, kept in the data directory, and the server certificate it signs at each start.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};

use super::{clock, files};

/// Names the server certificate is valid for.
const NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default.svc",
];
/// Years a certificate authority is used.
const YEARS: i16 = 10;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Serialize, Deserialize)]
struct Stored {
    certificate: String,
    key: String,
    /// The year from whose first day on a new authority is made.
    until: i16,
}

/// What the server needs to speak TLS, and what clients need to trust it.
pub struct Tls {
    /// The authority's certificate, as PEM.
    pub authority: String,
    /// The server's configuration: HTTP/2 and HTTP/1.1.
    pub server: Arc<ServerConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the authority from `ca.json` in the directory (or makes one, also when it has expired) and
    /// signs a server certificate that lasts as long.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let file = directory.join("ca.json");
        let stored = match std::fs::read(&file) {
            Ok(bytes) => Some(serde_json::from_slice::<Stored>(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let stored = if let Some(stored) = stored.filter(|stored| stored.until > clock::year()) {
            stored
        } else {
            let made = new_authority()?;
            files::write_private(&file, serde_json::to_string_pretty(&made)?.as_bytes())?;
            made
        };
        // The authority's certificate is not read back: its name and key are all that signing needs.
        let issuer = Issuer::new(authority(stored.until), KeyPair::from_pem(&stored.key)?);
        Ok(Self {
            authority: stored.certificate.clone(),
            server: Arc::new(server(&issuer, stored.until)?),
        })
    }
}

fn authority(until: i16) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "signoff local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    dates(&mut params, until);
    params
}

fn new_authority() -> Result<Stored, Error> {
    let until = clock::year() + YEARS;
    let made = CertifiedIssuer::self_signed(authority(until), KeyPair::generate()?)?;
    Ok(Stored {
        certificate: made.pem(),
        key: made.key().serialize_pem(),
        until,
    })
}

fn server(issuer: &Issuer<'_, KeyPair>, until: i16) -> Result<ServerConfig, Error> {
    let key = KeyPair::generate()?;
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "signoff local control plane");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    dates(&mut params, until);
    let certificate = params.signed_by(&key, issuer)?;
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// From last year on, so that clocks may differ, until the end of the year after `until` begins.
fn dates(params: &mut CertificateParams, until: i16) {
    params.not_before = rcgen::date_time_ymd(i32::from(clock::year()) - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(i32::from(until) + 1, 1, 1);
}
