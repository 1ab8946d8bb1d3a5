//! `wait`: wait for a callback, an event, a duration, a time, or the first of several.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{
    HumanDuration, Json, OrExpression,
    connection::SecretKeyRef,
    name::{DnsLabel, FlowName},
    run::StepOutcome,
};

/// At least one of `callback`, `event`, `duration` and `until`. The first one that happens ends the wait.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.callback) || has(self.event) || has(self.duration) || has(self.until)")
        .message("a wait step needs at least one of callback, event, duration and until")
)]
pub struct WaitStep {
    /// Wait for a POST to the callback URL. The request body becomes the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackWait>,
    /// Wait for an event that comes by a webhook trigger. The body of the event becomes the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventWait>,
    /// Wait for this duration. It may be one `${…}` expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<OrExpression<HumanDuration>>,
    /// Wait until this time (RFC 3339). It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub until: Option<String>,
    /// Time limit for the callback or the event. It may be one `${…}` expression. Without it, the step waits without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<OrExpression<HumanDuration>>,
    /// What happens when `respondWithin` is over, or a heartbeat of the callback is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<WaitTimeout>,
}

impl Kind for WaitStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "wait",
            attempts: false,
            retries: false,
            delivery: false,
            has_effect: false,
            is_billable: false,
        }
    }

    fn callback(&self) -> Option<&CallbackWait> {
        self.callback.as_ref()
    }

    fn event(&self) -> Option<&EventWait> {
        self.event.as_ref()
    }

    fn outcomes(&self) -> Vec<StepOutcome> {
        let then = self.on_timeout.as_ref().map(|then| then.outcome);
        let goes_on = match then {
            Some(WaitTimeoutOutcome::Continue) => true,
            Some(WaitTimeoutOutcome::Fail) | None => false,
        };
        let elapses = self.duration.is_some() || self.until.is_some();
        let all = [
            (StepOutcome::Callback, self.callback.is_some()),
            (StepOutcome::Event, self.event.is_some()),
            (StepOutcome::Elapsed, elapses),
            (StepOutcome::TimedOut, goes_on),
        ];
        let possible = all.into_iter().filter(|(_, possible)| *possible);
        possible.map(|(outcome, _)| outcome).collect()
    }
}

/// Checks on the callback request. All of them are optional.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackWait {
    /// JSON Schema of the request body. A body that does not match is refused with status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// One `${…}` expression over `body` and `headers` that returns true or false. If it is false, the request is
    /// refused with status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub accept: Option<String>,
    /// Requires the request to carry a Standard Webhooks signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<CallbackHmac>,
    /// Longest time between two heartbeats, from 1m to 24h. The time starts with the wait, and each `POST` to
    /// `<callback URL>/heartbeat` restarts it. If no heartbeat arrives in time, the wait ends as after `respondWithin`
    /// (`HeartbeatLost`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HumanDuration>,
}

impl CallbackWait {
    /// Shortest `heartbeat`.
    pub const SHORTEST_HEARTBEAT: Duration = Duration::from_mins(1);
    /// Longest `heartbeat`.
    pub const LONGEST_HEARTBEAT: Duration = Duration::from_hours(24);
}

/// An event that comes by a webhook trigger. An event ends one wait: of several that want it, the one that began first.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventWait {
    /// Name of the webhook trigger. It must have a `key`, and counts while its release is live.
    pub trigger: DnsLabel,
    /// Flow that has the trigger, in the same namespace. Defaults to the flow of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowName>,
    /// Keys of the events to wait for: an event ends the wait if the `key` of its webhook is one of them. Each is text
    /// with `${…}` expressions, or one `${…}` expression that gives a text or a list of texts.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 4096)))]
    pub keys: Vec<String>,
    /// One `${…}` expression over `body` and `headers` that returns true or false. If it is false, the wait does not
    /// take the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
}

impl EventWait {
    /// Most keys of one wait.
    pub const MOST_KEYS: usize = 100;
}

/// Secret of a Standard Webhooks signature.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackHmac {
    /// Key of a Secret in the run's namespace that holds the signing secret.
    pub secret_ref: SecretKeyRef,
}

/// Result of a wait whose time limit is over.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitTimeout {
    /// `Fail`: the step fails and the run ends as `TimedOut`. `Continue`: the run goes on, and the outcome of the
    /// step is `TimedOut`. Without `onTimeout` it is `Fail`.
    pub outcome: WaitTimeoutOutcome,
}

/// Result of a wait whose time limit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitTimeoutOutcome {
    /// The step fails and the run ends as `TimedOut`.
    Fail,
    /// The run goes on. The outcome of the step is `TimedOut`.
    Continue,
}
