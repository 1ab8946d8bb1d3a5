use serde_json::json;

use super::*;
use crate::cluster::fake_api::{FakeApi, NAMESPACE};
use signoff_api::Run;

fn run(name: &str) -> Run {
    let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid of {name}")}, "spec": {"flow": "f"}});
    serde_json::from_value(run).unwrap()
}

fn secret(version: &str) -> SecretVersion {
    SecretVersion {
        namespace: NAMESPACE.to_owned(),
        name: "shop".to_owned(),
        version: version.to_owned(),
    }
}

#[tokio::test]
async fn people_are_told_once_of_each_version_of_a_secret_and_of_each_that_uses_it() {
    let (api, weak) = (FakeApi::new(), WeakSecrets::default());
    let context = api.context();
    for (user, version, told) in [
        ("a", "1", 1),
        ("a", "1", 1),
        ("b", "1", 2),
        ("a", "2", 3),
        ("a", "1", 3),
        ("b", "1", 3),
    ] {
        // each handle knows what the others have told
        weak.clone()
            .tell(&context, &run(user), &secret(version), WeakSecret)
            .await;
        assert_eq!(api.events().len(), told, "{user} {version}");
    }
    assert_eq!(api.events(), ["WeakSecret"; 3]);
}

#[tokio::test]
async fn however_many_there_are_so_many_are_remembered() {
    let (api, weak) = (FakeApi::new(), WeakSecrets::default());
    let (context, run) = (api.context(), run("a"));
    for version in 0..REMEMBERED + 3 {
        weak.tell(&context, &run, &secret(&version.to_string()), WeakSecret)
            .await;
    }
    assert!(weak.0.lock().unwrap().len() <= REMEMBERED);
}
