//! Signed assertions (JSON Web Tokens): RS256 and ES256.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

/// A private key that cannot sign.
#[derive(Debug, thiserror::Error)]
#[error("the private key is neither an RSA key nor a P-256 key in PKCS #8, as PEM")]
pub(super) struct InvalidKey;

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl Key {
    fn read(pem: &str, random: &SystemRandom) -> Result<Self, InvalidKey> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey)?;
        match der {
            PrivateKeyDer::Pkcs1(der) => {
                let key = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| InvalidKey)?;
                Ok(Self::Rsa(Box::new(key)))
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
                    return Ok(Self::Rsa(Box::new(key)));
                }
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, random)
                    .map(|key| Self::Ecdsa(Box::new(key)))
                    .map_err(|_| InvalidKey)
            }
            _ => Err(InvalidKey),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ecdsa(_) => "ES256",
        }
    }

    fn sign(&self, message: &[u8], random: &SystemRandom) -> Result<Vec<u8>, InvalidKey> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, random, message, &mut signature)
                    .map_err(|_| InvalidKey)?;
                Ok(signature)
            }
            Self::Ecdsa(key) => {
                let signature = key.sign(random, message).map_err(|_| InvalidKey)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// A signed token with these claims.
pub(super) fn sign(pem: &str, key_id: Option<&str>, claims: &Value) -> Result<String, InvalidKey> {
    let random = SystemRandom::new();
    let key = Key::read(pem, &random)?;
    let mut head = json!({"alg": key.algorithm(), "typ": "JWT"});
    if let Some(key_id) = key_id {
        head["kid"] = key_id.into();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&head), part(claims));
    let signature = key.sign(signed.as_bytes(), &random)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_p256_key_signs_a_token_that_its_public_key_verifies() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let token = sign(&pair.serialize_pem(), Some("k1"), &json!({"iss": "me"})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key_raw());
        public.verify(signed.as_bytes(), &decoded(signature)).unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let value = |text: &str| serde_json::from_slice::<Value>(&decoded(text)).unwrap();
        assert_eq!(value(head), json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
        assert_eq!(value(claims), json!({"iss": "me"}));
    }

    #[test]
    fn what_is_no_private_key_signs_nothing() {
        for pem in [
            "",
            "secret",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(sign(pem, None, &json!({})).is_err(), "{pem:?}");
        }
    }
}
