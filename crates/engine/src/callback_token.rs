//! Callback tokens: derived, never stored.
//!
//! A token names the run, the step and the iteration, and ends in an HMAC-SHA-256 over them and the run's uid under a server key that
//! is named by its id, so keys can rotate while older tokens stay good.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use signoff_api::RunStatus;

const VERSION: &str = "v1";
/// What every token begins with.
const MARK: &str = "v1.";
/// What separates the four parts of a token.
const PARTS: usize = 4;
/// Longest token accepted, in bytes: two object names, a label and a uid in base64, with the MAC.
const MAX_TOKEN: usize = 1_024;

/// Everything in a text that may be a token. Whether it is one is not looked at.
pub fn tokens_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(MARK).filter_map(|(at, _)| {
        let rest = &text[at..];
        let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let rest = &rest[..rest.find(|c| !is_of_token(c)).unwrap_or(rest.len())];
        let end = rest
            .match_indices('.')
            .nth(PARTS - 1)
            .map_or(rest.len(), |(end, _)| end);
        let token = &rest[..end];
        let parts: Vec<&str> = token.split('.').collect();
        (parts.len() == PARTS && parts.iter().all(|part| !part.is_empty())).then_some(token)
    })
}

/// Which wait a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackAddress {
    /// Namespace of the run.
    pub namespace: String,
    /// Name of the run.
    pub run: String,
    /// Uid of the run, so that a token does not outlive it.
    pub uid: String,
    /// Name of the step.
    pub step: String,
    /// Which time round, from 1.
    pub iteration: i64,
    /// Which item, from 0, of a step with `forEach`.
    pub item: Option<i64>,
}

impl CallbackAddress {
    /// Key of this wait in a run's `status.callbacks`.
    pub fn record_key(&self) -> String {
        record_key(&self.step, self.iteration, self.item)
    }

    fn text(&self) -> String {
        let item = self.item.map(|item| format!("/{item}")).unwrap_or_default();
        format!(
            "{}/{}/{}/{}/{}{item}",
            self.namespace, self.run, self.uid, self.step, self.iteration
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (parts, item) = match parts.as_slice() {
            [parts @ .., item] if parts.len() == 5 => (parts, Some(item.parse().ok()?)),
            parts => (parts, None),
        };
        let [namespace, run, uid, step, iteration] = *parts else {
            return None;
        };
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(Self {
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            uid: uid.to_owned(),
            step: step.to_owned(),
            iteration: iteration.parse().ok()?,
            item,
        })
    }
}

/// Whether a callback belongs to a pass of a loop that is not kept any more.
pub fn is_of_old_pass(status: &RunStatus, key: &str) -> bool {
    // names of steps have no dots; an item's key ends in its index
    let mut parts = key.split('.');
    let (Some(step), Some(iteration)) = (parts.next(), parts.next()) else {
        return false;
    };
    let Ok(iteration) = iteration.parse::<i64>() else {
        return false;
    };
    let entries = || status.steps.iter().filter(|entry| entry.name == step);
    entries().any(|entry| entry.repeated == Some(true)) && entries().all(|entry| iteration < entry.iteration)
}

/// Whether nobody waits for a callback any more, as far as the steps of its run tell.
pub fn is_over(status: &RunStatus, address: &CallbackAddress) -> bool {
    let of_step = status.steps.iter().filter(|entry| entry.name == address.step);
    of_step.into_iter().any(|entry| {
        if entry.iteration != address.iteration {
            return entry.iteration > address.iteration;
        }
        match (address.item, &entry.items) {
            // an item that ended has no entry any more, and one that the list does not have never had one
            (Some(item), Some(items)) => {
                entry.phase.is_finished() || item >= items.count || items.outcome(item).is_some()
            }
            _ => entry.item == address.item && entry.phase.is_finished(),
        }
    })
}

/// Key of a wait, or of one of its items, in a run's `status.callbacks`.
pub fn record_key(step: &str, iteration: i64, item: Option<i64>) -> String {
    match item {
        None => format!("{step}.{iteration}"),
        Some(item) => format!("{step}.{iteration}.{item}"),
    }
}

/// The keys that sign callback tokens, by id. Not printed by `Debug`.
#[derive(Clone)]
pub struct CallbackKeys {
    current: String,
    keys: BTreeMap<String, Vec<u8>>,
}

/// Why keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackKeysError {
    /// No key has the current id.
    #[error("no callback key has the id {0:?}")]
    NoCurrentKey(String),
    /// A key is shorter than 32 bytes.
    #[error("callback key {0:?} is shorter than 32 bytes")]
    TooShort(String),
    /// An id is not of 1 to 16 letters and digits.
    #[error("callback key id {0:?} is not made of 1 to 16 letters and digits")]
    InvalidId(String),
}

impl CallbackKeys {
    /// Keys by id; new tokens are made with the current one.
    ///
    /// # Errors
    /// When the current id names no key, a key is too short, or an id has other characters than letters and digits.
    pub fn new(current: &str, keys: BTreeMap<String, Vec<u8>>) -> Result<Self, CallbackKeysError> {
        for (id, key) in &keys {
            if id.is_empty() || id.len() > 16 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(CallbackKeysError::InvalidId(id.clone()));
            }
            if key.len() < 32 {
                return Err(CallbackKeysError::TooShort(id.clone()));
            }
        }
        if !keys.contains_key(current) {
            return Err(CallbackKeysError::NoCurrentKey(current.to_owned()));
        }
        Ok(Self {
            current: current.to_owned(),
            keys,
        })
    }

    /// The token for a wait.
    pub fn token(&self, address: &CallbackAddress) -> String {
        let payload = URL_SAFE_NO_PAD.encode(address.text());
        let signed = format!("{VERSION}.{}.{payload}", self.current);
        let mac = self.mac(&self.current, &signed).unwrap_or_default();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// The wait a token is for, or nothing if the token was not made with one of these keys.
    pub fn verify(&self, token: &str) -> Option<CallbackAddress> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, mac) = token.rsplit_once('.')?;
        let mut parts = signed.splitn(3, '.');
        let (version, id, payload) = (parts.next()?, parts.next()?, parts.next()?);
        let given = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let expected = self.mac(id, signed)?;
        if version != VERSION || !bool::from(expected.ct_eq(&given)) {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        CallbackAddress::parse(&text)
    }

    fn mac(&self, id: &str, signed: &str) -> Option<Vec<u8>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.keys.get(id)?).ok()?;
        mac.update(signed.as_bytes());
        Some(mac.finalize().into_bytes().to_vec())
    }
}

impl fmt::Debug for CallbackKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackKeys")
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

/// Makes the callback addresses of runs.
#[derive(Clone, Debug)]
pub struct CallbackMinter {
    /// Where the gateway is reached from outside, without a slash at the end.
    pub base_url: String,
    /// The keys.
    pub keys: CallbackKeys,
}

impl CallbackMinter {
    /// The address to POST to for a token.
    pub fn url(&self, token: &str) -> String {
        format!("{}/v1/callbacks/{token}", self.base_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(current: &str) -> CallbackKeys {
        let keys = [("k1".to_owned(), vec![1; 32]), ("k2".to_owned(), vec![2; 32])];
        CallbackKeys::new(current, keys.into()).unwrap()
    }

    fn address() -> CallbackAddress {
        CallbackAddress {
            namespace: "default".into(),
            run: "refund-7c2k".into(),
            uid: "6a1e".into(),
            step: "settled".into(),
            iteration: 2,
            item: None,
        }
    }

    fn of_item() -> CallbackAddress {
        CallbackAddress {
            item: Some(7),
            ..address()
        }
    }

    #[test]
    fn a_token_names_its_wait_even_after_the_current_key_changed() {
        let token = keys("k1").token(&address());
        assert_eq!(keys("k2").verify(&token), Some(address()));
        let token = keys("k1").token(&of_item());
        assert_eq!(keys("k2").verify(&token), Some(of_item()));
    }

    #[test]
    fn texts_that_are_no_addresses_are_not_taken_for_some() {
        for text in [
            "",
            "a/b/c/d",
            "a/b/c/d/x",
            "a/b/c/d/1/",
            "a/b/c/d/1/x",
            "a/b/c/d/1/2/3",
            "/b/c/d/1",
            "a/b/c//1",
        ] {
            assert_eq!(CallbackAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn any_change_of_a_token_is_refused() {
        let token = keys("k1").token(&address());
        for i in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // the last character of an unpadded base64 text holds bits that may be ignored, never other content
            assert!(
                keys("k1")
                    .verify(&changed)
                    .is_none_or(|found| found == address() && i + 1 == token.len()),
                "{i}"
            );
        }
        assert_eq!(keys("k1").verify(""), None);
        assert_eq!(keys("k1").verify(&"a".repeat(5_000)), None);
    }

    #[test]
    fn tokens_are_found_wherever_they_stand_in_a_text() {
        let token = keys("k1").token(&address());
        for text in [
            token.clone(),
            format!("https://gateway/v1/callbacks/{token}?a=b"),
            format!("{{\"token\":\"x-{token}\"}} and v1.2.3."),
            format!("The token is {token}."),
        ] {
            assert_eq!(tokens_in(&text).collect::<Vec<_>>(), [token.as_str()], "{text}");
        }
        assert_eq!(tokens_in("v1.2 v1... https://v1.example.com").count(), 0);
    }

    #[test]
    fn a_key_that_is_gone_makes_no_token_good() {
        let token = keys("k1").token(&address());
        let other = CallbackKeys::new("k2", [("k2".to_owned(), vec![2; 32])].into()).unwrap();
        assert_eq!(other.verify(&token), None);
    }

    #[test]
    fn weak_or_missing_keys_are_refused() {
        assert!(CallbackKeys::new("k1", [("k1".to_owned(), vec![1; 31])].into()).is_err());
        assert!(CallbackKeys::new("k2", [("k1".to_owned(), vec![1; 32])].into()).is_err());
        assert!(CallbackKeys::new("k.1", [("k.1".to_owned(), vec![1; 32])].into()).is_err());
    }
}
