//! Promotion: which gates a release must pass to become live, what people are asked, and what is to be done next.
//!
//! The gates are those of the Repository and of the release that is live now, so that a draft cannot loosen the gate it is judged by. Only
//! the first promotion is judged by the promoted release's own gate.

mod dependency;
mod gate;
mod involved;
mod plan;
mod question;
mod release;
mod round;
mod withdraw;

#[cfg(test)]
mod tests;

use signoff_api::{
    Definition, Digest, Release,
    flow::{Promotion, PromotionApproval},
    release::{Dependency, ReleaseSource},
};

pub use dependency::{KnownDependency, NotLive};
pub use gate::{NO_EXPRESSIONS, expressions, unreachable_quorum};
pub use involved::{Involved, brought, recorded};
pub use plan::{Ask, Asked, Change, Done, Impossible, Known, Outcome, Step, next};
pub use question::{asks, deadline, question};
pub use release::{Found, Unusable, usable};
pub use round::round_after;
pub use withdraw::{Questions, superseded};

/// Names of the gates there can be: that of the release that is live, and that of the Repository.
pub const GATES: [&str; 2] = ["release", "repository"];

/// One gate and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Tells two gates apart, so that they have two approvals.
    pub name: &'static str,
    /// What people are asked.
    pub approval: PromotionApproval,
}

/// A release that is to become live, and what is live now.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Name of the release.
    pub release: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its flow.
    pub flow: &'a str,
    /// Its digest.
    pub digest: &'a Digest,
    /// Its definition.
    pub definition: &'a Definition,
    /// Where it came from.
    pub source: &'a ReleaseSource,
    /// The releases that its steps run.
    pub dependencies: &'a [Dependency],
    /// The same of what is live now.
    pub live_dependencies: &'a [Dependency],
    /// Name, digest and definition of what is live now.
    pub live: Option<(&'a str, &'a Digest, &'a Definition)>,
}

impl<'a> Candidate<'a> {
    /// A release in place of the one that is live.
    pub fn new(release: &'a Release, live: Option<&'a Release>) -> Self {
        Self {
            release: release.metadata.name.as_deref().unwrap_or_default(),
            uid: release.metadata.uid.as_deref().unwrap_or_default(),
            flow: &release.spec.flow,
            digest: &release.spec.digest,
            definition: &release.spec.definition,
            source: &release.spec.source,
            dependencies: &release.spec.dependencies,
            live_dependencies: live.map_or(&[], |live| &live.spec.dependencies),
            live: live.map(|live| {
                (
                    live.metadata.name.as_deref().unwrap_or_default(),
                    &live.spec.digest,
                    &live.spec.definition,
                )
            }),
        }
    }
}

/// The gates of a promotion; none means that it is made at once.
pub fn gates(candidate: &Candidate<'_>, repository: Option<&Promotion>) -> Vec<Gate> {
    let judge = candidate
        .live
        .map_or(candidate.definition, |(_, _, definition)| definition);
    let of_release = judge.promotion.as_ref().map(|gate| Gate {
        name: GATES[0],
        approval: gate.approval.clone(),
    });
    let of_repository = repository.map(|gate| Gate {
        name: GATES[1],
        approval: gate.approval.clone(),
    });
    of_release.into_iter().chain(of_repository).collect()
}
