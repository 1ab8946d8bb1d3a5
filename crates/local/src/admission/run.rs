//! Who asked for a run, and who may make it be gone.

use serde_json::Value;

use super::{Admission, Refusal, forbidden, owners};

impl Admission<'_> {
    pub(super) fn new_run(&self, new: &Value) -> Result<(), Refusal> {
        if self.is_operator() {
            return Ok(());
        }
        let (asked, user) = (
            new["spec"]["requestedBy"].as_str().unwrap_or_default(),
            self.user.name.as_str(),
        );
        if asked.is_empty() {
            return Err(Refusal::Invalid(
                "spec.requestedBy is missing: leave it out or write your own user name".to_owned(),
            ));
        }
        if asked != user {
            return forbidden(format!(
                "spec.requestedBy says \"{asked}\", but you are \"{user}\": nobody can request a run in another's name; leave spec.requestedBy out or write your own"
            ));
        }
        self.owned_run(None, new)
    }

    pub(super) fn changed_run(&self, old: &Value, new: &Value) -> Result<(), Refusal> {
        self.owned_run(Some(old), new)
    }

    fn owned_run(&self, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
        if self.is_operator() || !owners::are_new(old, new) || self.may("delete", "runs", "") {
            return Ok(());
        }
        forbidden(format!(
            "a run goes with its owners, and what was decided in it too: adding to metadata.ownerReferences takes the verb delete on runs.signoff.dev, which \"{}\" lacks in namespace \"{}\"",
            self.user.name, self.namespace
        ))
    }
}
