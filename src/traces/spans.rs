//! The spans of a run that has ended, from its status. They hold no payload: names, times, outcomes and reasons only.

use std::{borrow::Cow, time::SystemTime};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::telemetry::trace_ids::{span_of_run, span_of_step, trace_of};
use signoff_api::{
    Release, Run, RunPhase,
    run::{RunParent, RunStatus, StepError, StepPhase, StepStatus},
};

/// The span of the run and one for each step, if the run has ended.
pub(super) fn spans(run: &Run, release: Option<&Release>) -> Option<Vec<SpanData>> {
    let status = run.status.as_ref().filter(|status| status.phase.is_finished())?;
    let uid = run.metadata.uid.as_deref()?;
    let trace = trace_of(uid);
    let finished = time(status.finished_at.as_ref())?;
    let created = run.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let started = time(status.started_at.as_ref());
    let began = created.map(SystemTime::from).or(started).unwrap_or(finished);
    let root = span_of_run(uid);
    let mut spans = vec![Span {
        trace,
        id: root,
        parent: SpanId::INVALID,
        name: run.spec.flow.to_string(),
        // creation times have whole seconds, so that what follows may seem to be before them
        began: started.map_or(began, |started| began.min(started)),
        ended: finished,
        attributes: of_run(run, status),
        links: run.spec.parent.as_ref().map(started_by).into_iter().collect(),
        status: failure(status.phase == RunPhase::Failed, status.error.as_ref()),
    }];
    let kinds = Kinds(release);
    // what was taken over from a run that is retried is in the trace of that one; items have no time of their own
    let is_own = |step: &&StepStatus| step.taken_over != Some(true) && step.item.is_none();
    let steps = status.steps.iter().filter(is_own);
    spans.extend(steps.filter_map(|step| of_step((trace, root), uid, step, &kinds, finished)));
    Some(spans.into_iter().map(Span::into_data).collect())
}

/// What a span says, before it has the form of the library.
struct Span {
    trace: TraceId,
    id: SpanId,
    parent: SpanId,
    name: String,
    began: SystemTime,
    ended: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    status: Status,
}

impl Span {
    fn into_data(self) -> SpanData {
        let mut links = SpanLinks::default();
        links.links = self.links;
        SpanData {
            span_context: context(self.trace, self.id, false),
            parent_span_id: self.parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Owned(self.name),
            start_time: self.began,
            end_time: self.ended.max(self.began),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: self.status,
            instrumentation_scope: InstrumentationScope::builder("signoff")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}

fn of_run(run: &Run, status: &RunStatus) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(
            "k8s.namespace.name",
            run.metadata.namespace.clone().unwrap_or_default(),
        ),
        KeyValue::new("signoff.flow", run.spec.flow.to_string()),
        KeyValue::new("signoff.run", run.metadata.name.clone().unwrap_or_default()),
        KeyValue::new("signoff.run.uid", run.metadata.uid.clone().unwrap_or_default()),
        KeyValue::new("signoff.run.phase", status.phase.to_string()),
    ];
    if let Some(release) = &status.release {
        attributes.push(KeyValue::new("signoff.release", release.name.clone()));
    }
    if let Some(trigger) = &run.spec.trigger {
        attributes.push(KeyValue::new("signoff.trigger", trigger.name.to_string()));
    }
    if let Some(error) = &status.error {
        attributes.push(KeyValue::new("error.type", error.reason.to_string()));
    }
    attributes
}

fn of_step(
    (trace, root): (TraceId, SpanId),
    uid: &str,
    step: &StepStatus,
    kinds: &Kinds<'_>,
    finished: SystemTime,
) -> Option<Span> {
    // what never started took no time
    let began = time(step.started_at.as_ref())?;
    let mut attributes = vec![
        KeyValue::new("signoff.step", step.name.clone()),
        KeyValue::new("signoff.step.iteration", step.iteration),
    ];
    if let Some(kind) = kinds.of(&step.name) {
        attributes.push(KeyValue::new("signoff.step.kind", kind));
    }
    if let Some(outcome) = step.outcome {
        attributes.push(KeyValue::new("signoff.step.outcome", outcome.to_string()));
    }
    if step.attempt > 0 {
        attributes.push(KeyValue::new("signoff.step.attempts", step.attempt));
    }
    for (key, name) in [
        ("signoff.approval", &step.approval),
        ("signoff.child_run", &step.run),
        ("signoff.task", &step.task),
    ] {
        if let Some(name) = name {
            attributes.push(KeyValue::new(key, name.clone()));
        }
    }
    if let Some(usage) = &step.usage {
        attributes.push(KeyValue::new("gen_ai.usage.input_tokens", usage.input_tokens));
        attributes.push(KeyValue::new("gen_ai.usage.output_tokens", usage.output_tokens));
    }
    if let Some(error) = &step.error {
        attributes.push(KeyValue::new("error.type", error.reason.to_string()));
    }
    Some(Span {
        trace,
        id: span_of_step(uid, &step.name, step.iteration),
        parent: root,
        name: step.name.clone(),
        began,
        ended: time(step.finished_at.as_ref()).unwrap_or(finished),
        attributes,
        links: Vec::new(),
        status: failure(step.phase == StepPhase::Failed, step.error.as_ref()),
    })
}

/// Points to the step of another run that started this one. That run has a trace of its own.
fn started_by(parent: &RunParent) -> Link {
    let span = span_of_step(&parent.uid, &parent.step, parent.iteration);
    let attributes = parent
        .run()
        .map(|run| KeyValue::new("signoff.run", run.to_owned()));
    Link::new(
        context(trace_of(&parent.uid), span, true),
        attributes.into_iter().collect(),
        0,
    )
}

/// Which kind each step of a release is of.
struct Kinds<'a>(Option<&'a Release>);

impl Kinds<'_> {
    fn of(&self, step: &str) -> Option<&'static str> {
        let definition = &self.0?.spec.definition;
        let mut steps = definition.steps.iter().chain(definition.finally.iter().flatten());
        let step = steps.find(|known| known.name == step)?;
        Some(step.kind.rules().key)
    }
}

fn failure(failed: bool, error: Option<&StepError>) -> Status {
    if failed {
        // the message may repeat what somebody answered
        Status::error(error.map_or_else(String::new, |error| error.reason.to_string()))
    } else {
        Status::Unset
    }
}

fn context(trace: TraceId, span: SpanId, is_remote: bool) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, TraceState::default())
}

fn time(at: Option<&MicroTime>) -> Option<SystemTime> {
    at.map(|at| SystemTime::from(at.0))
}
