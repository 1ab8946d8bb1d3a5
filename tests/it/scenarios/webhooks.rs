//! Push webhooks in the shapes that forges document. Gitea's own are in `forge::webhooks`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use git2::{Repository as Git, Signature};
use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use kube::api::{ListParams, PostParams};
use reqwest::{Client, StatusCode};
use serde_json::json;
use sha2::Sha256;
use signoff_api::{Flow, Release, Repository};

use crate::{
    support::rig::{Rig, Running},
    world::FLOW,
};

/// A Repository that only a webhook makes sync, and one beside it with another secret.
struct Mailbox {
    rig: Rig,
    git: Git,
    _dir: tempfile::TempDir,
    pushed: u32,
    draft: String,
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    })
}

type Headers = Vec<(&'static str, String)>;

/// As GitHub documents a push event.
fn github(secret: &str, body: &str) -> Headers {
    let signature = hex(&mac(secret.as_bytes(), &[body.as_bytes()]));
    vec![
        ("x-github-event", "push".to_owned()),
        (
            "x-github-delivery",
            "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned(),
        ),
        ("x-hub-signature-256", format!("sha256={signature}")),
        ("user-agent", "GitHub-Hookshot/044aadd".to_owned()),
    ]
}

/// As GitLab documents one with a secret token.
fn gitlab(secret: &str) -> Headers {
    vec![
        ("x-gitlab-event", "Push Hook".to_owned()),
        (
            "x-gitlab-webhook-uuid",
            "13792a34-cac6-4fda-95a8-c58e00a3954e".to_owned(),
        ),
        ("x-gitlab-token", secret.to_owned()),
    ]
}

/// As GitLab documents one with a signing token, sent this long ago, in seconds.
fn gitlab_signed(secret: &str, body: &str, age: i64) -> Headers {
    let at = (Timestamp::now().as_second() - age).to_string();
    let id = "9f8e3b2a";
    let signed = mac(secret.as_bytes(), &[format!("{id}.{at}.{body}").as_bytes()]);
    vec![
        ("x-gitlab-event", "Push Hook".to_owned()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(signed))),
    ]
}

const BODY: &str = r#"{"ref":"refs/heads/main","repository":{"full_name":"acme/flows"}}"#;

impl Mailbox {
    async fn open() -> (Self, Running) {
        let rig = Rig::open().await;
        let operator = rig.operator().await;
        let dir = tempfile::tempdir().unwrap();
        let git = Git::init_bare(dir.path().join("flows.git")).unwrap();
        let mut mailbox = Self {
            rig,
            git,
            _dir: dir,
            pushed: 0,
            draft: String::new(),
        };
        mailbox.push();
        for (name, secret) in [
            ("flows", "s3cret-of-the-flows"),
            ("others", "an0ther-of-the-others"),
            ("open", ""),
        ] {
            mailbox.follow(name, secret).await;
        }
        mailbox.draft = mailbox.next_draft().await;
        (mailbox, operator)
    }

    async fn follow(&self, name: &str, secret: &str) {
        let mut stored = Secret::default();
        stored.metadata.name = Some(format!("{name}-hook"));
        stored.data = Some([("key".to_owned(), ByteString(secret.into()))].into());
        let params = PostParams::default();
        self.rig.api::<Secret>().create(&params, &stored).await.unwrap();
        let spec = json!({
            "url": format!("file://{}", self.git.path().display()),
            "interval": "1h",
            "draft": {"ref": if name == "flows" { "main" } else { "nothing" }},
            "webhook": {"secretRef": {"name": format!("{name}-hook"), "key": "key"}},
        });
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name}, "spec": spec});
        let repository: Repository = serde_json::from_value(repository).unwrap();
        self.rig
            .api::<Repository>()
            .create(&params, &repository)
            .await
            .unwrap();
    }

    /// Pushes a change of the flow.
    fn push(&mut self) {
        self.pushed += 1;
        let text = FLOW.replace("x: 1", &format!("x: {}", self.pushed));
        let mut tree = self.git.treebuilder(None).unwrap();
        let blob = self.git.blob(text.as_bytes()).unwrap();
        tree.insert("hello.yaml", blob, 0o100_644).unwrap();
        let tree = self.git.find_tree(tree.write().unwrap()).unwrap();
        let who = Signature::now("Dev", "dev@example.com").unwrap();
        let commit = self.git.commit(None, &who, &who, "change", &tree, &[]).unwrap();
        self.git
            .reference("refs/heads/main", commit, true, "push")
            .unwrap();
    }

    async fn next_draft(&self) -> String {
        let before = self.draft.clone();
        let draft = |flow: &Flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.clone());
        let flow = self
            .rig
            .until("hello", |flow| draft(flow).is_some_and(|draft| draft != before))
            .await;
        draft(&flow).unwrap()
    }

    async fn send_to(&self, name: &str, headers: Headers, body: &str) -> StatusCode {
        let url = format!(
            "http://{}/v1/hooks/git/{}/{name}",
            self.rig.gateway(),
            self.rig.namespace()
        );
        let mut request = Client::new()
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status()
    }

    async fn releases(&self) -> usize {
        let releases = self.rig.api::<Release>();
        releases.list(&ListParams::default()).await.unwrap().items.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_taken_up_however_a_forge_proves_itself() {
    let (mut mailbox, operator) = Mailbox::open().await;
    let both: Headers = gitlab_signed("of another receiver", BODY, 0)
        .into_iter()
        .chain(gitlab("s3cret-of-the-flows"))
        .collect();
    for headers in [
        github("s3cret-of-the-flows", BODY),
        gitlab("s3cret-of-the-flows"),
        gitlab_signed("s3cret-of-the-flows", BODY, 0),
        both,
    ] {
        mailbox.push();
        assert_eq!(
            mailbox.send_to("flows", headers, BODY).await,
            StatusCode::ACCEPTED
        );
        mailbox.draft = mailbox.next_draft().await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_know_the_secret_learns_nothing_and_syncs_nothing() {
    let (mut mailbox, operator) = Mailbox::open().await;
    mailbox.push();
    let before = mailbox.releases().await;
    let other = BODY.replace("main", "mine");
    for (name, headers) in [
        ("flows", vec![]),
        ("flows", vec![("x-github-event", "push".to_owned())]),
        ("flows", github("wrong", BODY)),
        ("flows", github("an0ther-of-the-others", BODY)),
        ("flows", github("s3cret-of-the-flows", &other)),
        ("flows", github("", BODY)),
        ("flows", vec![("x-hub-signature-256", "sha256=".to_owned())]),
        (
            "flows",
            vec![("x-hub-signature-256", "s3cret-of-the-flows".to_owned())],
        ),
        ("flows", gitlab("wrong")),
        ("flows", gitlab("")),
        ("flows", gitlab_signed("wrong", BODY, 0)),
        ("flows", gitlab_signed("s3cret-of-the-flows", &other, 0)),
        ("flows", gitlab_signed("s3cret-of-the-flows", BODY, 3_600)),
        ("open", github("", BODY)),
        ("open", gitlab("")),
        ("nowhere", github("s3cret-of-the-flows", BODY)),
    ] {
        let told = format!("{name} {headers:?}");
        let status = mailbox.send_to(name, headers, BODY).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{told}");
    }
    assert_eq!(mailbox.releases().await, before);
    // and only then, what is good
    let good = mailbox
        .send_to("flows", github("s3cret-of-the-flows", BODY), BODY)
        .await;
    assert_eq!(good, StatusCode::ACCEPTED);
    mailbox.next_draft().await;
    assert_eq!(mailbox.releases().await, before + 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_sent_again_brings_nothing_new() {
    let (mut mailbox, operator) = Mailbox::open().await;
    mailbox.push();
    let event = github("s3cret-of-the-flows", BODY);
    for _ in 0..20 {
        let status = mailbox.send_to("flows", event.clone(), BODY).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    mailbox.draft = mailbox.next_draft().await;
    let (releases, flow) = (
        mailbox.releases().await,
        mailbox.rig.api::<Flow>().get("hello").await.unwrap(),
    );
    for _ in 0..20 {
        mailbox.send_to("flows", event.clone(), BODY).await;
    }
    // a later push is told with an old event as well as with any: it says no more than that it is time to look
    mailbox.push();
    mailbox.send_to("flows", event, BODY).await;
    mailbox.draft = mailbox.next_draft().await;
    assert_eq!(mailbox.releases().await, releases + 1);
    let now = mailbox.rig.api::<Flow>().get("hello").await.unwrap();
    let generation = |flow: &Flow| flow.metadata.generation.unwrap();
    assert_eq!(generation(&now), generation(&flow) + 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_any_forge_sends_is_refused_with_its_reason() {
    let (mailbox, operator) = Mailbox::open().await;
    let large = "x".repeat((25 << 20) + 1);
    let status = mailbox
        .send_to("flows", github("s3cret-of-the-flows", &large), &large)
        .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    operator.stop().await;
}
