//! The http transport against real `git http-backend`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
    response::{IntoResponse as _, Redirect},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command};
use tokio_util::sync::CancellationToken;

use super::{
    fixture::{Fixture, at, named, remote, sync},
    publish::{commit, file, publish, to},
    push,
};
use crate::{
    git::{CommitId, Credentials, GitError, Limits, Mirror, NewCommit, Publication, Remote, Secret},
    net::{AddressPolicy, Network},
};
use signoff_api::{
    Digest,
    reason::{Classified as _, ErrorClass},
    step::IfExists,
};

/// Each request with its `Authorization`.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A CGI bridge to `git http-backend` that wants a password.
#[derive(Clone)]
struct Backend {
    root: PathBuf,
    authorization: Option<&'static str>,
    /// Whether the server says that it knows of shallow fetches.
    shallow: bool,
    seen: Seen,
}

async fn backend(
    State(bridge): State<Backend>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let given = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    bridge
        .seen
        .lock()
        .unwrap()
        .push((format!("{method} {}", uri.path()), given.clone()));
    if bridge.authorization.is_some() && given.as_deref() != bridge.authorization {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &bridge.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env(
            "CONTENT_TYPE",
            headers
                .get(header::CONTENT_TYPE)
                .map_or("", |value| value.to_str().unwrap()),
        )
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&body).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap().stdout;
    let split = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..split]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    let mut body = output[split + 4..].to_vec();
    if !bridge.shallow && method == Method::GET {
        let word = body.windows(9).position(|window| window == b" shallow ").unwrap();
        body[word + 1..word + 8].copy_from_slice(b"unknown");
    }
    response.body(Body::from(body)).unwrap()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn git_server(fixture: &Fixture, authorization: Option<&'static str>) -> (SocketAddr, Backend) {
    git_server_that(fixture, authorization, true).await
}

async fn git_server_that(
    fixture: &Fixture,
    authorization: Option<&'static str>,
    shallow: bool,
) -> (SocketAddr, Backend) {
    let bridge = Backend {
        root: fixture.root().to_owned(),
        authorization,
        shallow,
        seen: Arc::default(),
    };
    (
        serve(Router::new().fallback(backend).with_state(bridge.clone())).await,
        bridge,
    )
}

fn with_password(url: &str, password: &str) -> Remote {
    let credentials = Credentials {
        username: Some("bot".into()),
        password: Some(Secret::new(password)),
        ..Credentials::default()
    };
    Remote {
        url: url.parse().unwrap(),
        credentials,
    }
}

/// `bot:s3cret`
const AUTHORIZATION: &str = "Basic Ym90OnMzY3JldA==";

#[tokio::test]
async fn fetches_over_http_with_a_password_and_then_only_what_moved() {
    let fixture = Fixture::new();
    let first = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let (address, bridge) = git_server(&fixture, Some(AUTHORIZATION)).await;
    let url = format!("http://{address}/origin.git");
    let mirror = fixture.mirror();
    let synced = sync(&mirror, with_password(&url, "s3cret"), &["main"])
        .await
        .unwrap();
    assert_eq!((at(&synced, "main"), synced.fetched), (Some(first), true));

    for round in 0..20 {
        fixture.commit("main", &[("b.yaml", &format!("b: {round}"))], "more");
    }
    let last = fixture.commit("main", &[("c.yaml", "c: 1")], "two");
    let synced = sync(&mirror, with_password(&url, "s3cret"), &["main"])
        .await
        .unwrap();
    assert_eq!(at(&synced, "main"), Some(last));
    assert_eq!(mirror.read(last, "").await.unwrap().files.len(), 3);

    bridge.seen.lock().unwrap().clear();
    let synced = sync(&mirror, with_password(&url, "s3cret"), &["main"])
        .await
        .unwrap();
    assert!(!synced.fetched);
    let asked: Vec<String> = bridge
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|(request, _)| request.clone())
        .collect();
    assert_eq!(asked, ["GET /origin.git/info/refs"]);
}

/// How many commits a mirror holds.
fn history(fixture: &Fixture, from: CommitId) -> usize {
    let mirror = git2::Repository::open_bare(fixture.root().join("mirror")).unwrap();
    let mut walk = mirror.revwalk().unwrap();
    walk.push(from.0).unwrap();
    walk.count()
}

#[tokio::test]
async fn no_more_than_the_newest_commit_is_fetched_unless_the_server_knows_no_better() {
    for (shallow, fetched) in [(true, 1), (false, 31)] {
        let fixture = Fixture::new();
        for round in 0..30 {
            fixture.commit("main", &[("a.yaml", &format!("a: {round}"))], "history");
        }
        let head = fixture.commit("main", &[("b.yaml", "b: 1")], "head");
        let (address, _) = git_server_that(&fixture, None, shallow).await;
        let url = format!("http://{address}/origin.git");
        let mirror = fixture.mirror();
        let synced = sync(&mirror, remote(&url), &["main"]).await.unwrap();
        assert_eq!(at(&synced, "main"), Some(head));
        assert_eq!(history(&fixture, head), fetched, "shallow: {shallow}");

        // and then what is new, also when it is old, or has another past
        fixture.commit("main", &[("c.yaml", "c: 1")], "more");
        let last = fixture.commit("main", &[("c.yaml", "c: 2")], "last");
        let synced = sync(&mirror, remote(&url), &["main"]).await.unwrap();
        assert_eq!((at(&synced, "main"), synced.fetched), (Some(last), true));
        assert_eq!(mirror.read(last, "").await.unwrap().files.len(), 3);
        let older = fixture
            .repository
            .find_commit(head.0)
            .unwrap()
            .parent_id(0)
            .unwrap();
        fixture
            .repository
            .reference("refs/heads/main", older, true, "reset")
            .unwrap();
        let synced = sync(&mirror, remote(&url), &["main"]).await.unwrap();
        assert_eq!(at(&synced, "main"), Some(CommitId(older)));
        assert_eq!(mirror.read(CommitId(older), "").await.unwrap().files.len(), 1);
        let forced = fixture.force("main", &[("d.yaml", "d: 1")]);
        let synced = sync(&mirror, remote(&url), &["main"]).await.unwrap();
        assert_eq!(at(&synced, "main"), Some(forced));
        assert_eq!(mirror.read(forced, "").await.unwrap().files.len(), 1);
    }
}

#[tokio::test]
async fn a_branch_is_pushed_over_http_and_what_the_server_refuses_is_told() {
    let fixture = Fixture::new();
    let mut config = fixture.repository.config().unwrap();
    config.set_bool("http.receivepack", true).unwrap();
    let (address, _) = git_server(&fixture, Some(AUTHORIZATION)).await;
    let remote = with_password(&format!("http://{address}/origin.git"), "s3cret");
    let mirror = fixture.mirror();
    push::proposes_once_and_deletes_once(&fixture, &mirror, remote.clone()).await;

    let base = fixture.commit("main", &[], "again");
    sync(&mirror, remote.clone(), &["main"]).await.unwrap();
    config
        .set_multivar("receive.hideRefs", "^$", "refs/heads/signoff")
        .unwrap();
    let refused = mirror.propose(remote, push::question(base), CancellationToken::new());
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, GitError::PushRefused { .. }), "{refused:?}");
    assert_eq!(
        (refused.class(), refused.reason()),
        (ErrorClass::Invalid, "PushRefused")
    );
}

/// A remote that takes pushes, with a history longer than what is fetched of it.
async fn pushed_to() -> (Fixture, Remote, CommitId) {
    let fixture = Fixture::new();
    fixture.repository.set_head("refs/heads/main").unwrap();
    let mut config = fixture.repository.config().unwrap();
    config.set_bool("http.receivepack", true).unwrap();
    fixture.commit("main", &[("dir/a.txt", "0")], "one");
    let mut base = fixture.commit("main", &[("b.txt", "b")], "two");
    for n in 0..120 {
        base = fixture.commit("main", &[("dir/a.txt", &n.to_string())], "more");
    }
    let (address, _) = git_server(&fixture, Some(AUTHORIZATION)).await;
    let remote = with_password(&format!("http://{address}/origin.git"), "s3cret");
    (fixture, remote, base)
}

#[tokio::test]
async fn commits_are_pushed_from_a_shallow_mirror_and_found_again() {
    let (fixture, remote, base) = pushed_to().await;
    let new = |key: &str| {
        to(
            "fix",
            commit(key, vec![file("dir/a.txt", Some(key)), file("c.txt", Some("c"))]),
        )
    };
    let first = publish(&fixture, remote.clone(), new("u/fix/1")).await.unwrap();
    let made = fixture.repository.find_commit(first.commit.0).unwrap();
    assert_eq!(made.parent_id(0).unwrap(), base.0);
    assert_eq!(
        publish(&fixture, remote.clone(), new("u/fix/1")).await.unwrap(),
        first
    );
    let second = publish(&fixture, remote.clone(), new("u/fix/2")).await.unwrap();
    let made = fixture.repository.find_commit(second.commit.0).unwrap();
    assert_eq!(made.parent_id(0).unwrap(), first.commit.0);
    assert_eq!(
        publish(&fixture, remote.clone(), new("u/fix/1")).await.unwrap(),
        first
    );

    // a longer line of others' commits before ours is no work that a reset would lose
    fixture.commit("main", &[("dir/a.txt", "new")], "new");
    let reset = Publication {
        commit: Some(NewCommit {
            if_exists: Some(IfExists::Reset),
            ..new("u3/fix/1").commit.unwrap()
        }),
        ..new("")
    };
    let third = publish(&fixture, remote, reset).await.unwrap();
    let made = fixture.repository.find_reference("refs/heads/fix").unwrap();
    assert_eq!(made.target(), Some(third.commit.0));
    let main = fixture.repository.find_reference("refs/heads/main").unwrap();
    let made = fixture.repository.find_commit(third.commit.0).unwrap();
    assert_eq!(Some(made.parent_id(0).unwrap()), main.target());
}

#[tokio::test]
async fn a_branch_that_moves_while_a_push_is_under_way_keeps_what_it_got() {
    use std::os::unix::fs::PermissionsExt as _;

    let (fixture, remote, _) = pushed_to().await;
    let new = |key: &str| to("fix", commit(key, vec![file("c.txt", Some(key))]));
    let first = publish(&fixture, remote.clone(), new("u/fix/1")).await.unwrap();
    let theirs = fixture.commit("aside", &[("theirs.txt", "x")], "somebody's");
    // somebody is quicker by a moment: the server has already told where the branch is
    let hook = fixture.path().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\nunset GIT_QUARANTINE_PATH\ngit update-ref refs/heads/fix {theirs}\n");
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let pushed = publish(&fixture, remote.clone(), new("u/fix/2")).await;
    assert!(matches!(pushed, Err(GitError::BranchMoved(_))), "{pushed:?}");
    let at = || {
        fixture
            .repository
            .find_reference("refs/heads/fix")
            .unwrap()
            .target()
            .unwrap()
    };
    assert_eq!(at(), theirs.0);

    // a branch that somebody makes at that moment is theirs
    let script = format!("#!/bin/sh\nunset GIT_QUARANTINE_PATH\ngit update-ref refs/heads/other {theirs}\n");
    std::fs::write(&hook, script).unwrap();
    let other = to("other", commit("u/other/1", vec![file("c.txt", Some("c"))]));
    let pushed = publish(&fixture, remote, other).await;
    assert!(matches!(pushed, Err(GitError::BranchMoved(_))), "{pushed:?}");
    let other = fixture.repository.find_reference("refs/heads/other").unwrap();
    assert_eq!(other.target(), Some(theirs.0));
    assert_ne!(first.commit, theirs);
}

#[tokio::test]
async fn refused_credentials_and_missing_repositories_are_told_apart() {
    let fixture = Fixture::new();
    fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let (address, _) = git_server(&fixture, Some(AUTHORIZATION)).await;
    let url = format!("http://{address}/origin.git");
    let wrong = sync(&fixture.mirror(), with_password(&url, "wr0ng"), &["main"])
        .await
        .unwrap_err();
    assert_eq!(
        (wrong.class(), wrong.reason()),
        (ErrorClass::Invalid, "AuthenticationFailed")
    );
    assert!(!format!("{wrong:?} {wrong}").contains("wr0ng"));
    let none = sync(&fixture.mirror(), remote(&url), &["main"])
        .await
        .unwrap_err();
    assert!(none.to_string().contains("name a Connection"), "{none}");
    let elsewhere = format!("http://{address}/nothing.git");
    let missing = sync(&fixture.mirror(), with_password(&elsewhere, "s3cret"), &["main"])
        .await
        .unwrap_err();
    assert!(matches!(missing, GitError::NotFound { .. }), "{missing:?}");
}

#[tokio::test]
async fn a_redirect_to_another_host_is_followed_without_the_credentials() {
    let fixture = Fixture::new();
    let id = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let (target, bridge) = git_server(&fixture, None).await;
    let redirecting = Router::new().fallback(move |uri: Uri| async move {
        Redirect::temporary(&format!("http://localhost:{}{uri}", target.port()))
    });
    let address = serve(redirecting).await;
    let url = format!("http://{address}/origin.git");
    let synced = sync(&fixture.mirror(), with_password(&url, "s3cret"), &["main"])
        .await
        .unwrap();
    assert_eq!(at(&synced, "main"), Some(id));
    let seen = bridge.seen.lock().unwrap().clone();
    // the refs, how far back, and the pack
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter().all(|(_, authorization)| authorization.is_none()),
        "{seen:?}"
    );
}

#[tokio::test]
async fn what_answers_without_speaking_git_is_named() {
    let fixture = Fixture::new();
    let page = serve(Router::new().fallback(|| async { "<html>" })).await;
    let error = sync(&fixture.mirror(), remote(&format!("http://{page}/x")), &["main"])
        .await
        .unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Invalid, "NotAGitRemote")
    );
    let failing = serve(Router::new().fallback(|| async { StatusCode::BAD_GATEWAY })).await;
    let error = sync(
        &fixture.mirror(),
        remote(&format!("http://{failing}/x")),
        &["main"],
    )
    .await
    .unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Transient, "UnexpectedStatus")
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = sync(
        &fixture.mirror(),
        remote(&format!("http://{closed}/x")),
        &["main"],
    )
    .await
    .unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Transient, "RemoteUnreachable")
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_cut_and_a_cancelled_sync_ends() {
    let fixture = Fixture::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", silent.local_addr().unwrap());
    let quick = fixture.mirror_with(Limits {
        stall: Duration::from_millis(50),
        ..Limits::default()
    });
    let error = sync(&quick, remote(&url), &["main"]).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Transient, "RemoteTimedOut")
    );
    // the connection that was cut
    drop(silent.accept().await.unwrap());

    let cancel = CancellationToken::new();
    let mirror = fixture.mirror();
    let syncing = mirror.sync(remote(&url), vec![named("main")], cancel.clone());
    let cancelling = async {
        // the connection is there, so the sync has begun
        let held = silent.accept().await.unwrap();
        cancel.cancel();
        held
    };
    let (result, _held) = tokio::join!(syncing, cancelling);
    assert!(matches!(result, Err(GitError::Cancelled)));
}

#[tokio::test]
async fn a_remote_that_sends_too_much_is_cut() {
    let fixture = Fixture::new();
    // digests do not compress to less than half
    let noise: String = (0..2_000)
        .map(|i| Digest::of(format!("{i}").as_bytes()).hex().to_owned())
        .collect();
    fixture.commit("main", &[("a.txt", &noise)], "one");
    let (address, _) = git_server(&fixture, None).await;
    let mirror = fixture.mirror_with(Limits {
        fetch_bytes: 10_000,
        ..Limits::default()
    });
    let url = format!("http://{address}/origin.git");
    let error = sync(&mirror, remote(&url), &["main"]).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Invalid, "RepositoryTooLarge")
    );
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_refused_however_it_is_written() {
    let fixture = Fixture::new();
    let (address, bridge) = git_server(&fixture, None).await;
    let network = Network::new(AddressPolicy::default());
    let mirror = Mirror::new(fixture.root().join("guarded"), network, Limits::default());
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/origin.git", address.port());
        let error = sync(&mirror, remote(&url), &["main"]).await.unwrap_err();
        assert_eq!(error.reason(), "AddressRefused", "{host}");
    }
    assert!(bridge.seen.lock().unwrap().is_empty());
}
