//! What is too old to be told: revisions from before a compaction, on the embedded control plane from before a restart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signoff_local::{ControlPlane as Embedded, Identity, Options};

use super::kind::{self, object};
use super::session::Session;
use super::{REAL_SERVER, compare, golden};
use crate::controlplane::ControlPlane;

/// The token of a page as of the first revision there ever was.
fn aged(token: &str) -> String {
    let token = URL_SAFE_NO_PAD.decode(token).unwrap();
    let mut token: Value = serde_json::from_slice(&token).unwrap();
    token["rv"] = json!(1);
    URL_SAFE_NO_PAD.encode(token.to_string())
}

async fn before(s: &mut Session) -> String {
    for name in ["a", "b", "c"] {
        s.post(&s.path(""), &object(name, &json!({"color": "red"}))).await;
    }
    let first = s.get(&s.path("?limit=1")).await;
    aged(first["metadata"]["continue"].as_str().unwrap())
}

async fn after(s: &mut Session, token: &str) {
    let refused = s.get(&s.path(&format!("?limit=1&continue={token}"))).await;
    let instead = refused["metadata"]["continue"].as_str().unwrap().to_owned();
    s.get(&s.path(&format!("?limit=1&continue={instead}"))).await;
    s.get(&s.path("?resourceVersion=1&resourceVersionMatch=Exact"))
        .await;
    s.get(&s.path("?resourceVersion=1&resourceVersionMatch=NotOlderThan"))
        .await;
    s.get(&s.path("?resourceVersion=1&limit=1")).await;
    s.watch(&s.path("?watch=true&resourceVersion=1"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_too_old_is_gone_and_a_page_of_it_goes_on_where_it_was() {
    let name = "expired";
    let start = || ControlPlane::start("conformance: expired");
    // of its own: the others need what it forgets
    if let Some(real) = tokio::task::spawn_blocking(start).await.unwrap() {
        let mut session = Session::open(name, &|user| real.client(user)).await;
        let token = before(&mut session).await;
        tokio::task::block_in_place(|| real.compact());
        after(&mut session, &token).await;
        let golden = golden(name, &json!(session.transcript));
        compare(name, REAL_SERVER, &json!(session.transcript), &golden);
    }
    let data = tempfile::tempdir().unwrap();
    let mut options = Options::new(data.path());
    options.definitions.push(kind::gadget());
    let local = Embedded::open(options.clone()).await.unwrap();
    let client = |user: &str| local.client(&Identity::Named(user.to_owned()));
    let mut session = Session::open(name, &client).await;
    let token = before(&mut session).await;
    local.shutdown().await;
    session.let_go();
    drop(local);
    let local = Embedded::open(options).await.unwrap();
    session.connect(&|user: &str| local.client(&Identity::Named(user.to_owned())));
    after(&mut session, &token).await;
    local.shutdown().await;
    let told = json!(session.transcript);
    compare(
        name,
        "the embedded control plane",
        &told,
        &golden(name, &Value::Null),
    );
}
