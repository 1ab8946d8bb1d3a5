//! Whether the releases that a release runs let it become live: each must be live, or have been.

use std::sync::Arc;

use signoff_api::{Release, condition::READY, flow::NamedRelease, release::Dependency};

/// What is known of a release that another one runs.
#[derive(Clone, Debug, Default)]
pub struct KnownDependency {
    /// What is live of its flow.
    pub live: Option<NamedRelease>,
    /// The release.
    pub release: Option<Arc<Release>>,
}

/// Why a release may not become live yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} runs release {release} of flow {flow}, which is not live and never was: make it live first"
)]
pub struct NotLive {
    /// Name of the release that is to become live.
    pub wanted: String,
    /// Name of the release that it runs.
    pub release: String,
    /// The flow of that.
    pub flow: String,
}

/// The first release that this one runs and that is not live and never was. What is known is in the order of its dependencies.
pub(super) fn not_live(wanted: &Release, known: &[KnownDependency]) -> Option<NotLive> {
    let unknown = KnownDependency::default();
    let mut dependencies = wanted.spec.dependencies.iter().enumerate();
    let (_, missing) = dependencies.find(|(i, dependency)| {
        let known = known.get(*i).unwrap_or(&unknown);
        !known.is_or_was_live(dependency)
    })?;
    Some(NotLive {
        wanted: wanted.metadata.name.clone().unwrap_or_default(),
        release: missing.release.clone(),
        flow: missing.flow.clone(),
    })
}

impl KnownDependency {
    fn is_or_was_live(&self, dependency: &Dependency) -> bool {
        let is_live = self
            .live
            .as_ref()
            .is_some_and(|live| live.release == dependency.release && live.digest == dependency.digest);
        let was_live =
            |release: &Arc<Release>| release.spec.digest == dependency.digest && has_been_live(release);
        is_live || self.release.as_ref().is_some_and(was_live)
    }
}

/// Whether a release is or was live: of another one that nothing is wrong with, nothing is said.
fn has_been_live(release: &Release) -> bool {
    let conditions = release.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|known| known.type_ == READY);
    ready.any(|ready| ready.status == "True")
}
