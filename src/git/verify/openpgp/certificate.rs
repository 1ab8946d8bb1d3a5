//! An OpenPGP certificate: a primary key and its subkeys, what they may be used for, and until when.
//!
//! What a certificate says of its keys counts only where its primary key signed it.

use k8s_openapi::jiff::Timestamp;
use pgp::{
    composed::{Deserializable as _, SignedPublicKey, SignedPublicSubKey},
    packet::{Signature, SignatureType, SubpacketData},
    ser::Serialize as _,
    types::{KeyDetails, PublicParams, Tag, VerifyingKey},
};

use super::super::error::{SignatureError, quoted};

/// What a certificate begins with.
pub(in super::super) const CERTIFICATE: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// Most certificates in one text.
const MAX_CERTIFICATES: usize = 256;
/// Fewest bytes that the parameters of an RSA key of 2048 bits take.
const MIN_RSA_BYTES: usize = 256;

/// A certificate whose primary key vouches for itself.
#[derive(Debug)]
pub(in super::super) struct Certificate(SignedPublicKey);

/// Why a key of a certificate does not vouch for a content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    fingerprint: String,
    /// Nothing where it is the content that is wrong, not the key.
    why: Option<String>,
}

impl Refusal {
    pub(super) fn of(self, name: &str) -> SignatureError {
        let (name, fingerprint) = (name.to_owned(), self.fingerprint);
        match self.why {
            None => SignatureError::Mismatch { name, fingerprint },
            Some(why) => SignatureError::BadKey {
                name,
                fingerprint,
                why,
            },
        }
    }
}

/// Reads armoured certificates, one or more in one block or several.
pub(in super::super) fn parse(text: &str) -> Result<Vec<Certificate>, String> {
    let mut found = vec![];
    for (at, _) in text.match_indices(CERTIFICATE) {
        let block = SignedPublicKey::from_armor_many(&text.as_bytes()[at..]);
        let (keys, _) = block.map_err(|error| unreadable(&error))?;
        for key in keys {
            if found.len() == MAX_CERTIFICATES {
                return Err(format!("it has more than {MAX_CERTIFICATES} certificates"));
            }
            let key = key.map_err(|error| unreadable(&error))?;
            if self_signatures(&key).next().is_none() {
                return Err(format!("the certificate {} does not sign itself", print(&key)));
            }
            found.push(Certificate(key));
        }
    }
    if found.is_empty() {
        return Err(format!(
            "it is not an OpenPGP certificate, which begins with {CERTIFICATE}"
        ));
    }
    Ok(found)
}

fn unreadable(error: &pgp::errors::Error) -> String {
    format!(
        "it is not a readable OpenPGP certificate ({})",
        quoted(&error.to_string())
    )
}

fn print(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

impl Certificate {
    /// Whether a key of this certificate made the signature; gives its fingerprint. Nothing if the signature does not name one of them. Times
    /// are in seconds since 1970.
    pub(super) fn judge(
        &self,
        signature: &Signature,
        payload: &[u8],
        made: i64,
        now: i64,
    ) -> Option<Result<String, Refusal>> {
        let primary = &self.0.primary_key;
        if is_issuer(signature, primary) {
            let why = || {
                self.primary_fault(made, now)
                    .or_else(|| self.primary_may_sign(now))
            };
            return Some(verdict(signature, payload, primary, why));
        }
        let subkey = self
            .0
            .public_subkeys
            .iter()
            .find(|subkey| is_issuer(signature, *subkey))?;
        let why = || {
            let of_primary = self.primary_fault(made, now);
            of_primary
                .map(|why| format!("belongs to the primary key {}, which {why}", print(primary)))
                .or_else(|| self.subkey_fault(subkey, made, now))
        };
        Some(verdict(signature, payload, &subkey.key, why))
    }

    /// What is wrong with the primary key as such.
    fn primary_fault(&self, made: i64, now: i64) -> Option<String> {
        let key = &self.0;
        let revoked = key.details.revocation_signatures.iter().find(|signature| {
            signature.typ() == Some(SignatureType::KeyRevocation)
                && signature.verify_key(&key.primary_key).is_ok()
        });
        if let Some(revocation) = revoked {
            return Some(revocation_of(revocation));
        }
        let of_key = latest(direct(key), now);
        let of_user = latest(certifications(key), now);
        if of_key.or(of_user).is_none() {
            return Some("does not sign itself".to_owned());
        }
        // programs write the expiry in one place or in both; the sooner one counts
        let expires = [of_key, of_user]
            .into_iter()
            .flatten()
            .filter_map(|it| expiry(it, key))
            .min();
        time_fault(seconds(key), expires, made, now)
    }

    fn primary_may_sign(&self, now: i64) -> Option<String> {
        let of = [latest(direct(&self.0), now), latest(certifications(&self.0), now)];
        let mut flags = of
            .into_iter()
            .flatten()
            .filter(|signature| has_flags(signature))
            .peekable();
        // a key that says nothing of its use may be used for everything
        let may = flags.peek().is_none() || flags.any(|signature| signature.key_flags().sign());
        (!may).then(not_for_signing)
    }

    fn subkey_fault(&self, subkey: &SignedPublicSubKey, made: i64, now: i64) -> Option<String> {
        let primary = &self.0.primary_key;
        let mut bound = vec![];
        for signature in &subkey.signatures {
            if signature.verify_subkey_binding(primary, &subkey.key).is_err() {
                continue;
            }
            match signature.typ() {
                Some(SignatureType::SubkeyRevocation) => return Some(revocation_of(signature)),
                Some(SignatureType::SubkeyBinding) => bound.push(signature),
                _ => {}
            }
        }
        let Some(binding) = latest(bound.into_iter(), now) else {
            return Some(format!("is not bound to its primary key {}", print(primary)));
        };
        if !binding.key_flags().sign() {
            return Some(not_for_signing());
        }
        // without the subkey's own word anybody could take it into a certificate of theirs
        let agrees = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
        if !agrees {
            return Some(format!(
                "does not say itself that it belongs to its primary key {}",
                print(primary)
            ));
        }
        time_fault(seconds(subkey), expiry(binding, subkey), made, now)
    }
}

/// The mathematics first: what is wrong with a key is of no interest if it did not sign.
fn verdict(
    signature: &Signature,
    payload: &[u8],
    key: &impl VerifyingKey,
    why: impl FnOnce() -> Option<String>,
) -> Result<String, Refusal> {
    let fingerprint = print(key);
    if signature.verify(key, payload).is_err() {
        return Err(Refusal {
            fingerprint,
            why: None,
        });
    }
    match weakness(key).or_else(why) {
        None => Ok(fingerprint),
        why => Err(Refusal { fingerprint, why }),
    }
}

fn weakness(key: &impl KeyDetails) -> Option<String> {
    match key.public_params() {
        PublicParams::RSA(rsa) if rsa.write_len() >= MIN_RSA_BYTES => None,
        PublicParams::RSA(_) => Some("is an RSA key of less than 2048 bits".to_owned()),
        PublicParams::DSA(_) => Some("is a DSA key, which is not safe any more".to_owned()),
        _ => None,
    }
}

/// Whether a signature names this key. The fingerprint counts where there is one; an id alone is short enough to be met twice.
fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    let prints = signature.issuer_fingerprint();
    if prints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    prints.contains(&&key.fingerprint())
}

/// What the primary key signed of itself.
fn self_signatures(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    direct(key).chain(certifications(key))
}

fn direct(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    key.details.direct_signatures.iter().filter(|signature| {
        signature.typ() == Some(SignatureType::Key) && signature.verify_key(&key.primary_key).is_ok()
    })
}

/// What the primary key signed of itself together with a user id that is not revoked.
fn certifications(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    let primary = &key.primary_key;
    key.details.users.iter().flat_map(move |user| {
        let own = user.signatures.iter().filter(|signature| {
            signature
                .verify_certification(primary, Tag::UserId, &user.id)
                .is_ok()
        });
        let (revoked, certified): (Vec<&Signature>, Vec<&Signature>) =
            own.partition(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        let since = revoked.into_iter().filter_map(made_at).max();
        certified
            .into_iter()
            .filter(move |signature| since.is_none_or(|since| made_at(signature) > Some(since)))
    })
}

fn made_at(signature: &Signature) -> Option<i64> {
    signature.created().map(|at| i64::from(at.as_secs()))
}

fn latest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: i64) -> Option<&'a Signature> {
    signatures
        .filter(|signature| made_at(signature).is_some_and(|at| at <= now))
        .max_by_key(|signature| made_at(signature))
}

fn seconds(key: &impl KeyDetails) -> i64 {
    i64::from(key.created_at().as_secs())
}

/// When a key expires, as the signature that binds it says.
fn expiry(signature: &Signature, key: &impl KeyDetails) -> Option<i64> {
    let lasts = i64::from(signature.key_expiration_time()?.as_secs());
    (lasts > 0).then(|| seconds(key) + lasts)
}

fn has_flags(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    })
}

/// The claimed time of a signature must lie in the key's life, and so must today: who holds an old key can claim any time.
fn time_fault(from: i64, until: Option<i64>, made: i64, now: i64) -> Option<String> {
    if made < from {
        return Some(format!("was made at {}, after the signature", told(from)));
    }
    let until = until.filter(|until| *until <= made.max(now))?;
    Some(if until <= made {
        format!("had expired at {} when it signed at {}", told(until), told(made))
    } else {
        format!("expired at {}", told(until))
    })
}

fn revocation_of(signature: &Signature) -> String {
    let text = signature
        .revocation_reason_string()
        .map(|text| quoted(&String::from_utf8_lossy(text)))
        .unwrap_or_default();
    let code = signature.revocation_reason_code().map(|code| format!("{code:?}"));
    match (code, text.is_empty()) {
        (None, _) => "is revoked".to_owned(),
        (Some(code), true) => format!("is revoked ({code})"),
        (Some(code), false) => format!("is revoked ({code}: {text:?})"),
    }
}

fn not_for_signing() -> String {
    "is not for signing".to_owned()
}

/// A time as people read it.
pub(super) fn told(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
