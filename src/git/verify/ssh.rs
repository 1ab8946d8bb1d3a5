//! SSH signatures, as git makes them with `gpg.format=ssh`: the SSHSIG format in the namespace `git`.

use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey, SshSig, public::KeyData};

use super::{
    Named, Signer,
    error::{SignatureError, quoted},
};

/// What a signature begins with.
pub(super) const SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----";
/// The purpose that git signs for.
const NAMESPACE: &str = "git";
/// Shortest RSA key that is trusted.
const MIN_RSA_BITS: u32 = 2_048;
/// Most keys in one text.
const MAX_KEYS: usize = 256;

/// Reads public keys, one on each line; empty lines and those that begin with `#` are left out.
pub(super) fn parse(text: &str) -> Result<Vec<PublicKey>, String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<PublicKey> = lines.map(key).collect::<Result<_, _>>()?;
    match keys.len() {
        0 => Err("there is no key in it".to_owned()),
        1..=MAX_KEYS => Ok(keys),
        _ => Err(format!("it has more than {MAX_KEYS} keys")),
    }
}

fn key(line: &str) -> Result<PublicKey, String> {
    let key = PublicKey::from_openssh(line)
        .map_err(|error| format!("it is not an SSH public key such as \"ssh-ed25519 AAAA…\" ({error})"))?;
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            Ok(key)
        }
        KeyData::Rsa(rsa) if rsa.key_size() >= MIN_RSA_BITS => Ok(key),
        KeyData::Rsa(rsa) => Err(format!(
            "an RSA key of {} bits is too weak; it takes {MIN_RSA_BITS}",
            rsa.key_size()
        )),
        other => Err(format!(
            "keys of the kind {} are not supported",
            other.algorithm()
        )),
    }
}

/// Finds the trusted key that made a signature of the payload.
pub(super) fn verify(
    trusted: &[Named<PublicKey>],
    armoured: &[u8],
    payload: &[u8],
) -> Result<Signer, SignatureError> {
    let signature =
        SshSig::from_pem(armoured).map_err(|error| SignatureError::Unusable(error.to_string()))?;
    if signature.namespace() != NAMESPACE {
        return Err(SignatureError::Namespace(quoted(signature.namespace())));
    }
    if matches!(signature.algorithm(), Algorithm::Rsa { hash: None }) {
        return Err(SignatureError::Unusable("it is made with SHA-1".to_owned()));
    }
    let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let Some(Named { name, key }) = trusted
        .iter()
        .find(|known| known.key.key_data() == signature.public_key())
    else {
        return Err(SignatureError::UnknownKey(fingerprint));
    };
    match key.verify(NAMESPACE, payload, &signature) {
        Ok(()) => Ok(Signer {
            name: name.clone(),
            fingerprint,
        }),
        Err(_) => Err(SignatureError::Mismatch {
            name: name.clone(),
            fingerprint,
        }),
    }
}
