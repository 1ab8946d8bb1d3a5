//! Prometheus metrics. Every label has a bounded set of values: kinds, phases, classes; never a name.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use signoff_api::{
    ApprovalPhase,
    decision::{DecisionReason, Verdict},
};

/// One label with a value from a fixed set.
type One = [(&'static str, &'static str); 1];
/// Two labels with values from fixed sets.
type Two = [(&'static str, &'static str); 2];
/// Two labels, the second with a value that is the name of an enum's variant, or a number of a fixed set.
type Named = [(&'static str, String); 2];
/// One label with such a value.
type OneNamed = [(&'static str, String); 1];

/// All metrics of the operator. Clones are handles on the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    leading: Gauge,
    runs: Family<One, Gauge>,
    runs_finished: Family<One, Counter>,
    process_endings: Family<One, Counter>,
    decisions: Family<Named, Counter>,
    answer_times: Family<OneNamed, Histogram, fn() -> Histogram>,
    gateway_requests: Family<Named, Counter>,
    model_tokens: Family<One, Counter>,
    model_calls: Family<One, Counter>,
    approvals_pending: Gauge,
    approvals_oldest: Gauge<f64, AtomicU64>,
    decision_to_effect: Histogram,
    callback_to_effect: Histogram,
    reconcile: Family<One, Histogram, fn() -> Histogram>,
    reconcile_errors: Family<Two, Counter>,
    api_writes: Family<One, Counter>,
    api_conflicts: Family<One, Counter>,
    queue_depth: Family<One, Gauge>,
    effects_in_flight: Gauge,
    git_sync: Histogram,
    connections: Family<One, Gauge>,
    connections_closed: Family<Two, Counter>,
    accept_errors: Family<One, Counter>,
    evaluations_waiting: Family<One, Gauge>,
    evaluation_wait: Family<One, Histogram, fn() -> Histogram>,
    evaluation: Family<One, Histogram, fn() -> Histogram>,
    undecodable: Family<One, Counter>,
    watch_stalls: Family<One, Counter>,
    task_restarts: Family<One, Counter>,
    notifications: Family<Two, Counter>,
    traces: Family<One, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// From 0.5 ms to about 16 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
}

/// From 15 s to about 5 days.
fn days() -> Histogram {
    Histogram::new(exponential_buckets(15.0, 2.0, 16))
}

/// From 5 µs to about 1.3 s.
fn microseconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_005, 4.0, 10))
}

/// What a run went on after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// People decided.
    Decision,
    /// A callback came.
    Callback,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that are all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("signoff");
        let inner = Inner {
            leading: Gauge::default(),
            runs: Family::default(),
            runs_finished: Family::default(),
            process_endings: Family::default(),
            decisions: Family::default(),
            answer_times: Family::new_with_constructor(days),
            gateway_requests: Family::default(),
            model_tokens: Family::default(),
            model_calls: Family::default(),
            approvals_pending: Gauge::default(),
            approvals_oldest: Gauge::default(),
            decision_to_effect: seconds(),
            callback_to_effect: seconds(),
            reconcile: Family::new_with_constructor(seconds),
            reconcile_errors: Family::default(),
            api_writes: Family::default(),
            api_conflicts: Family::default(),
            queue_depth: Family::default(),
            effects_in_flight: Gauge::default(),
            // from 10 ms to about 5 min
            git_sync: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
            connections: Family::default(),
            connections_closed: Family::default(),
            accept_errors: Family::default(),
            evaluations_waiting: Family::default(),
            evaluation_wait: Family::new_with_constructor(microseconds),
            evaluation: Family::new_with_constructor(microseconds),
            undecodable: Family::default(),
            watch_stalls: Family::default(),
            task_restarts: Family::default(),
            notifications: Family::default(),
            traces: Family::default(),
            registry: Mutex::default(),
        };
        registry.register(
            "build",
            "The version of this process",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "leading",
            "1 while this process leads, 0 while another one does",
            inner.leading.clone(),
        );
        registry.register("runs", "Runs that have not ended, by phase", inner.runs.clone());
        registry.register(
            "runs_finished",
            "Runs that have ended, by phase",
            inner.runs_finished.clone(),
        );
        registry.register(
            "process_endings",
            "Attempts to end processes on other machines, by result",
            inner.process_endings.clone(),
        );
        registry.register(
            "decisions",
            "Decisions that were judged, by verdict and reason",
            inner.decisions.clone(),
        );
        registry.register_with_unit(
            "approval_open",
            "Time for which an approval was open, by how it was closed",
            Unit::Seconds,
            inner.answer_times.clone(),
        );
        registry.register(
            "gateway_requests",
            "Requests that the gateway has answered, by route and status code",
            inner.gateway_requests.clone(),
        );
        registry.register(
            "model_tokens",
            "Tokens of language models, as their APIs count them, by direction",
            inner.model_tokens.clone(),
        );
        registry.register(
            "model_calls",
            "Calls of language models that were answered, by result of the step's attempt",
            inner.model_calls.clone(),
        );
        registry.register(
            "approvals_pending",
            "Approvals that nobody has decided yet",
            inner.approvals_pending.clone(),
        );
        registry.register_with_unit(
            "approvals_oldest_pending_timestamp",
            "When the oldest pending approval was opened, in Unix time; 0 if there is none",
            Unit::Seconds,
            inner.approvals_oldest.clone(),
        );
        registry.register_with_unit(
            "decision_to_effect",
            "Time from a decision being seen to the start of the next step's effect",
            Unit::Seconds,
            inner.decision_to_effect.clone(),
        );
        registry.register_with_unit(
            "callback_to_effect",
            "Time from a callback being seen to the start of the next step's effect",
            Unit::Seconds,
            inner.callback_to_effect.clone(),
        );
        registry.register_with_unit(
            "reconcile",
            "Time taken to decide on and write one object, by kind",
            Unit::Seconds,
            inner.reconcile.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Failures to decide on or write an object, by kind and class",
            inner.reconcile_errors.clone(),
        );
        registry.register(
            "api_writes",
            "Writes to the API server, by kind",
            inner.api_writes.clone(),
        );
        registry.register(
            "api_conflicts",
            "Writes that the API server refused because the object had changed, by kind",
            inner.api_conflicts.clone(),
        );
        registry.register(
            "queue_depth",
            "Objects that are being worked on or wait for it, by kind",
            inner.queue_depth.clone(),
        );
        registry.register(
            "effects_in_flight",
            "Effects of steps that are being performed",
            inner.effects_in_flight.clone(),
        );
        registry.register_with_unit(
            "git_sync",
            "Time taken to fetch and apply one Repository",
            Unit::Seconds,
            inner.git_sync.clone(),
        );
        registry.register(
            "connections",
            "Open connections, by listener",
            inner.connections.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections that were closed or refused, by listener and reason",
            inner.connections_closed.clone(),
        );
        registry.register(
            "accept_errors",
            "Failures to accept a connection, such as for want of file descriptors, by listener",
            inner.accept_errors.clone(),
        );
        registry.register(
            "evaluations_waiting",
            "Work that tenants wrote and that waits for a thread, by pool",
            inner.evaluations_waiting.clone(),
        );
        registry.register_with_unit(
            "evaluation_wait",
            "Time that work tenants wrote has waited for a thread, by pool",
            Unit::Seconds,
            inner.evaluation_wait.clone(),
        );
        registry.register_with_unit(
            "evaluation",
            "Time that work tenants wrote has taken, by pool",
            Unit::Seconds,
            inner.evaluation.clone(),
        );
        registry.register(
            "undecodable_objects",
            "Versions of objects that were passed over because they cannot be decoded, by kind",
            inner.undecodable.clone(),
        );
        registry.register(
            "watch_stalls",
            "Watches that did not end when they were to and were cut off, by kind",
            inner.watch_stalls.clone(),
        );
        registry.register(
            "task_restarts",
            "Long-lived tasks that broke and were started again, by task",
            inner.task_restarts.clone(),
        );
        registry.register(
            "notifications",
            "Messages that notifications of flows asked for, by channel and whether they were sent",
            inner.notifications.clone(),
        );
        registry.register(
            "traces",
            "Traces of runs that ended, by whether they were sent",
            inner.traces.clone(),
        );
        *inner.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        Self(Arc::new(inner))
    }

    /// This process leads, or leads no more; then it knows nothing of runs.
    pub fn leading(&self, leads: bool) {
        self.0.leading.set(leads.into());
        if !leads {
            self.0.runs.clear();
            self.0.queue_depth.clear();
            self.approvals_pending(0, None);
        }
    }

    /// A run came into a phase, left one, or both.
    pub fn run_phase(&self, from: Option<&'static str>, to: Option<&'static str>) {
        if let Some(phase) = from {
            self.0.runs.get_or_create(&[("phase", phase)]).dec();
        }
        if let Some(phase) = to {
            self.0.runs.get_or_create(&[("phase", phase)]).inc();
        }
    }

    /// A run ended.
    pub fn run_finished(&self, phase: &'static str) {
        self.0.runs_finished.get_or_create(&[("phase", phase)]).inc();
    }

    /// It was judged whether a decision counts.
    pub fn decision_judged(&self, verdict: Verdict, reason: DecisionReason) {
        let labels = [
            ("verdict", format!("{verdict:?}")),
            ("reason", format!("{reason:?}")),
        ];
        self.0.decisions.get_or_create(&labels).inc();
    }

    /// An approval was closed after this time.
    pub fn approval_closed(&self, phase: ApprovalPhase, open_for: Duration) {
        let labels = [("phase", phase.to_string())];
        let histogram = self.0.answer_times.get_or_create(&labels);
        histogram.observe(open_for.as_secs_f64());
    }

    /// The gateway has answered a request.
    pub fn gateway_answered(&self, route: &'static str, code: u16) {
        let labels = [("route", route.to_owned()), ("code", code.to_string())];
        self.0.gateway_requests.get_or_create(&labels).inc();
    }

    /// How many approvals are pending, and when the oldest of them was opened, in seconds of Unix time.
    pub fn approvals_pending(&self, count: usize, oldest: Option<f64>) {
        self.0
            .approvals_pending
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        self.0.approvals_oldest.set(oldest.unwrap_or_default());
    }

    /// The next step's effect started this long after what the run went on after.
    pub fn resumed(&self, after: Resumption, took: Duration) {
        let histogram = match after {
            Resumption::Decision => &self.0.decision_to_effect,
            Resumption::Callback => &self.0.callback_to_effect,
        };
        histogram.observe(took.as_secs_f64());
    }

    /// An object of a kind was decided on and written.
    pub fn reconciled(&self, kind: &'static str, took: Duration) {
        self.0
            .reconcile
            .get_or_create(&[("kind", kind)])
            .observe(took.as_secs_f64());
    }

    /// An object of a kind could not be decided on or written.
    pub fn reconcile_failed(&self, kind: &'static str, class: &'static str) {
        self.0
            .reconcile_errors
            .get_or_create(&[("kind", kind), ("class", class)])
            .inc();
    }

    /// A message that a notification of a flow asked for was sent, or could not be.
    pub fn notified(&self, channel: &'static str, sent: bool) {
        let result = if sent { "Sent" } else { "Failed" };
        let labels = [("channel", channel), ("result", result)];
        self.0.notifications.get_or_create(&labels).inc();
    }

    /// The trace of a run was sent, or was given up.
    pub fn traced(&self, sent: bool) {
        let result = if sent { "Sent" } else { "Dropped" };
        self.0.traces.get_or_create(&[("result", result)]).inc();
    }

    /// The API server was asked to write an object of a kind.
    pub fn api_write(&self, kind: &'static str) {
        self.0.api_writes.get_or_create(&[("kind", kind)]).inc();
    }

    /// The API server refused a write because the object had changed.
    pub fn api_conflict(&self, kind: &'static str) {
        self.0.api_conflicts.get_or_create(&[("kind", kind)]).inc();
    }

    /// One of perhaps several that work on objects of a kind has so many in hand now, and had so many before.
    pub fn queue_changed(&self, kind: &'static str, before: usize, now: usize) {
        let count = |depth| i64::try_from(depth).unwrap_or(i64::MAX);
        self.0
            .queue_depth
            .get_or_create(&[("kind", kind)])
            .inc_by(count(now) - count(before));
    }

    /// It was tried to end a process on another machine.
    pub fn process_ended(&self, is_ended: bool) {
        let result = if is_ended { "Ended" } else { "NotEnded" };
        self.0.process_endings.get_or_create(&[("result", result)]).inc();
    }

    /// Language models were asked in an attempt of a step, and gave an answer of use or not.
    pub fn model_answered(&self, calls: u64, input: u64, output: u64, is_of_use: bool) {
        let result = if is_of_use { "Answered" } else { "Failed" };
        self.0
            .model_calls
            .get_or_create(&[("result", result)])
            .inc_by(calls);
        for (direction, tokens) in [("Input", input), ("Output", output)] {
            self.0
                .model_tokens
                .get_or_create(&[("direction", direction)])
                .inc_by(tokens);
        }
    }

    /// An effect began; it counts as in flight until the guard is dropped.
    pub fn effect_started(&self) -> EffectGuard {
        self.0.effects_in_flight.inc();
        EffectGuard(self.clone())
    }

    /// A Repository was fetched and applied.
    pub fn git_synced(&self, took: Duration) {
        self.0.git_sync.observe(took.as_secs_f64());
    }

    /// So many more jobs of a pool wait for a thread.
    pub fn pool_waiting(&self, pool: &'static str, by: i64) {
        self.0
            .evaluations_waiting
            .get_or_create(&[("pool", pool)])
            .inc_by(by);
    }

    /// A job of a pool has waited this long.
    pub fn pool_waited(&self, pool: &'static str, took: Duration) {
        let histogram = self.0.evaluation_wait.get_or_create(&[("pool", pool)]);
        histogram.observe(took.as_secs_f64());
    }

    /// A job of a pool has taken this long.
    pub fn pool_worked(&self, pool: &'static str, took: Duration) {
        let histogram = self.0.evaluation.get_or_create(&[("pool", pool)]);
        histogram.observe(took.as_secs_f64());
    }

    /// So many more connections of a listener are open.
    pub fn connections_changed(&self, listener: &'static str, by: i64) {
        self.0
            .connections
            .get_or_create(&[("listener", listener)])
            .inc_by(by);
    }

    /// A connection of a listener was closed or refused.
    pub fn connection_closed(&self, listener: &'static str, reason: &'static str) {
        self.0
            .connections_closed
            .get_or_create(&[("listener", listener), ("reason", reason)])
            .inc();
    }

    /// How many connections of a listener were closed or refused for this reason.
    pub fn connections_closed(&self, listener: &'static str, reason: &'static str) -> u64 {
        self.0
            .connections_closed
            .get_or_create(&[("listener", listener), ("reason", reason)])
            .get()
    }

    /// A connection could not be accepted.
    pub fn accept_failed(&self, listener: &'static str) {
        self.0
            .accept_errors
            .get_or_create(&[("listener", listener)])
            .inc();
    }

    /// A version of an object cannot be decoded and is passed over.
    pub fn undecodable(&self, kind: &'static str) {
        self.0.undecodable.get_or_create(&[("kind", kind)]).inc();
    }

    /// A watch did not end when it was to and was cut off.
    pub fn watch_stalled(&self, kind: &'static str) {
        self.0.watch_stalls.get_or_create(&[("kind", kind)]).inc();
    }

    /// A long-lived task broke and is started again.
    pub fn task_restarted(&self, task: &'static str) {
        self.0.task_restarts.get_or_create(&[("task", task)]).inc();
    }

    /// All metrics in the text format that Prometheus reads.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(
            &mut text,
            &self.0.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(text)
    }
}

/// Counts an effect as in flight until it is dropped.
#[derive(Debug)]
pub struct EffectGuard(Metrics);

impl Drop for EffectGuard {
    fn drop(&mut self) {
        self.0.0.effects_in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_documented_metrics_are_those_that_exist() {
        let metrics = Metrics::new();
        // a metric with labels is shown from its first value on
        metrics.run_phase(None, Some("Running"));
        metrics.run_finished("Succeeded");
        metrics.decision_judged(Verdict::Approve, DecisionReason::Counted);
        metrics.approval_closed(ApprovalPhase::Approved, Duration::ZERO);
        metrics.gateway_answered("callbacks", 202);
        metrics.process_ended(true);
        metrics.model_answered(1, 2, 3, true);
        metrics.reconciled("runs", Duration::ZERO);
        metrics.reconcile_failed("runs", "Transient");
        metrics.api_write("runs");
        metrics.api_conflict("runs");
        metrics.queue_changed("runs", 0, 0);
        metrics.connections_changed("gateway", 1);
        metrics.connection_closed("gateway", "Idle");
        metrics.accept_failed("gateway");
        metrics.pool_waiting("expressions", 1);
        metrics.pool_waited("expressions", Duration::ZERO);
        metrics.pool_worked("expressions", Duration::ZERO);
        metrics.undecodable("Flow");
        metrics.watch_stalled("flows");
        metrics.task_restarted("flows");
        metrics.notified("slack", true);
        metrics.traced(true);
        let text = metrics.render().unwrap();
        let mut registered = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                registered.insert(format!("{name}{suffix}"));
            }
        }
        let page = include_str!("../../docs/metrics.md");
        let documented: BTreeSet<_> = page
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
            .collect();
        assert_eq!(
            documented, registered,
            "docs/metrics.md has a line for each metric and no other"
        );
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.run_phase(None, Some("Pending"));
        metrics.run_phase(Some("Pending"), Some("Waiting"));
        metrics.api_write("runs");
        drop(metrics.effect_started());
        let text = metrics.render().unwrap();
        for line in [
            "signoff_runs{phase=\"Pending\"} 0",
            "signoff_runs{phase=\"Waiting\"} 1",
            "signoff_api_writes_total{kind=\"runs\"} 1",
            "signoff_effects_in_flight 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
