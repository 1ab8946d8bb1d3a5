//! Pure: how far a trigger has come, and what is said of it.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::start::Started;
use signoff_api::{
    text::visible,
    trigger::{TriggerReason, TriggerStatus},
};
use signoff_engine::trigger::TriggerPlan;

/// How far a trigger has come.
pub(super) struct Progress {
    pub(super) status: TriggerStatus,
    /// When it goes on by itself.
    pub(super) wake_at: Option<Timestamp>,
    /// What people are told in an Event.
    pub(super) told: Option<Told>,
    /// Why a run could not be started now; it is tried again.
    pub(super) failed: Option<kube::Error>,
}

/// Why an event started no run.
pub(super) struct Told {
    pub(super) reason: TriggerReason,
    pub(super) note: String,
}

impl Progress {
    /// As the status of the flow has it. A trigger that is new, was changed or was suspended begins now.
    pub(super) fn since(
        before: Option<&TriggerStatus>,
        plan: &TriggerPlan,
        is_suspended: bool,
        now: Timestamp,
    ) -> Self {
        let digest = plan.source.digest();
        let was_suspended = |before: &TriggerStatus| before.reason == Some(TriggerReason::Suspended);
        let mut status = match before {
            Some(before) if before.digest == digest && was_suspended(before) <= is_suspended => {
                before.clone()
            }
            other => TriggerStatus {
                name: plan.name.clone(),
                digest,
                since: MicroTime(now),
                last_at: other.and_then(|before| before.last_at.clone()),
                last_run: other.and_then(|before| before.last_run.clone()),
                next_at: None,
                reason: None,
                message: None,
            },
        };
        if is_suspended {
            status.next_at = None;
            status.reason = Some(TriggerReason::Suspended);
            status.message = Some(if plan.is_suspended {
                "the trigger is suspended".to_owned()
            } else {
                "the flow is suspended".to_owned()
            });
        }
        Self {
            status,
            wake_at: None,
            told: None,
            failed: None,
        }
    }

    /// Whether a time is after that of the last event.
    pub(super) fn is_later(&self, at: Timestamp) -> bool {
        self.status.last_at.as_ref().is_none_or(|last| last.0 < at)
    }

    /// From where on events are looked for.
    pub(super) fn after(&self) -> Timestamp {
        let last = self.status.last_at.as_ref().map(|last| last.0);
        self.status.since.0.max(last.unwrap_or(self.status.since.0))
    }

    /// An event was dealt with, unless no run could be started for it now.
    pub(super) fn dealt_with(&mut self, at: Timestamp, started: Started) {
        match started {
            Started::Run(name) => {
                self.status.last_run = Some(name);
                self.say(None);
            }
            Started::NotNow(error) => {
                let message = crate::cluster::error_chain(&error);
                self.say(Some((TriggerReason::RunRefused, message)));
                self.failed = Some(error);
                return;
            }
            Started::Never(reason, message) => {
                let note = format!("trigger {} started no run for {at}: {message}", self.status.name);
                self.told = Some(Told { reason, note });
                self.say(Some((reason, message)));
            }
        }
        let last = self.status.last_at.as_ref().map_or(at, |last| last.0.max(at));
        self.status.last_at = Some(MicroTime(last));
    }

    /// Why nothing is started, or nothing that keeps it from starting.
    pub(super) fn say(&mut self, why: Option<(TriggerReason, String)>) {
        let (reason, message) = why.unzip();
        self.status.reason = reason;
        self.status.message = message.map(|message| visible(&message).chars().take(1_024).collect());
    }
}
