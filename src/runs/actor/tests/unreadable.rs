//! Objects that a run owns and that cannot be decoded: nested deeper than this program reads, as only a real API server takes.

use serde_json::Value;

use super::*;
use signoff_api::{RunStatus, WorkItem, WorkItemPhase};

/// Nested deeper than can be read.
fn deep() -> Value {
    (0..200).fold(json!(1), |inner, _| json!([inner]))
}

/// A run that waits for a task, and the name of the task in the API server.
async fn waiting() -> (Fixture, String) {
    let mut fixture = Fixture::new();
    fixture.release(&json!([{"name": "code", "task": {"queue": "coders"}}]));
    assert_eq!(drive(&fixture).await.phase, RunPhase::Waiting);
    let task = status(&fixture).steps[0].task.clone().unwrap();
    (fixture, format!("workitems/{task}"))
}

fn status(fixture: &Fixture) -> RunStatus {
    fixture.api.get::<Run>("runs/r").status.unwrap()
}

fn answer_deep(fixture: &Fixture, task: &str) {
    fixture.api.edit(task, |item| {
        item["status"] = json!({"phase": "Claimed", "claim": 1, "worker": "w", "leaseUntil": "2026-01-01T01:00:00.000000Z",
            "answer": {"result": deep()}});
    });
}

/// Drives the run on, as it is now.
async fn drive_on(fixture: &Fixture) -> ParkedRun {
    let run: Run = fixture.api.get("runs/r");
    let (actor, _sender) = actor(fixture, &run);
    Box::pin(in_time(actor.run([changed(&run)].into()))).await
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_read_fails_its_step_and_is_closed() {
    let (fixture, task) = waiting().await;
    answer_deep(&fixture, &task);
    assert_eq!(drive_on(&fixture).await.phase, RunPhase::Failed);
    let error = status(&fixture).error.unwrap();
    assert!(
        error.message.contains("the task cannot be read"),
        "{}",
        error.message
    );
    let item: WorkItem = fixture.api.get(&task);
    let ended = item.status.unwrap();
    assert_eq!(
        (ended.phase, ended.answer, ended.claim),
        (WorkItemPhase::Failed, None, 1)
    );
    assert!(ended.message.unwrap().contains("recursion"));
    assert_eq!(ended.conditions[0].type_, "Complete");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_task_cannot_be_read_is_cancelled() {
    let (fixture, task) = waiting().await;
    answer_deep(&fixture, &task);
    fixture
        .api
        .edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
    let parked = drive_on(&fixture).await;
    assert_eq!((parked.phase, parked.done), (RunPhase::Cancelled, true));
    assert!(
        fixture
            .api
            .get::<WorkItem>(&task)
            .status
            .unwrap()
            .phase
            .is_closed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_writes_while_its_task_is_closed_is_read_again() {
    let (fixture, task) = waiting().await;
    answer_deep(&fixture, &task);
    let key = task.clone();
    let renew = move |api: &FakeApi| api.edit(&key, |item| item["status"]["progress"] = json!("still here"));
    fixture
        .api
        .fault(&format!("PATCH {task}/status"), Fault::After(Box::new(renew)));
    assert_eq!(drive_on(&fixture).await.phase, RunPhase::Failed);
    let ended = fixture.api.get::<WorkItem>(&task).status.unwrap();
    assert_eq!((ended.phase, ended.answer), (WorkItemPhase::Failed, None));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_question_cannot_be_read_is_cancelled() {
    let fixture = Fixture::new().that_asks();
    drive(&fixture).await;
    let name = status(&fixture).steps[0].approval.clone().unwrap();
    fixture.api.edit(&format!("approvals/{name}"), |approval| {
        approval["spec"]["title"] = deep();
    });
    fixture
        .api
        .edit("runs/r", |run| run["spec"]["cancel"] = json!(true));
    assert_eq!(drive_on(&fixture).await.phase, RunPhase::Cancelled);
}
