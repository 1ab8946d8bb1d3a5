//! The Secrets that a Connection names are sent where it says, so whoever writes it must be allowed to read them.

use serde_json::Value;

use super::{Admission, Refusal, forbidden};

/// Where a Connection names a Secret.
const SECRETS: [&str; 6] = [
    "/spec/http/auth/bearer/name",
    "/spec/http/auth/basic/password/name",
    "/spec/http/auth/header/value/name",
    "/spec/git/password/name",
    "/spec/git/privateKey/name",
    "/spec/git/knownHosts/name",
];

impl Admission<'_> {
    pub(super) fn connection(&self, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
        // where a spec stays, so does what is sent where
        if old.is_some_and(|old| old["spec"] == new["spec"]) {
            return Ok(());
        }
        let mut named = SECRETS
            .iter()
            .filter_map(|path| new.pointer(path).and_then(Value::as_str));
        match named.find(|secret| !self.may_read(secret)) {
            None => Ok(()),
            Some(secret) => forbidden(format!(
                "a Connection sends the Secrets that it names: \"{}\" may not get the Secret \"{secret}\" in namespace \"{}\"",
                self.user.name, self.namespace
            )),
        }
    }
}
