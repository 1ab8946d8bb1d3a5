//! Clients with their own certificate authorities, and with a certificate of their own.

use std::sync::Arc;

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// TLS settings of a client, as PEM.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// The only certificate authorities that are trusted; without them, the network's are.
    pub ca: Option<String>,
    /// The client's certificate with its chain, and its private key.
    pub identity: Option<(String, String)>,
    /// The name that the server's certificate must have, instead of the host of the address. It needs `ca`.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for ClientTls {
    /// The private key is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate authority.
    #[error("tls.ca has no PEM certificate")]
    Authorities,
    /// The client's certificate and key are not a pair.
    #[error("tls.certificate and tls.key are not a PEM certificate and its private key")]
    Identity,
    /// The name is none.
    #[error("tls.serverName is not a name, or tls.ca is missing")]
    ServerName,
}

impl ClientTls {
    /// Adds the settings to a client.
    pub(super) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, TlsError> {
        if let Some(name) = &self.server_name {
            return Ok(builder.tls_backend_preconfigured(self.named(name)?));
        }
        let builder = match &self.ca {
            None => builder,
            Some(pem) => {
                let roots =
                    Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| TlsError::Authorities)?;
                if roots.is_empty() {
                    return Err(TlsError::Authorities);
                }
                builder.tls_certs_only(roots)
            }
        };
        match &self.identity {
            None => Ok(builder),
            Some((certificate, key)) => {
                let pem = format!("{certificate}\n{key}\n");
                let identity = Identity::from_pem(pem.as_bytes()).map_err(|_| TlsError::Identity)?;
                Ok(builder.identity(identity))
            }
        }
    }

    /// A configuration that expects a certificate with this name, whatever the host of the address.
    fn named(&self, name: &str) -> Result<ClientConfig, TlsError> {
        let ca = self.ca.as_ref().ok_or(TlsError::ServerName)?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca).map_err(|()| TlsError::Authorities)? {
            roots.add(certificate).map_err(|_| TlsError::Authorities)?;
        }
        let provider = Arc::new(ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|_| TlsError::Authorities)?;
        let verifier = Arc::new(NamedServer { inner, name });
        let config = config(provider)
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        self.identified(config)
    }

    /// A configuration for another protocol than HTTP. Without `ca`, it trusts the authorities of the system and these.
    pub(super) fn config(&self, trusted: &str) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        let named = if let Some(ca) = &self.ca {
            certificates(ca)
        } else {
            // one that cannot be read is not trusted
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if trusted.is_empty() {
                Ok(vec![])
            } else {
                certificates(trusted)
            }
        };
        for certificate in named.map_err(|()| TlsError::Authorities)? {
            roots.add(certificate).map_err(|_| TlsError::Authorities)?;
        }
        let config = config(Arc::new(ring::default_provider())).with_root_certificates(roots);
        self.identified(config)
    }

    fn identified(
        &self,
        config: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, TlsError> {
        match &self.identity {
            None => Ok(config.with_no_client_auth()),
            Some((chain, key)) => {
                let chain = certificates(chain).map_err(|()| TlsError::Identity)?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Identity)?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|_| TlsError::Identity)
            }
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "ring has cipher suites for both versions of TLS, and nothing else can be wrong"
)]
fn config(provider: Arc<CryptoProvider>) -> ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions of TLS")
}

/// The certificates of a PEM text, at least one.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ()> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(())
}

/// Verifies certificates as always, but for one name.
#[derive(Debug)]
struct NamedServer {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        self.inner
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
