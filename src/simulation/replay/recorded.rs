//! What the record of a run says, and when each part of it was known.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use signoff_api::{
    Approval, Decision, Release, Run, RunPhase, RunStatus,
    reason::StepReason,
    run::{EndingOutcome, StepPhase, StepStatus},
};

/// The record of a run: the objects that say what happened.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The run.
    pub run: Run,
    /// The release that it used.
    pub release: Release,
    /// Questions that were asked.
    pub approvals: Vec<Approval>,
    /// Decisions on them.
    pub decisions: Vec<Decision>,
    /// Runs that its steps started.
    pub runs: Vec<Run>,
}

/// Identifies a pass of a step, or one of its items.
pub(super) type EntryKey = (String, i64, Option<i64>);

pub(super) fn key_of(entry: &StepStatus) -> EntryKey {
    (entry.name.clone(), entry.iteration, entry.item)
}

/// The status of a run, as far as one is written.
pub(super) fn status(recorded: &Recorded) -> RunStatus {
    recorded.run.status.clone().unwrap_or_default()
}

/// Where a pass lies in the record.
pub(super) enum Found<'a> {
    /// It is there.
    Entry(&'a StepStatus),
    /// It was there: the record keeps the newest passes only.
    Forgotten,
    /// It is not there.
    Nothing,
}

/// What a status says, by step and by time.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) status: RunStatus,
}

impl Index {
    pub(super) fn entry(&self, step: &str, pass: i64, item: Option<i64>) -> Option<&StepStatus> {
        let mut entries = self.status.steps.iter();
        entries.find(|entry| entry.name == step && entry.iteration == pass && entry.item == item)
    }

    pub(super) fn find(&self, step: &str, pass: i64) -> Found<'_> {
        match self.entry(step, pass, None) {
            Some(entry) => Found::Entry(entry),
            None if self.newest(step).is_some_and(|newest| newest.iteration > pass) => Found::Forgotten,
            None => Found::Nothing,
        }
    }

    pub(super) fn newest(&self, step: &str) -> Option<&StepStatus> {
        let entries = self.status.steps.iter();
        entries
            .filter(|entry| entry.name == step && entry.item.is_none())
            .max_by_key(|entry| entry.iteration)
    }

    /// Every time at which something was decided, as far as the record says.
    pub(super) fn times(&self) -> BTreeSet<Timestamp> {
        let steps = self
            .status
            .steps
            .iter()
            .filter(|entry| entry.taken_over != Some(true));
        let of_steps = steps.flat_map(|entry| [&entry.started_at, &entry.attempted_at, &entry.finished_at]);
        let of_run = [&self.status.started_at, &self.status.finished_at];
        let since = self.status.ending.iter().map(|ending| ending.since.0);
        let times = of_steps.chain(of_run).flatten().map(|time| time.0);
        times.chain(since).collect()
    }

    /// The last of them.
    pub(super) fn end(&self) -> Timestamp {
        self.times().last().copied().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When it was known how a pass, or an item of it, ended; none if it has not.
    pub(super) fn ended_at(&self, step: &str, pass: i64, item: Option<i64>) -> Option<Timestamp> {
        let finished = |entry: &StepStatus| entry.finished_at.as_ref().map(|at| at.0);
        let whole = self.entry(step, pass, None)?;
        let Some(item) = item else {
            return finished(whole);
        };
        // of items it is only known that they ended before their step did
        let items = whole.items.as_ref()?;
        items.outcome(item)?;
        Some(finished(whole).unwrap_or_else(|| self.end()))
    }

    /// From when a run is known to be stopped by somebody.
    pub(super) fn stopped_at(&self, is_wanted: bool) -> Option<Timestamp> {
        let status = &self.status;
        let ending = status.ending.as_ref();
        let ends_so = ending.is_some_and(|ending| ending.outcome == EndingOutcome::Cancelled);
        if !is_wanted || !(status.phase == RunPhase::Cancelled || ends_so) {
            return None;
        }
        let changed = |entry: &StepStatus| {
            let error = entry.error.as_ref();
            error.is_some_and(|error| error.reason == StepReason::ConnectionChanged)
        };
        let stopped = status.steps.iter().filter(|entry| {
            entry.phase == StepPhase::Cancelled && entry.repeated != Some(true) && !changed(entry)
        });
        let stopped = stopped.filter_map(|entry| entry.finished_at.as_ref());
        let since = ending.map(|ending| &ending.since);
        let times = stopped.chain(since).chain(status.finished_at.as_ref());
        Some(times.map(|at| at.0).min().unwrap_or_else(|| self.end()))
    }
}
