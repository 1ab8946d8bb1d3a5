//! Labels, annotations, finalizers, field managers and the names of generated objects.

use super::Digest;

/// Label on every object Signoff creates.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "signoff";
/// Label: the flow an object belongs to.
pub const FLOW: &str = "signoff.dev/flow";
/// Label: the release an object belongs to.
pub const RELEASE: &str = "signoff.dev/release";
/// Label: the run an object belongs to.
pub const RUN: &str = "signoff.dev/run";
/// Label: the step an object belongs to.
pub const STEP: &str = "signoff.dev/step";
/// Label: the Repository that applied a flow, or that the flow came from which a question is about.
pub const REPOSITORY: &str = "signoff.dev/repository";
/// Label on the admission policies of an installation, and their bindings; its value is what their names begin with.
pub const POLICIES: &str = "signoff.dev/policies";
/// Annotation on a Repository: a change of its value asks for a sync at once.
pub const REQUESTED_AT: &str = "signoff.dev/requestedAt";
/// Annotation on a Flow that a Repository applied: where its draft came from, as JSON of
/// [`super::release::ReleaseSource`].
pub const SOURCE: &str = "signoff.dev/source";
/// Annotation beside [`SOURCE`]: digest of the definition that it speaks of, so that an edited flow does not claim to be a commit's.
pub const SOURCE_DIGEST: &str = "signoff.dev/source-digest";
/// Annotation on a Flow that a Repository applied: commit of the live ref that named what `spec.live` wants. Only for people to read; it
/// proves nothing.
pub const LIVE_COMMIT: &str = "signoff.dev/live-commit";
/// Annotation on a Flow: the user who last changed anything in its spec but `live`. The API server keeps it; nobody writes another's name.
pub const CHANGED_BY: &str = "signoff.dev/changed-by";
/// Annotation on a Flow: the user who last changed `spec.live`, kept in the same way.
pub const PROMOTED_BY: &str = "signoff.dev/promoted-by";
/// Finalizer on a Release that a run uses, and on a Run whose work has to be stopped before it goes.
pub const FINALIZER: &str = "signoff.dev/in-use";
/// Field manager of the controllers.
pub const FIELD_MANAGER: &str = "signoff";
/// Field manager under which a Repository sync applies flows.
pub const FIELD_MANAGER_REPOSITORY: &str = "signoff-repository";
/// Field manager of the gateway.
pub const FIELD_MANAGER_GATEWAY: &str = "signoff-gateway";

/// Longest name of a Flow or a Run: it must fit a label value together with what is appended to it.
pub const MAX_NAME: usize = 52;

/// `<flow>-<first 10 hex digits of the digest>`.
pub fn release_name(flow: &str, digest: &Digest) -> String {
    format!("{flow}-{}", digest.short())
}

/// Name of the approval a step opens: `<run>-<step>`, with `-<iteration>` from the second iteration on.
pub fn approval_name(run: &str, step: &str, iteration: i64) -> String {
    if iteration <= 1 {
        format!("{run}-{step}")
    } else {
        format!("{run}-{step}-{iteration}")
    }
}

/// Name of the approval that asks whether an effect of unknown outcome happened.
pub fn outcome_approval_name(run: &str, step: &str, iteration: i64, attempt: i64) -> String {
    format!("{run}-{step}-{iteration}-outcome-{attempt}")
}

/// Name of the approval that gates the promotion of a release; `round` counts promotions of that release, from 1.
pub fn promotion_approval_name(release: &str, round: i64) -> String {
    if round <= 1 {
        format!("{release}-promotion")
    } else {
        format!("{release}-promotion-{round}")
    }
}
