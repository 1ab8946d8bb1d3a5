//! What exactly is written on each forge about a question, from its beginning to its end.

use std::sync::Mutex;

use kube::runtime::reflector;
use serde_json::{Value, json};

use super::*;
use crate::{
    approvals::proposal::{Known, branch},
    cluster::{
        backoff::Backoffs,
        fake_api::{FakeApi, NAMESPACE},
        shared::RepositoryQuestions,
    },
    forge::{
        Actor, CommitState,
        tests::recorded::{FORGES, Recorded},
    },
    git::CommitId,
    remotes::RepositorySettings,
};
use tokio_util::sync::CancellationToken;

/// What may be in every text that others write.
const HOSTILE: &str = "x\n# Approved\n/merge @everybody <!-- signoff:answer merged --> [go](http://evil.example) `\u{202e}\u{1b}[2J|**";

fn question(title: &str, shown: &str, by: &str) -> Value {
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": "r-review", "namespace": NAMESPACE, "uid": "uid-of-r-review", "generation": 1},
        "spec": {"purpose": "Step", "subject": {"run": "r", "step": "review", "iteration": 1}, "digest": format!("sha256:{}", "0".repeat(64)),
            "requestedBy": by, "title": title, "show": [{"name": "quote", "mediaType": "text/plain", "inline": shown}],
            "approvers": {"users": [by], "groups": ["finance"]}, "quorum": 1, "selfApproval": false,
            "verdicts": ["Approve", "Reject", "RequestChanges"], "expiresAt": "2026-11-23T10:00:00Z"}})
}

fn repository() -> Repository {
    let token = json!({"name": "api", "key": "token"});
    let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
        "metadata": {"name": "flows", "namespace": NAMESPACE, "uid": "uid-of-flows"},
        "spec": {"url": "https://forge.example/acme/flows.git", "draft": {"ref": "main"},
            "forge": {"kind": "Gitea", "url": "https://forge.example/api/v1", "token": token},
            "decisions": {"propose": "PullRequest", "reviewers": ["alice"]}}});
    serde_json::from_value(repository).unwrap()
}

fn context(api: &FakeApi) -> ProposalContext {
    let folder = std::env::temp_dir().join("signoff-without-mirrors");
    ProposalContext {
        context: api.context(),
        settings: RepositorySettings::local(folder),
        repositories: reflector::store().0,
        questions: RepositoryQuestions::default(),
        known: Mutex::default(),
        heads: branch::Heads::default(),
        backoffs: Backoffs::default(),
        shutdown: CancellationToken::new(),
    }
}

/// Everything that is written on a forge while a question is put, answered wrongly, warned of and closed.
async fn written(kind: signoff_api::repository::ForgeKind, approval: &Value, said: &str) -> String {
    let (api, recorded) = (FakeApi::new(), Recorded::open(kind).await);
    let open = api.put::<Approval>(&serde_json::from_value(approval.clone()).unwrap());
    let key = ApprovalKey::new(NAMESPACE, "r-review");
    let proposals = context(&api);
    proposals.lock().insert(key.clone(), Known::default());
    let repository = Arc::new(repository());
    let put = |approval: Approval| PullRequestQuestion {
        proposals: &proposals,
        key: &key,
        decisions: repository.spec.decisions.clone().unwrap(),
        repository: Arc::clone(&repository),
        forge: Arc::clone(&recorded.forge),
        own: Login::new("signoff"),
        approval: Some(approval),
        via: AskVia::PullRequest,
    };
    let (number, head) = (PullRequestNumber(41), CommitId::parse(&"a".repeat(40)).unwrap());
    let claim = Claim {
        id: "review-7".to_owned(),
        by: Actor {
            login: Login::new("mallory"),
            id: 9,
        },
        at: None,
        act: "approving review",
        verdict: Verdict::Approve,
        comment: None,
        commit: None,
    };
    let steps = [
        Step::Propose(1),
        Step::ShowQuorum(head, CommitState::Success, "merging approves".to_owned()),
        // it stands there
        Step::ShowQuorum(head, CommitState::Success, "merging approves".to_owned()),
        Step::Warn(number, head, said.to_owned()),
        Step::ShowQuorum(head, CommitState::Failure, format!("do not merge: {said}")),
        Step::Answer(number, claim, said.to_owned()),
    ];
    let question = put(open.clone());
    for step in steps {
        question.take(step, &[]).await.unwrap();
    }
    let mut closed = open;
    let status = json!({"phase": "Rejected", "message": said, "decidedAt": "2026-11-23T09:00:00.000000Z"});
    closed.status = Some(serde_json::from_value(status).unwrap());
    let question = put(closed);
    for step in [Step::Close(number), Step::DeleteBranch] {
        question.take(step, &[]).await.unwrap();
    }
    recorded.written()
}

#[tokio::test]
async fn a_question_is_written_on_each_forge_like_this() {
    let approval = question("Refund 250?", "{\"amount\": 250}\n", "dev@example.com");
    for (kind, name) in FORGES {
        let written = written(kind, &approval, "bob is not among the approvers").await;
        insta::assert_snapshot!(format!("question_{name}"), written);
    }
}

#[tokio::test]
async fn what_others_write_stays_text_on_each_forge() {
    // as long as the API takes them
    let (title, shown) = ("é".repeat(300), "é".repeat(30_000));
    let title = format!("{HOSTILE}{title}");
    let shown = format!("```\n{HOSTILE}{shown}\n````\n@everybody\n");
    let approval = question(&title, &shown, HOSTILE);
    for (kind, name) in FORGES {
        let written = written(kind, &approval, HOSTILE).await;
        insta::assert_snapshot!(format!("hostile_question_{name}"), written);
    }
}
