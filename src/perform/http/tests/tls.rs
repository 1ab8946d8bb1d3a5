//! A server with a certificate of its own authority, which asks for one of the client.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;

struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            authority: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    fn ca(&self) -> String {
        self.authority.pem()
    }

    /// A certificate for a name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A server with a certificate for a name. It answers every request, if the client has a certificate of the authority
    /// where one is asked for.
    async fn serve(&self, name: &str, asks: bool) -> SocketAddr {
        let provider = Arc::new(ring::default_provider());
        let (certificate, key) = self.issue(name);
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = if asks {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(self.ca().as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = config.with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut request = [0; 4_096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                        .await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        address
    }
}

async fn call(address: SocketAddr, tls: Value, secret: &[(&str, &str)]) -> Result<HttpResponse, EffectError> {
    let http = json!({"baseURL": format!("https://localhost:{}", address.port()), "tls": tls});
    let server = ApiServer::new(json!({"shop": {"http": http}}), secret);
    server.executor().once(&shop("/")).await
}

fn key(name: &str) -> Value {
    json!({"name": "shop", "key": name})
}

#[tokio::test]
async fn a_server_of_an_own_authority_is_trusted_if_the_connection_names_it() {
    let (pki, other) = (Pki::new(), Pki::new());
    let address = pki.serve("localhost", false).await;
    let trusting = json!({"ca": key("ca")});
    let answer = call(address, trusting.clone(), &[("ca", &pki.ca())])
        .await
        .unwrap();
    assert_eq!(answer.body, json!("ok"));
    for (tls, ca) in [(json!({}), pki.ca()), (trusting.clone(), other.ca())] {
        let error = call(address, tls, &[("ca", &ca)]).await.unwrap_err();
        assert_eq!(
            (error.reason, error.may_have_happened),
            (StepReason::Unreachable, false)
        );
    }
    let error = call(address, trusting, &[("ca", "no certificate")])
        .await
        .unwrap_err();
    assert_eq!(error.reason, StepReason::CredentialsRefused);
    assert!(error.message.contains("tls.ca"), "{}", error.message);
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_one_of_the_connection() {
    let pki = Pki::new();
    let address = pki.serve("localhost", true).await;
    let (certificate, private) = pki.issue("client");
    let secret = [
        ("ca", pki.ca()),
        ("certificate", certificate),
        ("private", private),
    ];
    let secret: Vec<(&str, &str)> = secret.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let with = json!({"ca": key("ca"), "certificate": key("certificate"), "key": key("private")});
    assert_eq!(
        call(address, with.clone(), &secret).await.unwrap().body,
        json!("ok")
    );
    assert!(call(address, json!({"ca": key("ca")}), &secret).await.is_err());
    let mixed = json!({"ca": key("ca"), "certificate": key("ca"), "key": key("private")});
    let error = call(address, mixed, &secret).await.unwrap_err();
    assert!(!error.message.contains("PRIVATE"), "{}", error.message);
}

#[tokio::test]
async fn a_server_under_another_name_is_accepted_if_the_connection_says_the_name() {
    let pki = Pki::new();
    let address = pki.serve("shop.internal", true).await;
    let (certificate, private) = pki.issue("client");
    let ca = pki.ca();
    let secret = [
        ("ca", &*ca),
        ("certificate", &*certificate),
        ("private", &*private),
    ];
    let mut tls = json!({"ca": key("ca"), "certificate": key("certificate"), "key": key("private")});
    assert!(call(address, tls.clone(), &secret).await.is_err());
    tls["serverName"] = "shop.internal".into();
    assert_eq!(
        call(address, tls.clone(), &secret).await.unwrap().body,
        json!("ok")
    );
    tls["serverName"] = "other.internal".into();
    assert!(call(address, tls, &secret).await.is_err());
}
