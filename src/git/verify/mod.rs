//! Whether a commit or an annotated tag carries a good signature by a key that is trusted: SSH signatures and OpenPGP.
//!
//! The libraries check the mathematics; what a key may be used for, and until when, is judged here. Nothing is trusted that git itself would
//! refuse: a key that is revoked or expired today vouches for nothing, whenever the signature claims to have been made.

mod error;
mod object;
mod openpgp;
mod ssh;

#[cfg(test)]
mod tests;

use k8s_openapi::jiff::Timestamp;
use russh::keys::ssh_key::PublicKey;

pub(super) use self::object::read;
pub use self::{
    error::{KeyError, SignatureError},
    object::{Signed, SignedBy},
};
use signoff_api::release::Verified;

/// The public keys whose signatures are accepted, each with the name it is known by.
#[derive(Debug, Default)]
pub struct TrustedKeys {
    ssh: Vec<Named<PublicKey>>,
    openpgp: Vec<Named<openpgp::Certificate>>,
}

/// A key and the name it is known by.
#[derive(Debug)]
struct Named<K> {
    name: String,
    key: K,
}

/// What a signature proves: the fingerprint of the key that made it, and the name the key is known by.
#[derive(Debug, PartialEq, Eq)]
struct Signer {
    name: String,
    fingerprint: String,
}

impl TrustedKeys {
    /// Trusts SSH public keys, one on each line.
    ///
    /// # Errors
    /// When the text has none, or one that cannot be read or is too weak.
    pub fn add_ssh(&mut self, name: &str, text: &str) -> Result<(), KeyError> {
        let keys = ssh::parse(text).map_err(|why| KeyError::new(name, why))?;
        self.ssh.extend(named(name, keys));
        Ok(())
    }

    /// Trusts OpenPGP certificates, armoured.
    ///
    /// # Errors
    /// When the text has none, or one that cannot be read or does not vouch for itself.
    pub fn add_openpgp(&mut self, name: &str, text: &str) -> Result<(), KeyError> {
        let keys = openpgp::parse(text).map_err(|why| KeyError::new(name, why))?;
        self.openpgp.extend(named(name, keys));
        Ok(())
    }

    /// Trusts what the text holds: OpenPGP certificates if it has one, else SSH public keys.
    ///
    /// # Errors
    /// As for those.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), KeyError> {
        if text.contains(openpgp::CERTIFICATE) {
            self.add_openpgp(name, text)
        } else {
            self.add_ssh(name, text)
        }
    }

    /// Checks a signature; `now` is the time at which keys must be good.
    ///
    /// # Errors
    /// When there is none, it is not of this content, or no trusted key that is good made it.
    pub fn verify(&self, signed: &Signed, now: Timestamp) -> Result<Verified, SignatureError> {
        let text = signed.signature.trim_ascii();
        let Signer { name, fingerprint } = if text.starts_with(ssh::SIGNATURE.as_bytes()) {
            ssh::verify(&self.ssh, text, &signed.payload)?
        } else if text.starts_with(openpgp::SIGNATURE.as_bytes()) {
            openpgp::verify(&self.openpgp, text, &signed.payload, now)?
        } else {
            return Err(SignatureError::Format);
        };
        Ok(Verified {
            key: name,
            fingerprint,
            object: signed.object,
        })
    }
}

fn named<K>(name: &str, keys: Vec<K>) -> impl Iterator<Item = Named<K>> {
    let name = name.to_owned();
    keys.into_iter().map(move |key| Named {
        name: name.clone(),
        key,
    })
}
