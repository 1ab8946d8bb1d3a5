//! What a kind of step wants to come next. The turn does it.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::{
    effect::Request, expression::EvaluationError, facts::EffectError, object::OwnedObject, plan::Unusable,
};
use signoff_api::{
    reason::StepReason,
    run::{AgentStatus, BoundConnection, EndingOutcome, ShownRequest, StepDecision, StepError, StepOutcome},
};

/// What comes next of a step.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing has happened.
    Stay,
    /// It is over, and the run goes on.
    Done(Done),
    /// Perform this call. Its answer goes to the kind, its failure to the step's retry policy.
    Call(Request),
    /// The attempt failed; the step's retry policy says what follows.
    AttemptFailed(EffectError),
    /// Own an object and wait for it.
    Own(Box<Own>),
    /// Wait.
    Wait(Wait),
    /// It failed, and the run ends.
    Fail(Failure),
    /// The run ends here.
    End(End),
    /// People want changes: everything from the step that the question names is done again.
    GoBack(StepDecision),
    /// An agent has come further.
    Progress(Box<Progress>),
    /// What its object was made of has changed: another iteration takes its place.
    Supersede(StepReason, String),
}

/// How far an agent has come, and what comes then.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) status: AgentStatus,
    pub(crate) then: Then,
}

/// What an agent does next.
#[derive(Debug)]
pub(crate) enum Then {
    /// It calls: the model, or a tool, as the status says.
    Call,
    /// It asks people.
    Ask(Box<Own>),
    /// It is done.
    Done(Box<Done>),
    /// It failed.
    Fail(Failure),
}

/// How a step is over.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outcome: StepOutcome,
    pub(crate) output: Option<Value>,
    pub(crate) decision: Option<StepDecision>,
    /// Why it is over, for people, of an outcome that has more than one cause.
    pub(crate) error: Option<StepError>,
}

impl Done {
    pub(crate) fn new(outcome: StepOutcome) -> Self {
        Self {
            outcome,
            output: None,
            decision: None,
            error: None,
        }
    }

    pub(crate) fn with_error(self, reason: StepReason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: Some(StepError { reason, message }),
            ..self
        }
    }

    pub(crate) fn with_output(self, output: Value) -> Self {
        Self {
            output: Some(output),
            ..self
        }
    }

    pub(crate) fn with_decision(self, decision: StepDecision) -> Self {
        Self {
            decision: Some(decision),
            ..self
        }
    }
}

/// An object that a step owns, and what the state says while it does.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) object: OwnedObject,
    /// When the object expires, by the API server's clock.
    pub(crate) deadline: Option<Timestamp>,
    /// The Connections that the object binds.
    pub(crate) connections: Vec<BoundConnection>,
    /// The requests of later steps that the object binds.
    pub(crate) requests: Vec<ShownRequest>,
    /// For what the run waits.
    pub(crate) waiting_on: String,
}

/// What a step waits for without an object.
#[derive(Debug)]
pub(crate) struct Wait {
    /// When it is over by itself.
    pub(crate) wake_at: Option<Timestamp>,
    /// When the other side is too late.
    pub(crate) deadline: Option<Timestamp>,
    /// Hashes of the events that end it.
    pub(crate) event_keys: Vec<String>,
    /// For what the run waits.
    pub(crate) waiting_on: String,
}

/// How a step failed, and the run with it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: StepOutcome,
    pub(crate) reason: StepReason,
    pub(crate) message: String,
    pub(crate) decision: Option<Box<StepDecision>>,
    /// How the run ends.
    pub(crate) ending: EndingOutcome,
}

/// How a step ends the run.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) ending: EndingOutcome,
    /// Why.
    pub(crate) message: String,
    /// The run's output.
    pub(crate) output: Option<Value>,
}

impl Failure {
    pub(crate) fn new(reason: StepReason, message: impl Into<String>) -> Self {
        Self {
            outcome: StepOutcome::Failed,
            reason,
            message: message.into(),
            decision: None,
            ending: EndingOutcome::Failed,
        }
    }

    /// Nobody answered in time.
    pub(crate) fn timed_out(message: impl Into<String>, ending: EndingOutcome) -> Self {
        Self {
            outcome: StepOutcome::TimedOut,
            ending,
            ..Self::new(StepReason::RespondTimedOut, message)
        }
    }

    /// The party that was to answer is gone.
    pub(crate) fn heartbeat_lost(message: impl Into<String>) -> Self {
        Self {
            reason: StepReason::HeartbeatLost,
            ..Self::timed_out(message, EndingOutcome::TimedOut)
        }
    }

    pub(crate) fn with_decision(self, decision: StepDecision) -> Self {
        Self {
            decision: Some(Box::new(decision)),
            ..self
        }
    }
}

impl From<EvaluationError> for Failure {
    fn from(error: EvaluationError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        Self::new(error.reason, error.message)
    }
}
