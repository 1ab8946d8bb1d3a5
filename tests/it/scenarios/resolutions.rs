//! Callbacks that were lost, and are answered by hand.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::Run;

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::{PATIENCE, PAUSE, Rig, eventually},
    shop::Shop,
};

/// A flow that waits for the receipt of a payment.
async fn flow(rig: &Rig, shop: &Shop) {
    let schema =
        json!({"type": "object", "required": ["receipt"], "properties": {"receipt": {"type": "string"}}});
    let pay = json!({"name": "pay", "http": {"method": "POST", "url": shop.url("/pay"),
        "body": {"url": "${callback('settled').url}"}}});
    let settled = json!({"name": "settled", "wait": {"callback": {"schema": schema}}});
    let output = json!({"receipt": "${steps.settled.output.receipt}"});
    rig.flow("f", json!({"steps": [pay, settled], "output": output}))
        .await;
}

/// Lets a user answer callbacks.
async fn permit(rig: &Rig, user: &str) {
    let role = json!({"metadata": {"name": "resolver"},
        "rules": [{"apiGroups": ["signoff.dev"], "resources": ["runs"], "verbs": ["resolve"]}]});
    let role: Role = serde_json::from_value(role).unwrap();
    rig.api::<Role>()
        .create(&PostParams::default(), &role)
        .await
        .unwrap();
    let binding = json!({"metadata": {"name": "resolver"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "resolver"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    rig.api::<RoleBinding>()
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

async fn patch(rig: &Rig, user: &str, resolutions: Value) -> Result<Run, kube::Error> {
    let runs: Api<Run> = Api::namespaced(rig.client(user), rig.namespace());
    let patch = Patch::Merge(json!({"spec": {"resolutions": resolutions}}));
    runs.patch("r", &PatchParams::default(), &patch).await
}

/// Answers as alice does; it may take a moment until she may.
async fn resolve(rig: &Rig, receipt: Value) -> Run {
    let answer = json!({"settled.1": {"body": {"receipt": receipt}, "message": "by phone", "by": "alice"}});
    let answered = async {
        loop {
            match patch(rig, "alice", answer.clone()).await {
                Err(kube::Error::Api(refusal)) if refusal.message.contains("takes the verb resolve") => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_callback_is_answered_by_somebody_who_may_and_the_run_says_who_and_why() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    flow(&rig, &shop).await;
    permit(&rig, "alice").await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Waiting").await;
    let of =
        |user: &str| json!({"settled.1": {"body": {"receipt": "R1"}, "message": "by phone", "by": user}});
    let refused = async |user: &str, resolutions: Value, why: &str| {
        let refused = patch(&rig, user, resolutions).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{user}: {refused}");
    };
    refused("dev", of("dev"), "takes the verb resolve").await;
    refused("agent", of("agent"), "").await;
    refused("alice", of("bob"), "in another's name").await;

    // a body that does not fit is refused by the run, and may be replaced
    resolve(&rig, json!(1)).await;
    let refusal = |run: &Run| {
        let known = run.status.as_ref()?.resolutions.get("settled.1")?;
        known.refused.clone()
    };
    let run = rig.until::<Run>("r", |run| refusal(run).is_some()).await;
    assert!(
        refusal(&run).unwrap().contains("does not fit"),
        "{:?}",
        refusal(&run)
    );
    rig.event("r", "ResolutionRefused").await;
    let nowhere = json!({"Settled/1": {"body": {}, "message": "?", "by": "alice"}});
    refused("alice", nowhere, "").await;
    refused("alice", json!({"settled.1": null}), "cannot be taken back").await;
    resolve(&rig, json!("R1")).await;

    let run = rig.phase("r", "Succeeded").await;
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"receipt": "R1"}));
    let known = &status.resolutions["settled.1"];
    assert_eq!(
        (known.by.as_deref(), known.message.as_str()),
        (Some("alice"), "by phone")
    );
    assert_eq!(known.refused, None);
    rig.event("r", "CallbackResolved").await;
    let other = json!({"settled.1": {"body": {"receipt": "R2"}, "message": "by mail", "by": "alice"}});
    refused("alice", other, "was answered already").await;

    // the callback comes after all
    let url = shop.asked("/pay")[0].body["url"].as_str().unwrap().to_owned();
    let late = reqwest::Client::new().post(url).json(&json!({"receipt": "R3"}));
    assert_eq!(late.send().await.unwrap().status(), 410);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_who_answers_and_no_run_begins_with_an_answer() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    flow(&rig, &shop).await;
    permit(&rig, "alice").await;
    let mut answered = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "early"},
        "spec": {"flow": "f", "resolutions": {"settled.1": {"body": {}, "message": "?", "by": "alice"}}}});
    rig.server.sign("alice", &mut answered);
    let answered: Run = serde_json::from_value(answered).unwrap();
    let runs: Api<Run> = Api::namespaced(rig.client("alice"), rig.namespace());
    let refused = runs.create(&PostParams::default(), &answered).await.unwrap_err();
    assert!(
        refused.to_string().contains("leave spec.resolutions out"),
        "{refused}"
    );

    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Waiting").await;
    resolve(&rig, json!(1)).await;
    let has = |run: &Run| {
        run.status
            .as_ref()
            .is_some_and(|status| !status.resolutions.is_empty())
    };
    rig.until::<Run>("r", has).await;
    let unsigned = json!({"settled.1": {"body": {"receipt": "R1"}, "message": "by mail", "by": null}});
    match patch(&rig, "alice", unsigned).await {
        Ok(run) if rig.stamps() => assert_eq!(run.spec.resolutions["settled.1"].by.as_deref(), Some("alice")),
        Err(refused) if !rig.stamps() => {
            assert!(
                refused.to_string().contains("does not say who answers"),
                "{refused}"
            );
        }
        other => panic!("{other:?}"),
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_loses_no_answer() {
    cut_around_each_write(2, survives).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn survives(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    flow(&rig, &shop).await;
    permit(&rig, "alice").await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        eventually("the payment was asked for", || !shop.asked("/pay").is_empty()).await;
        rig.phase("r", "Waiting").await;
        resolve(&rig, json!("R1")).await;
        rig.phase("r", "Succeeded").await
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"receipt": "R1"}), "{at:?}");
    assert_eq!(
        status.resolutions["settled.1"].by.as_deref(),
        Some("alice"),
        "{at:?}"
    );
    reached
}
