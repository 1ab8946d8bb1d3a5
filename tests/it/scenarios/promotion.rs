//! Releases, and how they become live: gates, and what nobody gets past them.

use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use signoff_api::{Approval, ApprovalPhase, Flow, Release, Repository, names};

use crate::{
    support::rig::PATIENCE,
    world::{FLOW, World},
};

fn flow(version: i64, gate: Option<i64>) -> Flow {
    let gate =
        gate.map(|quorum| json!({"approval": {"quorum": quorum, "approvers": {"groups": ["owners"]}}}));
    let mut flow = json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Flow",
        "metadata": {"name": "hello"},
        "spec": {"steps": [{"name": "one", "set": {"x": version}}]},
    });
    if let Some(gate) = gate {
        flow["spec"]["promotion"] = gate;
    }
    serde_json::from_value(flow).unwrap()
}

impl World {
    /// Creates the flow or replaces its definition; gives the release that is cut.
    async fn apply(&self, flow: &Flow, before: &str) -> String {
        let flows: Api<Flow> = self.api();
        if flows.get_opt("hello").await.unwrap().is_none() {
            flows.create(&PostParams::default(), flow).await.unwrap();
        } else {
            let mut spec = serde_json::to_value(&flow.spec).unwrap();
            if flow.spec.definition.promotion.is_none() {
                spec["promotion"] = Value::Null;
            }
            self.patch::<Flow>("hello", json!({"spec": spec})).await;
        }
        self.draft_other_than(before).await
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn wish_live(&self, release: Option<&str>) {
        self.patch::<Flow>("hello", json!({"spec": {"live": release}}))
            .await;
    }

    async fn answer(&self, approval: &str, phase: &str) {
        let patch = Patch::Merge(json!({"status": {"phase": phase, "message": "the test says so"}}));
        self.server
            .operators::<Approval>()
            .patch_status(approval, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn until_asked(&self, approval: &str) -> Approval {
        self.until::<Approval>(approval, |_| true).await
    }

    async fn until_phase(&self, approval: &str, phase: ApprovalPhase) {
        self.until::<Approval>(approval, |it| {
            it.status.clone().unwrap_or_default().phase == phase
        })
        .await;
    }

    async fn flow_reason(&self, reason: &str) -> Flow {
        let is = |flow: &Flow| {
            let conditions = flow.status.clone().unwrap_or_default().conditions;
            conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.reason == reason)
        };
        self.until::<Flow>("hello", is).await
    }

    /// A first release without a gate, live.
    async fn live_without_gate(&self) -> String {
        let first = self.apply(&flow(1, None), "").await;
        self.wish_live(Some(&first)).await;
        self.until_live(&first).await;
        first
    }
}

#[tokio::test]
async fn without_a_gate_a_release_becomes_live_at_once() {
    let world = World::start().await;
    world.live_without_gate().await;
    assert!(
        world
            .api::<Approval>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn the_first_promotion_is_judged_by_its_own_gate() {
    let world = World::start().await;
    let first = world.apply(&flow(1, Some(2)), "").await;
    world.wish_live(Some(&first)).await;
    let name = names::promotion_approval_name(&first, 1, "release");
    let approval = world.until_asked(&name).await;
    assert_eq!(
        (approval.spec.quorum, approval.spec.subject.release.as_deref()),
        (2, Some(first.as_str()))
    );
    let waiting = world.flow_reason("PromotionWaiting").await.status.unwrap();
    assert_eq!(waiting.live, None);
    world.answer(&name, "Approved").await;
    world.until_live(&first).await;
}

#[tokio::test]
async fn a_draft_that_lowers_its_gate_is_judged_by_the_gate_that_is_live() {
    let world = World::start().await;
    let first = world.apply(&flow(1, Some(2)), "").await;
    world.wish_live(Some(&first)).await;
    let name = names::promotion_approval_name(&first, 1, "release");
    world.until_asked(&name).await;
    world.answer(&name, "Approved").await;
    world.until_live(&first).await;

    let second = world.apply(&flow(2, None), &first).await;
    world.wish_live(Some(&second)).await;
    let name = names::promotion_approval_name(&second, 1, "release");
    assert_eq!(world.until_asked(&name).await.spec.quorum, 2);
    world.answer(&name, "Rejected").await;
    let refused = world.flow_reason("PromotionRejected").await.status.unwrap();
    assert_eq!(refused.live_release(), Some(first.as_str()));
}

#[tokio::test]
async fn a_promotion_that_is_asked_for_again_needs_another_yes() {
    let world = World::start().await;
    let first = world.apply(&flow(1, Some(1)), "").await;
    let second = world.apply(&flow(2, Some(1)), &first).await;
    for (release, round) in [(&first, 1), (&second, 1), (&first, 2)] {
        world.wish_live(Some(release)).await;
        let name = names::promotion_approval_name(release, round, "release");
        world.until_asked(&name).await;
        world.answer(&name, "Approved").await;
        world.until_live(release).await;
    }
}

#[tokio::test]
async fn a_wish_that_is_taken_back_closes_its_question() {
    let world = World::start().await;
    let first = world.apply(&flow(1, Some(1)), "").await;
    let name = names::promotion_approval_name(&first, 1, "release");
    world.wish_live(Some(&first)).await;
    world.until_asked(&name).await;
    world.flow_reason("PromotionWaiting").await;
    world.wish_live(None).await;
    world.until_phase(&name, ApprovalPhase::Superseded).await;
    let flow = world.flow_reason("Released").await;
    assert_eq!(flow.status.unwrap().live, None);
}

#[tokio::test]
async fn an_approval_that_somebody_else_put_there_promotes_nothing() {
    let world = World::start().await;
    let first = world.apply(&flow(1, Some(1)), "").await;
    let name = names::promotion_approval_name(&first, 1, "release");
    let forged: Approval = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Approval",
        "metadata": {"name": name},
        "spec": {
            "subject": {"release": first}, "purpose": "Promotion", "digest": format!("sha256:{}", "0".repeat(64)),
            "title": "Yes?", "quorum": 1, "selfApproval": true, "verdicts": ["Approve"],
        },
    }))
    .unwrap();
    world
        .server
        .operators::<Approval>()
        .create(&PostParams::default(), &forged)
        .await
        .unwrap();
    world.answer(&name, "Approved").await;
    world.wish_live(Some(&first)).await;
    let second_round = names::promotion_approval_name(&first, 2, "release");
    world.until_asked(&second_round).await;
    let flow = world.flow_reason("PromotionWaiting").await;
    assert_eq!(flow.status.unwrap().live, None);
}

#[tokio::test]
async fn the_gate_of_the_repository_holds_even_without_its_label() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world
        .create_repository(json!({"promotion": {"approval": {"quorum": 3}}}))
        .await;
    let first = world.draft_other_than("").await;
    world.ready("Synced").await;
    world
        .patch::<Repository>("flows", json!({"spec": {"suspend": true}}))
        .await;
    world.ready("Suspended").await;
    world
        .patch::<Flow>(
            "hello",
            json!({"metadata": {"labels": null, "ownerReferences": null}}),
        )
        .await;
    world.wish_live(Some(&first)).await;
    let name = names::promotion_approval_name(&first, 1, "repository");
    assert_eq!(world.until_asked(&name).await.spec.quorum, 3);
    world.answer(&name, "Approved").await;
    world.until_live(&first).await;
}

#[tokio::test]
async fn taking_a_flow_out_of_git_and_bringing_it_back_does_not_take_its_gate_away() {
    let world = World::start().await;
    let gated = format!("{FLOW}  promotion:\n    approval: {{quorum: 2}}\n");
    world.push("main", &[("hello.yaml", Some(&gated))]);
    world.create_repository(json!({})).await;
    let first = world.draft_other_than("").await;
    world.wish_live(Some(&first)).await;
    let name = names::promotion_approval_name(&first, 1, "release");
    world.until_asked(&name).await;
    world.answer(&name, "Approved").await;
    world.until_live(&first).await;
    world
        .until::<Repository>("flows", |it| {
            it.status.clone().unwrap_or_default().gated == Some(true)
        })
        .await;

    world.push("main", &[("hello.yaml", None)]);
    world.sync();
    let message = world.ready("FilesInvalid").await;
    assert!(
        message.contains("flow hello is no longer in git, but it is live behind a gate"),
        "{message}"
    );
    let kept = world.api::<Flow>().get("hello").await.unwrap();
    assert_eq!(kept.status.unwrap().live_release(), Some(first.as_str()));

    world.push("main", &[("hello.yaml", Some(&FLOW.replace("x: 1", "x: 2")))]);
    world.sync();
    let second = world.draft_other_than(&first).await;
    world.wish_live(Some(&second)).await;
    let name = names::promotion_approval_name(&second, 1, "release");
    assert_eq!(world.until_asked(&name).await.spec.quorum, 2);
}

#[tokio::test]
async fn a_flow_says_whether_the_gate_of_its_repository_holds_it() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.create_repository(json!({})).await;
    let first = world.draft_other_than("").await;
    world.wish_live(Some(&first)).await;
    world.until_live(&first).await;
    let gated = |flow: &Flow| flow.status.as_ref().and_then(|status| status.gated);
    assert_eq!(gated(&world.api::<Flow>().get("hello").await.unwrap()), None);
    for gate in [json!({"approval": {"quorum": 3}}), Value::Null] {
        world
            .patch::<Repository>("flows", json!({"spec": {"promotion": gate}}))
            .await;
        let wanted = (!gate.is_null()).then_some(true);
        world.until::<Flow>("hello", |flow| gated(flow) == wanted).await;
    }
}

#[tokio::test]
async fn a_release_that_is_live_is_held_until_another_is() {
    let world = World::start().await;
    let first = world.live_without_gate().await;
    let second = world.apply(&flow(2, None), &first).await;
    let releases: Api<Release> = world.api();
    releases.delete(&first, &DeleteParams::default()).await.unwrap();
    world
        .until::<Release>(&first, |release| release.metadata.deletion_timestamp.is_some())
        .await;
    world.wish_live(Some(&second)).await;
    world.until_live(&second).await;
    let gone = await_condition(releases, &first, |found: Option<&Release>| found.is_none());
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("the release goes")
        .unwrap();
}

#[tokio::test]
async fn a_definition_that_cannot_run_is_told_by_field_and_the_draft_before_it_stays() {
    let world = World::start().await;
    let first = world.apply(&flow(1, None), "").await;
    let broken = json!({"spec": {"steps": [{"name": "one", "set": {"x": "${steps.nowhere.output}"}}]}});
    world.patch::<Flow>("hello", broken).await;
    let status = world.flow_reason("InvalidDefinition").await.status.unwrap();
    assert_eq!(status.problems[0].field, "spec.steps[0].set.x");
    assert_eq!(status.draft.unwrap().release, first);
}

#[tokio::test]
async fn a_forged_release_is_told_and_never_becomes_live() {
    let world = World::start().await;
    let first = world.apply(&flow(1, None), "").await;
    let mut forged = world.api::<Release>().get(&first).await.unwrap();
    let name = "hello-0000000000";
    forged.metadata = kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        ..kube::api::ObjectMeta::default()
    };
    forged.spec.digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    forged.status = None;
    world
        .server
        .operators::<Release>()
        .create(&PostParams::default(), &forged)
        .await
        .unwrap();
    let told = |release: &Release| {
        let conditions = release.status.clone().unwrap_or_default().conditions;
        conditions
            .iter()
            .any(|c| c.type_ == "Stalled" && c.reason == "DigestMismatch")
    };
    world.until::<Release>(name, told).await;
    world.wish_live(Some(name)).await;
    let flow = world.flow_reason("ReleaseForged").await;
    assert_eq!(flow.status.unwrap().live, None);
}

#[tokio::test]
async fn an_edit_by_hand_does_not_claim_to_be_a_commits() {
    let world = World::start().await;
    world.push("main", &[("hello.yaml", Some(FLOW))]);
    world.create_repository(json!({})).await;
    let first = world.draft_other_than("").await;
    world.ready("Synced").await;
    world
        .patch::<Repository>("flows", json!({"spec": {"suspend": true}}))
        .await;
    world.ready("Suspended").await;
    world
        .patch::<Flow>("hello", json!({"spec": {"description": "edited"}}))
        .await;
    let edited = world.draft_other_than(&first).await;
    let source = world.api::<Release>().get(&edited).await.unwrap().spec.source;
    assert_eq!((source.commit, source.repository), (None, None));
    let of_commit = world.api::<Release>().get(&first).await.unwrap();
    assert!(
        of_commit.spec.source.commit.is_some()
            && of_commit.finalizers().contains(&names::FINALIZER.to_owned())
    );
}
