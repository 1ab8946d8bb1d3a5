//! What the unit tests of runs have in common: an API server in memory, and all that runs need to go on.

use std::sync::Arc;

use kube::runtime::{
    reflector::{self, store::Writer},
    watcher,
};
use serde_json::{Value, json};

use super::{Bounds, Deps, Jobs, waker};
use crate::{
    cluster::{
        context::{Clock, Context},
        fake_api::{FakeApi, NAMESPACE, clock},
        leadership::Leadership,
        releases::Releases,
        run_endings::{EndedRuns, run_endings},
        shared::OpenApprovals,
    },
    perform::Executors,
    telemetry::metrics::Metrics,
};
use signoff_api::{Definition, Flow, Release, Run, canonical, names};
use signoff_engine::callback_token::{CallbackKeys, CallbackMinter};

pub(super) struct Fixture {
    pub(super) api: FakeApi,
    pub(super) deps: Arc<Deps>,
    pub(super) ended: EndedRuns<String>,
    flows: Writer<Flow>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with_clock(clock())
    }

    pub(super) fn with_clock(clock: Clock) -> Self {
        let api = FakeApi::new();
        let context = Arc::new(Context::new(api.client(), clock.clone()));
        let (flows, writer) = reflector::store();
        let (connections, _) = reflector::store();
        let (work, _) = reflector::store();
        let (endings, ended, _) = run_endings();
        let keys = [("k".to_owned(), vec![1; 32])].into();
        let deps = Deps {
            releases: Arc::new(Releases::new(Arc::clone(&context))),
            context,
            flows,
            connections,
            open: OpenApprovals::none(),
            work,
            jobs: Jobs::off("no jobs in this test"),
            executors: Executors::local(api.client(), clock).unwrap(),
            callbacks: CallbackMinter {
                base_url: "http://gateway".to_owned(),
                keys: CallbackKeys::new("k", keys).unwrap(),
            },
            metrics: Metrics::new(),
            bounds: Bounds::new(8),
            leadership: Leadership::unrivalled(),
            waker: waker().0,
            endings,
        };
        Self {
            api,
            deps: Arc::new(deps),
            ended,
            flows: writer,
        }
    }

    /// With a live release of flow `f` that has these steps. Gives its name.
    pub(super) fn release(&mut self, steps: &Value) -> String {
        let definition: Definition = serde_json::from_value(json!({"steps": steps})).unwrap();
        let digest = canonical::digest(&definition).unwrap();
        let name = names::release_name("f", &digest);
        let release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": name},
            "spec": {"flow": "f", "definition": definition, "digest": digest, "source": {}}});
        self.api.put::<Release>(&serde_json::from_value(release).unwrap());
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "f", "namespace": NAMESPACE},
            "spec": definition, "status": {"live": {"release": name, "digest": digest}}});
        let flow = serde_json::from_value(flow).unwrap();
        self.flows.apply_watcher_event(&watcher::Event::Apply(flow));
        name
    }

    /// With a live release that asks people.
    pub(super) fn that_asks(mut self) -> Self {
        self.release(&json!([{"name": "ask", "approval": {"title": "go?"}}]));
        self
    }

    /// A new run of flow `f`, as the API server has it.
    pub(super) fn run(&self, name: &str) -> Run {
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "f"}});
        self.api.put(&serde_json::from_value(run).unwrap())
    }
}
