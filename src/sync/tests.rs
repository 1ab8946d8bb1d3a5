use std::collections::HashSet;

use kube::runtime::reflector;
use serde_json::{Value, json};

use super::*;
use crate::cluster::fake_api::{FakeApi, NAMESPACE};
use signoff_api::names;

/// An API server with a suspended Repository, and the controller, whose store shows what a test says.
struct Rig {
    api: FakeApi,
    shared: Arc<Repositories>,
    _mirrors: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let (api, mirrors) = (FakeApi::new(), tempfile::tempdir().unwrap());
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": {"name": "flows", "namespace": NAMESPACE, "generation": 1, "finalizers": [names::FINALIZER]},
            "spec": {"url": "https://forge.example/f.git", "draft": {"ref": "main"}, "suspend": true}});
        api.put::<Repository>(&serde_json::from_value(repository).unwrap());
        let (asked, _) = sync_requests().1.split();
        let shared = Repositories {
            context: api.context(),
            settings: RepositorySettings::local(mirrors.path().to_owned()),
            known: reflector::store().0,
            written: Written::default(),
            flows: reflector::store().0,
            releases: reflector::store().0,
            memories: Memories::default(),
            asked,
            claims: Claims::default(),
            backoffs: Backoffs::default(),
            rests: FailurePauses::default(),
            known_good: Permits::of_which_one_may_hold(CONCURRENCY),
            others: Permits::of_which_one_may_hold(CONCURRENCY),
            shutdown: CancellationToken::new(),
        };
        Self {
            api,
            shared: Arc::new(shared),
            _mirrors: mirrors,
        }
    }

    fn repository(&self) -> Arc<Repository> {
        Arc::new(self.api.get("repositories/flows"))
    }

    async fn reconcile(&self, shown: &Arc<Repository>) {
        reconcile(Arc::clone(shown), Arc::clone(&self.shared))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_watch_that_is_behind_what_was_written_leads_to_no_second_write() {
    let rig = Rig::new();
    let before = rig.repository();
    for _ in 0..3 {
        rig.reconcile(&before).await;
    }
    assert_eq!(rig.api.writes(), ["PATCH repositories/flows/status"]);
    rig.reconcile(&rig.repository()).await;
    assert_eq!(
        rig.api.writes().len(),
        1,
        "and what it shows then is as it is to be"
    );
}

#[tokio::test]
async fn a_change_by_others_is_acted_on_however_often_was_written_before() {
    let rig = Rig::new();
    rig.reconcile(&rig.repository()).await;
    let change = |repository: &mut Value| {
        repository["spec"]["url"] = json!("https://forge.example/g.git");
        repository["metadata"]["generation"] = json!(2);
    };
    rig.api.edit("repositories/flows", change);
    rig.reconcile(&rig.repository()).await;
    let writes: HashSet<String> = rig.api.writes().into_iter().collect();
    assert_eq!((rig.api.writes().len(), writes.len()), (2, 1));
    let status = rig.repository().status.clone().unwrap();
    assert_eq!(status.url.as_deref(), Some("https://forge.example/g.git"));
}
