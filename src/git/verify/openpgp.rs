//! OpenPGP signatures, and which key of a certificate may have made them, when.

mod certificate;

use k8s_openapi::jiff::Timestamp;
use pgp::{
    composed::{Deserializable as _, DetachedSignature},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType},
};

pub(super) use self::certificate::{CERTIFICATE, Certificate, parse};
use super::{Named, Signer, error::SignatureError};

/// What a signature begins with.
pub(super) const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// Finds the trusted key that made a signature of the payload, and judges whether it is good.
pub(super) fn verify(
    trusted: &[Named<Certificate>],
    armoured: &[u8],
    payload: &[u8],
    now: Timestamp,
) -> Result<Signer, SignatureError> {
    let (DetachedSignature { signature }, _) =
        DetachedSignature::from_armor_single(armoured).map_err(|error| unusable(&error.to_string()))?;
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(unusable("it is not a signature of a document"));
    }
    if !signature.hash_alg().is_some_and(is_strong) {
        return Err(unusable("it is made with a hash that is not safe any more"));
    }
    let Some(made) = signature.created().map(|made| i64::from(made.as_secs())) else {
        return Err(unusable("it does not say when it was made"));
    };
    // one key may be trusted more than once, say before and after it was renewed
    let mut refused = None;
    for Named { name, key } in trusted {
        match key.judge(&signature, payload, made, now.as_second()) {
            None => {}
            Some(Ok(fingerprint)) => {
                expired(&signature, made, now)?;
                let name = name.clone();
                return Ok(Signer { name, fingerprint });
            }
            Some(Err(why)) => refused = Some(why.of(name)),
        }
    }
    Err(refused.unwrap_or_else(|| SignatureError::UnknownKey(issuer(&signature))))
}

fn unusable(why: &str) -> SignatureError {
    SignatureError::Unusable(super::error::quoted(why))
}

fn is_strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

fn expired(signature: &Signature, made: i64, now: Timestamp) -> Result<(), SignatureError> {
    let lasts = signature
        .signature_expiration_time()
        .map_or(0, |lasts| i64::from(lasts.as_secs()));
    if lasts > 0 && made + lasts <= now.as_second() {
        return Err(SignatureError::Expired(certificate::told(made + lasts)));
    }
    Ok(())
}

/// Who a signature says that it is by; a hint, for a message.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|print| format!("{print:X}"));
    let id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|id| id.to_string().to_uppercase())
    };
    fingerprint
        .or_else(id)
        .unwrap_or_else(|| "(not named)".to_owned())
}
