use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use super::{
    super::files::{
        self,
        tests::{GOOD, tree},
    },
    *,
};
use signoff_api::RepositorySpec;

fn repository(live: bool) -> Repository {
    let mut spec = RepositorySpec::following("https://example.com/flows", "main", "live");
    spec.live.take_if(|_| !live);
    let mut repository = Repository::new("flows", spec);
    repository.metadata.namespace = Some("default".into());
    repository.metadata.uid = Some("uid-1".into());
    repository
}

fn defined(files: &[(&str, &str)]) -> Defined {
    files::read(tree(files), "default")
}

fn channel<'a>(name: &'a str, defined: &'a Defined) -> Channel<'a> {
    Channel {
        name,
        defined,
        verified: None,
    }
}

fn plan_on(
    repository: &Repository,
    draft: &Defined,
    live: Option<&Defined>,
    flows: &[Flow],
    releases: &[&str],
) -> Todo {
    let live = match (&repository.spec.live, live) {
        (None, _) => Live::Unmanaged,
        (Some(_), None) => Live::Unknown,
        (Some(_), Some(defined)) => Live::Read(channel("refs/heads/live", defined)),
    };
    let cluster = Cluster {
        flows: flows.iter().map(|flow| (flow.name_any(), flow)).collect(),
        claimed: BTreeMap::new(),
        repository: &|uid| (uid == "uid-2").then(|| "other".to_owned()),
        has_release: &|name| releases.contains(&name),
    };
    plan(repository, channel("refs/heads/main", draft), live, &cluster)
}

/// `apply good live=…`, `cut good`, `delete good`.
fn told(todo: &Todo) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::Apply(flow) => format!(
            "apply {} live={}",
            flow.name_any(),
            flow.spec.live.as_deref().unwrap_or("-")
        ),
        Action::Cut(cut) => format!("cut {}", cut.flow),
        Action::Delete { name, .. } => format!("delete {name}"),
    };
    todo.actions.iter().map(line).collect()
}

/// The flow as it is after the actions.
fn applied(todo: &Todo) -> Flow {
    let mut flows = todo.actions.iter().filter_map(|action| match action {
        Action::Apply(flow) => Some((**flow).clone()),
        _ => None,
    });
    let mut flow = flows.next_back().unwrap();
    if flow.spec.live.is_some() {
        live_set_by(&mut flow, names::FIELD_MANAGER_REPOSITORY);
    }
    flow
}

/// The record that the API server keeps of who set `spec.live`.
fn live_set_by(flow: &mut Flow, manager: &str) {
    let entry = json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:live": {}}}});
    flow.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
}

fn release_of(text: &str) -> String {
    names::release_name("good", &defined(&[("a.yaml", text)]).flows["good"].digest)
}

#[test]
fn a_new_flow_is_applied_with_its_owner_and_where_it_came_from() {
    let (repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let todo = plan_on(&repository, &draft, None, &[], &[]);
    assert_eq!(told(&todo), ["apply good live=-"]);
    let flow = applied(&todo);
    assert_eq!(
        (
            flow.labels()["team"].as_str(),
            flow.labels()[names::REPOSITORY].as_str()
        ),
        ("a", "flows")
    );
    assert_eq!(flow.owner_references()[0].uid, "uid-1");
    let source = read_source(&flow.annotations()[names::SOURCE]).unwrap();
    assert_eq!(
        (source.git_ref.as_deref(), source.path.as_deref()),
        (Some("refs/heads/main"), Some("a.yaml"))
    );
    assert_eq!(source.commit, Some("1".repeat(40)));
    assert_eq!(
        told(&plan_on(&repository, &draft, None, &[flow], &[])),
        [""; 0],
        "the same again is nothing to do"
    );
}

#[test]
fn the_commit_that_brought_the_content_stays_named_while_the_content_stays() {
    let (repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let flow = applied(&plan_on(&repository, &draft, None, &[], &[]));
    let mut later = draft.clone();
    later.commit.id = crate::git::CommitId::parse(&"2".repeat(40)).unwrap();
    assert!(
        plan_on(&repository, &later, None, std::slice::from_ref(&flow), &[])
            .actions
            .is_empty()
    );
    let mut changed = defined(&[("a.yaml", &GOOD.replace("x: 1", "x: 2"))]);
    changed.commit = later.commit;
    let next = applied(&plan_on(&repository, &changed, None, &[flow], &[]));
    assert!(next.annotations()[names::SOURCE].contains(&"2".repeat(40)));
}

#[test]
fn the_live_ref_names_the_release_that_is_wanted_live() {
    let (repository, draft) = (repository(true), defined(&[("a.yaml", GOOD)]));
    let release = release_of(GOOD);
    let todo = plan_on(&repository, &draft, Some(&draft), &[], &[]);
    assert_eq!(
        told(&todo),
        [format!("apply good live={release}")],
        "the draft's release is cut from the draft"
    );
    let nothing = defined(&[]);
    let todo = plan_on(&repository, &draft, Some(&nothing), &[], &[]);
    assert_eq!(told(&todo), ["apply good live=-"]);
}

#[test]
fn a_flow_says_which_commit_of_the_live_ref_named_what_is_wanted_live() {
    let (repository, draft) = (repository(true), defined(&[("a.yaml", GOOD)]));
    let said = |flow: &Flow| flow.annotations().get(names::LIVE_COMMIT).cloned();
    let first = applied(&plan_on(&repository, &draft, Some(&draft), &[], &[]));
    assert_eq!(said(&first), Some("1".repeat(40)));

    let mut later = draft.clone();
    later.commit.id = crate::git::CommitId::parse(&"2".repeat(40)).unwrap();
    let flows = std::slice::from_ref(&first);
    assert!(
        plan_on(&repository, &draft, Some(&later), flows, &[])
            .actions
            .is_empty(),
        "a commit that changes nothing of the flow is not the one"
    );

    let mut changed = defined(&[("a.yaml", &GOOD.replace("x: 1", "x: 2"))]);
    changed.commit = later.commit;
    let next = applied(&plan_on(&repository, &changed, Some(&changed), flows, &[]));
    assert_eq!(said(&next), Some("2".repeat(40)));
    let gone = applied(&plan_on(&repository, &changed, Some(&defined(&[])), flows, &[]));
    assert_eq!((gone.spec.live.as_deref(), said(&gone)), (None, None));
}

#[test]
fn content_that_only_the_live_ref_has_is_cut_from_there() {
    let repository = repository(true);
    let old = GOOD.replace("x: 1", "x: 0");
    let (draft, live) = (defined(&[("a.yaml", GOOD)]), defined(&[("a.yaml", &old)]));
    let release = release_of(&old);
    let todo = plan_on(&repository, &draft, Some(&live), &[], &[]);
    assert_eq!(
        told(&todo),
        [
            "apply good live=-".to_owned(),
            "cut good".to_owned(),
            format!("apply good live={release}")
        ]
    );
    let there = plan_on(&repository, &draft, Some(&live), &[], &[&release]);
    assert_eq!(
        told(&there),
        [format!("apply good live={release}")],
        "a rollback finds its release"
    );
}

#[test]
fn what_cannot_run_or_be_read_does_not_change_what_is_live() {
    let repository = repository(true);
    let draft = defined(&[("a.yaml", GOOD)]);
    let flow = applied(&plan_on(&repository, &draft, Some(&draft), &[], &[]));
    let invalid = defined(&[("a.yaml", &GOOD.replace("x: 1", "x: '${inputs.nope}'"))]);
    let broken = defined(&[("a.yaml", "a: [")]);
    for live in [Some(&invalid), Some(&broken), None] {
        let todo = plan_on(&repository, &draft, live, std::slice::from_ref(&flow), &[]);
        assert!(todo.actions.is_empty(), "{todo:?}");
    }
}

#[test]
fn a_flow_that_left_git_is_deleted_but_not_one_whose_file_is_broken() {
    let (repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let flow = applied(&plan_on(&repository, &draft, None, &[], &[]));
    let flows = std::slice::from_ref(&flow);
    assert_eq!(
        told(&plan_on(&repository, &defined(&[]), None, flows, &[])),
        ["delete good"]
    );
    assert!(
        plan_on(&repository, &defined(&[("a.yaml", "a: [")]), None, flows, &[])
            .actions
            .is_empty()
    );
    let mut partial = tree(&[]);
    partial.complete = false;
    assert!(
        plan_on(&repository, &files::read(partial, "default"), None, flows, &[])
            .actions
            .is_empty()
    );
}

#[test]
fn a_flow_whose_file_holds_none_any_more_stays_as_it_is_and_is_told_in_draft_and_live() {
    let (repository, good) = (repository(true), defined(&[("a.yaml", GOOD)]));
    let flow = applied(&plan_on(&repository, &good, Some(&good), &[], &[]));
    let flows = std::slice::from_ref(&flow);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let wrong_kind = GOOD.replace("kind: Flow", "kind: flow");
    let other = "apiVersion: v1\nkind: ConfigMap\n";
    for (text, message) in [
        ("", "holds none that can be read now"),
        (pointer, "pointer of Git LFS"),
        ("a: [", "holds none that can be read now"),
        (other, "holds none that can be read now"),
        (wrong_kind.as_str(), "there is no kind"),
    ] {
        let bad = defined(&[("a.yaml", text)]);
        for (draft, live) in [(&bad, &good), (&good, &bad), (&bad, &bad)] {
            let todo = plan_on(&repository, draft, Some(live), flows, &[]);
            assert!(todo.actions.is_empty(), "{text}: {todo:?}");
            assert!(todo.flows.contains("good"), "{text}: {todo:?}");
            let mut told = todo.problems.iter().chain(&bad.problems);
            assert!(
                told.any(|problem| problem.path == "a.yaml"
                    && problem.line.is_some()
                    && problem.message.contains(message)),
                "{text}: {todo:?}"
            );
        }
    }
    let newer = defined(&[("a.yaml", &GOOD.replace("x: 1", "x: 2"))]);
    let todo = plan_on(&repository, &newer, Some(&defined(&[("a.yaml", "")])), flows, &[]);
    let live = flow.spec.live.as_deref().unwrap();
    assert_eq!(
        told(&todo),
        [format!("apply good live={live}")],
        "the draft goes on"
    );
    let gone = defined(&[]);
    assert_eq!(
        told(&plan_on(&repository, &gone, Some(&gone), flows, &[])),
        ["delete good"]
    );
    let renamed = defined(&[("b.yaml", GOOD), ("a.yaml", "")]);
    let todo = plan_on(&repository, &renamed, Some(&renamed), flows, &[]);
    assert!(todo.problems.is_empty(), "{todo:?}");
}

#[test]
fn a_flow_that_left_git_stays_while_it_is_live_behind_a_gate() {
    let (mut repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let mut flow = applied(&plan_on(&repository, &draft, None, &[], &[]));
    flow.status = Some(signoff_api::FlowStatus {
        gated: Some(true),
        ..signoff_api::FlowStatus::default()
    });
    let empty = defined(&[]);
    let kept = plan_on(&repository, &empty, None, std::slice::from_ref(&flow), &[]);
    assert!(kept.actions.is_empty() && kept.flows.contains("good"), "{kept:?}");
    assert_eq!(kept.problems.len(), 1);
    assert!(
        kept.problems[0].message.contains("live behind a gate"),
        "{:?}",
        kept.problems
    );
    // nor is the Repository's gate shaken off by taking away what says where the flow is from
    flow.metadata.owner_references = None;
    flow.annotations_mut().remove(names::REPOSITORY_UID);
    flow.metadata.labels = None;
    let flows = std::slice::from_ref(&flow);
    assert!(plan_on(&repository, &empty, None, flows, &[]).flows.is_empty());
    repository.status = Some(signoff_api::RepositoryStatus {
        flows: vec!["good".to_owned()],
        ..signoff_api::RepositoryStatus::default()
    });
    assert!(
        plan_on(&repository, &empty, None, flows, &[])
            .flows
            .contains("good")
    );
}

#[test]
fn a_flow_that_left_the_draft_stays_while_it_is_live() {
    let repository = repository(true);
    let draft = defined(&[("a.yaml", GOOD)]);
    let flow = applied(&plan_on(&repository, &draft, Some(&draft), &[], &[]));
    let release = release_of(GOOD);
    let empty = defined(&[]);
    assert!(
        plan_on(
            &repository,
            &empty,
            Some(&draft),
            std::slice::from_ref(&flow),
            &[&release]
        )
        .actions
        .is_empty()
    );
    assert_eq!(
        told(&plan_on(&repository, &empty, Some(&empty), &[flow], &[&release])),
        ["delete good"]
    );
}

#[test]
fn what_people_set_live_is_neither_undone_nor_taken_over_but_told_until_it_is_the_same() {
    let repository = repository(true);
    let (draft, other) = (defined(&[("a.yaml", GOOD)]), GOOD.replace("x: 1", "x: 2"));
    let mut flow = applied(&plan_on(&repository, &draft, Some(&draft), &[], &[]));
    let (wanted, by_hand) = (release_of(GOOD), release_of(&other));
    flow.spec.live = Some(by_hand.clone());
    live_set_by(&mut flow, "kubectl-patch");

    let todo = plan_on(
        &repository,
        &draft,
        Some(&draft),
        std::slice::from_ref(&flow),
        &[&wanted],
    );
    let told_of = &todo.conflicts[0].message;
    for said in ["kubectl-patch set spec.live of flow good", &wanted, &by_hand] {
        assert!(told_of.contains(said), "{said}: {told_of}");
    }
    for action in &todo.actions {
        assert!(
            matches!(action, Action::Apply(flow) if flow.spec.live.is_none()),
            "{action:?}"
        );
    }
    // not even when git cannot say what is live, or brings something new
    for live in [None, Some(&defined(&[("a.yaml", "a: [")]))] {
        let changed = defined(&[("a.yaml", &GOOD.replace("x: 1", "x: 3"))]);
        let todo = plan_on(&repository, &changed, live, std::slice::from_ref(&flow), &[]);
        assert_eq!(told(&todo), ["apply good live=-"]);
        assert!(todo.conflicts.is_empty());
    }
    // git says the same: from now on it is git's again
    let same = defined(&[("a.yaml", &other)]);
    let todo = plan_on(
        &repository,
        &same,
        Some(&same),
        std::slice::from_ref(&flow),
        &[&by_hand],
    );
    assert_eq!(told(&todo), [format!("apply good live={by_hand}")]);
    assert!(todo.conflicts.is_empty());
    // and so it is when they remove what they set
    flow.spec.live = None;
    flow.metadata.managed_fields = None;
    let todo = plan_on(&repository, &draft, Some(&draft), &[flow], &[&wanted]);
    assert_eq!(applied(&todo).spec.live, Some(wanted));
}

#[test]
fn a_broken_file_of_another_name_on_the_live_ref_takes_nothing_away() {
    let repository = repository(true);
    let draft = defined(&[("a.yaml", GOOD)]);
    let flow = applied(&plan_on(&repository, &draft, Some(&draft), &[], &[]));
    let renamed = defined(&[(
        "before-it-was-renamed.yaml",
        "apiVersion: signoff.dev/v1alpha1\na: [",
    )]);
    let todo = plan_on(
        &repository,
        &draft,
        Some(&renamed),
        std::slice::from_ref(&flow),
        &[],
    );
    assert!(todo.actions.is_empty(), "{todo:?}");
    let gone = plan_on(&repository, &defined(&[]), Some(&renamed), &[flow], &[]);
    assert!(gone.actions.is_empty(), "{gone:?}");
}

#[test]
fn flows_of_others_are_left_alone() {
    let (repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let mut theirs = applied(&plan_on(&repository, &draft, None, &[], &[]));
    let owner = OwnerReference {
        uid: "uid-2".into(),
        name: "other".into(),
        kind: "Repository".into(),
        ..Default::default()
    };
    theirs.metadata.owner_references = Some(vec![owner]);
    theirs.annotations_mut().remove(names::REPOSITORY_UID);
    let todo = plan_on(&repository, &draft, None, std::slice::from_ref(&theirs), &[]);
    assert!(todo.actions.is_empty());
    assert_eq!(todo.problems[0].message, "flow good belongs to Repository other");
    assert!(todo.flows.is_empty(), "so that this one's gate has no say in it");
    assert!(
        plan_on(&repository, &defined(&[]), None, &[theirs.clone()], &[])
            .actions
            .is_empty()
    );
    // what belonged to one that is gone is free
    theirs.metadata.owner_references = None;
    let noted = |uid: &str| {
        let mut flow = theirs.clone();
        flow.annotations_mut()
            .insert(names::REPOSITORY_UID.to_owned(), uid.to_owned());
        plan_on(&repository, &draft, None, &[flow], &[])
    };
    assert!(noted("uid-2").actions.is_empty());
    assert_eq!(told(&noted("gone")), ["apply good live=-"]);
}

#[test]
fn a_flow_that_stays_when_its_repository_goes_has_no_owner_that_it_could_be_deleted_with() {
    let mut repository = repository(true);
    let good = defined(&[("a.yaml", GOOD)]);
    let release = release_of(GOOD);
    let owners = |repository: &Repository| {
        let todo = plan_on(repository, &good, Some(&good), &[], &[release.as_str()]);
        let flow = applied(&todo);
        assert!(is_owned(repository, &flow));
        flow.owner_references().len()
    };
    assert_eq!(owners(&repository), 0);
    repository.spec.prune = Some(signoff_api::repository::Prune::All);
    assert_eq!(owners(&repository), 1);
}

#[test]
fn without_a_live_ref_people_set_what_is_live() {
    let (repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let mut flow = applied(&plan_on(&repository, &draft, None, &[], &[]));
    flow.spec.live = Some("good-0123456789".into());
    assert!(
        plan_on(&repository, &draft, None, &[flow], &[])
            .actions
            .is_empty()
    );
}

#[test]
fn an_edit_by_hand_is_set_right() {
    let (repository, draft) = (repository(false), defined(&[("a.yaml", GOOD)]));
    let mut flow = applied(&plan_on(&repository, &draft, None, &[], &[]));
    flow.spec.definition.description = Some("edited".into());
    assert_eq!(
        told(&plan_on(&repository, &draft, None, &[flow], &[])),
        ["apply good live=-"]
    );
}

#[test]
fn what_is_live_runs_the_releases_that_the_live_ref_has_and_is_cut_with_them() {
    let parent = |child: &str| {
        let head = "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: parent}\n";
        format!("{head}spec:\n  steps:\n  - {{name: apply, flow: {{name: {child}}}}}\n")
    };
    let (repository, parent_of_good) = (repository(true), parent("good"));
    let both = defined(&[("a.yaml", GOOD), ("b.yaml", &parent_of_good)]);
    let todo = plan_on(&repository, &both, Some(&both), &[], &[]);
    let cuts: Vec<&Cut> = todo
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Cut(cut) => Some(&**cut),
            Action::Apply(_) | Action::Delete { .. } => None,
        })
        .collect();
    let [cut] = cuts[..] else { panic!("{todo:?}") };
    assert_eq!(cut.flow, "parent");
    assert_eq!(cut.dependencies[0].release, release_of(GOOD));
    assert_eq!(
        cut.digest,
        content_digest(&cut.definition, &cut.dependencies).unwrap()
    );
    let parent_of_nobody = parent("nobody");
    let lost = defined(&[("b.yaml", &parent_of_nobody)]);
    let todo = plan_on(&repository, &lost, Some(&lost), &[], &[]);
    assert_eq!(
        told(&todo),
        ["apply parent live=-"],
        "it waits for the flow that it runs"
    );
    let parent_of_itself = parent("parent");
    let circle = defined(&[("b.yaml", &parent_of_itself)]);
    let todo = plan_on(&repository, &circle, Some(&circle), &[], &[]);
    assert_eq!(told(&todo), ["apply parent live=-"]);
}
