//! `job` steps: created, ended, retried, too late, stopped; and what is told of their pods.

#![allow(
    clippy::needless_pass_by_value,
    reason = "values that a test writes down are handed over"
)]

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};

use super::*;
use crate::{
    facts::{JobFact, JobState, JobTrouble},
    job,
    object::{Closing, OpenJob},
};

fn flow(job: Value, more: Value) -> Value {
    let mut step = json!({ "name": "build", "job": job });
    for (name, value) in more.as_object().into_iter().flatten() {
        step[name] = value.clone();
    }
    json!({ "steps": [step, { "name": "after", "set": { "v": "${steps.build.?output.orValue('none')}" } }] })
}

fn plain() -> Value {
    flow(json!({ "image": "app:1" }), json!({}))
}

fn problems(step: Value) -> Vec<String> {
    let definition: Definition = serde_json::from_value(json!({ "steps": [step] })).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

impl Scenario {
    /// The Jobs that this turn asks for.
    fn created(&self) -> Vec<OpenJob> {
        let opened = self.effects.iter().filter_map(|effect| match effect {
            Effect::Open(OwnedObject::Job(open)) => Some((**open).clone()),
            Effect::Open(_) | Effect::Call(_) | Effect::Close(_) | Effect::Abort(_) => None,
        });
        opened.collect()
    }

    /// The names of the Jobs that this turn deletes.
    fn deleted(&self) -> Vec<&str> {
        let closed = self.effects.iter().filter_map(|effect| match effect {
            Effect::Close(close) => Some(close.key.name.as_str()),
            Effect::Open(_) | Effect::Call(_) | Effect::Abort(_) => None,
        });
        closed.collect()
    }

    /// Says of every Job that this turn asks for that it is there, and decides.
    pub(super) fn are_there(&mut self) -> &mut Self {
        for open in self.created() {
            let fact = JobFact {
                step: open.step,
                iteration: open.iteration,
                item: open.item,
                attempt: open.attempt,
                started_at: Some(self.now),
                state: JobState::Open(None),
                log: None,
            };
            let key = ObjectKey::job(&open.name);
            self.facts.objects.insert(key, ObjectFact::Job(Box::new(fact)));
        }
        self.tick()
    }

    /// Begins, and says that the first Job is there.
    fn begun(definition: Value) -> Self {
        let mut run = Self::of(definition, &json!({}));
        run.tick();
        run.are_there();
        run
    }

    /// Says how the Job of a step stands that is the newest, and decides.
    pub(super) fn job_is(&mut self, state: JobState) -> &mut Self {
        let name = self.state.steps[0].job.clone().expect("the state names a job");
        let fact = self.facts.objects.get_mut(&ObjectKey::job(name));
        let Some(ObjectFact::Job(job)) = fact else {
            panic!("the job is there");
        };
        job.state = state;
        self.tick()
    }
}

pub(super) fn wrote(output: &str) -> JobState {
    JobState::Succeeded {
        output: Some(output.to_owned()),
    }
}

pub(super) fn failed() -> JobState {
    JobState::Failed(job::error(
        StepReason::JobFailed,
        "the container ended with exit code 1",
    ))
}

#[test]
fn a_job_is_created_and_what_it_wrote_is_the_output() {
    let job = json!({
        "image": "registry:5000/app:${inputs.tag}", "command": ["run"], "args": ["--n=${inputs.n}", "${inputs.list}"],
        "env": { "WHO": "${inputs.who}" }, "serviceAccount": "builder", "resources": { "limits": { "memory": "64Mi" } },
        "template": { "spec": { "nodeSelector": { "disk": "ssd" }, "containers": [
            { "name": "step", "env": [{ "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }] } },
    });
    let inputs = json!({ "tag": "1.2", "n": 3, "list": ["a", "b $(KEY)"], "who": "$(KEY)" });
    let mut run = Scenario::of(flow(job, json!({ "timeout": "2h" })), &inputs);
    run.tick();
    let created = run.created();
    assert_eq!(created.len(), 1);
    let spec = &created[0].spec;
    assert_eq!(
        (&spec["backoffLimit"], &spec["activeDeadlineSeconds"]),
        (&json!(0), &json!(7200))
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "builder");
    assert_eq!(pod["nodeSelector"], json!({ "disk": "ssd" }));
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry:5000/app:1.2");
    assert_eq!(container["command"], json!(["run"]));
    // the kubelet makes one of two, and expands nothing
    assert_eq!(container["args"], json!(["--n=3", "a", "b $$(KEY)"]));
    let env = container["env"].as_array().unwrap();
    let named = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(named("WHO")["value"], "$$(KEY)");
    assert_eq!(named("KEY")["valueFrom"]["secretKeyRef"]["name"], "s");
    assert_eq!(named("SIGNOFF_OUTPUT_FILE")["value"], "/dev/termination-log");
    assert_eq!(spec["template"]["metadata"]["labels"]["signoff.dev/run"], "r");
    assert_eq!(run.state.steps[0].phase, StepPhase::Running);
    assert_eq!(run.state.steps[0].job, None, "it is named when it is there");

    run.are_there();
    assert_eq!(run.state.phase, RunPhase::Waiting);
    assert_eq!(run.state.steps[0].job.as_ref(), Some(&created[0].name));
    assert!(run.created().is_empty());
    run.job_is(wrote("{\"url\": \"https://x/1\"}\n"));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(
        run.state.steps[0].output.as_ref().unwrap().0,
        json!({ "url": "https://x/1" })
    );
    assert_eq!(run.state.billable_steps, 1);
}

#[test]
fn without_a_service_account_a_pod_has_no_token() {
    let mut run = Scenario::of(plain(), &json!({}));
    run.tick();
    let pod = &run.created()[0].spec["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod.get("serviceAccountName"), None);
}

#[test]
fn an_output_is_json_or_a_text_or_nothing() {
    for (said, output) in [
        (Some("3"), json!(3)),
        (Some("\"3\""), json!("3")),
        (Some("done\n"), json!("done")),
        (Some(" \n"), json!("none")),
        (None, json!("none")),
    ] {
        let mut run = Scenario::begun(plain());
        run.job_is(JobState::Succeeded {
            output: said.map(str::to_owned),
        });
        assert_eq!(
            run.state.steps[1].output.as_ref().unwrap().0["v"],
            output,
            "{said:?}"
        );
    }
}

#[test]
fn an_output_that_does_not_match_the_schema_fails_the_attempt() {
    let schema =
        json!({ "type": "object", "required": ["url"], "properties": { "url": { "type": "string" } } });
    let job = json!({ "image": "app:1", "schema": schema });
    let mut run = Scenario::begun(flow(job, json!({})));
    run.job_is(wrote("{}"));
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::InvalidResponse);
    assert!(error.message.contains("url"), "{}", error.message);
}

#[test]
fn a_retry_creates_another_job_and_the_first_one_is_never_created_again() {
    let retry = json!({ "retry": { "attempts": 2, "backoff": { "initial": "10s" } } });
    let mut run = Scenario::begun(flow(json!({ "image": "app:1" }), retry));
    let first = run.state.steps[0].job.clone().unwrap();
    run.job_is(failed());
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    assert!(run.deleted().is_empty(), "it has ended");
    run.pass(10);
    let second = run.created().remove(0);
    assert_ne!(second.name, first);
    assert_eq!(second.attempt, 2);
    run.are_there();
    assert_eq!(run.state.steps[0].job.as_ref(), Some(&second.name));
    run.job_is(failed());
    assert_eq!(run.state.phase, RunPhase::Failed);
    let error = &run.state.error.as_ref().unwrap().message;
    assert_eq!(
        error,
        "step build: the container ended with exit code 1 (attempt 2 of 2)"
    );
    assert_eq!(run.state.billable_steps, 1, "attempts count once");
}

#[test]
fn after_a_crash_the_same_job_is_asked_for() {
    let mut run = Scenario::of(plain(), &json!({}));
    run.tick();
    let first = run.created().remove(0);
    run.restart();
    assert_eq!(run.created(), std::slice::from_ref(&first));
    run.state = RunStatus::default();
    run.restart();
    assert_eq!(run.created(), [first], "the state may not have been written");
}

#[test]
fn a_job_that_somebody_deleted_is_not_created_again() {
    let mut run = Scenario::begun(plain());
    run.facts.objects.clear();
    run.tick();
    assert!(run.created().is_empty());
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::JobDeleted);
}

#[test]
fn a_job_that_is_refused_fails_the_step_with_the_reason() {
    let mut run = Scenario::of(plain(), &json!({}));
    run.tick();
    let name = run.created().remove(0).name;
    run.facts
        .refused
        .insert(ObjectKey::job(name), "no jobs here".into());
    run.tick();
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::JobRefused);
    assert_eq!(
        error.message,
        "step build: the job cannot be created: no jobs here"
    );
}

#[test]
fn an_image_that_cannot_be_pulled_is_given_up_after_a_while_and_its_job_deleted() {
    let mut run = Scenario::begun(plain());
    let name = run.state.steps[0].job.clone().unwrap();
    let trouble = JobTrouble {
        reason: Some(StepReason::ImageNotPulled),
        message: "the image app:1 cannot be pulled: not found".into(),
        since: run.now,
        is_final: false,
    };
    run.job_is(JobState::Open(Some(trouble.clone())));
    let told = run.state.waiting_on.clone().unwrap();
    assert!(
        told.ends_with("the image app:1 cannot be pulled: not found"),
        "{told}"
    );
    assert_eq!(run.wake_at, Some(run.now + SignedDuration::from_mins(5)));
    run.pass(299);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    run.pass(1);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::ImageNotPulled
    );
    assert_eq!(run.deleted(), [name]);

    // what waiting cannot help is given up at once; a node with room is waited for
    let mut run = Scenario::begun(plain());
    run.job_is(JobState::Open(Some(JobTrouble {
        is_final: true,
        ..trouble.clone()
    })));
    assert_eq!(run.state.phase, RunPhase::Failed);
    let mut run = Scenario::begun(plain());
    run.job_is(JobState::Open(Some(JobTrouble {
        reason: None,
        ..trouble
    })));
    run.pass(3000);
    assert_eq!(run.state.phase, RunPhase::Waiting);
}

#[test]
fn a_job_that_the_cluster_does_not_end_in_time_is_deleted() {
    let mut run = Scenario::begun(flow(json!({ "image": "app:1" }), json!({ "timeout": "10m" })));
    let name = run.state.steps[0].job.clone().unwrap();
    assert_eq!(run.wake_at, Some(run.now + SignedDuration::from_mins(11)));
    run.pass(660);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::AttemptTimedOut
    );
    assert_eq!(run.deleted(), [name]);
}

#[test]
fn a_job_is_deleted_when_its_run_is_cancelled() {
    let mut run = Scenario::begun(plain());
    let name = run.state.steps[0].job.clone().unwrap();
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.deleted(), [name]);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
}

#[test]
fn a_job_that_the_state_does_not_name_is_deleted_too() {
    // the state says that an attempt has begun
    let mut run = Scenario::of(plain(), &json!({}));
    run.tick();
    let name = run.created().remove(0).name;
    run.facts.run.cancel = true;
    run.restart();
    assert_eq!(run.deleted(), [name.as_str()]);
    assert_eq!(run.state.phase, RunPhase::Cancelled);

    // the state says nothing, and the job is there
    let mut run = Scenario::of(plain(), &json!({}));
    run.tick();
    let fresh = RunStatus::default();
    let known = run.plan.unrecorded_jobs("r", "u", &fresh);
    assert_eq!(known, [ObjectKey::job(&name)]);
    run.are_there();
    run.state = fresh;
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.deleted(), [name.as_str()]);
    assert_eq!(run.state.steps[0].attempt, 1);

    // it is about to try again
    let retry = json!({ "retry": { "attempts": 2 } });
    let mut run = Scenario::begun(flow(json!({ "image": "app:1" }), retry));
    run.job_is(failed());
    let known = run.plan.unrecorded_jobs("r", "u", &run.state);
    run.pass(1);
    assert_eq!(known, [ObjectKey::job(&run.created()[0].name)]);
}

#[test]
fn each_item_has_a_job_of_its_own() {
    let more = json!({ "forEach": { "items": ["a", "b"] } });
    let mut run = Scenario::of(
        flow(json!({ "image": "app:1", "args": ["${item}"] }), more),
        &json!({}),
    );
    run.tick();
    let created = run.created();
    assert_eq!(created.len(), 2);
    assert_ne!(created[0].name, created[1].name);
    assert!(!created[0].keep_log);
    let known = run.plan.unrecorded_jobs("r", "u", &run.state);
    assert_eq!(known.len(), 2, "they may be there");
    run.are_there();
    for (key, fact) in &mut run.facts.objects {
        let ObjectFact::Job(job) = fact else {
            panic!("{key}")
        };
        job.state = wrote("1");
    }
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps[0].output.as_ref().unwrap().0, json!([1, 1]));
}

#[test]
fn the_next_pass_has_another_job() {
    let more = json!({ "repeat": { "until": "${steps.build.output == 2}", "max": 3 } });
    let mut run = Scenario::begun(flow(json!({ "image": "app:1" }), more));
    let first = run.state.steps[0].job.clone().unwrap();
    run.job_is(wrote("1"));
    let created = run.created();
    assert_eq!(created[0].iteration, 2);
    assert_ne!(created[0].name, first);
    assert!(!run.is_deferrable);
}

#[test]
fn what_a_job_step_may_not_say_is_told() {
    let job = |fields: Value| {
        let mut step = json!({ "name": "build", "job": { "image": "app:1" } });
        for (name, value) in fields.as_object().unwrap() {
            step["job"][name] = value.clone();
        }
        step
    };
    for (step, message) in [
        (
            job(json!({ "image": "${inputs.image}" })),
            "job.image: expressions stand only after",
        ),
        (
            job(json!({ "image": "registry:5000/${inputs.image}:1" })),
            "job.image: expressions stand only after",
        ),
        (
            job(json!({ "env": { "SIGNOFF_RUN": "x" } })),
            "job.env.SIGNOFF_RUN: names that start with SIGNOFF_",
        ),
        (job(json!({ "env": { "1A": "x" } })), "begins with no digit"),
        (
            job(json!({ "template": { "spec": { "hostNam": "x" } } })),
            "job.template: a pod template has no field spec.hostNam",
        ),
        (
            job(json!({ "template": { "metadata": { "labels": { "a": "${inputs.x}" } } } })),
            "a template is literal",
        ),
        (job(json!({ "schema": { "type": "no" } })), "not a JSON Schema"),
        (
            json!({ "name": "a", "timeout": "800h", "job": { "image": "app:1" } }),
            "timeout: an attempt takes at most 720h",
        ),
        (
            json!({ "name": "a", "delivery": "AtMostOnce", "job": { "image": "app:1" } }),
            "job steps have no delivery",
        ),
    ] {
        let found = problems(step.clone());
        assert!(
            found.iter().any(|found| found.contains(message)),
            "{step}: {found:?}"
        );
    }
    assert_eq!(problems(job(json!({ "image": "a/b:${run.uid}" }))), [""; 0]);
}

#[test]
fn callbacks_are_not_handed_to_jobs_because_others_can_read_them() {
    let definition = json!({ "steps": [
        { "name": "build", "job": { "image": "app:1", "env": { "URL": "${callback('done').url}" } } },
        { "name": "done", "wait": { "callback": {} } },
    ] });
    let definition: Definition = serde_json::from_value(definition).unwrap();
    let problems = Plan::compile(&definition).err().unwrap();
    assert!(
        problems[0]
            .message
            .contains("callback() is known only in what is sent")
    );
}

#[test]
fn data_names_no_other_image() {
    for tag in ["1/evil", "", "1 2", "1\n", "x:"] {
        let job = json!({ "image": "app:${inputs.tag}" });
        let mut run = Scenario::of(flow(job, json!({})), &json!({ "tag": tag }));
        run.tick();
        assert!(run.created().is_empty(), "{tag:?}");
        assert_eq!(
            run.state.error.as_ref().unwrap().reason,
            StepReason::InvalidRequest
        );
    }
}

/// A Job with these conditions, as a controller leaves it.
fn ended_job(conditions: Value) -> Job {
    let labels = json!({ "signoff.dev/step": "build" });
    let notes = json!({ "signoff.dev/iteration": "1", "signoff.dev/attempt": "1" });
    let job = json!({ "metadata": { "name": "j", "labels": labels, "annotations": notes },
        "spec": { "activeDeadlineSeconds": 60, "template": {} },
        "status": { "startTime": "2027-01-15T08:00:00Z", "conditions": conditions } });
    serde_json::from_value(job).unwrap()
}

fn pod(phase: &str, status: Value) -> Pod {
    let mut all = json!({ "phase": phase });
    for (name, value) in status.as_object().unwrap() {
        all[name] = value.clone();
    }
    let container =
        json!({ "name": "step", "image": "app:1", "resources": { "limits": { "memory": "64Mi" } } });
    let pod = json!({ "metadata": { "name": "p", "creationTimestamp": "2027-01-15T08:00:00Z" },
        "spec": { "containers": [container] }, "status": all });
    serde_json::from_value(pod).unwrap()
}

fn container(state: Value) -> Value {
    json!({ "containerStatuses": [{ "name": "step", "image": "app:1", "imageID": "", "ready": false, "restartCount": 0, "state": state }] })
}

#[test]
fn a_failure_is_told_in_words() {
    let failed = json!([{ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often" }]);
    let late = json!([{ "type": "Failed", "status": "True", "reason": "DeadlineExceeded" }]);
    let ended = |code: i64, reason: &str, said: &str| {
        container(json!({ "terminated": { "exitCode": code, "reason": reason, "message": said } }))
    };
    let evicted = json!({ "reason": "Evicted", "message": "The node was low on resource: memory." });
    let disrupted = json!({ "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "the node is gone" }] });
    for (conditions, pods, reason, message) in [
        (
            &failed,
            vec![pod("Failed", ended(3, "Error", "cannot find x\n"))],
            StepReason::JobFailed,
            "the container ended with exit code 3: cannot find x",
        ),
        (
            &failed,
            vec![pod("Failed", ended(137, "OOMKilled", ""))],
            StepReason::OutOfMemory,
            "the container was ended because it used too much memory (its limit is 64Mi)",
        ),
        (
            &failed,
            vec![pod("Failed", ended(128, "StartError", "exec: no such file"))],
            StepReason::PodNotStarted,
            "the container could not be started: exec: no such file",
        ),
        (
            &failed,
            vec![pod("Failed", evicted)],
            StepReason::JobEvicted,
            "the pod was evicted: The node was low on resource: memory.",
        ),
        (
            &failed,
            vec![pod("Failed", disrupted)],
            StepReason::JobEvicted,
            "the pod had to leave its node: the node is gone",
        ),
        (
            &failed,
            vec![],
            StepReason::JobFailed,
            "the job failed: too often",
        ),
        (
            &late,
            vec![],
            StepReason::AttemptTimedOut,
            "the job took longer than 60s",
        ),
        (
            &late,
            vec![pod(
                "Pending",
                container(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off" } })),
            )],
            StepReason::AttemptTimedOut,
            "the job took longer than 60s: the image app:1 cannot be pulled: Back-off",
        ),
    ] {
        let fact = job::fact(&ended_job(conditions.clone()), &pods, None).unwrap();
        let JobState::Failed(error) = fact.state else {
            panic!("{message}: {:?}", fact.state);
        };
        assert_eq!((error.reason, error.message.as_str()), (reason, message));
        assert!(error.retryable);
    }
}

#[test]
fn a_job_that_succeeded_without_its_pod_is_not_done_again() {
    let complete = json!([{ "type": "Complete", "status": "True" }]);
    let fact = job::fact(&ended_job(complete.clone()), &[], None).unwrap();
    let JobState::Failed(error) = fact.state else {
        panic!("{:?}", fact.state);
    };
    assert_eq!((error.reason, error.retryable), (StepReason::PodLost, false));
    let said = |text: &str| {
        pod(
            "Succeeded",
            container(json!({ "terminated": { "exitCode": 0, "message": text } })),
        )
    };
    let fact = job::fact(&ended_job(complete.clone()), &[said("{}")], None).unwrap();
    assert_eq!(fact.state, wrote("{}"));
    let fact = job::fact(&ended_job(complete), &[said(&"x".repeat(4096))], None).unwrap();
    let JobState::Failed(error) = fact.state else {
        panic!("{:?}", fact.state);
    };
    assert_eq!(error.reason, StepReason::OutputTooLarge);
}

#[test]
fn what_keeps_a_pod_from_running_is_told() {
    let waiting = |reason: &str| container(json!({ "waiting": { "reason": reason, "message": "why" } }));
    let unscheduled = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }] });
    for (status, expected) in [
        (
            waiting("ErrImagePull"),
            Some((Some(StepReason::ImageNotPulled), false)),
        ),
        (
            waiting("InvalidImageName"),
            Some((Some(StepReason::ImageNotPulled), true)),
        ),
        (
            waiting("CreateContainerConfigError"),
            Some((Some(StepReason::PodNotStarted), false)),
        ),
        (waiting("ContainerCreating"), None),
        (unscheduled, Some((None, false))),
    ] {
        let found = job::trouble(&pod("Pending", status.clone()));
        let found = found.map(|trouble| (trouble.reason, trouble.is_final));
        assert_eq!(found, expected, "{status}");
    }
}

#[test]
fn a_job_is_left_when_its_run_went_on_without_it() {
    let retry = json!({ "retry": { "attempts": 2 } });
    let mut run = Scenario::begun(flow(json!({ "image": "app:1" }), retry));
    let fact = run
        .facts
        .objects
        .values()
        .next()
        .unwrap()
        .as_job()
        .unwrap()
        .clone();
    assert!(!job::is_left(&fact, &RunStatus::default()), "it may be new");
    assert!(!job::is_left(&fact, &run.state));
    run.job_is(failed());
    assert!(!job::is_left(&fact, &run.state), "it has ended");
    run.pass(1);
    assert!(job::is_left(&fact, &run.state), "another attempt has begun");
    run.are_there();
    run.facts.run.cancel = true;
    run.tick();
    assert!(job::is_left(&JobFact { attempt: 2, ..fact }, &run.state));
    assert!(matches!(&run.effects[..], [Effect::Close(close)] if close.closing == Closing::Cancelled));
}
