//! Which branches a step may commit to: none that a Repository follows, and none where questions are put and answered. There people
//! merge what they have looked at.

use kube::{Api, Client, api::ListParams};

use super::target::Target;
use crate::{
    cluster::objects::{Decoded, list},
    git::RemoteUrl,
    perform::error::{invalid, not_ready},
};
use signoff_api::{Repository, RepositorySpec, git::BranchName, reason::StepReason, repository::LiveRef};
use signoff_engine::facts::EffectError;

/// Most layers of percent-encoding that are taken off a path.
const MOST_LAYERS: usize = 4;

/// Refuses a branch that belongs to a Repository of the namespace.
pub(super) async fn check(
    kube: &Client,
    namespace: &str,
    target: &Target,
    branch: &BranchName,
) -> Result<(), EffectError> {
    let api = Api::<Decoded<Repository>>::namespaced(kube.clone(), namespace);
    let listed = list(&api, &ListParams::default()).await.map_err(|_| {
        let message = "the Repositories of the namespace could not be read from the API server";
        not_ready(StepReason::BranchNotAllowed, message)
    })?;
    if let Some(unreadable) = listed.undecodable.first() {
        // it may be the one that follows the branch
        let message = format!(
            "a Repository of the namespace cannot be read, so it is not known which branches are its: {}",
            unreadable.message()
        );
        return Err(invalid(StepReason::BranchNotAllowed, message));
    }
    for repository in listed.items {
        let spec = &repository.spec;
        let is_same = match spec.url.parse::<RemoteUrl>() {
            Ok(url) => project(&url) == project(&target.remote.url),
            Err(_) => false,
        };
        if is_same && let Some(why) = taken(spec, branch) {
            let name = repository.metadata.name.unwrap_or_default();
            let message = format!(
                "a step may not commit to the branch {branch}: it is {why} of the Repository {name:?}"
            );
            return Err(invalid(StepReason::BranchNotAllowed, message));
        }
    }
    Ok(())
}

/// The last two parts of the path of a remote, as a server reads it. The same project may be reached by several protocols and
/// hosts, so these do not count.
fn project(url: &RemoteUrl) -> String {
    let path = match url {
        RemoteUrl::Http(url) => url.path().to_owned(),
        RemoteUrl::Ssh(ssh) => ssh.path.clone(),
        RemoteUrl::File(path) => path.to_string_lossy().into_owned(),
    };
    let path = decoded(&path).to_lowercase();
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let last = parts.pop().unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last);
    format!("{}/{last}", parts.pop().unwrap_or_default())
}

/// A path without percent-encoding. A proxy may take off one layer of it, and the server the next.
fn decoded(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..MOST_LAYERS {
        let decoded = without_layer(&path);
        if decoded == path {
            break;
        }
        path = decoded;
    }
    path
}

fn without_layer(path: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut at) = (path.as_bytes(), 0);
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%')
            .then(|| digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2))))
            .flatten();
        let escaped = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What a branch is to a Repository, if it is anything.
fn taken(spec: &RepositorySpec, branch: &BranchName) -> Option<&'static str> {
    let name = branch.as_str();
    // file systems of forges may fold cases
    let is = |other: &str| {
        other
            .strip_prefix("refs/heads/")
            .unwrap_or(other)
            .eq_ignore_ascii_case(name)
    };
    if is(&spec.draft.name) {
        return Some("the draft branch");
    }
    if let Some(live) = &spec.live
        && let LiveRef::Name(live) = &live.at
        && is(live)
    {
        return Some("the live branch");
    }
    let into = spec
        .decisions
        .as_ref()
        .and_then(|decisions| decisions.into.as_deref());
    if into.is_some_and(is) {
        return Some("the branch for decisions");
    }
    let prefix = spec.prefix();
    let begins = name
        .get(..prefix.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    let rest = name.get(prefix.len()..).unwrap_or_default();
    (begins && (rest.is_empty() || rest.starts_with('/'))).then_some("under the prefix")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RepositorySpec {
        let mut spec = RepositorySpec::following(
            "https://git.example.com/acme/flows.git",
            "main",
            "refs/heads/live",
        );
        spec.prefix = Some("signoff-staging".to_owned());
        spec
    }

    #[test]
    fn branches_that_are_followed_or_under_the_prefix_are_taken() {
        let taken = |name: &str| taken(&spec(), &BranchName::parse(name).unwrap());
        for name in [
            "main",
            "Main",
            "live",
            "signoff-staging/default/x",
            "Signoff-Staging/x",
            "signoff-staging",
        ] {
            assert!(taken(name).is_some(), "{name}");
        }
        for name in ["mainline", "fix/main", "signoff/x", "signoff-staging-2/x", "livé"] {
            assert!(taken(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_project_is_the_same_by_any_way_to_it() {
        let project = |url: &str| project(&url.parse().unwrap());
        let one = project("https://git.example.com/acme/flows.git");
        for same in [
            "https://git.example.com/acme/flow%73.git",
            "https://git.example.com/acme//flows.git",
            "https://git.example.com/acme/%2e/x/..%2Fflows%2egit/",
            "https://git.example.com/%61cme/flow%2573",
            "ssh://git@git.example.com/acme/%66lows.git",
            "ssh://git@git.example.com/~/acme/./flows.git",
            "git@git.example.com:/acme//flows.git",
            "file:///srv/git/acme/./flow%73.git",
            "git@git.example.com:acme/flows",
            "ssh://git@ssh.example.com:2222/Acme/Flows.git",
            "https://x/y/acme/flows",
        ] {
            assert_eq!(project(same), one, "{same}");
        }
        for other in [
            "https://x/acme/other.git",
            "https://x/flows.git",
            "https://x/acme/flows.git/x",
        ] {
            assert_ne!(project(other), one, "{other}");
        }
    }
}
