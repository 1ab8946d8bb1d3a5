//! Pure: what has to be done so that the flows in the cluster are those in git.

use std::collections::{BTreeMap, BTreeSet};

use kube::{Resource as _, ResourceExt as _, api::ObjectMeta};

use super::{
    files::{Defined, FileFlow},
    keep,
};
use crate::git::Problem;
use signoff_api::{
    Digest, Flow, Release, Repository,
    flow::{Definition, repository_uid},
    names,
    release::{Dependency, ReleaseSource, Verified, content_digest},
};
use signoff_engine::dependencies::MAX_DEPTH;

/// Longest value a label may have.
const MAX_LABEL: usize = 63;

/// What was read of a ref.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel<'a> {
    /// The ref's full name.
    pub(super) name: &'a str,
    pub(super) defined: &'a Defined,
    /// Who vouches for the commit.
    pub(super) verified: Option<&'a Verified>,
}

/// What the live ref says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Live<'a> {
    /// The Repository has none: `spec.live` is for people to set.
    Unmanaged,
    /// Nothing can be read at the moment; what is live stays.
    Unknown,
    /// The ref was read.
    Read(Channel<'a>),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Apply a flow, so that it is as given.
    Apply(Box<Flow>),
    /// Make sure that the release of the live content is there, once the flow is.
    Cut(Box<Cut>),
    /// Delete a flow that git has no more, if it is still as it was seen.
    Delete {
        name: String,
        uid: String,
        version: String,
    },
}

/// A release to be cut from the live ref, whose content the draft ref does not have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cut {
    pub(super) flow: String,
    pub(super) digest: Digest,
    pub(super) definition: Definition,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) source: ReleaseSource,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Todo {
    pub(super) actions: Vec<Action>,
    pub(super) problems: Vec<Problem>,
    /// Flows of which somebody wants another release live than git does.
    pub(super) conflicts: Vec<Problem>,
    /// The flows that are in git and belong to this Repository, and those that are not in git any more and stay.
    pub(super) flows: BTreeSet<String>,
}

/// What is in the cluster.
pub(super) struct Cluster<'a> {
    /// The flows of the namespace, by name.
    pub(super) flows: BTreeMap<String, &'a Flow>,
    /// The flows that are not there yet and that another Repository is about to bring, with its name.
    pub(super) claimed: BTreeMap<String, String>,
    /// Name of the Repository of the namespace with this uid.
    pub(super) repository: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a release of this name is there.
    pub(super) has_release: &'a dyn Fn(&str) -> bool,
}

pub(super) fn plan(
    repository: &Repository,
    draft: Channel<'_>,
    live: Live<'_>,
    cluster: &Cluster<'_>,
) -> Todo {
    let mut todo = Todo::default();
    let live_flows = match live {
        Live::Read(channel) => Some(&channel.defined.flows),
        Live::Unmanaged | Live::Unknown => None,
    };
    let in_git: BTreeSet<&String> = draft
        .defined
        .flows
        .keys()
        .chain(live_flows.into_iter().flat_map(BTreeMap::keys))
        .collect();
    let lost = lost(repository, draft, live, cluster);
    todo.problems
        .extend(lost.values().flat_map(|lost| &lost.problems).cloned());
    let mut known = KnownReleases::new();
    for name in in_git {
        let current = cluster.flows.get(name).copied();
        let other = match current {
            Some(flow) => other_owner(repository, cluster, flow),
            None => cluster.claimed.get(name).cloned(),
        };
        if let Some(other) = other {
            let file = draft.defined.flows.get(name).or_else(|| live_flows?.get(name));
            let path = file.map(|file| file.place.path.clone()).unwrap_or_default();
            todo.problems.push(Problem::of_file(
                path,
                format!("flow {name} belongs to Repository {other}"),
            ));
            continue;
        }
        todo.flows.insert(name.clone());
        let lost = lost.get(name);
        if lost.is_some_and(|lost| lost.in_draft) {
            continue;
        }
        let keeps_live = lost.is_some_and(|lost| lost.in_live);
        let named = (name.as_str(), current, keeps_live);
        bring(repository, draft, live, cluster, named, (&mut todo, &mut known));
    }
    for (name, flow) in &cluster.flows {
        if lost.contains_key(name) {
            todo.flows.insert(name.clone());
        } else if !todo.flows.contains(name) {
            leave(repository, draft, live, cluster, (name, flow), &mut todo);
        }
    }
    todo
}

/// A flow of this Repository whose file is there and holds none that can be read now: a deletion is a file that is gone.
#[derive(Debug, Default)]
struct Lost {
    /// Whether it is so in the draft. The flow stays as it is then.
    in_draft: bool,
    /// Whether it is so in what is live. What is live stays then.
    in_live: bool,
    problems: Vec<Problem>,
}

fn lost(
    repository: &Repository,
    draft: Channel<'_>,
    live: Live<'_>,
    cluster: &Cluster<'_>,
) -> BTreeMap<String, Lost> {
    let folders = [repository.spec.draft_folder(), repository.spec.live_folder()];
    // nothing, or that its file holds no flow, with what is to be told of it
    let in_channel = |channel: Channel<'_>, folder: &str, name: &String, path: &str| {
        if channel.defined.flows.contains_key(name) {
            return None;
        }
        // one folder may lie in the other
        let from = folders.iter().filter(|from| moved(path, from, folder).is_some());
        let path = from
            .max_by_key(|from| from.len())
            .and_then(|from| moved(path, from, folder))?;
        channel.defined.lost(&path)
    };
    let mut all = BTreeMap::new();
    for (name, flow) in &cluster.flows {
        let Some(path) = source_path(flow).filter(|_| is_owned(repository, *flow)) else {
            continue;
        };
        let of_draft = in_channel(draft, folders[0], name, &path);
        let of_live = match live {
            Live::Read(channel) => in_channel(channel, folders[1], name, &path),
            Live::Unmanaged | Live::Unknown => None,
        };
        if of_draft.is_some() || of_live.is_some() {
            let (in_draft, in_live) = (of_draft.is_some(), of_live.is_some());
            let mut problems: Vec<Problem> = of_draft.into_iter().chain(of_live).flatten().collect();
            problems.dedup();
            let lost = Lost {
                in_draft,
                in_live,
                problems,
            };
            all.insert(name.clone(), lost);
        }
    }
    all
}

/// A path in one folder as it is in another.
fn moved(path: &str, from: &str, to: &str) -> Option<String> {
    let rest = if from.is_empty() {
        path
    } else {
        path.strip_prefix(from)?.strip_prefix('/')?
    };
    Some(if to.is_empty() {
        rest.to_owned()
    } else {
        format!("{to}/{rest}")
    })
}

/// What becomes of a flow that is not read from git: it goes if it has left git, unless the gate of its live release would go with it. That
/// one stays, for else a flow could be rid of its gate by one push that removes its file and another that brings it back.
fn leave(
    repository: &Repository,
    draft: Channel<'_>,
    live: Live<'_>,
    cluster: &Cluster<'_>,
    (name, flow): (&str, &Flow),
    todo: &mut Todo,
) {
    let is_gone = is_gone(draft, live, flow);
    if !is_gated(flow) {
        // where git says what is live, what has left git is not
        let stays = match live {
            Live::Unmanaged => keep::keeps(repository, flow),
            Live::Unknown | Live::Read(_) => keep::never_prunes(repository),
        };
        if is_gone && is_owned(repository, flow) && stays {
            todo.flows.insert(name.to_owned());
        } else if is_gone && is_owned(repository, flow) {
            todo.actions.push(Action::Delete {
                name: name.to_owned(),
                uid: flow.uid().unwrap_or_default(),
                version: flow.resource_version().unwrap_or_default(),
            });
        }
        return;
    }
    let listed = repository
        .status
        .as_ref()
        .is_some_and(|status| status.flows.iter().any(|flow| flow == name));
    if other_owner(repository, cluster, flow).is_some() || !(listed || is_owned(repository, flow)) {
        return;
    }
    // the Repository's gate goes on to hold for what the Repository names
    todo.flows.insert(name.to_owned());
    if is_gone {
        let message = format!(
            "flow {name} is no longer in git, but it is live behind a gate: it stays until somebody who may delete releases deletes it"
        );
        let path = source_path(flow).unwrap_or_default();
        todo.problems.push(Problem::of_file(path, message));
    }
}

/// Whether a flow's live release can be replaced only through a gate.
pub(super) fn is_gated(flow: &Flow) -> bool {
    flow.status
        .as_ref()
        .and_then(|status| status.gated)
        .unwrap_or_default()
}

/// Makes one flow what git says.
fn bring(
    repository: &Repository,
    draft: Channel<'_>,
    live: Live<'_>,
    cluster: &Cluster<'_>,
    (name, current, keeps_live): (&str, Option<&Flow>, bool),
    (todo, known): (&mut Todo, &mut KnownReleases),
) {
    let is_live = current.and_then(|flow| flow.spec.live.clone());
    let live_commit = match live {
        Live::Read(channel) => Some(channel.defined.commit.id.to_string()),
        Live::Unmanaged | Live::Unknown => None,
    };
    // what somebody else set is not taken over while git does not say the same
    let by_hand = is_live.is_some() && !current.is_some_and(sets_live);
    let kept = is_live.clone().filter(|_| !by_hand);
    let (wanted_live, cut) = match live {
        Live::Unmanaged => (None, None),
        Live::Unknown => (kept.clone(), None),
        Live::Read(channel) => match channel.defined.flows.get(name) {
            // what cannot run does not become live, whatever the branch says
            Some(file) if !file.valid => (kept.clone(), None),
            Some(file) => match dependencies(channel, cluster, (file, 0), known) {
                // the flow that it runs has no release yet
                None => (kept.clone(), None),
                Some((dependencies, _)) => {
                    let digest = release_digest(file, &dependencies);
                    let release = names::release_name(name, &digest);
                    if by_hand && is_live.as_ref() != Some(&release) {
                        todo.conflicts.extend(conflict(current, channel, file, &release));
                    }
                    let drafted = draft
                        .defined
                        .flows
                        .get(name)
                        .is_some_and(|draft| draft.digest == file.digest)
                        && dependencies.is_empty();
                    let cut = (!drafted && !(cluster.has_release)(&release)).then(|| Cut {
                        flow: name.to_owned(),
                        digest,
                        definition: file.spec.definition.clone(),
                        dependencies,
                        source: source(repository, channel, &file.place.path),
                    });
                    (Some(release), cut)
                }
            },
            // its file may have another name there than in the draft
            None if channel.defined.knows_all() && !keeps_live => (None, None),
            None => (kept.clone(), None),
        },
    };
    let wanted_live = wanted_live.filter(|release| !by_hand || is_live.as_ref() == Some(release));
    let from_live = match live {
        Live::Read(channel) => channel.defined.flows.get(name).map(|file| (channel, file)),
        Live::Unmanaged | Live::Unknown => None,
    };
    // a flow that left the draft stays as it is live, until it leaves the live ref as well
    let Some((channel, file)) = draft
        .defined
        .flows
        .get(name)
        .map(|file| (draft, file))
        .or(from_live)
    else {
        return;
    };
    let flow = |wanted_live: Option<String>| {
        let mut flow = flow(repository, channel, name, file, current);
        if repository.spec.live.is_some() {
            name_live(&mut flow, wanted_live, current, live_commit.as_deref());
        } else if by_hand && flow.spec.live != is_live {
            flow.spec.live = None;
        }
        let stays =
            keep::keeps(repository, &flow) || current.is_some_and(|flow| keep::keeps(repository, flow));
        flow.metadata.owner_references = repository
            .controller_owner_ref(&())
            .filter(|_| !stays)
            .map(|owner| vec![keep::owner(owner)]);
        flow
    };
    let wanted = flow(wanted_live);
    match cut {
        None => todo
            .actions
            .extend(differs(current, &wanted).then(|| Action::Apply(Box::new(wanted)))),
        Some(cut) => {
            // the release belongs to the flow, so the flow comes first, with what is live now
            let before = flow(kept);
            todo.actions
                .extend(differs(current, &before).then(|| Action::Apply(Box::new(before))));
            todo.actions.push(Action::Cut(Box::new(cut)));
            todo.actions.push(Action::Apply(Box::new(wanted)));
        }
    }
}

/// Releases of flows where a ref was read, each with how many flows run each other from it on.
type KnownReleases = BTreeMap<String, (Digest, usize)>;

/// The releases that a flow runs where a ref was read: those of the same ref, and of flows that are not in it, what is
/// live or else the draft. None if one of them is not known, or if flows run each other too deep or in a circle.
fn dependencies(
    channel: Channel<'_>,
    cluster: &Cluster<'_>,
    (file, above): (&FileFlow, usize),
    known: &mut KnownReleases,
) -> Option<(Vec<Dependency>, usize)> {
    let mut deepest = 0;
    let mut all = Vec::new();
    for child in file.spec.definition.children() {
        if let Some(file) = channel.defined.flows.get(child) {
            let (digest, depth) = release_at(channel, cluster, (child, file, above + 1), known)?;
            deepest = deepest.max(depth);
            all.push(Dependency {
                flow: child.to_owned(),
                release: names::release_name(child, &digest),
                digest,
            });
        } else {
            let status = cluster.flows.get(child)?.status.as_ref()?;
            let named = status.live.as_ref().or(status.draft.as_ref())?;
            deepest = deepest.max(1);
            all.push(Dependency {
                flow: child.to_owned(),
                release: named.release.clone(),
                digest: named.digest.clone(),
            });
        }
    }
    (deepest < MAX_DEPTH).then_some((all, deepest + 1))
}

fn release_at(
    channel: Channel<'_>,
    cluster: &Cluster<'_>,
    (name, file, above): (&str, &FileFlow, usize),
    known: &mut KnownReleases,
) -> Option<(Digest, usize)> {
    if let Some(release) = known.get(name) {
        return Some(release.clone());
    }
    if above >= MAX_DEPTH {
        return None;
    }
    let (dependencies, depth) = dependencies(channel, cluster, (file, above), known)?;
    let release = (release_digest(file, &dependencies), depth);
    known.insert(name.to_owned(), release.clone());
    Some(release)
}

fn release_digest(file: &FileFlow, dependencies: &[Dependency]) -> Digest {
    // a definition that was read from a file has a JSON form
    content_digest(&file.spec.definition, dependencies).unwrap_or_else(|_| file.digest.clone())
}

/// The flow as it is applied. While its content stays, it keeps saying which commit brought it, until somebody vouches for one.
fn flow(
    repository: &Repository,
    channel: Channel<'_>,
    name: &str,
    file: &FileFlow,
    current: Option<&Flow>,
) -> Flow {
    let same = current.filter(|flow| flow.spec.definition == file.spec.definition);
    let known = same
        .and_then(|flow| flow.annotations().get(names::SOURCE))
        .filter(|text| {
            read_source(text).is_some_and(|known| {
                let vouched = known.verified.is_some() || channel.verified.is_none();
                vouched && known.path.as_deref() == Some(&file.place.path)
            })
        });
    let said = known.cloned().unwrap_or_else(|| {
        let source = source(repository, channel, &file.place.path);
        serde_json::to_string(&source).unwrap_or_default()
    });
    let mut labels = file.labels.clone();
    labels.insert(names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned());
    if repository.name_any().len() <= MAX_LABEL {
        labels.insert(names::REPOSITORY.to_owned(), repository.name_any());
    }
    let mut annotations = file.annotations.clone();
    annotations.insert(names::SOURCE.to_owned(), said);
    annotations.insert(names::SOURCE_DIGEST.to_owned(), file.digest.to_string());
    annotations.insert(
        names::REPOSITORY_UID.to_owned(),
        repository.uid().unwrap_or_default(),
    );
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: repository.namespace(),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    Flow {
        metadata,
        spec: file.spec.clone(),
        status: None,
    }
}

/// Lets a flow want a release live. While that stays, it keeps saying which commit of the live ref brought it.
fn name_live(flow: &mut Flow, live: Option<String>, current: Option<&Flow>, commit: Option<&str>) {
    let said = match current {
        Some(current) if current.spec.live == live => current.annotations().get(names::LIVE_COMMIT).cloned(),
        _ => commit.map(str::to_owned),
    };
    flow.annotations_mut().remove(names::LIVE_COMMIT);
    if let Some(said) = said.filter(|_| live.is_some()) {
        flow.annotations_mut().insert(names::LIVE_COMMIT.to_owned(), said);
    }
    flow.spec.live = live;
}

fn source(repository: &Repository, channel: Channel<'_>, path: &str) -> ReleaseSource {
    let commit = &channel.defined.commit;
    ReleaseSource {
        repository: Some(repository.name_any()),
        git_ref: Some(channel.name.to_owned()),
        commit: Some(commit.id.to_string()),
        path: Some(path.to_owned()),
        author: Some(commit.author.clone()),
        message: Some(commit.message.clone()),
        verified: channel.verified.cloned(),
        ..ReleaseSource::default()
    }
}

/// Whether applying would change anything. Without a live ref, `spec.live` is for people to set unless the file does.
fn differs(current: Option<&Flow>, wanted: &Flow) -> bool {
    let Some(current) = current else { return true };
    let contains = |all: &BTreeMap<String, String>, some: &BTreeMap<String, String>| {
        some.iter().all(|(key, value)| all.get(key) == Some(value))
    };
    current.spec.definition != wanted.spec.definition
        || (wanted.spec.live.is_some() && (current.spec.live != wanted.spec.live || !sets_live(current)))
        || (wanted.spec.live.is_none() && current.spec.live.is_some() && sets_live(current))
        || (wanted.spec.suspend.is_some() && current.spec.suspend != wanted.spec.suspend)
        || (wanted.spec.suspend.is_none() && current.spec.suspend.is_some() && sets(current, "f:suspend"))
        || !contains(current.labels(), wanted.labels())
        || !contains(current.annotations(), wanted.annotations())
        || !wanted
            .owner_references()
            .iter()
            .all(|owner| current.owner_references().contains(owner))
}

/// Tells who wants what live, and how it ends.
fn conflict(current: Option<&Flow>, channel: Channel<'_>, file: &FileFlow, release: &str) -> Option<Problem> {
    let current = current?;
    let set = current.spec.live.as_deref()?;
    let by = managers_of(current, "f:live").collect::<Vec<_>>().join(" and ");
    let by = if by.is_empty() { "somebody" } else { &by };
    let name = current.name_any();
    let message = format!(
        "{by} set spec.live of flow {name} to {set}, but {} has {release}: neither undoes the other; push there what is to be live, or \
         remove spec.live from the flow to let git have its way",
        channel.name
    );
    Some(file.place.problem("metadata.name", &message))
}

/// Whether it was a sync that set `spec.live`; applying without it would then unset it.
fn sets_live(flow: &Flow) -> bool {
    sets(flow, "f:live")
}

/// Whether it was a sync that set a field of the spec.
fn sets(flow: &Flow, field: &'static str) -> bool {
    managers_of(flow, field).any(|manager| manager == names::FIELD_MANAGER_REPOSITORY)
}

/// Who set a field of the spec, as the API server recorded it.
fn managers_of<'a>(flow: &'a Flow, field: &'static str) -> impl Iterator<Item = &'a str> {
    let entries = flow.metadata.managed_fields.iter().flatten();
    entries.filter_map(move |entry| {
        let fields = &entry.fields_v1.as_ref()?.0;
        fields["f:spec"].get(field)?;
        entry.manager.as_deref()
    })
}

pub(super) fn is_owned(repository: &Repository, flow: &impl kube::ResourceExt) -> bool {
    let uid = repository_uid(flow);
    uid.is_some() && uid == repository.metadata.uid.as_deref()
}

/// Name of another Repository that is there and that a flow belongs to.
fn other_owner(repository: &Repository, cluster: &Cluster<'_>, flow: &Flow) -> Option<String> {
    let uid = repository_uid(flow)?;
    if Some(uid) == repository.metadata.uid.as_deref() {
        return None;
    }
    (cluster.repository)(uid)
}

/// Whether git is known not to have a flow any more.
fn is_gone(draft: Channel<'_>, live: Live<'_>, flow: &Flow) -> bool {
    let path = source_path(flow);
    draft.defined.knows(path.as_deref())
        && match live {
            Live::Unmanaged => true,
            Live::Unknown => false,
            Live::Read(channel) => channel.defined.knows_all(),
        }
}

fn source_path(flow: &Flow) -> Option<String> {
    read_source(flow.annotations().get(names::SOURCE)?)?.path
}

fn read_source(text: &str) -> Option<ReleaseSource> {
    serde_json::from_str(text).ok()
}

/// Whether a release is what its name says; one of the same name with other content is not.
pub(super) fn is_of(release: &Release, cut: &Cut) -> bool {
    release.spec.flow == cut.flow && release.spec.digest == cut.digest
}

#[cfg(test)]
mod tests;
