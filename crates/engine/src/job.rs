//! How a Job of the cluster stands, by its status and that of its pods, in words for people.

use std::time::Duration;

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition},
        core::v1::{ContainerStatus, Pod, PodCondition, PodStatus},
    },
    jiff::Timestamp,
};
use serde_json::{Map, Value};

use crate::{
    facts::{EffectError, JobFact, JobState, JobTrouble},
    kinds::job::{CONTAINER, RESERVED},
    object::OpenJob,
};
use signoff_api::{RunStatus, names, reason::StepReason, run::JobLog, text::into_visible};

/// Longest output: a kubelet cuts what is longer.
const MAX_OUTPUT: usize = 4096;
/// How much of what a container said last is told when it failed, in bytes.
const MAX_SAID: usize = 400;

/// What is known of a Job; none if it is not one that a step created. `log` is asked only when it has ended.
pub fn fact(job: &Job, pods: &[Pod], log: Option<JobLog>) -> Option<JobFact> {
    let (labels, notes) = (job.metadata.labels.as_ref()?, job.metadata.annotations.as_ref()?);
    let number = |note: &str| notes.get(note).and_then(|text| text.parse().ok());
    Some(JobFact {
        step: labels.get(names::STEP)?.clone(),
        iteration: number(names::ITERATION)?,
        item: number(names::ITEM),
        attempt: number(names::ATTEMPT)?,
        started_at: job
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map(|at| at.0),
        state: state(job, pods),
        log,
    })
}

/// What is known of a Job that nobody waits for any more.
pub fn fact_of_deleted(job: &Job) -> Option<JobFact> {
    let fact = fact(job, &[], None)?;
    Some(JobFact {
        state: JobState::Failed(deleted()),
        ..fact
    })
}

/// Whether a Job has ended, well or badly.
pub fn has_ended(job: &Job) -> bool {
    ended(job).is_some()
}

/// Whether the run goes on without a Job that it has created: a later attempt or pass has begun, or the step has ended.
pub fn is_left(job: &JobFact, state: &RunStatus) -> bool {
    let of_step = || state.steps.iter().filter(|entry| entry.name == job.step);
    let is_same = |item: Option<i64>| {
        let mut same = of_step().filter(move |entry| entry.iteration == job.iteration && entry.item == item);
        same.next()
    };
    if of_step().any(|entry| entry.iteration > job.iteration) {
        return true;
    }
    let of_item = job.item.is_some_and(|item| {
        let items = is_same(None).and_then(|entry| entry.items.as_ref());
        items.is_some_and(|items| items.outcome(item).is_some())
    });
    let is_over =
        is_same(job.item).is_some_and(|entry| entry.attempt > job.attempt || entry.phase.is_finished());
    of_item || is_over
}

/// A Job as a document for people.
pub fn described(open: &OpenJob) -> Value {
    let pod = &open.spec["template"]["spec"];
    let mut all = pod["containers"].as_array().into_iter().flatten();
    let container = all.find(|container| container["name"] == CONTAINER);
    let container = container.unwrap_or(&Value::Null);
    let env = container["env"].as_array().into_iter().flatten();
    let env: Map<String, Value> = env
        .filter_map(|variable| {
            Some((
                variable["name"].as_str()?.to_owned(),
                variable.get("value")?.clone(),
            ))
        })
        .filter(|(name, _)| !name.starts_with(RESERVED))
        .collect();
    let fields = [
        ("image", container["image"].clone()),
        ("command", container["command"].clone()),
        ("args", container["args"].clone()),
        (
            "env",
            if env.is_empty() {
                Value::Null
            } else {
                Value::Object(env)
            },
        ),
        ("serviceAccount", pod["serviceAccountName"].clone()),
        ("spec", open.spec.clone()),
    ];
    let there = fields.into_iter().filter(|(_, value)| !value.is_null());
    there
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<Map<_, _>>()
        .into()
}

/// Why an attempt failed whose Job did. Any failure of a Job may be retried.
pub(crate) fn error(reason: StepReason, message: impl Into<String>) -> EffectError {
    EffectError {
        reason,
        message: into_visible(message.into()),
        retryable: true,
        may_have_happened: false,
        retry_after: None,
        status: None,
    }
}

/// Why an attempt failed whose Job is not there any more.
pub(crate) fn deleted() -> EffectError {
    error(
        StepReason::JobDeleted,
        "somebody deleted the job before it had ended",
    )
}

/// Why an attempt failed that took too long.
pub(crate) fn took_too_long(timeout: Duration) -> String {
    format!("the job took longer than {}s", timeout.as_secs())
}

/// The output that a container wrote: JSON, or a text; none if it wrote nothing.
pub(crate) fn output(said: Option<&str>) -> Option<Value> {
    let said = said.map(str::trim).filter(|said| !said.is_empty())?;
    Some(serde_json::from_str(said).unwrap_or_else(|_| Value::String(said.to_owned())))
}

fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a JobCondition> {
    let mut conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
}

enum Ended<'a> {
    Well,
    Badly(&'a JobCondition),
    Deleted,
}

fn ended(job: &Job) -> Option<Ended<'_>> {
    if condition(job, "Complete").is_some() {
        return Some(Ended::Well);
    }
    if let Some(failed) = condition(job, "Failed") {
        return Some(Ended::Badly(failed));
    }
    job.metadata.deletion_timestamp.as_ref().map(|_| Ended::Deleted)
}

fn state(job: &Job, pods: &[Pod]) -> JobState {
    match ended(job) {
        None => JobState::Open(pods.iter().filter_map(trouble).next_back()),
        Some(Ended::Well) => succeeded(pods),
        Some(Ended::Badly(condition)) => JobState::Failed(failure(job, condition, pods)),
        Some(Ended::Deleted) => JobState::Failed(deleted()),
    }
}

fn succeeded(pods: &[Pod]) -> JobState {
    let is_done = |pod: &&Pod| phase(pod) == "Succeeded";
    let Some(pod) = pods.iter().rfind(is_done) else {
        let message = "the job succeeded, but its pod is gone, and its output with it";
        // to do it again would not bring it back
        return JobState::Failed(EffectError {
            retryable: false,
            ..error(StepReason::PodLost, message)
        });
    };
    let ended = container(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
    let output = ended.and_then(|ended| ended.message.clone());
    if output.as_ref().is_some_and(|output| output.len() >= MAX_OUTPUT) {
        let message = format!("the output has {MAX_OUTPUT} bytes or more, and was cut off");
        return JobState::Failed(error(StepReason::OutputTooLarge, message));
    }
    JobState::Succeeded { output }
}

fn failure(job: &Job, condition: &JobCondition, pods: &[Pod]) -> EffectError {
    if condition.reason.as_deref() == Some("DeadlineExceeded") {
        let longest = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let longest = longest
            .and_then(|longest| u64::try_from(longest).ok())
            .unwrap_or_default();
        let mut message = took_too_long(Duration::from_secs(longest));
        if let Some(trouble) = pods.iter().filter_map(trouble).next_back() {
            message.push_str(": ");
            message.push_str(&trouble.message);
        }
        return error(StepReason::AttemptTimedOut, message);
    }
    let mut of_pod = pods
        .iter()
        .filter(|pod| phase(pod) == "Failed")
        .filter_map(pod_failure);
    of_pod.next_back().unwrap_or_else(|| {
        let why = condition.message.as_deref().or(condition.reason.as_deref());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        error(StepReason::JobFailed, format!("the job failed{why}"))
    })
}

fn phase(pod: &Pod) -> &str {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// All containers, that of the step first.
fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let all = || {
        let of_step = status.container_statuses.iter().flatten();
        of_step.chain(status.init_container_statuses.iter().flatten())
    };
    let is_step = |status: &&ContainerStatus| status.name == CONTAINER;
    all()
        .filter(is_step)
        .chain(all().filter(move |status| !is_step(status)))
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    containers(pod.status.as_ref()?).find(|status| status.name == CONTAINER)
}

/// Why a pod failed.
fn pod_failure(pod: &Pod) -> Option<EffectError> {
    let status = pod.status.as_ref()?;
    let why = status
        .message
        .as_ref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    if status.reason.as_deref() == Some("Evicted") {
        return Some(error(StepReason::JobEvicted, format!("the pod was evicted{why}")));
    }
    if let Some(disrupted) = pod_condition(status, "DisruptionTarget") {
        let why = disrupted.message.as_deref().or(disrupted.reason.as_deref());
        let message = format!(
            "the pod had to leave its node: {}",
            why.unwrap_or("no reason was given")
        );
        return Some(error(StepReason::JobEvicted, message));
    }
    let ended = containers(status).find_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then_some((container, ended))
    });
    let Some((container, ended)) = ended else {
        let reason = status.reason.as_deref().map(|reason| format!(" ({reason})"));
        let message = format!("the pod failed{}{why}", reason.unwrap_or_default());
        return Some(error(StepReason::JobFailed, message));
    };
    let said = ended.message.as_deref().map(last_words).unwrap_or_default();
    let of = match container.name.as_str() {
        CONTAINER => "the container".to_owned(),
        other => format!("the container {other}"),
    };
    let (reason, message) = match ended.reason.as_deref() {
        Some("OOMKilled") => {
            let limit = limit(pod, &container.name);
            (
                StepReason::OutOfMemory,
                format!("{of} was ended because it used too much memory{limit}"),
            )
        }
        Some("StartError" | "ContainerCannotRun") => (
            StepReason::PodNotStarted,
            format!("{of} could not be started{said}"),
        ),
        Some(_) | None => {
            let code = ended.exit_code;
            (
                StepReason::JobFailed,
                format!("{of} ended with exit code {code}{said}"),
            )
        }
    };
    Some(EffectError {
        status: u16::try_from(ended.exit_code).ok(),
        ..error(reason, message)
    })
}

/// The end of what a container said, after a colon.
fn last_words(said: &str) -> String {
    let said = said.trim();
    let begins = said.ceil_char_boundary(said.len().saturating_sub(MAX_SAID));
    match &said[begins..] {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

/// The memory that a container may use.
fn limit(pod: &Pod, container: &str) -> String {
    let spec = pod.spec.as_ref();
    let mut all = spec.into_iter().flat_map(|spec| {
        let of_init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(of_init)
    });
    let limits = all.find(|known| known.name == container).and_then(|known| {
        let resources = known.resources.as_ref()?;
        resources
            .limits
            .as_ref()?
            .get("memory")
            .map(|limit| limit.0.clone())
    });
    limits
        .map(|limit| format!(" (its limit is {limit})"))
        .unwrap_or_default()
}

fn pod_condition<'a>(status: &'a PodStatus, type_: &str) -> Option<&'a PodCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
}

/// What keeps a pod from running.
pub fn trouble(pod: &Pod) -> Option<JobTrouble> {
    let status = pod.status.as_ref()?;
    let since = pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    let of_container = containers(status).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let said = waiting.message.as_deref().map(last_words).unwrap_or_default();
        let (reason, is_final, message) = match waiting.reason.as_deref()? {
            "InvalidImageName" | "ErrImageNeverPull" => (
                StepReason::ImageNotPulled,
                true,
                format!("the image {} cannot be pulled{said}", container.image),
            ),
            "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => (
                StepReason::ImageNotPulled,
                false,
                format!("the image {} cannot be pulled{said}", container.image),
            ),
            reason @ ("CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError"
            | "CrashLoopBackOff") => (
                StepReason::PodNotStarted,
                false,
                format!("the container cannot be started ({reason}){said}"),
            ),
            _ => return None,
        };
        Some(JobTrouble {
            reason: Some(reason),
            message: into_visible(message),
            since,
            is_final,
        })
    });
    of_container.or_else(|| {
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled =
            conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        let why = unscheduled.message.as_deref().map(last_words).unwrap_or_default();
        Some(JobTrouble {
            reason: None,
            message: into_visible(format!("no node has room for its pod{why}")),
            since,
            is_final: false,
        })
    })
}
