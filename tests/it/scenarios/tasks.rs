//! Tasks on the embedded control plane: workers race, die, answer badly and too late; and nobody works in another's name.

#![allow(
    clippy::needless_pass_by_value,
    reason = "values that a test writes down are handed over"
)]

use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff::client::{Claim, TaskError, claim};
use signoff_api::{
    Run, WorkItem, WorkItemPhase,
    work_item::{WorkAnswer, WorkError},
};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::Rig,
};

fn flow(task: Value, retry: i64) -> Value {
    json!({"steps": [{"name": "code", "retry": {"attempts": retry}, "task": task}],
        "output": {"got": "${steps.code.output}"}})
}

fn coders() -> Value {
    json!({"queue": "coders", "input": {"n": 81}, "schema": {"type": "object", "required": ["branch"]}})
}

fn tasks(rig: &Rig, user: &str) -> Api<WorkItem> {
    Api::namespaced(rig.client(user), rig.namespace())
}

/// The task that a run has queued, once it is there.
async fn queued(rig: &Rig, run: &str) -> WorkItem {
    let waits = rig
        .until::<Run>(run, |run| {
            let mut steps = run.status.iter().flat_map(|status| &status.steps);
            steps.any(|step| step.task.is_some() && !step.phase.is_finished())
        })
        .await;
    let steps = waits.status.unwrap().steps;
    let name = steps.iter().find_map(|step| step.task.clone()).unwrap();
    rig.until::<WorkItem>(&name, |_| true).await
}

fn name(item: &WorkItem) -> &str {
    item.metadata.name.as_deref().unwrap()
}

/// Claims with the rights and in the name of a user.
async fn claimed(rig: &Rig, user: &str, item: &WorkItem) -> Result<Claim, TaskError> {
    let now = k8s_openapi::jiff::Timestamp::now();
    let claimed = claim(&tasks(rig, user), &PostParams::default(), item, user, now).await;
    claimed.map(|(_, claim)| claim)
}

fn result(value: Value) -> WorkAnswer {
    WorkAnswer {
        result: Some(value.into()),
        error: None,
    }
}

fn failure(retryable: bool) -> WorkAnswer {
    WorkAnswer {
        result: None,
        error: Some(WorkError {
            message: "no disk".to_owned(),
            retryable,
        }),
    }
}

async fn answer(claim: &Claim, answer: WorkAnswer) -> Result<WorkItem, TaskError> {
    claim.answer(&PostParams::default(), &answer).await
}

/// Makes a claim look as if its lease had run out.
async fn run_out(rig: &Rig, item: &WorkItem) {
    let past = json!({"status": {"leaseUntil": "2026-01-01T00:00:00.000000Z"}});
    let api: Api<WorkItem> = Api::namespaced(rig.operator_client(), rig.namespace());
    api.patch_status(name(item), &PatchParams::default(), &Patch::Merge(&past))
        .await
        .unwrap();
}

fn refusal<T: std::fmt::Debug>(refused: Result<T, kube::Error>) -> (u16, String) {
    match refused {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        other => panic!("it is not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_claimed_once_and_its_result_lets_the_run_go_on() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 1)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let item = queued(&rig, "r").await;
    let labels = item.metadata.labels.clone().unwrap();
    assert_eq!(labels["signoff.dev/queue"], "coders");
    assert_eq!(labels["signoff.dev/run"], "r");
    assert_eq!(item.spec.input.as_ref().unwrap().0, json!({"n": 81}));
    // what kubectl shows as its phase
    let phase = item.status.as_ref().map(|status| status.phase);
    assert_eq!(phase, Some(WorkItemPhase::Queued));
    // two workers race with what both have read
    let (one, two) = tokio::join!(claimed(&rig, "alice", &item), claimed(&rig, "bob", &item));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let (winner, loser) = if one.is_ok() {
        ("alice", "bob")
    } else {
        ("bob", "alice")
    };
    let mine = one.or(two).unwrap();
    let now = rig
        .until::<WorkItem>(name(&item), |item| {
            item.status
                .as_ref()
                .is_some_and(|status| status.phase != WorkItemPhase::Queued)
        })
        .await;
    assert_eq!(now.status.as_ref().unwrap().worker.as_deref(), Some(winner));
    let late = claimed(&rig, loser, &now).await;
    assert!(matches!(late, Err(TaskError::Lost(_))), "{late:?}");
    mine.renew(
        &PostParams::default(),
        Some("half of it"),
        k8s_openapi::jiff::Timestamp::now(),
    )
    .await
    .unwrap();
    answer(&mine, result(json!({"branch": "fix"}))).await.unwrap();
    let run = rig.phase("r", "Succeeded").await.status.unwrap();
    assert_eq!(run.output.unwrap().0, json!({"got": {"branch": "fix"}}));
    assert_eq!(run.steps[0].worker.as_deref(), Some(winner));
    assert_eq!(run.billable_steps, 1);
    let done = rig
        .api::<WorkItem>()
        .get(name(&item))
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        (done.phase, done.progress.as_deref()),
        (WorkItemPhase::Succeeded, Some("half of it"))
    );
    let again = answer(&mine, result(json!({"branch": "other"}))).await;
    assert!(matches!(again, Err(TaskError::Lost(_))), "{again:?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_task_is_another_workers_and_a_late_result_is_refused() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 2)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let item = queued(&rig, "r").await;
    let lost = claimed(&rig, "alice", &item).await.unwrap();
    run_out(&rig, &item).await;
    let requeued = rig
        .until::<WorkItem>(name(&item), |item| {
            item.status
                .as_ref()
                .is_some_and(|status| status.phase == WorkItemPhase::Queued)
        })
        .await;
    assert_eq!(requeued.status.as_ref().unwrap().failures, 1);
    let late = answer(&lost, result(json!({"branch": "late"}))).await;
    assert!(matches!(late, Err(TaskError::Lost(_))), "{late:?}");
    // the same without our own care
    let raw = json!({"status": {"phase": "Claimed", "answer": {"result": {"branch": "late"}}}});
    let raw = tasks(&rig, "alice")
        .patch_status(name(&item), &PatchParams::default(), &Patch::Merge(&raw))
        .await;
    assert!(matches!(refusal(raw).0, 403 | 422));
    let second = claimed(&rig, "bob", &requeued).await.unwrap();
    let late = answer(&lost, result(json!({"branch": "late"}))).await;
    assert!(matches!(late, Err(TaskError::Lost(_))), "{late:?}");
    answer(&second, result(json!({"branch": "bobs"}))).await.unwrap();
    let run = rig.phase("r", "Succeeded").await.status.unwrap();
    assert_eq!(run.output.unwrap().0, json!({"got": {"branch": "bobs"}}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_lost_as_often_as_it_may_be_fails_the_run() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 1)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let item = queued(&rig, "r").await;
    claimed(&rig, "alice", &item).await.unwrap();
    run_out(&rig, &item).await;
    let run = rig.phase("r", "Failed").await.status.unwrap();
    let error = run.error.unwrap();
    assert_eq!(error.reason.to_string(), "LeaseLost");
    assert!(error.message.contains("worker alice"), "{}", error.message);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_result_is_told_to_the_worker_and_a_failure_is_tried_again() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 2)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let item = queued(&rig, "r").await;
    let first = claimed(&rig, "alice", &item).await.unwrap();
    answer(&first, result(json!({"brunch": "fix"}))).await.unwrap();
    let told = rig
        .until::<WorkItem>(name(&item), |item| {
            item.status
                .as_ref()
                .is_some_and(|status| status.problem.is_some())
        })
        .await;
    let status = told.status.unwrap();
    assert_eq!((status.phase, status.answer), (WorkItemPhase::Claimed, None));
    assert!(status.problem.unwrap().contains("branch"));
    answer(&first, failure(true)).await.unwrap();
    let requeued = rig
        .until::<WorkItem>(name(&item), |item| {
            item.status.as_ref().is_some_and(|status| status.failures == 1)
        })
        .await;
    let second = claimed(&rig, "bob", &requeued).await.unwrap();
    answer(&second, failure(false)).await.unwrap();
    let error = rig.phase("r", "Failed").await.status.unwrap().error.unwrap();
    assert_eq!(
        (
            error.reason.to_string().as_str(),
            error.message.contains("no disk")
        ),
        ("TaskFailed", true)
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_ends_when_its_run_is_cancelled_and_when_it_is_too_late() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 1)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let item = queued(&rig, "r").await;
    let mine = claimed(&rig, "alice", &item).await.unwrap();
    rig.patch_run("r", json!({"cancel": true})).await;
    rig.phase("r", "Cancelled").await;
    let closed = rig
        .until::<WorkItem>(name(&item), |item| {
            item.status
                .as_ref()
                .is_some_and(|status| status.phase.is_closed())
        })
        .await;
    assert_eq!(closed.status.unwrap().phase, WorkItemPhase::Cancelled);
    let late = answer(&mine, result(json!({"branch": "late"}))).await;
    assert!(matches!(late, Err(TaskError::Lost(_))), "{late:?}");
    let soon = json!({"queue": "coders", "respondWithin": "1s"});
    rig.flow("g", flow(soon, 1)).await;
    rig.start("s", json!({"flow": "g"})).await;
    let run = rig.phase("s", "TimedOut").await.status.unwrap();
    assert_eq!(run.error.unwrap().reason.to_string(), "RespondTimedOut");
    operator.stop().await;
}

/// Nested so deep.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_as_deep_as_the_server_takes_does_not_keep_a_run_from_ending() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(json!({"queue": "coders"}), 1)).await;
    for (run, is_cancelled) in [("ends", false), ("stops", true)] {
        rig.start(run, json!({"flow": "f"})).await;
        let item = queued(&rig, run).await;
        let mine = claimed(&rig, "alice", &item).await.unwrap();
        // a real API server takes 10 000 levels, the embedded one 64
        let mut is_readable = false;
        for levels in [400, 50] {
            let deep = Patch::Merge(json!({"status": {"answer": {"result": nested(levels)}}}));
            let written = tasks(&rig, "alice")
                .patch_status(name(&item), &PatchParams::default(), &deep)
                .await;
            match written {
                // it was taken, and what comes back is deeper than this client reads
                Err(kube::Error::SerdeError(_)) => break,
                Ok(_) => is_readable = true,
                Err(kube::Error::Api(status)) => assert!(levels == 400, "{status:?}"),
                Err(error) => panic!("{error}"),
            }
        }
        if is_cancelled {
            rig.patch_run(run, json!({"cancel": true})).await;
        } else if is_readable {
            rig.until::<WorkItem>(name(&item), |item| {
                item.status
                    .as_ref()
                    .is_some_and(|status| status.problem.is_some())
            })
            .await;
            answer(&mine, failure(false)).await.unwrap();
        }
        let ended = rig
            .until::<Run>(run, |run| {
                run.status
                    .as_ref()
                    .is_some_and(|status| status.phase.is_finished())
            })
            .await;
        let error = ended.status.unwrap().error;
        assert!(
            error
                .is_some_and(|error| is_cancelled || is_readable || error.message.contains("cannot be read"))
        );
        let closed = rig
            .until::<WorkItem>(name(&item), |item| {
                item.status
                    .as_ref()
                    .is_some_and(|status| status.phase.is_closed())
            })
            .await;
        assert!(is_readable || closed.status.unwrap().answer.is_none());
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_work_on_a_queue_works_and_only_in_their_own_name() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 1)).await;
    rig.start("r", json!({"flow": "f"})).await;
    let item = queued(&rig, "r").await;
    let write = async |user: &str, status: Value| {
        let patch = Patch::Merge(json!({ "status": status }));
        tasks(&rig, user)
            .patch_status(name(&item), &PatchParams::default(), &patch)
            .await
    };
    let lease = "2036-01-01T00:00:00.000000Z";
    let claim = |worker: &str| json!({"phase": "Claimed", "claim": 1, "worker": worker, "leaseUntil": lease});
    let (code, why) = refusal(write("alice", claim("bob")).await);
    assert!(
        code == 403 && why.contains("nobody works in another's name"),
        "{why}"
    );
    let (code, why) = refusal(write("alice", json!({"phase": "Succeeded", "answer": {"result": 1}})).await);
    assert!(code == 403 && why.contains("the operator ends it"), "{why}");
    let (code, _) = refusal(
        write(
            "alice",
            json!({"phase": "Claimed", "claim": 7, "worker": "alice", "leaseUntil": lease}),
        )
        .await,
    );
    assert_eq!(code, 422);
    write("alice", claim("alice")).await.unwrap();
    let (code, why) = refusal(write("bob", json!({"answer": {"result": {"branch": "b"}}})).await);
    assert!(code == 403 && why.contains("\"alice\" has the task"), "{why}");
    let (code, why) = refusal(write("alice", json!({"failures": 3})).await);
    assert!(code == 403 && why.contains("only the operator"), "{why}");
    let spec = Patch::Merge(json!({"spec": {"queue": "others"}}));
    let admin = rig.api::<WorkItem>();
    assert!(
        admin
            .patch(name(&item), &PatchParams::default(), &spec)
            .await
            .is_err()
    );
    let gone = admin.delete(name(&item), &DeleteParams::default()).await;
    assert!(matches!(gone, Err(kube::Error::Api(status)) if status.code == 403));
    let mut forged = item.clone();
    forged.metadata = kube::api::ObjectMeta {
        name: Some("forged".to_owned()),
        ..kube::api::ObjectMeta::default()
    };
    assert_eq!(
        refusal(admin.create(&PostParams::default(), &forged).await).0,
        403
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_or_after_any_write_loses_no_task_and_queues_none_twice() {
    cut_around_each_write(3, one).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", flow(coders(), 2)).await;
    operator.stop().await;
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        let item = queued(&rig, "r").await;
        let first = claimed(&rig, "alice", &item).await.unwrap();
        answer(&first, failure(true)).await.unwrap();
        let again = rig
            .until::<WorkItem>(name(&item), |item| {
                item.status
                    .as_ref()
                    .is_some_and(|status| status.phase == WorkItemPhase::Queued)
            })
            .await;
        let second = claimed(&rig, "bob", &again).await.unwrap();
        answer(&second, result(json!({"branch": "fix"}))).await.unwrap();
        rig.phase("r", "Succeeded").await;
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await.status.unwrap();
    second.stop().await;
    assert_eq!(run.output.unwrap().0, json!({"got": {"branch": "fix"}}), "{at:?}");
    let all = rig
        .api::<WorkItem>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert_eq!(all.len(), 1, "{at:?}");
    assert_eq!(all[0].status.as_ref().unwrap().failures, 1, "{at:?}");
    reached
}
