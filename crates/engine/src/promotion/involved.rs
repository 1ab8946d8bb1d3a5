//! Who had a hand in a promotion, and which Repository has a say in it.

use signoff_api::{Flow, FlowStatus, Release, Repository, flow::repository_uid, names};

/// Who had a hand in a promotion, as far as the API server or a signature proves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Involved {
    /// Who asked for it.
    pub requested_by: Option<String>,
    /// Who wrote the release.
    pub written_by: Vec<String>,
}

impl Involved {
    /// Who asked for the promotion and who wrote what is promoted, beside what the release's source says. They are not the ones to approve
    /// it. `repository` is the one that the release came from.
    pub fn new(flow: &Flow, status: &FlowStatus, release: &Release, repository: Option<&Repository>) -> Self {
        let name = release.metadata.name.as_ref();
        let is_draft = status
            .draft
            .as_ref()
            .is_some_and(|draft| Some(&draft.release) == name);
        let from_git = release.spec.source.repository.is_some();
        // the same content may have been cut before, when somebody else wrote it
        let changed_by = recorded(flow, names::CHANGED_BY).filter(|_| is_draft && !from_git);
        let signer = repository.and_then(|repository| signer(release, repository));
        Self {
            requested_by: recorded(flow, names::PROMOTED_BY),
            written_by: changed_by.into_iter().chain(signer).collect(),
        }
    }
}

/// The user whom the API server recorded in an annotation. An empty one names nobody.
pub fn recorded(flow: &Flow, annotation: &str) -> Option<String> {
    let user = flow.metadata.annotations.as_ref()?.get(annotation)?;
    (!user.is_empty()).then(|| user.clone())
}

/// The user whose key vouches for a release, as the Repository that it came from maps keys to users.
fn signer(release: &Release, repository: &Repository) -> Option<String> {
    let verified = release.spec.source.verified.as_ref()?;
    let keys = &repository.spec.identities.as_ref()?.keys;
    keys.iter()
        .find(|mapped| mapped.key == verified.key)
        .map(|mapped| mapped.user.clone())
}

/// Whether a flow came from this Repository. The Repository tells it as well, so that taking the label off a flow does not take it past the gate.
pub fn brought(repository: &Repository, flow: &Flow) -> bool {
    let uid = repository_uid(flow);
    let owner = uid.is_some() && uid == repository.metadata.uid.as_deref();
    let labels = flow.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(names::REPOSITORY)) == repository.metadata.name.as_ref();
    let name = flow.metadata.name.as_deref().unwrap_or_default();
    let listed = repository
        .status
        .as_ref()
        .is_some_and(|status| status.flows.iter().any(|listed| listed == name));
    repository.metadata.namespace == flow.metadata.namespace && (owner || label || listed)
}
