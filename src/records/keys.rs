//! Keys of records: Ed25519, and ECDSA on P-256 with SHA-256.

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, UnparsedPublicKey,
    },
};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use signoff_api::Digest;

/// What a `SubjectPublicKeyInfo` of each algorithm begins with. The bytes of the key follow.
const ED25519_HEAD: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const P256_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A text that is no key for records.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// No private key.
    #[error(
        "this is no private key for records: an Ed25519 or P-256 key in PKCS #8, as PEM (BEGIN PRIVATE KEY)"
    )]
    Private,
    /// No public key.
    #[error("this is no public key for records: an Ed25519 or P-256 key as PEM (BEGIN PUBLIC KEY)")]
    Public,
    /// More than one public key where one is meant.
    #[error("there are several public keys in it; one is expected")]
    Several,
}

/// A key did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the key does not sign")]
pub struct Unsigned;

/// An algorithm of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256; its signatures are in ASN.1.
    P256,
}

impl Algorithm {
    fn head(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => ED25519_HEAD,
            Self::P256 => P256_HEAD,
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "ECDSA P-256",
        })
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    id: String,
}

impl PublicKey {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let info = [algorithm.head(), bytes].concat();
        Self {
            algorithm,
            id: Digest::of(&info).hex().to_owned(),
            bytes: bytes.to_vec(),
        }
    }

    /// Reads a key as PEM.
    ///
    /// # Errors
    /// If it is none that records are signed with, or there are several.
    pub fn read(pem: &[u8]) -> Result<Self, InvalidKey> {
        match Self::read_all(pem)?.as_slice() {
            [key] => Ok(key.clone()),
            _ => Err(InvalidKey::Several),
        }
    }

    /// Reads all keys of a text as PEM, at least one.
    ///
    /// # Errors
    /// If there is none, or one that records are not signed with.
    pub fn read_all(pem: &[u8]) -> Result<Vec<Self>, InvalidKey> {
        let infos = SubjectPublicKeyInfoDer::pem_slice_iter(pem);
        let keys = infos.map(|info| Self::of_info(&info.map_err(|_| InvalidKey::Public)?));
        let keys: Vec<Self> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(InvalidKey::Public);
        }
        Ok(keys)
    }

    fn of_info(info: &SubjectPublicKeyInfoDer<'_>) -> Result<Self, InvalidKey> {
        let mut algorithms = [(Algorithm::Ed25519, 32), (Algorithm::P256, 65)].into_iter();
        let found = algorithms.find_map(|(algorithm, length)| {
            let bytes = info.strip_prefix(algorithm.head())?;
            (bytes.len() == length).then(|| Self::new(algorithm, bytes))
        });
        found.ok_or(InvalidKey::Public)
    }

    /// Its id: the SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it has signed a message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.algorithm {
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature),
            Algorithm::P256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.bytes).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// A private key. It shows nothing of it.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.public.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a key as PEM.
    ///
    /// # Errors
    /// If it is none that records are signed with.
    pub fn read(pem: &[u8]) -> Result<Self, InvalidKey> {
        let Ok(PrivateKeyDer::Pkcs8(der)) = PrivateKeyDer::from_pem_slice(pem) else {
            return Err(InvalidKey::Private);
        };
        let der = der.secret_pkcs8_der();
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let public = PublicKey::new(Algorithm::Ed25519, pair.public_key().as_ref());
            let pair = Pair::Ed25519(pair);
            return Ok(Self { pair, public });
        }
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random)
            .map_err(|_| InvalidKey::Private)?;
        let public = PublicKey::new(Algorithm::P256, pair.public_key().as_ref());
        let pair = Pair::P256(pair);
        Ok(Self { pair, public })
    }

    /// Its public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| Unsigned)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // made by `openssl genpkey -algorithm ed25519`, for this test only
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHJvecGHvJ1MkjexuHuohgiFIdt33L4sdV/zyA1rca7i\n-----END PRIVATE KEY-----\n";

    fn pairs() -> [(SigningKey, PublicKey); 2] {
        let made = rcgen::KeyPair::generate().unwrap();
        let p256 = SigningKey::read(made.serialize_pem().as_bytes()).unwrap();
        let public = PublicKey::read(made.public_key_pem().as_bytes()).unwrap();
        let ed25519 = SigningKey::read(PRIVATE.as_bytes()).unwrap();
        let same = ed25519.public().clone();
        [(p256, public), (ed25519, same)]
    }

    #[test]
    fn what_a_key_signs_its_public_key_verifies_and_nothing_else() {
        let pairs = pairs();
        for (at, (private, public)) in pairs.iter().enumerate() {
            assert_eq!(private.public(), public);
            assert_eq!(public.id().len(), 64);
            let signature = private.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
            let mut changed = signature.clone();
            changed[10] ^= 1;
            assert!(!public.verifies(b"message", &changed));
            assert!(!pairs[1 - at].1.verifies(b"message", &signature));
        }
    }

    #[test]
    fn all_keys_of_a_file_are_read_and_none_is_passed_over() {
        let [(_, p256), (_, _)] = pairs();
        let (one, two) = (
            rcgen::KeyPair::generate().unwrap(),
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        );
        let both = format!("{}\n{}", one.public_key_pem(), two.public_key_pem());
        let read = PublicKey::read_all(both.as_bytes()).unwrap();
        let of = |pair: &rcgen::KeyPair| PublicKey::read(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(read, [of(&one), of(&two)]);
        assert!(!read.contains(&p256));
        assert!(matches!(
            PublicKey::read(both.as_bytes()),
            Err(InvalidKey::Several)
        ));
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let with_other = format!("{both}{}", other.public_key_pem());
        assert!(PublicKey::read_all(with_other.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let public = made.public_key_pem();
        for text in ["", "secret", PRIVATE, &public] {
            assert!(PublicKey::read(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["", "secret", &public, &made.serialize_pem()] {
            assert!(SigningKey::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
