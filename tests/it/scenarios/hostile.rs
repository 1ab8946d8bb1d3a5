//! Repositories and remotes that mean harm: each is told precisely, and the Repository beside it goes on.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use futures::{StreamExt as _, stream};
use git2::{ObjectType, Oid, Signature};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use signoff::git::Limits;
use signoff_api::{Flow, Repository, names};
use tokio::net::TcpListener;

use crate::{
    support::rig::PATIENCE,
    world::{FLOW, World},
};

const FILE: i32 = 0o100_644;
const LINK: i32 = 0o120_000;
const MODULE: i32 = 0o160_000;
const FOLDER: i32 = 0o040_000;

/// A tree with any entries at all, as only a hostile client writes them.
fn tree(git: &git2::Repository, entries: &[(i32, &[u8], Oid)]) -> Oid {
    let mut raw = Vec::new();
    for (mode, name, id) in entries {
        raw.extend_from_slice(format!("{mode:o} ").as_bytes());
        raw.extend_from_slice(name);
        raw.push(0);
        raw.extend_from_slice(id.as_bytes());
    }
    git.odb().unwrap().write(ObjectType::Tree, &raw).unwrap()
}

async fn create(world: &World, name: &str, url: &str) {
    let repository = json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Repository",
        "metadata": {"name": name},
        "spec": {"url": url, "interval": "1h", "draft": {"ref": "main"}},
    });
    let repository: Repository = serde_json::from_value(repository).unwrap();
    world
        .api::<Repository>()
        .create(&PostParams::default(), &repository)
        .await
        .unwrap();
}

/// Waits for the `Ready` condition of a Repository to have this reason; gives its message.
async fn ready(world: &World, name: &str, reason: &str) -> String {
    let message = |repository: &Repository| {
        let conditions = &repository.status.as_ref()?.conditions;
        let ready = conditions
            .iter()
            .find(|c| c.type_ == "Ready" && c.reason == reason)?;
        Some(ready.message.clone())
    };
    let repository = world
        .until::<Repository>(name, |repository| message(repository).is_some())
        .await;
    message(&repository).unwrap()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/x.git")
}

/// A remote that begins its list of refs, and sends a piece as often as anybody reads it; or nothing more, without ending.
async fn endless(piece: Option<String>) -> String {
    let answer = move || async move {
        let begin = "001e# service=git-upload-pack\n0000".to_owned();
        let begin = stream::once(async move { Ok::<_, Infallible>(Bytes::from(begin)) });
        let body = match piece.clone() {
            Some(piece) => {
                Body::from_stream(begin.chain(stream::repeat_with(move || Ok(Bytes::from(piece.clone())))))
            }
            None => Body::from_stream(begin.chain(stream::pending())),
        };
        let kind = "application/x-git-upload-pack-advertisement";
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    };
    serve(Router::new().fallback(answer)).await
}

#[tokio::test]
async fn a_hostile_tree_is_told_by_path_and_what_is_good_in_it_and_beside_it_is_applied() {
    let world = World::start().await;
    let git = &world.git;
    let blob = |content: &str| git.blob(content.as_bytes()).unwrap();
    let (good, other) = (blob(FLOW), blob(&FLOW.replace("hello", "stolen")));
    let bomb = format!(
        "apiVersion: signoff.dev/v1alpha1\na: &a [{}]\nb: [{}]\n",
        "x,".repeat(5_000),
        "*a,".repeat(5_000)
    );
    let deep = format!("'${{{}1{}}}'", "[".repeat(2_000), "]".repeat(2_000));
    let deep = FLOW
        .replace("hello", "deep")
        .replace("x: 1", &format!("x: {deep}"));
    let inner = tree(git, &[(FILE, b"flow.yaml", other)]);
    let root = tree(
        git,
        &[
            (FOLDER, b"..", inner),
            (FILE, b"../../escape.yaml", other),
            (FILE, b"HELLO.yaml", good),
            (FILE, b"bomb.yaml", blob(&bomb)),
            (FILE, b"deep.yaml", blob(&deep)),
            (FILE, b"hello.yaml", good),
            (
                FILE,
                b"huge.yaml",
                blob(&format!(
                    "apiVersion: signoff.dev/v1alpha1{}",
                    " ".repeat((2 << 20) - 32)
                )),
            ),
            (
                FILE,
                b"latin.yaml",
                git.blob(b"apiVersion: 'signoff.dev/v1alpha1' # caf\xe9").unwrap(),
            ),
            (LINK, b"link.yaml", blob("/etc/passwd")),
            (MODULE, b"module", Oid::from_str(&"1".repeat(40)).unwrap()),
        ],
    );
    let root = git.find_tree(root).unwrap();
    let who = Signature::now("Dev", "dev@example.com").unwrap();
    git.commit(Some("refs/heads/main"), &who, &who, "hostile", &root, &[])
        .unwrap();
    world.create_repository(json!({})).await;

    let beside = git2::Repository::init_bare(world.remote.path().join("beside.git")).unwrap();
    let flow = beside.blob(FLOW.replace("hello", "beside").as_bytes()).unwrap();
    let root = beside
        .find_tree(tree(&beside, &[(FILE, b"a.yaml", flow)]))
        .unwrap();
    beside
        .commit(Some("refs/heads/main"), &who, &who, "good", &root, &[])
        .unwrap();
    create(&world, "beside", &format!("file://{}", beside.path().display())).await;

    ready(&world, "beside", "Synced").await;
    let message = world.ready("FilesInvalid").await;
    assert!(
        message.starts_with("..: git allows no entry of this name"),
        "{message}"
    );
    let status = world
        .api::<Repository>()
        .get("flows")
        .await
        .unwrap()
        .status
        .unwrap();
    let told: Vec<String> = status
        .problems
        .iter()
        .map(|p| format!("{}:{}: {}", p.path, p.line.unwrap_or_default(), p.message))
        .collect();
    for (at, beginning) in [
        "..:0: git allows no entry of this name; it is not read",
        "../../escape.yaml:0: git allows no entry of this name; it is not read",
        "huge.yaml:0: the file has 2097152 bytes; a manifest may have 1048576",
        "latin.yaml:1: the file is not UTF-8 text",
        "bomb.yaml:2: b[",
        "deep.yaml:7: spec.steps[0].set.x: the expression is nested too deeply",
        "hello.yaml:3: metadata.name: a flow named \"hello\" is defined in HELLO.yaml already",
    ]
    .iter()
    .enumerate()
    {
        assert!(told[at].starts_with(beginning), "{told:#?}");
    }
    assert_eq!(told.len(), 7, "{told:#?}");
    for (flow, applied) in [("hello", true), ("beside", true), ("stolen", false)] {
        let found = world.api::<Flow>().get_opt(flow).await.unwrap();
        assert_eq!(found.is_some(), applied, "{flow}");
    }
}

#[tokio::test]
async fn remotes_that_hang_or_send_without_end_are_each_told_and_the_one_beside_is_synced() {
    let world = World::start_with(Limits {
        stall: Duration::from_millis(500),
        refs_bytes: 1 << 20,
        ..Limits::default()
    })
    .await;
    let line = format!("003a{} refs/heads/x\n", "1".repeat(40));
    create(&world, "silent", &endless(None).await).await;
    create(&world, "endless", &endless(Some(line.repeat(1_000))).await).await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.create_repository(json!({})).await;
    world.ready("Synced").await;
    let message = ready(&world, "endless", "TooManyRefs").await;
    assert!(message.contains("1048576 bytes"), "{message}");
    ready(&world, "silent", "RemoteTimedOut").await;
}

#[tokio::test]
async fn any_number_of_remotes_that_hang_keep_one_that_answers_from_nothing() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.create_repository(json!({})).await;
    let first = world.draft_other_than("").await;

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x.git", silent.local_addr().unwrap());
    for number in 0..12 {
        create(&world, &format!("silent-{number}"), &url).await;
    }
    let mut held = Vec::new();
    for _ in 0..8 {
        let accepted = tokio::time::timeout(PATIENCE, silent.accept()).await;
        held.push(accepted.expect("there is room for eight").unwrap());
    }
    world.push("main", &[("hello.yaml", Some(&FLOW.replace("x: 1", "x: 2")))]);
    world.sync();
    world.draft_other_than(&first).await;
    assert_eq!(held.len(), 8);
}

#[tokio::test]
async fn a_remote_that_asks_to_be_left_alone_is_whoever_asks_for_a_sync() {
    let world = World::start().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let busy = move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1800")])
    };
    let url = serve(Router::new().fallback(busy)).await;
    world.create_repository(json!({"url": url})).await;
    let message = world.ready("RemoteRateLimited").await;
    assert!(message.contains("left alone for 1800 s"), "{message}");

    world.sync();
    let ask = Patch::Merge(json!({
        "metadata": {"annotations": {names::REQUESTED_AT: "now, please"}},
        "spec": {"interval": "2s"},
    }));
    let repositories = world.api::<Repository>();
    repositories
        .patch("flows", &PatchParams::default(), &ask)
        .await
        .unwrap();
    // others are told of meanwhile, and the one that was asked for came first
    create(&world, "absent", "file:///nowhere/at/all.git").await;
    ready(&world, "absent", "RepositoryNotFound").await;
    assert_eq!(requests.load(Ordering::Relaxed), 1);

    // another address has not asked for anything
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    let there = format!("file://{}", world.git.path().display());
    let moved = Patch::Merge(json!({"spec": {"url": there}}));
    repositories
        .patch("flows", &PatchParams::default(), &moved)
        .await
        .unwrap();
    world.ready("Synced").await;
}

#[tokio::test]
async fn refused_credentials_are_tried_again_long_before_the_interval() {
    let world = World::start().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let mended = move || async move {
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => StatusCode::UNAUTHORIZED,
            _ => StatusCode::NOT_FOUND,
        }
    };
    let url = serve(Router::new().fallback(mended)).await;
    world
        .create_repository(json!({"url": url, "interval": "24h"}))
        .await;
    world.ready("AuthenticationFailed").await;
    world.ready("RepositoryNotFound").await;
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}
