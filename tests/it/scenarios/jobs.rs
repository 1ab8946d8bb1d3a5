//! Jobs on the embedded control plane. A fake kubelet plays the cluster: it makes the pods of Jobs, and says how both end.

#![allow(
    clippy::needless_pass_by_value,
    reason = "values that a test writes down are handed over"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff::{operator::OperatorOptions, perform::JobLogs, runs::JobRunner, store::Owner};
use signoff_api::{Run, reason::StepReason};

use crate::support::{
    faults::{Cut, Fault, cut},
    rig::{PAUSE, Rig, Running},
};

/// More than a run of this flow needs; the walk ends by itself when a cut is never reached.
const MOST_WRITES: usize = 40;

fn on(options: &mut OperatorOptions) {
    options.jobs = JobRunner::On;
}

/// On a real control plane, others run Jobs.
fn has_cluster() -> bool {
    std::env::var("SIGNOFF_TEST_SERVER").is_ok_and(|server| server == "real")
}

async fn operator(rig: &Rig) -> Running {
    rig.operator_as(rig.operator_client(), on).await.unwrap()
}

fn flow(more: Value) -> Value {
    let mut step = json!({"name": "build", "job": {"image": "app:1", "args": ["${inputs.n}"]}});
    for (name, value) in more.as_object().unwrap() {
        step[name] = value.clone();
    }
    json!({"inputs": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}},
        "steps": [step], "output": {"size": "${steps.build.output.size}"}})
}

/// The Jobs that are there, the oldest attempt first.
async fn jobs(rig: &Rig) -> Vec<Job> {
    let mut all = rig
        .server
        .api::<Job>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    all.sort_by_key(|job| job.annotations()["signoff.dev/attempt"].clone());
    all
}

/// The Job of an attempt, once it is there.
async fn job(rig: &Rig, attempt: usize) -> Job {
    loop {
        let mut all = jobs(rig).await;
        if all.len() >= attempt {
            return all.remove(attempt - 1);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How a container stands.
fn container(state: &Value) -> Value {
    json!({"containerStatuses": [{"name": "step", "image": "app:1", "imageID": "", "ready": false,
        "restartCount": 0, "state": state}]})
}

fn terminated(exit_code: i64, reason: &str, message: &str) -> Value {
    container(&json!({"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}))
}

/// Gives a Job a pod that stands like this. Doing it again changes the pod.
async fn pod(rig: &Rig, job: &Job, phase: &str, status: &Value) {
    let template = &job.spec.as_ref().unwrap().template;
    let mut labels: BTreeMap<String, String> = template.metadata.clone().unwrap().labels.unwrap();
    labels.insert("batch.kubernetes.io/job-name".into(), job.name_any());
    let name = format!("{}-pod", job.name_any());
    let object = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [job.controller_owner_ref(&()).unwrap()]},
        "spec": template.spec});
    let object: Pod = serde_json::from_value(object).unwrap();
    let pods = rig.server.api::<Pod>();
    if pods.get_opt(&name).await.unwrap().is_none() {
        pods.create(&PostParams::default(), &object).await.unwrap();
    }
    let mut said = status.clone();
    said["phase"] = json!(phase);
    let patch = Patch::Merge(json!({"status": said}));
    pods.patch_status(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Says how a Job ended. One that is gone by then has no end.
async fn says(rig: &Rig, job: &Job, condition: Value) {
    let patch =
        Patch::Merge(json!({"status": {"startTime": "2026-01-01T00:00:00Z", "conditions": [condition]}}));
    let name = job.name_any();
    let said = rig.server.api::<Job>();
    let said = said.patch_status(&name, &PatchParams::default(), &patch).await;
    if let Err(error) = said {
        assert!(
            matches!(&error, kube::Error::Api(status) if status.code == 404),
            "{error}"
        );
    }
}

async fn succeeds(rig: &Rig, job: &Job, output: &str) {
    pod(rig, job, "Succeeded", &terminated(0, "Completed", output)).await;
    says(rig, job, json!({"type": "Complete", "status": "True"})).await;
}

async fn fails(rig: &Rig, job: &Job, status: &Value) {
    pod(rig, job, "Failed", status).await;
    let condition = json!({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"});
    says(rig, job, condition).await;
}

fn error_of(run: &Run) -> (StepReason, String) {
    let error = run.status.as_ref().unwrap().error.clone().unwrap();
    (error.reason, error.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_wrote_is_the_output_and_the_job_belongs_to_the_run() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    rig.flow("f", flow(json!({}))).await;
    let run = rig.start("r", json!({"flow": "f"})).await;
    let created = job(&rig, 1).await;
    assert_eq!(created.owner_references()[0].uid, run.uid().unwrap());
    assert_eq!(created.labels()["signoff.dev/run"], "r");
    let spec = created.spec.as_ref().unwrap();
    let container = &spec.template.spec.as_ref().unwrap().containers[0];
    assert_eq!(container.args.as_deref(), Some(&["3".to_owned()][..]));
    let waits = rig.phase("r", "Waiting").await.status.unwrap();
    assert_eq!(waits.steps[0].job.as_deref(), created.metadata.name.as_deref());
    succeeds(&rig, &created, "{\"size\": 3}").await;
    let status = rig.phase("r", "Succeeded").await.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"size": 3}));
    // this server has no logs of pods, which costs nothing else
    assert!(status.steps[0].log.as_ref().unwrap().missing.is_some());
    assert_eq!(jobs(&rig).await.len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_creates_another_job_and_a_failure_is_told_in_words() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    let retry = json!({"retry": {"attempts": 3, "backoff": {"initial": "1ms"}}});
    rig.flow("f", flow(retry)).await;
    rig.start("r", json!({"flow": "f"})).await;
    fails(&rig, &job(&rig, 1).await, &terminated(137, "OOMKilled", "")).await;
    let second = job(&rig, 2).await;
    let evicted = json!({"reason": "Evicted", "message": "The node was low on resource: memory."});
    fails(&rig, &second, &evicted).await;
    fails(
        &rig,
        &job(&rig, 3).await,
        &terminated(2, "Error", "no such branch\n"),
    )
    .await;
    let run = rig.phase("r", "Failed").await;
    assert_eq!(
        error_of(&run),
        (
            StepReason::JobFailed,
            "step build: the container ended with exit code 2: no such branch (attempt 3 of 3)".to_owned()
        )
    );
    assert_eq!(jobs(&rig).await.len(), 3);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_told_and_its_job_deleted() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    rig.flow("f", flow(json!({}))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let created = job(&rig, 1).await;
    let waiting = |reason: &str| container(&json!({"waiting": {"reason": reason, "message": "not found"}}));
    pod(&rig, &created, "Pending", &waiting("ErrImagePull")).await;
    let told = |run: &Run| {
        let status = run.status.as_ref();
        let waits = status.and_then(|status| status.waiting_on.clone());
        waits.is_some_and(|waits| waits.contains("the image app:1 cannot be pulled: not found"))
    };
    rig.until::<Run>("r", told).await;
    pod(&rig, &created, "Pending", &waiting("InvalidImageName")).await;
    let run = rig.phase("r", "Failed").await;
    assert_eq!(error_of(&run).0, StepReason::ImageNotPulled);
    rig.until_gone::<Job>(&created.name_any()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_took_too_long_has_failed() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    rig.flow("f", flow(json!({"timeout": "2m"}))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let created = job(&rig, 1).await;
    assert_eq!(created.spec.as_ref().unwrap().active_deadline_seconds, Some(120));
    says(
        &rig,
        &created,
        json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}),
    )
    .await;
    let run = rig.phase("r", "Failed").await;
    let expected = "step build: the job took longer than 120s".to_owned();
    assert_eq!(error_of(&run), (StepReason::AttemptTimedOut, expected));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_run_deletes_its_job() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    rig.flow("f", flow(json!({}))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let created = job(&rig, 1).await;
    rig.phase("r", "Waiting").await;
    rig.patch_run("r", json!({"cancel": true})).await;
    rig.phase("r", "Cancelled").await;
    rig.until_gone::<Job>(&created.name_any()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_somebody_deletes_is_not_created_again() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let operator = operator(&rig).await;
    rig.flow("f", flow(json!({}))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let created = job(&rig, 1).await;
    rig.phase("r", "Waiting").await;
    let all = rig.server.api::<Job>();
    all.delete(&created.name_any(), &DeleteParams::background())
        .await
        .unwrap();
    let run = rig.phase("r", "Failed").await;
    assert_eq!(error_of(&run).0, StepReason::JobDeleted);
    assert!(jobs(&rig).await.is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_secrets_are_in_no_output_and_in_no_log() {
    if has_cluster() {
        return;
    }
    let rig = Rig::open().await;
    let logs = tempfile::tempdir().unwrap();
    let folder = logs.path().to_owned();
    let operator = rig
        .operator_as(rig.operator_client(), |options| {
            on(options);
            options.job_logs = JobLogs::Folder(folder);
        })
        .await
        .unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"},
        "data": {"password": "aHVudGVyLTItaHVudGVy"}});
    let secrets = rig.server.api::<Secret>();
    let secret: Secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let from = json!({"secretKeyRef": {"name": "database", "key": "password"}});
    let template =
        json!({"spec": {"containers": [{"name": "step", "env": [{"name": "PASSWORD", "valueFrom": from}]}]}});
    let step = json!({"name": "build", "job": {"image": "app:1", "template": template}});
    rig.flow(
        "f",
        json!({"steps": [step], "output": {"said": "${steps.build.output}"}}),
    )
    .await;
    rig.start("r", json!({"flow": "f"})).await;
    let created = job(&rig, 1).await;
    let of_namespace = logs.path().join(rig.namespace());
    std::fs::create_dir_all(&of_namespace).unwrap();
    let log = format!("{}-pod.log", created.name_any());
    std::fs::write(of_namespace.join(log), "connects with hunter-2-hunter\n").unwrap();
    succeeds(&rig, &created, "it is hunter-2-hunter").await;
    let run = rig.phase("r", "Succeeded").await;
    let status = run.status.clone().unwrap();
    assert_eq!(status.output.unwrap().0, json!({"said": "it is [redacted]"}));
    let kept = status.steps[0]
        .log
        .clone()
        .unwrap()
        .resource
        .expect("the end of the log is kept");
    assert_eq!(kept.reference.name, "log.1.1");
    let owner = Owner {
        namespace: rig.namespace().to_owned(),
        run: "r".to_owned(),
        uid: run.uid().unwrap(),
    };
    let content = rig.store().read(&owner, &kept.sha256, 1 << 20).await.unwrap();
    assert_eq!(content.whole().await.unwrap(), "connects with [redacted]\n");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_runs_no_jobs_says_so() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(json!({}))).await;
    rig.start("r", json!({"flow": "f"})).await;
    let (reason, message) = error_of(&rig.phase("r", "Failed").await);
    assert_eq!(reason, StepReason::JobRefused);
    assert!(message.contains("this operator runs no jobs"), "{message}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_leaves_one_job() {
    walk(Cut::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_leaves_one_job() {
    walk(Cut::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_of_a_run_that_is_cancelled_leaves_no_job() {
    walk_cancelled(Cut::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_of_a_run_that_is_cancelled_leaves_no_job() {
    walk_cancelled(Cut::After).await;
}

async fn walk(at: impl Fn(usize) -> Cut) {
    if has_cluster() {
        return;
    }
    for n in 1..=MOST_WRITES {
        if !one(at(n)).await {
            assert!(n > 2, "the walk is over after {n} writes");
            return;
        }
    }
    panic!("more than {MOST_WRITES} writes for one run");
}

async fn walk_cancelled(at: impl Fn(usize) -> Cut) {
    if has_cluster() {
        return;
    }
    for n in 1..=MOST_WRITES {
        if !one_cancelled(at(n)).await {
            assert!(n > 2, "the walk is over after {n} writes");
            return;
        }
    }
    panic!("more than {MOST_WRITES} writes for one run");
}

/// A flow that is live, and an operator that will be cut off.
async fn cut_off(rig: &Rig, at: Cut) -> (Option<Running>, Fault) {
    let before = operator(rig).await;
    rig.flow("f", flow(json!({}))).await;
    before.stop().await;
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_as(client, on).await.ok();
    (first, fault)
}

/// Plays a story over the cut. Says whether the cut was reached, and gives the second operator.
async fn play(
    rig: &Rig,
    first: Option<Running>,
    fault: &Fault,
    story: impl Future<Output = ()>,
) -> (bool, Running) {
    tokio::pin!(story);
    let ended_first = tokio::select! {
        biased;
        () = &mut story => true,
        () = fault.broken.cancelled() => false,
    };
    if let Some(first) = first {
        first.kill().await;
    }
    let second = operator(rig).await;
    if !ended_first {
        story.await;
    }
    (!ended_first || fault.broken.is_cancelled(), second)
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let rig = Rig::open().await;
    let (first, fault) = cut_off(&rig, at).await;
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        let created = job(&rig, 1).await;
        succeeds(&rig, &created, "{\"size\": 3}").await;
        rig.phase("r", "Succeeded").await;
    };
    let (reached, second) = play(&rig, first, &fault, story).await;
    let status = rig.phase("r", "Succeeded").await.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"size": 3}), "{at:?}");
    assert_eq!(status.steps[0].attempt, 1, "{at:?}");
    assert_eq!(jobs(&rig).await.len(), 1, "{at:?}");
    second.stop().await;
    reached
}

/// Plays one run that is cancelled while its Job goes on. Says whether the cut was reached.
async fn one_cancelled(at: Cut) -> bool {
    let rig = Rig::open().await;
    let (first, fault) = cut_off(&rig, at).await;
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        let created = job(&rig, 1).await;
        rig.patch_run("r", json!({"cancel": true})).await;
        rig.phase("r", "Cancelled").await;
        rig.until_gone::<Job>(&created.name_any()).await;
    };
    let (reached, second) = play(&rig, first, &fault, story).await;
    rig.phase("r", "Cancelled").await;
    while !jobs(&rig).await.is_empty() {
        tokio::time::sleep(PAUSE).await;
    }
    second.stop().await;
    reached
}
