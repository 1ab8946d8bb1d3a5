//! What editors may not do on the embedded control plane: send Secrets that they may not read, and delete runs.

use k8s_openapi::api::{core::v1::Namespace, rbac::v1::ClusterRole};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use signoff_api::{Connection, Repository, Run};
use signoff_local::Identity;

use crate::local_support::{Local, eventually, map, refusal};

/// Where editors have what they have in a cluster without further roles: all of Signoff's kinds, and no Secret.
async fn without_secrets() -> Local {
    let local = Local::start().await;
    let roles: Api<ClusterRole> = Api::all(local.client());
    let kept =
        Patch::Merge(json!({"rules": [{"apiGroups": ["signoff.dev"], "resources": ["*"], "verbs": ["*"]}]}));
    roles
        .patch("signoff-editor", &PatchParams::default(), &kept)
        .await
        .unwrap();
    local
}

#[tokio::test]
async fn who_may_not_read_a_secret_does_not_have_it_sent() {
    let local = without_secrets().await;
    let dev: Api<Connection> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let admin: Api<Connection> = Api::default_namespaced(local.client());
    let connection: Connection = serde_json::from_value(json!({
        "metadata": {"name": "c"},
        "spec": {"http": {"baseURL": "https://shop.example.com", "auth": {"bearer": {"name": "shop", "key": "token"}}}},
    }))
    .unwrap();
    let (code, _, message) = refusal(dev.create(&PostParams::default(), &connection).await);
    assert_eq!(code, 403);
    assert!(
        message.contains("a Connection sends the Secrets that it names: \"dev\" may not get the Secret \"shop\" in namespace \"default\""),
        "{message}"
    );
    admin.create(&PostParams::default(), &connection).await.unwrap();
    let turned = Patch::Merge(json!({"spec": {"http": {"baseURL": "https://mine.example.com"}}}));
    assert_eq!(
        refusal(dev.patch("c", &PatchParams::default(), &turned).await).0,
        403
    );
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    dev.patch("c", &PatchParams::default(), &labelled).await.unwrap();
}

#[tokio::test]
async fn who_may_not_read_the_token_of_a_forge_does_not_have_it_sent() {
    let local = without_secrets().await;
    let dev: Api<Repository> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let admin: Api<Repository> = Api::default_namespaced(local.client());
    let forge = json!({"kind": "Gitea", "url": "https://mine.example.com/api/v1", "token": {"name": "payroll", "key": "k"}});
    let repository: Repository = serde_json::from_value(json!({
        "metadata": {"name": "flows"},
        "spec": {"url": "https://forge.example.com/acme/flows.git", "draft": {"ref": "main"}, "forge": forge},
    }))
    .unwrap();
    let why = "a Repository sends the token that spec.forge names to the address there: \"dev\" may not get the Secret \"payroll\" in namespace \"default\"";
    let (code, _, message) = refusal(dev.create(&PostParams::default(), &repository).await);
    assert!(code == 403 && message.contains(why), "{message}");
    admin.create(&PostParams::default(), &repository).await.unwrap();
    let patch = async |spec: serde_json::Value| {
        let patch = Patch::Merge(json!({ "spec": spec }));
        dev.patch("flows", &PatchParams::default(), &patch).await
    };
    for forge in [
        json!({"url": "https://other.example.com/api/v1"}),
        json!({"token": {"key": "other"}}),
    ] {
        let (_, _, message) = refusal(patch(json!({ "forge": forge })).await);
        assert!(message.contains(why), "{message}");
    }
    patch(json!({"promotion": {"approval": {"quorum": 2}}}))
        .await
        .unwrap();
    patch(json!({"forge": null})).await.unwrap();
}

#[tokio::test]
async fn who_may_not_delete_runs_does_not_have_one_deleted_by_an_owner_that_is_gone() {
    let local = Local::start().await;
    let dev: Api<Run> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let operator: Api<Run> = Api::default_namespaced(local.plane.client(&Identity::Operator));
    let run = Run::new("r", serde_json::from_value(json!({"flow": "f"})).unwrap());
    dev.create(&PostParams::default(), &run).await.unwrap();
    let map = local
        .maps()
        .create(&PostParams::default(), &map("owner", "a"))
        .await
        .unwrap();
    let owner =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": map.metadata.uid});
    let owned = |name: &str| Patch::Merge(json!({"metadata": {"ownerReferences": [owner(name)]}}));
    let why = "a run goes with its owners, and what was decided in it too: adding to metadata.ownerReferences takes the verb delete on runs.signoff.dev, which \"dev\" lacks in namespace \"default\"";
    let params = PatchParams::default();
    let (code, _, message) = refusal(dev.patch("r", &params, &owned("owner")).await);
    assert!(code == 403 && message.contains(why), "{message}");
    let mut born_with_it = run;
    born_with_it.metadata =
        serde_json::from_value(json!({"name": "b", "ownerReferences": [owner("owner")]})).unwrap();
    assert_eq!(
        refusal(dev.create(&PostParams::default(), &born_with_it).await).0,
        403
    );
    operator.patch("r", &params, &owned("owner")).await.unwrap();
    let (_, _, message) = refusal(dev.patch("r", &params, &owned("gone")).await);
    assert!(message.contains(why), "{message}");
    for change in [
        json!({"spec": {"suspend": true}}),
        json!({"metadata": {"labels": {"a": "b"}, "ownerReferences": null}}),
    ] {
        dev.patch("r", &params, &Patch::Merge(change)).await.unwrap();
    }
}

#[tokio::test]
async fn an_editor_starts_runs_and_does_not_delete_them() {
    let local = Local::start().await;
    let dev: Api<Run> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let run = Run::new("r", serde_json::from_value(json!({"flow": "f"})).unwrap());
    dev.create(&PostParams::default(), &run).await.unwrap();
    let (code, _, message) = refusal(dev.delete("r", &DeleteParams::default()).await);
    assert_eq!(code, 403);
    assert!(message.contains("cannot delete resource \"runs\""), "{message}");
}

#[tokio::test]
async fn a_run_is_deleted_once_it_has_ended_or_was_terminated() {
    let local = Local::start().await;
    let admin: Api<Run> = Api::default_namespaced(local.client());
    let operator: Api<Run> = Api::default_namespaced(local.plane.client(&Identity::Operator));
    let create = async |name: &str| {
        let run = Run::new(name, serde_json::from_value(json!({"flow": "f"})).unwrap());
        admin.create(&PostParams::default(), &run).await.unwrap();
    };
    let phase = async |name: &str, phase: &str| {
        let status = Patch::Merge(json!({"status": {"phase": phase}}));
        operator
            .patch_status(name, &PatchParams::default(), &status)
            .await
            .unwrap();
    };
    let delete = async |name: &str| admin.delete(name, &DeleteParams::default()).await;
    for run in ["new", "waiting", "ended", "stopped", "one", "two"] {
        create(run).await;
    }
    for (run, why) in [
        ("new", "run \"new\" has not ended"),
        ("waiting", "signoff cancel waiting"),
    ] {
        if run == "waiting" {
            phase(run, "Waiting").await;
        }
        let (code, _, message) = refusal(delete(run).await);
        assert!(code == 403 && message.contains(why), "{message}");
    }
    phase("ended", "Failed").await;
    delete("ended").await.unwrap();
    let terminate = Patch::Merge(json!({"spec": {"terminate": true}}));
    admin
        .patch("stopped", &PatchParams::default(), &terminate)
        .await
        .unwrap();
    delete("stopped").await.unwrap();
    // of a collection, each run is looked at
    phase("one", "Succeeded").await;
    let (code, ..) = refusal(
        admin
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await,
    );
    assert_eq!(code, 403);
    operator.delete("two", &DeleteParams::default()).await.unwrap();
    // with its namespace, a run goes in any phase
    let namespaces: Api<Namespace> = Api::all(local.client());
    let team = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    let runs: Api<Run> = Api::namespaced(local.client(), "team");
    let run = Run::new("r", serde_json::from_value(json!({"flow": "f"})).unwrap());
    runs.create(&PostParams::default(), &run).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    eventually("the run to go with its namespace", async || {
        runs.get_opt("r").await.unwrap().is_none()
    })
    .await;
}
