//! Many flows in one git repository: the first sync, a push that changes one of them, and from push to release. The remote is a folder, which only
//! `signoff dev` takes; over a network the time for its answers comes on top.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use git2::{Repository as Git, Signature};
use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::{ListParams, PostParams};
use serde_json::json;
use sha2::Sha256;
use signoff_api::{Flow, Release, Repository};

use crate::{
    server::Server,
    table::Table,
    target::{Target, until},
};

const SECRET: &str = "a secret of the benchmark";

pub async fn measure(table: &mut Table, server: &Server, target: &Target, flows: usize, pushes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::init_bare(dir.path().join("flows.git")).unwrap();
    commit(&git, flows, 0);
    let drafts = async || {
        let all = target.api::<Flow>().list(&ListParams::default()).await.unwrap();
        let of_git = all.items.iter().filter(|flow| {
            let name = flow.metadata.name.as_deref().unwrap_or_default();
            name.starts_with("many-") && flow.status.as_ref().is_some_and(|status| status.draft.is_some())
        });
        of_git.count()
    };
    let began = Instant::now();
    follow(target, &git).await;
    until("all releases", async || (drafts().await == flows).then_some(())).await;
    let cold = began.elapsed();
    table.row(
        &format!("first sync of {flows} flows in one repository, until all are released"),
        &format!("{:.1} s", cold.as_secs_f64()),
        "",
    );

    let writes = server.operator.count("signoff_api_writes_total").await;
    let mut took = Vec::with_capacity(pushes);
    for push in 1..=pushes {
        let before = draft(target).await;
        let began = Instant::now();
        commit(&git, flows, push);
        tell(server, target).await;
        until("the next release", async || {
            let now = draft(target).await;
            (now != before).then_some(())
        })
        .await;
        took.push(began.elapsed());
    }
    let writes = (server.operator.count("signoff_api_writes_total").await - writes) / pushes as f64;
    let releases = target
        .api::<Release>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(releases.items.len() >= flows + pushes, "every push cut a release");
    took.sort_unstable();
    let at = |quantile: f64| took[((took.len() - 1) as f64 * quantile) as usize];
    table.row(
        &format!("push told by webhook, one of {flows} flows changed → release, p50 / p95"),
        &format!("{} / {} ms", ms(at(0.5)), ms(at(0.95))),
        "",
    );
    table.row("API writes for one such push", &format!("{writes:.1}"), "");
}

fn ms(took: Duration) -> u128 {
    took.as_millis()
}

/// Commits all flows, of which the first says which push it is.
fn commit(git: &Git, flows: usize, push: usize) {
    let head = git.find_reference("refs/heads/main").ok();
    let parent = head.map(|head| head.peel_to_commit().unwrap());
    let base = parent.as_ref().map(|parent| parent.tree().unwrap());
    let mut tree = git.treebuilder(base.as_ref()).unwrap();
    let changed = if base.is_some() { 1 } else { flows };
    for number in 0..changed {
        let text = format!(
            "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: many-{number}}}\nspec:\n  steps:\n  - name: one\n    set: {{x: {push}, n: {number}}}\n  - name: review\n    approval:\n      title: \"Go ${{steps.one.output.x}}?\"\n"
        );
        let blob = git.blob(text.as_bytes()).unwrap();
        tree.insert(format!("many-{number}.yaml"), blob, 0o100_644)
            .unwrap();
    }
    let tree = git.find_tree(tree.write().unwrap()).unwrap();
    let who = Signature::now("Bench", "bench@example.com").unwrap();
    let parents: Vec<_> = parent.iter().collect();
    git.commit(Some("refs/heads/main"), &who, &who, "push", &tree, &parents)
        .unwrap();
}

async fn follow(target: &Target, git: &Git) {
    let mut secret = Secret::default();
    secret.metadata.name = Some("hook".to_owned());
    secret.data = Some([("key".to_owned(), ByteString(SECRET.into()))].into());
    let params = PostParams::default();
    target.api::<Secret>().create(&params, &secret).await.unwrap();
    let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "many"}, "spec": {
        "url": format!("file://{}", git.path().display()), "interval": "1h", "draft": {"ref": "main"},
        "webhook": {"secretRef": {"name": "hook", "key": "key"}},
    }});
    let repository: Repository = serde_json::from_value(repository).unwrap();
    target
        .api::<Repository>()
        .create(&params, &repository)
        .await
        .unwrap();
}

/// As GitHub and Gitea tell of a push.
async fn tell(server: &Server, target: &Target) {
    let body = r#"{"ref":"refs/heads/main"}"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let signature = bytes.iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    });
    let url = format!(
        "{}/v1/hooks/git/{}/many",
        server.operator.gateway(),
        target.namespace
    );
    let sent = reqwest::Client::new()
        .post(url)
        .header("x-hub-signature-256", format!("sha256={signature}"))
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(sent.status().is_success(), "{sent:?}");
}

async fn draft(target: &Target) -> String {
    let flow = target.api::<Flow>().get("many-0").await.unwrap();
    flow.status.unwrap().draft.unwrap().release
}
