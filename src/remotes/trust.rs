//! Whether what a ref points at may be used: with `spec.verify`, only what somebody who is trusted signed.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{RepositoryError, Unsigned, credentials};
use crate::{
    cluster::context::Context,
    git::{CommitId, GitError, Mirror, RefAt, RefName, SignedBy, TrustedKeys},
};
use signoff_api::{
    Repository,
    release::Verified,
    repository::{PublicKeySource, SyncedCommit, Verify, VerifyMode},
};

/// Whose signatures are accepted, and of what.
#[derive(Debug)]
pub struct Trust {
    keys: TrustedKeys,
    by: SignedBy,
}

/// A commit that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The ref that it was found at.
    pub name: RefName,
    pub commit: CommitId,
    /// Who vouches for it, if anybody has to.
    pub verified: Option<Verified>,
}

/// What came of looking at a ref.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// What may be used: where the ref is, or else where it last was while that was signed well.
    pub head: Option<Head>,
    /// Why it is not where the ref is now.
    pub refused: Option<Unsigned>,
}

/// Reads the keys of `spec.verify`; nothing if everybody is trusted who may push.
pub async fn read(context: &Context, repository: &Repository) -> Result<Option<Trust>, RepositoryError> {
    let Some(verify) = &repository.spec.verify else {
        return Ok(None);
    };
    let keys = keys(context, repository, verify).await?;
    let by = match verify.mode.unwrap_or_default() {
        VerifyMode::Head => SignedBy::Commit,
        VerifyMode::Tag => SignedBy::Tag,
    };
    Ok(Some(Trust { keys, by }))
}

/// Reads the keys whose signatures are accepted.
pub async fn keys(
    context: &Context,
    repository: &Repository,
    verify: &Verify,
) -> Result<TrustedKeys, RepositoryError> {
    let namespace = repository.namespace().unwrap_or_default();
    let mut keys = TrustedKeys::default();
    for entry in &verify.keys {
        match &entry.key {
            PublicKeySource::Ssh(text) => keys.add_ssh(&entry.name, text)?,
            PublicKeySource::Openpgp(text) => keys.add_openpgp(&entry.name, text)?,
            PublicKeySource::SecretRef(reference) => {
                let text = credentials::read_key(context.client(), &namespace, reference).await?;
                keys.add(&entry.name, &text)?;
            }
        }
    }
    Ok(keys)
}

/// Looks at where a ref is; `before` is where it was when it was last used.
pub async fn follow(
    mirror: &Mirror,
    trust: Option<&Trust>,
    at: Option<&RefAt>,
    before: Option<&SyncedCommit>,
    now: Timestamp,
) -> Result<Followed, GitError> {
    let Some(RefAt { name, commit }) = at else {
        return Ok(Followed::default());
    };
    let head = |commit, verified| {
        let name = name.clone();
        Some(Head {
            name,
            commit,
            verified,
        })
    };
    let Some(trust) = trust else {
        let head = head(*commit, None);
        return Ok(Followed { head, refused: None });
    };
    let vouched = async |commit| {
        let signed = mirror.signed(name, commit, trust.by).await?;
        Ok::<_, GitError>(signed.and_then(|signed| trust.keys.verify(&signed, now)))
    };
    let why = match vouched(*commit).await? {
        Ok(verified) => {
            let head = head(*commit, Some(verified));
            return Ok(Followed { head, refused: None });
        }
        Err(why) => why,
    };
    let refused = Some(Unsigned {
        git_ref: name.clone(),
        commit: *commit,
        why,
    });
    // the keys may be others by now, and what was used before there were any was not signed
    let head = match before.and_then(|before| CommitId::parse(&before.commit)) {
        Some(commit) => match vouched(commit).await {
            Ok(Ok(verified)) => head(commit, Some(verified)),
            // the mirror may be newer than that commit
            Ok(Err(_)) | Err(GitError::NoCommit(_)) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    Ok(Followed { head, refused })
}
