//! Who says which forge is asked, whose signatures count, who people are and what promotions must pass, says who decides. And the token of a
//! forge is sent where a Repository says, so whoever writes it must be allowed to read it.

use serde_json::Value;

use super::{Admission, Refusal, forbidden, name, owners};

/// What says who decides.
const GUARDED: [&str; 5] = ["forge", "identities", "decisions", "verify", "promotion"];
/// What is asked of another remote where they are changed.
const REMOTE: [&str; 2] = ["url", "connection"];

impl Admission<'_> {
    pub(super) fn repository(&self, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
        let was = |field: &str| old.map_or(&Value::Null, |old| &old["spec"][field]);
        let changed = |field: &&str| was(field) != &new["spec"][field];
        let guarded = says(new) || old.is_some_and(says);
        let turned = old.is_some() && guarded && REMOTE.iter().any(changed);
        let may_identify = || self.may("identify", "repositories", name(new));
        if (turned || GUARDED.iter().any(changed)) && !may_identify() {
            return self.may_not_identify();
        }
        self.token(old, new)?;
        if owners::are_new(old, new) && !may_identify() {
            return forbidden(format!(
                "a Repository goes with its owners: adding to metadata.ownerReferences takes the verb identify on repositories.signoff.dev, which \"{}\" lacks in namespace \"{}\"",
                self.user.name, self.namespace
            ));
        }
        Ok(())
    }

    /// The operator reads the token of a forge and sends it to the address there. Where the forge stays, so does what is sent where.
    fn token(&self, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
        let forge = &new["spec"]["forge"];
        if old.is_some_and(|old| &old["spec"]["forge"] == forge) {
            return Ok(());
        }
        match forge["token"]["name"].as_str() {
            Some(secret) if !self.may_read(secret) => forbidden(format!(
                "a Repository sends the token that spec.forge names to the address there: \"{}\" may not get the Secret \"{secret}\" in namespace \"{}\"",
                self.user.name, self.namespace
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn without_repository(&self, repository: &Value) -> Result<(), Refusal> {
        if says(repository) && !self.may("identify", "repositories", name(repository)) {
            return self.may_not_identify();
        }
        if repository["status"]["gated"] == true && !self.may_take_away() {
            return forbidden(format!(
                "flows of Repository \"{}\" have releases live behind gates, which would be gone with it: {}",
                name(repository),
                self.lacks("delete on releases.signoff.dev")
            ));
        }
        Ok(())
    }

    fn may_not_identify(&self) -> Result<(), Refusal> {
        forbidden(format!(
            "spec.forge, spec.identities, spec.decisions, spec.verify, spec.promotion, and beside them spec.url and spec.connection, say who decides: {}",
            self.lacks("identify on repositories.signoff.dev")
        ))
    }
}

fn says(repository: &Value) -> bool {
    GUARDED.iter().any(|field| !repository["spec"][field].is_null())
}
