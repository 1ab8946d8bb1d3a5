//! Proves from the record of a run that the engine decides the same: it decides everything anew, from the first step on,
//! with what others said and did as the record has it.

mod compare;
mod player;
mod recorded;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use self::player::Player;
pub use self::recorded::Recorded;
use signoff_api::{Digest, Release, names};
use signoff_engine::{
    facts::ReleaseFacts,
    plan::{Plan, Problem},
};

/// What the engine decides, beside what the record says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replay {
    /// The passes of steps, in the order of the record.
    pub steps: Vec<StepReplay>,
    /// Where the state of the run itself differs.
    pub run: Vec<Difference>,
    /// What the record cannot prove, a sentence each.
    pub unproven: Vec<String>,
}

/// One pass of a step, or an item that is under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReplay {
    /// Name of the step.
    pub step: String,
    /// Number of the pass, from 1.
    pub pass: i64,
    /// Index of the item, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<i64>,
    /// Outcome or phase in the record; none if the record does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<String>,
    /// What the replay came to.
    pub verdict: Verdict,
    /// Where it differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// What was taken from the record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What the replay of a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The engine decides the same.
    Agrees,
    /// The engine decides something else.
    Differs,
    /// The record does not have what it was decided from.
    Unproven,
}

/// A field that the engine decides otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The field, such as `outcome`.
    pub field: String,
    /// Its value in the record.
    pub recorded: Value,
    /// The value that the engine decides.
    pub decided: Value,
}

/// Why a run cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It has no status.
    #[error("run {0} ended, or waits, without a release: nothing was decided by one")]
    NoRelease(String),
    /// It is the release of another run.
    #[error("run {run} used release {wanted}, not {given}")]
    OtherRelease {
        /// The run.
        run: String,
        /// Its release.
        wanted: String,
        /// The release that was given.
        given: String,
    },
    /// The content is not what its digest says.
    #[error("release {name} was changed: its content has the digest {actual}, and the run used {wanted}")]
    ReleaseChanged {
        /// Name of the release.
        name: String,
        /// Digest of its content.
        actual: String,
        /// Digest that the run used.
        wanted: Digest,
    },
    /// This version cannot run it.
    #[error("release {name} cannot be run by this version: {field}: {message}")]
    Invalid {
        /// Name of the release.
        name: String,
        /// The field that is wrong.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A key could not be made.
    #[error("callbacks cannot be replayed: {0}")]
    Callbacks(String),
}

impl Replay {
    /// The first difference, with the step and pass that it is in, if it is in one.
    pub fn first_difference(&self) -> Option<(Option<&StepReplay>, &Difference)> {
        let of_steps = self
            .steps
            .iter()
            .find_map(|step| Some((Some(step), step.differences.first()?)));
        of_steps.or_else(|| self.run.first().map(|difference| (None, difference)))
    }
}

/// Replays a run from its record.
///
/// # Errors
/// If there is nothing to replay, or the release is not the one that the run used.
pub fn replay(recorded: &Recorded) -> Result<Replay, ReplayError> {
    let (release, facts) = release(recorded)?;
    let plan = Plan::of_release(&release.spec.definition).map_err(|problems| {
        let first = problems.into_iter().next();
        let Problem { field, message, .. } = first.unwrap_or(Problem {
            field: String::new(),
            offset: None,
            message: String::new(),
        });
        ReplayError::Invalid {
            name: facts.name.clone(),
            field,
            message,
        }
    })?;
    let mut player = Player::new(recorded, plan, facts).map_err(ReplayError::Callbacks)?;
    player.play();
    Ok(player.compare())
}

/// The release of a run, which must be the one that it used.
fn release(recorded: &Recorded) -> Result<(&Release, ReleaseFacts), ReplayError> {
    let run = recorded.run.metadata.name.clone().unwrap_or_default();
    let status = recorded.run.status.as_ref();
    let Some(pinned) = status.and_then(|status| status.release.as_ref()) else {
        return Err(ReplayError::NoRelease(run));
    };
    let release = &recorded.release;
    let name = release.metadata.name.clone().unwrap_or_default();
    if name != pinned.name {
        return Err(ReplayError::OtherRelease {
            run,
            wanted: pinned.name.clone(),
            given: name,
        });
    }
    let actual = release.spec.content_digest().ok();
    let is_named = names::release_name(&release.spec.flow, &pinned.digest) == name;
    if actual.as_ref() != Some(&pinned.digest) || !is_named {
        return Err(ReplayError::ReleaseChanged {
            name,
            actual: actual.map_or_else(|| "none".to_owned(), |digest| digest.to_string()),
            wanted: pinned.digest.clone(),
        });
    }
    let facts = ReleaseFacts {
        name,
        flow: release.spec.flow.clone(),
        digest: pinned.digest.clone(),
        commit: release.spec.source.commit.clone(),
        author: release.spec.source.written_by().cloned(),
        repository: release.spec.source.repository.clone(),
        dependencies: release.spec.dependencies.clone(),
    };
    Ok((release, facts))
}
