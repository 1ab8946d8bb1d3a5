//! What a flow says of where it came from and who changed it, and who may take away one that is live behind a gate.

use serde_json::Value;

use super::{Admission, Refusal, forbidden, name, owners};
use signoff_api::names;

/// Annotations of a flow from which a release has where it came from.
const PROVENANCE: [&str; 2] = [names::SOURCE, names::SOURCE_DIGEST];

impl Admission<'_> {
    /// Keeps who last changed the definition of a flow, and who its `spec.live`, whatever is sent. What the operator applies is git's, and
    /// nobody's here.
    pub(super) fn stamp_flow(&self, old: Option<&Value>, new: &mut Value) {
        let user = if self.is_operator() { "" } else { &self.user.name };
        let defined = old.is_none_or(|old| definition(old) != definition(new));
        let live = |flow: &Value| flow["spec"]["live"].clone();
        let promoted = old.map_or(Value::Null, live) != live(new);
        for (key, changed) in [(names::CHANGED_BY, defined), (names::PROMOTED_BY, promoted)] {
            let had = old.map(|old| annotation(old, key)).unwrap_or_default();
            let wanted = if changed { user } else { had };
            if annotation(new, key) == wanted {
                continue;
            }
            let annotations = &mut new["metadata"]["annotations"];
            if wanted.is_empty() {
                annotations.as_object_mut().and_then(|all| all.remove(key));
            } else {
                annotations[key] = Value::from(wanted);
            }
        }
    }

    pub(super) fn flow(&self, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
        if self.is_operator() {
            return Ok(());
        }
        let claims = |key: &str| {
            let had = old.map(|old| &old["metadata"]["annotations"][key]);
            let has = &new["metadata"]["annotations"][key];
            !has.is_null() && had != Some(has)
        };
        let claimed: Vec<&str> = PROVENANCE.into_iter().filter(|key| claims(key)).collect();
        if !claimed.is_empty() {
            return forbidden(format!(
                "where a flow came from is written only by the operator: leave the annotation {} out",
                claimed.join(", ")
            ));
        }
        if owners::are_new(old, new) && !self.may_take_away() {
            return forbidden(format!(
                "a flow goes with its owners: adding to metadata.ownerReferences takes the verb delete on releases.signoff.dev, which \"{}\" lacks in namespace \"{}\"",
                self.user.name, self.namespace
            ));
        }
        Ok(())
    }

    pub(super) fn without_flow(&self, flow: &Value) -> Result<(), Refusal> {
        if self.is_operator() || flow["status"]["gated"] != true || self.may_take_away() {
            return Ok(());
        }
        forbidden(format!(
            "flow \"{}\" has a release live behind a gate, which would be gone with it: {}",
            name(flow),
            self.lacks("delete on releases.signoff.dev")
        ))
    }

    /// Whether the caller may make a release be gone, and its gate with it.
    pub(super) fn may_take_away(&self) -> bool {
        self.may("delete", "releases", "")
    }
}

fn annotation<'a>(flow: &'a Value, key: &str) -> &'a str {
    flow["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

/// What a release would fix of a flow: its spec without `live`.
fn definition(flow: &Value) -> Value {
    let mut spec = flow["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("live");
    }
    spec
}
