//! Remotes that hang, send without end, or send what nobody asked for. They speak as much of the smart HTTP protocol as that takes.

use std::{convert::Infallible, net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command};

use super::fixture::{Fixture, at, remote, sync};
use crate::git::{GitError, Limits};
use signoff_api::reason::{Classified as _, ErrorClass};

const OID: &str = "1111111111111111111111111111111111111111";

fn packet(content: &[u8]) -> Vec<u8> {
    let mut packet = format!("{:04x}", content.len() + 4).into_bytes();
    packet.extend_from_slice(content);
    packet
}

/// What begins a list of refs.
fn greeting() -> Vec<u8> {
    [packet(b"# service=git-upload-pack\n"), b"0000".to_vec()].concat()
}

fn advertised(id: &str, capabilities: &str) -> Vec<u8> {
    let line = [
        id.as_bytes(),
        b" refs/heads/main\0",
        capabilities.as_bytes(),
        b"\n",
    ]
    .concat();
    [greeting(), packet(&line), b"0000".to_vec()].concat()
}

/// Sends something, and then a piece as often as anybody reads it.
fn forever(begin: &[u8], piece: &[u8]) -> Body {
    let (begin, piece) = (Bytes::copy_from_slice(begin), Bytes::copy_from_slice(piece));
    let begin = stream::once(std::future::ready(Ok::<_, Infallible>(begin)));
    Body::from_stream(begin.chain(stream::repeat_with(move || Ok(piece.clone()))))
}

/// Sends something, and then nothing without ending.
fn then_silence(begin: Vec<u8>) -> Body {
    let begin = stream::once(async move { Ok::<_, Infallible>(Bytes::from(begin)) });
    Body::from_stream(begin.chain(stream::pending()))
}

/// A server with one answer to the list of refs and one to the request for a pack.
async fn serve(
    list: impl Fn() -> Body + Send + Sync + 'static,
    pack: impl Fn() -> Body + Send + Sync + 'static,
) -> String {
    let bodies = Arc::new((list, pack));
    let router = Router::new().fallback(move |method: Method| {
        let bodies = Arc::clone(&bodies);
        async move {
            let (kind, body) = match method {
                Method::GET => ("advertisement", bodies.0()),
                _ => ("result", bodies.1()),
            };
            let kind = format!("application/x-git-upload-pack-{kind}");
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
    });
    format!("http://{}/x.git", listen(router).await)
}

async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn tight() -> Limits {
    Limits {
        stall: Duration::from_millis(200),
        fetch_bytes: 4 << 20,
        refs_bytes: 1 << 20,
        ..Limits::default()
    }
}

async fn refused(url: &str, limits: Limits) -> (ErrorClass, &'static str, String) {
    let fixture = Fixture::new();
    let error = sync(&fixture.mirror_with(limits), remote(url), &["main"])
        .await
        .unwrap_err();
    (error.class(), error.reason(), error.to_string())
}

#[tokio::test]
async fn silence_after_the_headers_in_the_list_or_in_the_pack_is_cut() {
    let ended = || Body::empty();
    let list = || Body::from(advertised(OID, ""));
    for url in [
        serve(|| then_silence(vec![]), ended).await,
        serve(|| then_silence(greeting()), ended).await,
        serve(list, || then_silence(vec![])).await,
        serve(list, || {
            then_silence([packet(b"NAK\n"), b"PACK".to_vec()].concat())
        })
        .await,
    ] {
        let (class, reason, _) = refused(&url, tight()).await;
        assert_eq!((class, reason), (ErrorClass::Transient, "RemoteTimedOut"));
    }
}

#[tokio::test]
async fn a_remote_that_never_stalls_and_never_ends_is_cut_at_the_deadline() {
    let limits = Limits {
        deadline: Duration::from_millis(300),
        fetch_bytes: u64::MAX,
        ..Limits::default()
    };
    let progress = || forever(&packet(b"NAK\n"), &packet(b"\x02."));
    let url = serve(|| Body::from(advertised(OID, "side-band-64k")), progress).await;
    let (class, reason, _) = refused(&url, limits).await;
    assert_eq!((class, reason), (ErrorClass::Transient, "RemoteTimedOut"));
}

#[tokio::test]
async fn a_list_of_refs_without_end_is_cut() {
    let line = packet(format!("{OID} refs/heads/x\n").as_bytes());
    let begin = advertised(OID, "");
    let list = move || forever(&begin[..begin.len() - 4], &line.repeat(100));
    let (class, reason, message) = refused(&serve(list, Body::empty).await, tight()).await;
    assert_eq!((class, reason), (ErrorClass::Invalid, "TooManyRefs"));
    assert!(message.contains("1048576 bytes"), "{message}");
}

#[tokio::test]
async fn packets_packs_and_headers_without_end_are_cut() {
    let nak = packet(b"NAK\n");
    let progress = packet(&[&[2_u8][..], &[b'x'; 1_000]].concat());
    let objects = [nak.as_slice(), b"PACK\0\0\0\x02\xff\xff\xff\xff"].concat();
    for (capabilities, begin, piece, expected) in [
        (
            "side-band-64k",
            nak.as_slice(),
            progress.as_slice(),
            "RepositoryTooLarge",
        ),
        ("side-band-64k", &nak, &packet(b""), "GitFailed"),
        ("side-band-64k", &nak, &nak, "RepositoryTooLarge"),
        ("", &nak, &nak, "GitFailed"),
        ("", &objects, &[0x30; 1_000], "RepositoryTooLarge"),
    ] {
        let (begin, piece) = (begin.to_vec(), piece.repeat(100));
        let list = move || Body::from(advertised(OID, capabilities));
        let url = serve(list, move || forever(&begin, &piece)).await;
        let (_, reason, message) = refused(&url, tight()).await;
        assert_eq!(reason, expected, "{message}");
    }
}

/// An object of a pack: its header, and its content in the one way of zlib that compresses nothing.
fn object(kind: u8, base: &[u8], content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let mut object = vec![0x80 | (kind << 4) | (length & 15), length >> 4];
    object.extend_from_slice(base);
    object.extend_from_slice(&[0x78, 0x01, 0x01, length, 0, !length, 0xff]);
    object.extend_from_slice(content);
    let (low, high) = content.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    object.extend_from_slice(&((high << 16) | low).to_be_bytes());
    object
}

#[tokio::test]
async fn a_difference_that_would_unpack_to_gigabytes_is_refused_before_it_is() {
    let base = git2::Oid::hash_object(git2::ObjectType::Blob, b"base").unwrap();
    // of four bytes, two gigabytes
    let delta = [4, 0xff, 0xff, 0xff, 0xff, 0x07, 0x90, 4];
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    pack.extend(object(3, b"", b"base"));
    pack.extend(object(7, base.as_bytes(), &delta));
    let mut sum = Command::new("sha1sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sum.stdin.take().unwrap().write_all(&pack).await.unwrap();
    let sum = String::from_utf8(sum.wait_with_output().await.unwrap().stdout).unwrap();
    pack.extend_from_slice(git2::Oid::from_str(&sum[..40]).unwrap().as_bytes());
    let answer = [packet(b"NAK\n"), pack].concat();
    let url = serve(
        || Body::from(advertised(OID, "")),
        move || Body::from(answer.clone()),
    )
    .await;
    let (class, reason, message) = refused(&url, tight()).await;
    assert_eq!(
        (class, reason),
        (ErrorClass::Invalid, "ObjectTooLarge"),
        "{message}"
    );
}

#[tokio::test]
async fn a_ref_whose_name_is_not_utf_8_is_left_alone_and_the_others_are_followed() {
    let fixture = Fixture::new();
    let list = |id: &str| {
        let odd = [OID.as_bytes(), b" refs/heads/caf\xe9\0\n"].concat();
        let good = format!("{id} refs/heads/gr\u{f6}\u{df}e\n");
        [
            greeting(),
            packet(&odd),
            packet(good.as_bytes()),
            b"0000".to_vec(),
        ]
        .concat()
    };
    let id = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let (listed, pack) = (
        list(&id.to_string()),
        packed(&fixture, "rev-list --objects --all").await,
    );
    let url = serve(
        move || Body::from(listed.clone()),
        move || Body::from(pack.clone()),
    )
    .await;
    let mirror = fixture.mirror();
    let synced = sync(&mirror, remote(&url), &["größe", "other"]).await.unwrap();
    assert_eq!((at(&synced, "größe"), at(&synced, "other")), (Some(id), None));
}

/// The answer that holds what a git command lists.
async fn packed(fixture: &Fixture, listing: &str) -> Vec<u8> {
    let git = async |arguments: &str, input: &[u8]| {
        let mut child = Command::new("git")
            .arg("--git-dir")
            .arg(fixture.path())
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).await.unwrap();
        child.wait_with_output().await.unwrap().stdout
    };
    let objects = git(listing, b"").await;
    let pack = git("pack-objects --stdout", &objects).await;
    [packet(b"NAK\n"), pack].concat()
}

#[tokio::test]
async fn what_the_remote_left_out_is_told_by_its_path_and_fetched_anew() {
    let fixture = Fixture::new();
    let id = fixture.commit("main", &[("flows/a.yaml", "a: 1")], "one");
    let listed = advertised(&id.to_string(), "");
    let tree = fixture.repository.find_commit(id.0).unwrap().tree().unwrap();
    // the commit and its root, and nothing of what lies in the root's folder
    let most = packed(
        &fixture,
        "rev-list --objects --no-object-names --all --filter=tree:1",
    )
    .await;
    let all = packed(&fixture, "rev-list --objects --no-object-names --all").await;
    assert!(most.len() < all.len());
    let answers = std::sync::Mutex::new(vec![all, most]);
    let url = serve(
        move || Body::from(listed.clone()),
        move || Body::from(answers.lock().unwrap().pop().unwrap_or_default()),
    )
    .await;
    let mirror = fixture.mirror();
    sync(&mirror, remote(&url), &["main"]).await.unwrap();
    let error = mirror.read(id, "").await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Transient, "ObjectMissing")
    );
    let folder = tree.get_name("flows").unwrap().id();
    assert!(
        error.to_string().contains(&format!("flows/ ({folder})")),
        "{error}"
    );

    assert!(sync(&mirror, remote(&url), &["main"]).await.unwrap().fetched);
    assert_eq!(mirror.read(id, "").await.unwrap().files.len(), 1);
}

#[tokio::test]
async fn a_remote_that_asks_for_it_is_left_alone_for_as_long_as_it_says() {
    for (status, headers, seconds) in [
        (429, vec![("retry-after", "7")], Some(7)),
        (429, vec![], Some(60)),
        (503, vec![("retry-after", "9")], Some(9)),
        (503, vec![], None),
        (403, vec![("retry-after", "30")], Some(30)),
        (403, vec![], None),
        (429, vec![("retry-after", "99999999")], Some(3_600)),
    ] {
        let answer = move || async move {
            let mut response: Response = StatusCode::from_u16(status).unwrap().into_response();
            for (name, value) in headers {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value.parse().unwrap());
            }
            response
        };
        let url = format!("http://{}/x.git", listen(Router::new().fallback(answer)).await);
        let fixture = Fixture::new();
        let error = sync(&fixture.mirror(), remote(&url), &["main"])
            .await
            .unwrap_err();
        assert_eq!(
            error.retry_after().map(|rest| rest.as_secs()),
            seconds,
            "{status}: {error}"
        );
        if seconds.is_some() {
            assert_eq!(
                (error.class(), error.reason()),
                (ErrorClass::Waiting, "RemoteRateLimited")
            );
            assert!(matches!(error, GitError::RateLimited { .. }));
        }
    }
}
