//! Callbacks that people answer by hand: each is looked at once, and the wait takes it or the status says why not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Turn, cut};
use crate::resolution;
use signoff_api::resolution::{Resolution, ResolutionStatus};

impl Turn<'_> {
    /// Looks at the resolutions that are new.
    pub(crate) fn look_at_resolutions(&mut self) {
        let facts = self.facts;
        for (key, resolution) in &facts.run.resolutions {
            let digest = resolution::digest(resolution);
            let known = self.state.resolutions.get(key);
            // one that was taken stays
            if known.is_some_and(|known| known.refused.is_none() || known.digest == digest) {
                continue;
            }
            let Resolution { body, message, by } = resolution;
            let refused = match resolution::check(self.plan, &self.state, key, &body.0) {
                // the steps of `finally` go on while it ends
                Ok(()) if self.ending.is_some() && self.state.ending.is_none() || self.terminated => {
                    Some("the run is to end".to_owned())
                }
                Ok(()) => None,
                Err(why) => Some(cut(why)),
            };
            let status = ResolutionStatus {
                by: by.clone(),
                message: message.clone(),
                at: MicroTime(self.now),
                digest,
                refused,
            };
            self.state.resolutions.insert(key.clone(), status);
        }
    }
}
