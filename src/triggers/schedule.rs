//! Runs at the times of a schedule.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::{start::Starter, status::Progress};
use signoff_api::trigger::TriggerReason;
use signoff_engine::trigger::schedule::SchedulePlan;

/// Starts the run that is due, if one is.
pub(super) async fn advance(
    starter: &Starter<'_>,
    schedule: &SchedulePlan,
    mut progress: Progress,
    now: Timestamp,
) -> Progress {
    let delay = schedule.delay(&starter.full_name());
    let due = schedule.due(progress.after(), now, delay);
    if let Some(at) = due.run {
        let started = starter.start(SchedulePlan::event(at)).await;
        progress.dealt_with(at, started);
    }
    if progress.failed.is_some() {
        return progress;
    }
    if let (Some(first), Some(last)) = (due.missed, due.last) {
        progress.status.last_at = Some(MicroTime(last));
        let what = match due.run {
            Some(_) => "one run was started for all of them",
            None => "no run was started for them",
        };
        let message =
            format!("the times from {first} to {last} passed while no operator was running; {what}");
        if due.run.is_none() || progress.status.reason.is_none() {
            progress.say(Some((TriggerReason::Missed, message)));
        }
    }
    progress.status.next_at = due.next.map(MicroTime);
    progress.wake_at = due.wake_at;
    progress
}
