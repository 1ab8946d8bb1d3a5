//! `signoff wait`: waits for something to happen to a run.

use std::str::FromStr;

use kube::{Api, runtime::wait::await_condition};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    named,
    run::after_wait,
};
use signoff_api::{
    Run,
    name::{DnsLabel, ObjectName},
    run::StepPhase,
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
    fn is_there(&self, run: &Run) -> bool {
        let Some(status) = &run.status else {
            return false;
        };
        match self {
            Self::End => status.phase.is_finished(),
            Self::Question => status
                .steps
                .iter()
                .any(|step| step.phase == StepPhase::Waiting && step.approval.is_some()),
            Self::Step(name) => {
                let mut passes = status.steps.iter().rev();
                let newest = passes.find(|step| step.name == name.as_str() && step.item.is_none());
                newest.is_some_and(|step| step.phase.is_finished())
            }
        }
    }
}

pub(super) async fn verb(args: &WaitArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let run: Run = connection.get(&args.run).await?;
    let event = args.event.clone();
    let is_over = move |run: Option<&Run>| {
        run.is_none_or(|run| {
            event.is_there(run)
                || run
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase.is_finished())
        })
    };
    let runs: Api<Run> = connection.api();
    if !is_over(Some(&run)) {
        let happens = await_condition(runs.clone(), &args.run, is_over);
        // that it did not happen in time is told by what the run then is
        let _ = tokio::time::timeout(global.timeout(), happens).await;
    }
    let run: Run = connection.get(&args.run).await?;
    let is_there = args.event.is_there(&run);
    let finished = run
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished());
    let answer = after_wait(&run, !is_there && !finished, global);
    Ok(match args.event {
        // how it ended is the answer
        Event::End => answer,
        Event::Question | Event::Step(_) if is_there => answer.with_exit(0),
        // it ended, and cannot happen any more
        Event::Question | Event::Step(_) if finished => answer.with_exit(exit::RUN_ENDED_BADLY),
        Event::Question | Event::Step(_) => answer,
    })
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
        let event: Event = "step=a".parse().unwrap();
        assert!(event.is_there(&run("Running", &json!([step(1, "Succeeded")]))));
        assert!(!event.is_there(&run(
            "Running",
            &json!([step(1, "Succeeded"), step(2, "Running")])
        )));
        assert!(!event.is_there(&run("Running", &json!([]))));
        let asks = json!([{"name": "a", "iteration": 1, "phase": "Waiting", "approval": "r-a"}]);
        assert!(Event::Question.is_there(&run("Waiting", &asks)));
        assert!(!Event::Question.is_there(&run("Waiting", &json!([step(1, "Waiting")]))));
        assert!(Event::End.is_there(&run("Failed", &json!([]))));
    }
}
