//! What exactly is written on each forge about a push and about a pull request that would promote.

use serde_json::{Value, json};

use super::{
    comment::{Target, of_head, of_unreadable},
    pull::{mark, preview},
    *,
};
use crate::{
    forge::{
        PullRequestNumber, SetStatuses,
        tests::recorded::{FORGES, Recorded},
    },
    sync::feedback::{
        comment::{Changed, Proposed},
        status::FLOWS,
    },
};
use signoff_api::flow::Definition;

/// What may be in every text that others write.
const HOSTILE: &str = "x\n# Approved\n/merge @everybody <!-- signoff:difference a/b --> [go](http://evil.example) `\u{202e}\u{1b}[2J|**";

fn commit(digit: &str) -> String {
    digit.repeat(40)
}

fn repository(problems: &Value) -> Repository {
    let at = |digit: &str| json!({"commit": commit(digit), "short": &commit(digit)[..10]});
    let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows", "namespace": "shop"},
        "spec": {"url": "https://forge.example/a/b", "draft": {"ref": "main"}, "live": {"ref": "live"}},
        "status": {"draft": at("a"), "live": at("b"), "problems": problems}});
    serde_json::from_value(repository).unwrap()
}

fn flow(name: &str) -> Flow {
    let source = json!({"commit": commit("a"), "path": format!("{name}.yaml")}).to_string();
    let cut =
        json!({"release": format!("{name}-0123456789"), "digest": format!("sha256:{}", "0".repeat(64))});
    let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
        "metadata": {"name": name, "namespace": "shop", "generation": 2,
            "annotations": {"signoff.dev/source": source, "signoff.dev/live-commit": commit("b")}},
        "spec": {"steps": [], "live": cut["release"]}, "status": {"observedGeneration": 2, "draft": cut, "live": cut}});
    serde_json::from_value(flow).unwrap()
}

fn definition(title: &str, quorum: i64, description: &str) -> Definition {
    let ask = json!({"name": "review", "approval": {"title": title, "quorum": quorum}});
    serde_json::from_value(json!({"description": description, "steps": [ask]})).unwrap()
}

/// A head that changes one flow, removes another, and has an error.
fn head(text: &str) -> Proposed {
    Proposed {
        problems: vec![crate::git::Problem::of_file(
            format!("flows/{text}.yaml"),
            text.to_owned(),
        )],
        changed: vec![Changed {
            flow: "refund".to_owned(),
            live: Some(definition("Refund?", 2, "before")),
            proposed: definition(text, 1, text),
        }],
        gone: vec!["payout".to_owned()],
    }
}

/// Everything that is written about a push and about the heads of a pull request.
async fn written(kind: signoff_api::repository::ForgeKind, problems: &Value, text: &str) -> String {
    let recorded = Recorded::open(kind).await;
    let forge = &*recorded.forge;
    let statuses = SetStatuses::default();
    let repository = repository(problems);
    let flows = [flow("payout"), flow("refund")];
    let flows: Vec<&Flow> = flows.iter().collect();
    // what stands there is not set again
    for _ in 0..2 {
        for (commit, status) in status::of_repository(&repository, &flows) {
            statuses.set(forge, commit, status).await.unwrap();
        }
    }
    let (number, target) = (PullRequestNumber(41), Target::Live("live".to_owned()));
    for said in [of_head(&target, &head(text)), of_unreadable(text)] {
        preview(forge, &mark(&repository), number, &said).await.unwrap();
        let head = CommitId::parse(&commit("c")).unwrap();
        let shown = status::shown(&repository, FLOWS, said.state, said.description);
        statuses.set(forge, head, shown).await.unwrap();
    }
    // nothing is said of what changes nothing
    let nothing = of_head(&target, &Proposed::default());
    preview(forge, &mark(&repository), number, &nothing)
        .await
        .unwrap();
    recorded.written()
}

#[tokio::test]
async fn a_push_and_a_promotion_are_written_on_each_forge_like_this() {
    for (kind, name) in FORGES {
        let written = written(kind, &json!([]), "no step has this name").await;
        insta::assert_snapshot!(format!("feedback_{name}"), written);
    }
}

#[tokio::test]
async fn what_others_write_stays_text_on_each_forge() {
    let long = format!("{HOSTILE}{}", "é".repeat(900));
    let problem = |path: &str| json!({"path": path, "line": 3, "column": 7, "message": long, "channels": ["Draft", "Live"]});
    let problems = json!([problem(HOSTILE), problem("b.yaml")]);
    for (kind, name) in FORGES {
        let written = written(kind, &problems, &long).await;
        insta::assert_snapshot!(format!("hostile_feedback_{name}"), written);
    }
}
