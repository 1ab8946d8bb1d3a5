//! Nobody promotes their own work alone: who asked for a promotion and who wrote what is promoted do not approve it.

use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, Decision, Flow, Release, Run, names};

use crate::support::{
    rig::{PATIENCE, Rig, Running},
    shop::Shop,
};

/// A flow `f` with a gate, as this user makes it. Gives the name of its release.
async fn gated_flow(rig: &Rig, user: &str) -> String {
    let spec = json!({"steps": [{"name": "one", "set": {"x": 1}}], "promotion": {"approval": {"quorum": 1}}});
    let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "f"}, "spec": spec});
    let flow: Flow = serde_json::from_value(flow).unwrap();
    flows(rig, user)
        .create(&PostParams::default(), &flow)
        .await
        .unwrap();
    let draft = |flow: &Flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.clone());
    draft(&rig.until("f", |flow| draft(flow).is_some()).await).unwrap()
}

fn flows(rig: &Rig, user: &str) -> Api<Flow> {
    Api::namespaced(rig.client(user), rig.namespace())
}

async fn patch(rig: &Rig, user: &str, patch: Value) -> Flow {
    let patch = Patch::Merge(patch);
    let patched = flows(rig, user).patch("f", &PatchParams::default(), &patch).await;
    patched.unwrap()
}

/// The question that is put when this user wishes the release live.
async fn wished_by(rig: &Rig, user: &str, release: &str) -> Approval {
    patch(rig, user, json!({"spec": {"live": release}})).await;
    rig.until::<Approval>(&names::promotion_approval_name(release, 1, "release"), |_| true)
        .await
}

async fn until_live(rig: &Rig, release: &str) -> Flow {
    let live = |flow: &Flow| {
        flow.status
            .as_ref()
            .and_then(|status| status.live_release().map(str::to_owned))
    };
    rig.until("f", |flow| live(flow).as_deref() == Some(release))
        .await
}

async fn start() -> (Rig, Running) {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    (rig, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_promotion_does_not_approve_it_and_somebody_else_does() {
    let (rig, operator) = start().await;
    if !rig.stamps() {
        return;
    }
    let release = gated_flow(&rig, "admin").await;
    let question = wished_by(&rig, "alice", &release).await;
    assert_eq!(question.spec.requested_by.as_deref(), Some("alice"));
    let own = rig.decide("alice", &question.name_any(), "Approve").await;
    let (counts, reason, message) = rig.judged(&own).await;
    assert_eq!((counts, reason.as_str()), (false, "SelfApproval"), "{message}");
    let other = rig.decide("bob", &question.name_any(), "Approve").await;
    assert!(rig.judged(&other).await.0);
    let flow = until_live(&rig, &release).await;
    assert_eq!(flow.status.unwrap().gated, Some(true));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wrote_the_release_does_not_approve_its_promotion_whoever_asks_for_it() {
    let (rig, operator) = start().await;
    if !rig.stamps() {
        return;
    }
    let release = gated_flow(&rig, "admin").await;
    let described = json!({"spec": {"description": "better"}});
    let changed = patch(&rig, "bob", described).await;
    assert_eq!(changed.annotations()[names::CHANGED_BY], "bob");
    let draft = |flow: &Flow| flow.status.clone().unwrap_or_default().draft.unwrap().release;
    let next = draft(&rig.until("f", |flow| draft(flow) != release).await);
    let source = rig.api::<Release>().get(&next).await.unwrap().spec.source;
    assert_eq!(source.changed_by.as_deref(), Some("bob"));
    let question = wished_by(&rig, "alice", &next).await;
    let (author, written_by) = (question.spec.author.as_deref(), &question.spec.written_by);
    assert_eq!(
        (author, written_by.as_slice()),
        (Some("bob"), &["bob".to_owned()][..])
    );
    let own = rig.decide("bob", &question.name_any(), "Approve").await;
    assert_eq!(rig.judged(&own).await.1, "SelfApproval");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_made_again_is_the_work_of_who_made_it_again() {
    let (rig, operator) = start().await;
    if !rig.stamps() {
        return;
    }
    let first = gated_flow(&rig, "admin").await;
    let draft = |flow: &Flow| flow.status.clone().unwrap_or_default().draft.unwrap().release;
    patch(&rig, "admin", json!({"spec": {"description": "other"}})).await;
    rig.until("f", |flow| draft(flow) != first).await;
    patch(&rig, "bob", json!({"spec": {"description": null}})).await;
    rig.until("f", |flow| draft(flow) == first).await;
    let question = wished_by(&rig, "alice", &first).await;
    assert_eq!(
        question.spec.author.as_deref(),
        Some("admin"),
        "who made it first"
    );
    assert_eq!(question.spec.written_by, ["bob"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_goes_with_the_run_it_was_decided_in() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    if !rig.collects() {
        return;
    }
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    let counted = rig.decide("alice", "r-review", "Approve").await;
    assert!(rig.judged(&counted).await.0);
    let run: Run = rig.phase("r", "Succeeded").await;
    let late = rig.decide("bob", "r-review", "Reject").await;
    assert_eq!(rig.judged(&late).await.1, "AlreadyDecided");
    let stray = json!({"approval": "nowhere", "digest": counted.spec.digest, "verdict": "Approve"});
    let stray = rig.decide_with("alice", stray).await.unwrap();
    assert_eq!(rig.judged(&stray).await.1, "ApprovalNotFound");
    for decision in [&counted, &late] {
        let tied = |decision: &Decision| {
            let owners = decision.owner_references();
            owners
                .iter()
                .any(|owner| owner.kind == "Approval" && owner.name == rig.known("r-review"))
        };
        rig.until::<Decision>(&decision.name_any(), tied).await;
    }
    rig.delete_run(&run.name_any()).await;
    rig.until_gone::<Approval>("r-review").await;
    for decision in [&counted, &late] {
        rig.until_gone::<Decision>(&decision.name_any()).await;
    }
    rig.until::<Decision>(&stray.name_any(), |_| true).await;
    operator.stop().await;
}

/// Lets a user do something to `resource` where the agent's account is, and waits until the server knows it.
async fn allow(rig: &Rig, user: &str, rule: &Value) {
    let admin = rig.client("admin");
    let name = format!("{}-{user}", rig.namespace());
    let params = PatchParams::apply("test").force();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": [rule]});
    let roles: Api<Role> = Api::namespaced(admin.clone(), ACCOUNT_NAMESPACE);
    roles.patch(&name, &params, &Patch::Apply(role)).await.unwrap();
    let group = "rbac.authorization.k8s.io";
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}]});
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), ACCOUNT_NAMESPACE);
    bindings
        .patch(&name, &params, &Patch::Apply(binding))
        .await
        .unwrap();
    let (resource, subresource) = match rule["resources"][0].as_str().unwrap().split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (rule["resources"][0].as_str().unwrap(), None),
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": {
        "user": user, "resourceAttributes": {"namespace": ACCOUNT_NAMESPACE, "group": rule["apiGroups"][0],
            "resource": resource, "subresource": subresource, "verb": rule["verbs"][0], "name": rule["resourceNames"][0]}}});
    let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(admin);
    let known = async {
        let allowed = |review: SubjectAccessReview| review.status.is_some_and(|status| status.allowed);
        while !allowed(reviews.create(&PostParams::default(), &review).await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, known)
        .await
        .expect("the right is known");
}

/// Where the account of the agent is.
const ACCOUNT_NAMESPACE: &str = "default";
const ACCOUNT: &str = "system:serviceaccount:default:agent";

/// A run of `f` that the agent starts.
async fn started_by_agent(rig: &Rig, name: &str) {
    let mut run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "f"}});
    rig.server.sign("agent", &mut run);
    let run: Run = serde_json::from_value(run).unwrap();
    let runs: Api<Run> = Api::namespaced(rig.client("agent"), rig.namespace());
    let started = runs.create(&PostParams::default(), &run).await.unwrap();
    assert_eq!(started.spec.requested_by.as_deref(), Some(ACCOUNT));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_act_as_the_agent_that_asked_does_not_approve_for_it_and_somebody_else_does() {
    let (rig, operator) = start().await;
    let steps =
        json!([{"name": "review", "approval": {"title": "go?", "approvers": {"groups": ["finance"]}}}]);
    rig.flow("f", json!({"steps": steps})).await;
    if rig.namespace() != ACCOUNT_NAMESPACE {
        // the account is another namespace's, and works here
        let rules = json!([{"apiGroups": ["signoff.dev"], "resources": ["runs"], "verbs": ["create"]}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "agent-starts"}, "rules": rules});
        let group = "rbac.authorization.k8s.io";
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "agent-starts"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "agent-starts"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": ACCOUNT}]});
        let params = PatchParams::apply("test").force();
        rig.api::<Role>()
            .patch("agent-starts", &params, &Patch::Apply(role))
            .await
            .unwrap();
        rig.api::<RoleBinding>()
            .patch("agent-starts", &params, &Patch::Apply(binding))
            .await
            .unwrap();
        let may = async {
            let runs: Api<Run> = Api::namespaced(rig.client("agent"), rig.namespace());
            let probe: Run =
                serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
                "metadata": {"name": "probe"}, "spec": {"flow": "f", "requestedBy": ACCOUNT}}))
                .unwrap();
            let dry = PostParams {
                dry_run: true,
                ..PostParams::default()
            };
            while runs.create(&dry, &probe).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, may)
            .await
            .expect("the agent may start runs");
    }
    let named = |resource: &str, verb: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": [verb], "resourceNames": ["agent"]});
    for (n, (rule, how)) in [
        (named("serviceaccounts", "impersonate"), "may impersonate it"),
        (
            named("serviceaccounts/token", "create"),
            "may have tokens made of it",
        ),
        (
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}),
            "may run pods under it",
        ),
        (
            json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}),
            "may run pods under it",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        allow(&rig, "bob", &rule).await;
        let run = format!("r{n}");
        started_by_agent(&rig, &run).await;
        let question = format!("{run}-review");
        rig.until::<Approval>(&question, |_| true).await;
        let own = rig.decide("bob", &question, "Approve").await;
        let (counts, reason, message) = rig.judged(&own).await;
        assert_eq!((counts, reason.as_str()), (false, "ActsAsRequester"), "{message}");
        assert!(message.contains(how), "{message}");
        let other = rig.decide("alice", &question, "Approve").await;
        assert!(rig.judged(&other).await.0);
        rig.phase(&run, "Succeeded").await;
    }
    // what is asked by a person is decided by whoever may act as the account
    rig.start("person", json!({"flow": "f"})).await;
    rig.until::<Approval>("person-review", |_| true).await;
    let person = rig.decide("bob", "person-review", "Approve").await;
    assert!(rig.judged(&person).await.0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_back_the_group_by_which_they_may_act_as_the_agent() {
    let (rig, operator) = start().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    let question = rig.until::<Approval>("r-review", |_| true).await;
    let spec = json!({"approval": "r-review", "digest": question.spec.digest, "verdict": "Approve", "by": "alice", "groups": []});
    let error = rig.decide_with("alice", spec).await.unwrap_err();
    assert!(error.to_string().contains("spec.groups leaves out"), "{error}");
    operator.stop().await;
}
