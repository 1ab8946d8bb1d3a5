//! `signoff wait`: waits for something to happen to a run.

use std::{str::FromStr, time::Instant};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    named,
    run::{after_wait, watched},
};
use crate::client::{self, Standing};
use signoff_api::{
    Release, Run,
    name::{DnsLabel, ObjectName},
};

/// Wait until a run ends, asks people, or has done a step; at most --timeout.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 it happened, 6 the run ended without success, 9 not yet\n\n\
Examples:\n  signoff wait refund-x7k2q --timeout 1h\n  signoff wait refund-x7k2q --for question"
)]
pub(super) struct WaitArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// What to wait for: end, question, or step=NAME (the newest pass of it has ended).
    #[arg(long = "for", value_name = "EVENT", default_value = "end")]
    event: Event,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// The run has ended.
    End,
    /// People are asked.
    Question,
    /// A step has ended.
    Step(DnsLabel),
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.split_once('=')) {
            ("end", _) => Ok(Self::End),
            ("question", _) => Ok(Self::Question),
            (_, Some(("step", name))) => {
                let name = name.parse();
                name.map(Self::Step)
                    .map_err(|error: signoff_api::name::NameError| error.to_string())
            }
            _ => Err("write end, question or step=NAME".to_owned()),
        }
    }
}

impl Event {
    /// Whether it has happened.
    fn is_there(&self, standing: &Standing) -> bool {
        match self {
            Self::End => standing.has_ended(),
            // also of runs that it started
            Self::Question => !standing.open_approvals.is_empty(),
            Self::Step(name) => has_ended(&standing.run, name),
        }
    }
}

/// Whether the newest pass of a step has ended.
fn has_ended(run: &Run, name: &DnsLabel) -> bool {
    let mut passes = run.status.iter().flat_map(|status| status.steps.iter().rev());
    let newest = passes.find(|step| step.name == name.as_str() && step.item.is_none());
    newest.is_some_and(|step| step.phase.is_finished())
}

pub(super) async fn verb(args: &WaitArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let mut run: Run = connection.get(&args.run).await?;
    let (runs, begun) = (connection.api::<Run>(), Instant::now());
    if let Event::Step(step) = &args.event {
        if release_of(&run).is_none() {
            let is_known = |standing: &Standing| release_of(&standing.run).is_some() || standing.has_ended();
            let waited = client::until(&runs, &args.run, global.timeout(), is_known).await;
            run = watched(waited, &args.run)?.standing.run;
        }
        check_step(&connection, &run, step).await?;
    }
    let is_over = |standing: &Standing| args.event.is_there(standing) || standing.has_ended();
    let left = global.timeout().saturating_sub(begun.elapsed());
    let waited = client::until(&runs, &args.run, left, is_over).await;
    let waited = watched(waited, &args.run)?;
    let (is_there, finished) = (args.event.is_there(&waited.standing), waited.standing.has_ended());
    let answer = after_wait(&waited, global);
    Ok(match args.event {
        // how it ended is the answer
        Event::End => answer,
        Event::Question | Event::Step(_) if is_there => answer.with_exit(0),
        // it ended, and cannot happen any more
        Event::Question | Event::Step(_) if finished => answer.with_exit(exit::RUN_ENDED_BADLY),
        Event::Question | Event::Step(_) => answer,
    })
}

fn release_of(run: &Run) -> Option<&str> {
    let release = run.status.as_ref()?.release.as_ref()?;
    Some(&release.name)
}

/// Refuses a step that the release of the run does not have, as far as it may be read.
async fn check_step(connection: &Connection, run: &Run, step: &DnsLabel) -> Result<(), CliError> {
    let Some(release) = release_of(run) else {
        return Ok(());
    };
    let Ok(Some(release)) = connection.api::<Release>().get_opt(release).await else {
        return Ok(());
    };
    let steps = &release.spec.definition.steps;
    if steps.iter().any(|known| known.name == step.as_str()) {
        return Ok(());
    }
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let message = format!("flow {} has no step {step}", run.spec.flow);
    Err(CliError::new("NotFound", exit::NOT_FOUND, message).hint(format!("its steps: {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run(phase: &str, steps: &Value) -> Run {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
            "spec": {"flow": "f"}, "status": {"phase": phase, "steps": steps}
        }))
        .unwrap()
    }

    #[test]
    fn an_event_is_an_end_a_question_or_a_step() {
        assert_eq!("end".parse(), Ok(Event::End));
        assert_eq!("question".parse(), Ok(Event::Question));
        assert!(matches!("step=pay".parse(), Ok(Event::Step(name)) if name == "pay"));
        for wrong in ["", "step", "step=", "step=A b", "ended"] {
            assert!(wrong.parse::<Event>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_pass_of_a_step_decides_whether_it_has_ended() {
        let step = |pass: i64, phase: &str| json!({"name": "a", "iteration": pass, "phase": phase});
        let ended = |steps: &Value| has_ended(&run("Running", steps), &"a".parse().unwrap());
        assert!(ended(&json!([step(1, "Succeeded")])));
        assert!(!ended(&json!([step(1, "Succeeded"), step(2, "Running")])));
        assert!(!ended(&json!([])));
    }
}
