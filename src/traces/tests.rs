//! The spans of a run, and what a receiver gets of them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value,
    trace::v1::{Span, status::StatusCode as Ended},
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{TraceExporter, spans::spans};
use crate::net::{AddressPolicy, Network};
use signoff_api::{Release, Run};

/// A receiver that refuses the first requests.
struct Receiver {
    url: url::Url,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Receiver {
    async fn start(refused: usize) -> Self {
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let taken = Arc::clone(&bodies);
        let asked = Arc::<Mutex<usize>>::default();
        let route = post(move |body: Bytes| async move {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            if *asked <= refused {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            taken.lock().unwrap().push(body);
            StatusCode::OK
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let served = Router::new().route("/v1/traces", route);
        tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            bodies,
        }
    }

    fn exporter(&self) -> TraceExporter {
        // as for the store, the policy for addresses of flows does not apply
        TraceExporter::new(&self.url, &Network::new(AddressPolicy::default())).unwrap()
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let bodies = self.bodies.lock().unwrap().clone();
        let requests = bodies
            .into_iter()
            .map(|body| ExportTraceServiceRequest::decode(body).unwrap());
        requests.collect()
    }
}

fn run(status: &Value) -> Run {
    serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": "r", "namespace": "payments", "uid": "u-1", "creationTimestamp": "2026-12-01T10:00:00Z"},
        "spec": {"flow": "refund", "inputs": {"card": "4111"}, "requestedBy": "alice"},
        "status": status,
    }))
    .unwrap()
}

fn release() -> Release {
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "pay", "http": {"url": "https://a.example"}}]);
    serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": "refund-1"},
        "spec": {"flow": "refund", "definition": {"steps": steps}, "digest": digest(),
            "source": {"author": "alice"}},
    }))
    .unwrap()
}

fn digest() -> String {
    signoff_api::Digest::of(b"release").to_string()
}

fn ended() -> Run {
    run(&json!({
        "phase": "Failed", "revision": 9, "startedAt": "2026-12-01T10:00:00.500000Z", "finishedAt": "2026-12-08T10:00:01.000000Z",
        "release": {"name": "refund-1", "digest": digest()},
        "error": {"reason": "UnexpectedStatus", "message": "the bank says 4111 is wrong"},
        "steps": [
            {"name": "review", "iteration": 1, "phase": "Succeeded", "outcome": "Approved", "attempt": 0, "approval": "r-review",
                "startedAt": "2026-12-01T10:00:00.500000Z", "finishedAt": "2026-12-08T10:00:00.000000Z"},
            {"name": "pay", "iteration": 1, "phase": "Failed", "outcome": "Failed", "attempt": 3,
                "startedAt": "2026-12-08T10:00:00.000000Z", "finishedAt": "2026-12-08T10:00:01.000000Z",
                "error": {"reason": "UnexpectedStatus", "message": "the bank says 4111 is wrong"}},
            {"name": "later", "iteration": 1, "phase": "Omitted", "outcome": "Omitted", "attempt": 0},
        ],
    }))
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn a_receiver_gets_a_span_of_the_run_and_of_each_step_that_started_and_no_payload() {
    let receiver = Receiver::start(0).await;
    let spans = spans(&ended(), Some(&release())).unwrap();
    receiver.exporter().export(spans).await.unwrap();
    let requests = receiver.requests();
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    let service = resource.attributes.iter().find(|one| one.key == "service.name");
    assert!(format!("{service:?}").contains("signoff"), "{service:?}");
    let sent = &requests[0].resource_spans[0].scope_spans[0].spans;
    let names: Vec<&str> = sent.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["refund", "review", "pay"]);
    let [run, review, pay] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert!(run.parent_span_id.is_empty());
    for step in [review, pay] {
        assert_eq!(
            (&step.parent_span_id, &step.trace_id),
            (&run.span_id, &run.trace_id)
        );
    }
    // a week at the question
    let took = Duration::from_nanos(review.end_time_unix_nano - review.start_time_unix_nano);
    assert_eq!(took.as_secs(), 7 * 86_400 - 1);
    for (span, key, value) in [
        (run, "signoff.run.phase", "Failed"),
        (run, "error.type", "UnexpectedStatus"),
        (review, "signoff.step.kind", "approval"),
        (review, "signoff.step.outcome", "Approved"),
        (review, "signoff.approval", "r-review"),
        (pay, "signoff.step.kind", "http"),
    ] {
        assert_eq!(attribute(span, key), Some(value), "{key}");
    }
    let codes = [run, review, pay].map(|span| span.status.as_ref().unwrap().code);
    assert_eq!(
        codes,
        [Ended::Error as i32, Ended::Unset as i32, Ended::Error as i32]
    );
    let all = format!("{requests:?}");
    assert!(!all.contains("4111") && !all.contains("alice"), "{all}");
}

#[tokio::test]
async fn the_trace_of_a_run_is_the_same_whoever_makes_it() {
    let receiver = Receiver::start(0).await;
    for release in [Some(release()), None] {
        let spans = spans(&ended(), release.as_ref()).unwrap();
        receiver.exporter().export(spans).await.unwrap();
    }
    let ids = receiver.requests().into_iter().map(|request| {
        let spans = request.resource_spans[0].scope_spans[0].spans.clone();
        spans
            .into_iter()
            .map(|span| (span.trace_id, span.span_id))
            .collect::<Vec<_>>()
    });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_an_error_that_says_so_and_no_more() {
    let receiver = Receiver::start(1).await;
    let exporter = receiver.exporter();
    let refused = exporter.export(spans(&ended(), None).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    exporter.export(spans(&ended(), None).unwrap()).await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_run_that_goes_on_has_no_trace_yet_and_a_child_links_to_the_step_that_started_it() {
    assert!(spans(&run(&json!({"phase": "Waiting", "revision": 1})), None).is_none());
    let mut child = ended();
    child.spec.parent = Some(
        serde_json::from_value(
            json!({"uid": "u-0", "step": "all", "iteration": 2, "item": 4, "digest": digest(),
            "chain": [{"run": "parent", "flow": "above"}]}),
        )
        .unwrap(),
    );
    let spans = spans(&child, None).unwrap();
    let link = &spans[0].links[0];
    assert_eq!(
        link.span_context.span_id(),
        crate::telemetry::trace_ids::span_of_step("u-0", "all", 2)
    );
    assert_ne!(link.span_context.trace_id(), spans[0].span_context.trace_id());
}
