//! Processes that `ssh` steps start on other machines: known before, and ended when nobody needs them any more.

use super::*;
use crate::{
    facts::{ProcessFact, SshResponse},
    object::{Closing, ObjectKind},
    turn::LONGEST_ENDING,
};
use signoff_api::run::{ProcessPhase, ProcessStatus};

fn agent() -> Value {
    json!({ "steps": [
        { "name": "start", "retry": { "attempts": 2 }, "ssh": {
            "connection": "vm", "command": "agent", "args": ["${inputs.task}"], "callback": "done" } },
        { "name": "done", "wait": { "callback": {}, "respondWithin": "1h", "onTimeout": { "outcome": "Continue" } } },
        { "name": "tell", "http": { "url": "http://x/" } },
    ] })
}

fn started(pid: i64) -> Response {
    let host = "vm.example.com".to_owned();
    Response::Ssh(SshResponse::Started { host, pid })
}

fn lost() -> Result<Response, EffectError> {
    Err(EffectError {
        reason: StepReason::Unreachable,
        message: "the connection broke".into(),
        retryable: true,
        may_have_happened: true,
        retry_after: None,
        status: None,
    })
}

fn refused() -> Result<Response, EffectError> {
    let error = lost().unwrap_err();
    Err(EffectError {
        may_have_happened: false,
        ..error
    })
}

fn ended(exit_code: i64) -> Response {
    Response::Ssh(SshResponse::Ended {
        exit_code,
        stdout: "out\n".into(),
        stderr: "no luck\n".into(),
    })
}

impl Scenario {
    fn process(&self) -> &ProcessStatus {
        match self.state.processes.as_slice() {
            [process] => process,
            other => panic!("not one process: {other:#?}"),
        }
    }

    /// What is asked to end, and how.
    fn endings(&self) -> Vec<(&str, Closing)> {
        let closes = self.effects.iter().filter_map(|effect| match effect {
            Effect::Close(close) if close.key.kind == ObjectKind::Process => {
                Some((close.key.name.as_str(), close.closing))
            }
            Effect::Close(_) | Effect::Call(_) | Effect::Open(_) | Effect::Abort(_) => None,
        });
        closes.collect()
    }

    fn tell_of_end(&mut self, is_ended: bool, message: &str) {
        let keys: Vec<ObjectKey> = self
            .endings()
            .iter()
            .map(|(name, _)| ObjectKey::process(*name))
            .collect();
        assert!(!keys.is_empty(), "nothing is to end: {:#?}", self.state.processes);
        for key in keys {
            let message = message.to_owned();
            let fact = ObjectFact::Process(ProcessFact { is_ended, message });
            self.facts.objects.insert(key, fact);
        }
        self.tick();
    }

    fn succeed(&mut self) {
        let record = CallbackRecord {
            received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now),
            sha256: Digest::of(b"{}"),
            webhook_id: None,
            body: json!({}).into(),
        };
        self.state.callbacks.insert("done.1".to_owned(), record);
        self.tick();
    }
}

fn begun() -> Scenario {
    let mut run = Scenario::of(agent(), &json!({ "task": "it's 1" }));
    run.tick();
    run
}

#[test]
fn a_process_is_written_down_before_it_is_started() {
    let run = begun();
    let call = run.http()[0];
    assert!(call.fenced);
    let Request::Ssh(request) = &call.request else {
        panic!()
    };
    assert_eq!(request.command, r"agent 'it'\''s 1'");
    assert!(request.env["SIGNOFF_CALLBACK_URL"].starts_with("http://gateway/"));
    let process = run.process();
    assert_eq!(
        (process.phase, &process.name),
        (ProcessPhase::Starting, &request.process)
    );
    assert_eq!(process.callback.as_deref(), Some("done.1"));
}

#[test]
fn it_runs_while_the_run_waits_and_is_ended_with_the_run() {
    let mut run = begun();
    run.outcome("start", Ok(started(42)));
    assert_eq!(
        run.state.steps[0].output.as_ref().unwrap().0,
        json!({ "host": "vm.example.com", "pid": 42 })
    );
    assert_eq!(
        (run.process().phase, run.process().pid),
        (ProcessPhase::Running, Some(42))
    );
    run.succeed();
    assert_eq!(
        run.process().phase,
        ProcessPhase::Running,
        "it has called back, and may tidy up"
    );
    run.answer("tell", 200, json!({}));
    assert_eq!(run.endings().len(), 1);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    assert_eq!(
        run.state.waiting_on.as_deref(),
        Some("the end of the process of step start, before the run ends Succeeded")
    );
    run.tell_of_end(true, "its process group had ended");
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let process = run.process();
    assert_eq!(process.phase, ProcessPhase::Ended);
    assert_eq!(
        process.message.as_deref(),
        Some("the run ends Succeeded: its process group had ended")
    );
}

#[test]
fn a_wait_that_ends_without_a_callback_ends_it_while_the_run_goes_on() {
    let mut run = begun();
    run.outcome("start", Ok(started(42))).pass(3_601);
    assert_eq!(run.endings().len(), 1);
    assert_eq!(run.http().len(), 1, "the next step does not wait for that");
    run.tell_of_end(true, "its process group was ended");
    assert_eq!(
        run.process().message.as_deref(),
        Some("the wait done.1 ended without a callback: its process group was ended")
    );
    run.answer("tell", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn cancelling_ends_it_and_a_termination_does_so_at_once() {
    let mut run = begun();
    run.outcome("start", Ok(started(42)));
    let mut terminated = begun();
    terminated.outcome("start", Ok(started(42)));
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.endings()[0].1, Closing::Cancelled);
    terminated.facts.run.terminate = true;
    terminated.tick();
    assert_eq!(terminated.endings()[0].1, Closing::Terminated);
    for mut run in [run, terminated] {
        run.tell_of_end(true, "its process group was ended");
        assert_eq!(run.state.phase, RunPhase::Cancelled);
    }
}

#[test]
fn a_start_that_was_broken_off_is_ended_too_and_one_that_never_began_is_not() {
    let mut sent = begun();
    sent.facts.run.cancel = true;
    sent.tick();
    assert!(
        sent.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Abort(_)))
    );
    sent.tell_of_end(true, "it had not been started");
    assert_eq!(sent.state.phase, RunPhase::Cancelled);

    let mut unsent = begun();
    unsent.state = RunStatus::default();
    unsent.facts.in_flight.clear();
    unsent.facts.run.cancel = true;
    unsent.tick();
    assert_eq!(unsent.state.phase, RunPhase::Cancelled);
    assert!(unsent.state.processes.is_empty());
}

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_name() {
    let mut run = begun();
    let name = run.process().name.clone();
    run.outcome("start", lost());
    assert_eq!(run.process().phase, ProcessPhase::Unknown);
    run.pass(2);
    assert_eq!(run.http()[0].key.attempt, 2);
    assert_eq!(run.process().name, name);
    run.outcome("start", Ok(started(42)));
    assert_eq!(
        (run.state.processes.len(), run.process().phase),
        (1, ProcessPhase::Running)
    );
}

#[test]
fn a_step_that_fails_leaves_no_process_behind() {
    let mut run = begun();
    run.outcome("start", lost()).pass(2);
    run.outcome("start", refused());
    assert_eq!(run.endings().len(), 1, "the first attempt may have started it");
    run.tell_of_end(true, "it had not been started");
    assert_eq!(run.state.phase, RunPhase::Failed);

    let mut run = begun();
    run.outcome("start", refused()).pass(2);
    run.outcome("start", refused());
    assert_eq!(run.state.phase, RunPhase::Failed, "nothing can have been started");
    assert!(run.state.processes.is_empty());
}

#[test]
fn after_a_crash_the_same_start_is_made_again_and_ending_goes_on() {
    let mut run = begun();
    run.restart();
    assert_eq!(run.http().len(), 1);
    assert_eq!(run.process().phase, ProcessPhase::Unknown);
    run.outcome("start", Ok(started(42)));
    run.facts.run.cancel = true;
    run.tick();
    let asked = run.effects.clone();
    run.restart();
    assert_eq!(run.effects, asked);
}

#[test]
fn a_process_that_cannot_be_ended_is_told_of_after_a_while_and_does_not_hold_the_run() {
    let mut run = begun();
    run.outcome("start", Ok(started(42)));
    run.facts.run.cancel = true;
    run.tick();
    run.tell_of_end(false, "cannot connect to vm.example.com: no route");
    assert_eq!(run.state.phase, RunPhase::Waiting);
    let longest = i64::try_from(LONGEST_ENDING.as_secs()).unwrap();
    assert_eq!(run.wake_at.unwrap().duration_since(run.now).as_secs(), longest);
    run.pass(longest);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    let process = run.process();
    assert_eq!(process.phase, ProcessPhase::NotEnded);
    let message = process.message.as_deref().unwrap();
    assert!(
        message.ends_with("it could not be ended: cannot connect to vm.example.com: no route"),
        "{message}"
    );
}

#[test]
fn a_loop_starts_the_step_again_only_when_its_process_has_ended() {
    let flow = json!({ "steps": [
        { "name": "start", "ssh": { "connection": "vm", "command": "agent", "callback": "done" } },
        { "name": "done", "wait": { "callback": {} }, "repeat": { "from": "start", "max": 2, "until": "${false}" },
            "onFailure": { "outcome": "Continue" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().outcome("start", Ok(started(42)));
    run.succeed();
    assert!(run.http().is_empty(), "the first process is still there");
    assert_eq!(run.endings().len(), 1);
    assert_eq!(
        run.state.waiting_on.as_deref(),
        Some("the end of the process of step start")
    );
    run.tell_of_end(true, "its process group was ended");
    let Request::Ssh(request) = &run.http()[0].request else {
        panic!()
    };
    assert_ne!(request.process, run.state.processes[0].name);
    assert_eq!(run.state.processes[1].callback.as_deref(), Some("done.2"));
}

#[test]
fn a_command_that_is_waited_for_leaves_its_output_and_no_process() {
    let flow = json!({ "steps": [
        { "name": "build", "ssh": { "connection": "vm", "command": "make", "wait": true, "exitCodes": [0, 3] } }],
        "output": { "of": "${steps.build.output}" } });
    let mut run = Scenario::of(flow.clone(), &json!({}));
    run.tick().outcome("build", Ok(ended(3)));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(
        run.state.output.as_ref().unwrap().0,
        json!({ "of": { "exitCode": 3, "stdout": "out\n", "stderr": "no luck\n" } })
    );
    assert!(run.state.processes.is_empty());

    let mut run = Scenario::of(flow, &json!({}));
    run.tick().outcome("build", Ok(ended(2)));
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::UnexpectedExitCode);
    assert_eq!(
        error.message,
        "step build: the command ended with exit code 2: no luck"
    );
    assert!(run.state.processes.is_empty());
}

#[test]
fn exit_codes_are_retried_only_if_the_flow_says_so() {
    let flow = json!({ "steps": [{ "name": "build", "retry": { "attempts": 2, "when": "${error.status == 75}" },
        "ssh": { "connection": "vm", "command": "make", "wait": true } }] });
    let mut run = Scenario::of(flow.clone(), &json!({}));
    run.tick().outcome("build", Ok(ended(75))).pass(2);
    assert_eq!(run.http()[0].key.attempt, 2);
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().outcome("build", Ok(ended(1)));
    assert_eq!(run.state.phase, RunPhase::Failed);
}

#[test]
fn a_command_that_must_not_be_repeated_asks_people_when_its_outcome_is_unknown() {
    let flow = json!({ "steps": [{ "name": "build", "delivery": "AtMostOnce",
        "ssh": { "connection": "vm", "command": "make", "wait": true } }] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().restart();
    assert!(run.http().is_empty());
    assert_eq!(run.opened().len(), 1);
    assert_eq!(run.process().phase, ProcessPhase::Unknown);
}

#[test]
fn each_item_has_a_process_of_its_own() {
    let flow = json!({ "steps": [
        { "name": "start", "forEach": { "items": ["a", "b"] }, "ssh": {
            "connection": "vm", "host": "${item}.vm", "command": "agent", "callback": "done" } },
        { "name": "done", "forEach": { "items": ["a", "b"], "onItemFailure": "Continue" }, "wait": { "callback": {}, "respondWithin": "1h" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    run.outcome("start[0]", Ok(started(1)))
        .outcome("start[1]", Ok(started(2)));
    let ties: Vec<_> = run
        .state
        .processes
        .iter()
        .map(|known| known.callback.as_deref().unwrap())
        .collect();
    assert_eq!(ties, ["done.1.0", "done.1.1"]);
    assert_eq!(run.state.processes[1].host.as_deref(), Some("b.vm"));
    run.pass(3_601);
    assert_eq!(run.endings().len(), 2);
    run.tell_of_end(true, "its process group was ended");
    assert!(run.state.phase.is_finished(), "{:#?}", run.state);
}

#[test]
fn what_an_ssh_step_may_not_say_is_a_problem() {
    let problem = |step: Value| {
        let definition: Definition = serde_json::from_value(json!({ "steps": [step,
            { "name": "done", "wait": { "callback": {} } }, { "name": "pause", "wait": { "duration": "1m" } }] }))
        .unwrap();
        let problems = Plan::compile(&definition).unwrap_err();
        format!("{}: {}", problems[0].field, problems[0].message)
    };
    let ssh = |more: Value| {
        let mut step = json!({ "name": "s", "ssh": { "connection": "vm", "command": "x" } });
        for (key, value) in more.as_object().unwrap() {
            step["ssh"][key] = value.clone();
        }
        step
    };
    let detached =
        json!({ "name": "s", "delivery": "AtMostOnce", "ssh": { "connection": "vm", "command": "x" } });
    for (step, said) in [
        (
            ssh(json!({ "command": "echo ${inputs.x}" })),
            "steps[0].ssh.command",
        ),
        (ssh(json!({ "exitCodes": [1] })), "steps[0].ssh.exitCodes"),
        (
            ssh(json!({ "callback": "done", "wait": true })),
            "steps[0].ssh.callback",
        ),
        (ssh(json!({ "callback": "nobody" })), "steps[0].ssh.callback"),
        (ssh(json!({ "callback": "pause" })), "steps[0].ssh.callback"),
        (ssh(json!({ "env": { "A-B": "x" } })), "steps[0].ssh.env.A-B"),
        (
            ssh(json!({ "env": { "SIGNOFF_X": "x" } })),
            "steps[0].ssh.env.SIGNOFF_X",
        ),
        (detached, "steps[0].delivery"),
    ] {
        let found = problem(step.clone());
        assert!(found.starts_with(said), "{step}: {found}");
    }
}
