//! What a Job said: its output and the end of its log, without the Secrets that its pod has.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncReadExt as _, io::AsyncRead};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, PodSpec, Secret},
};
use kube::{Api, Client, ResourceExt as _, api::LogParams};

use crate::{
    cluster::error_chain,
    net::redact::Secrets,
    store::{Owner, Store, StoreError},
};
use signoff_api::{Digest, Resource, ResourceRef, run::JobLog};

/// The container of the step.
const CONTAINER: &str = "step";
/// How much of the end of a log is kept in the store.
const MAX_LOG: usize = 64 * 1024;
/// How much of it is kept in a status, if there is no store.
const MAX_TEXT: usize = 4096;
/// How much of a log is read to find its end.
const MAX_READ: usize = 16 << 20;
/// How many lines are asked for.
const LINES: i64 = 10_000;
/// Longest time to read a log: its node may be gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// Shorter values of Secrets are no secrets, but words such as `true`.
const SHORTEST_SECRET: usize = 6;

/// Where the logs of pods are.
#[derive(Clone, Debug)]
pub enum JobLogs {
    /// The API server has them.
    Cluster,
    /// They are files of this folder, named after namespace and pod.
    Folder(PathBuf),
}

/// Why it cannot be known what a Job said.
#[derive(Debug, thiserror::Error)]
pub enum JobSaidError {
    /// The operator may not read a Secret of the pod.
    #[error(
        "the operator may not read the Secret {0:?}, which the pod uses, so it cannot take its values out of the output"
    )]
    Forbidden(String),
    /// Something could not be read or written now.
    #[error("cannot read what the job said")]
    Api(#[from] kube::Error),
    /// The store does not take the log now.
    #[error("cannot keep the log of the job")]
    Store(#[from] StoreError),
}

/// Where what is kept of a log belongs.
#[derive(Clone, Copy, Debug)]
pub struct JobAttempt<'a> {
    /// The step.
    pub step: &'a str,
    /// Its pass.
    pub iteration: i64,
    /// Its attempt.
    pub attempt: i64,
}

/// Reads what Jobs said. Cheap to clone.
#[derive(Clone)]
pub struct JobReader {
    client: Client,
    store: Option<Store>,
    logs: JobLogs,
}

impl std::fmt::Debug for JobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobReader")
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

impl JobReader {
    /// With a client that may read pods, their logs and Secrets.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            store: None,
            logs: JobLogs::Cluster,
        }
    }

    /// The same, which keeps logs in this store.
    pub(super) fn keeping_in(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }

    /// The same, which reads logs from there.
    pub(super) fn with_logs(self, logs: JobLogs) -> Self {
        Self { logs, ..self }
    }

    /// Takes the Secrets of a Job out of what its containers said last.
    ///
    /// # Errors
    /// If a Secret cannot be read.
    pub async fn redacted(&self, job: &Job, pods: Vec<Pod>) -> Result<(Vec<Pod>, Secrets), JobSaidError> {
        let secrets = self.secrets_of(job).await?;
        let redacted = pods.into_iter().map(|mut pod| {
            let status = pod.status.iter_mut();
            let containers = status.flat_map(|status| {
                let first = status.init_container_statuses.iter_mut().flatten();
                first.chain(status.container_statuses.iter_mut().flatten())
            });
            for container in containers {
                let ended = container
                    .state
                    .as_mut()
                    .and_then(|state| state.terminated.as_mut());
                if let Some(said) = ended.and_then(|ended| ended.message.as_mut()) {
                    *said = secrets.redact(said);
                }
            }
            pod
        });
        Ok((redacted.collect(), secrets))
    }

    async fn secrets_of(&self, job: &Job) -> Result<Secrets, JobSaidError> {
        let mut secrets = Secrets::default();
        let namespace = job.namespace().unwrap_or_default();
        let api = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        for name in pod.map(named).unwrap_or_default() {
            let found = match api.get_opt(&name).await {
                Ok(found) => found,
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Err(JobSaidError::Forbidden(name));
                }
                Err(error) => return Err(error.into()),
            };
            for value in found
                .and_then(|secret| secret.data)
                .unwrap_or_default()
                .into_values()
            {
                if let Ok(text) = String::from_utf8(value.0)
                    && text.trim().len() >= SHORTEST_SECRET
                {
                    secrets.add(text.trim_end_matches(['\r', '\n']));
                }
            }
        }
        Ok(secrets)
    }

    /// The end of the log of a pod, kept in the store where there is one.
    ///
    /// # Errors
    /// If the store does not take it now.
    pub async fn log(
        &self,
        owner: &Owner,
        of: JobAttempt<'_>,
        pod: Option<&Pod>,
        secrets: &Secrets,
    ) -> Result<JobLog, JobSaidError> {
        let Some(pod) = pod else {
            return Ok(missing("its pod is gone"));
        };
        let read = tokio::time::timeout(PATIENCE, self.read(owner, &pod.name_any())).await;
        let end = match read {
            Ok(Ok(end)) => end,
            Ok(Err(why)) => return Ok(missing(&secrets.redact(&why))),
            Err(_) => return Ok(missing("its node did not answer in time")),
        };
        // a secret that was cut at the beginning is not recognised: its line goes
        let text = secrets.redact(whole_lines(&end));
        let Some(store) = &self.store else {
            let begins = text.ceil_char_boundary(text.len().saturating_sub(MAX_TEXT));
            let end = text[begins..].to_owned();
            return Ok(JobLog {
                text: Some(end).filter(|end| !end.is_empty()),
                resource: None,
                missing: None,
            });
        };
        let content = Bytes::from(text);
        let sha256 = Digest::of(&content);
        let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
        match store.put(owner, content).await {
            Ok(_) => {}
            Err(problem) if problem.is_transient() => return Err(problem.into()),
            Err(problem) => return Ok(missing(&problem.to_string())),
        }
        let resource = Resource {
            reference: ResourceRef::of_log(&owner.namespace, &owner.run, of.step, of.iteration, of.attempt),
            size,
            media_type: "text/plain; charset=utf-8".to_owned(),
            sha256,
        };
        Ok(JobLog {
            text: None,
            resource: Some(resource),
            missing: None,
        })
    }

    async fn read(&self, owner: &Owner, pod: &str) -> Result<String, String> {
        match &self.logs {
            JobLogs::Cluster => {
                let params = LogParams {
                    container: Some(CONTAINER.to_owned()),
                    tail_lines: Some(LINES),
                    ..LogParams::default()
                };
                let api = Api::<Pod>::namespaced(self.client.clone(), &owner.namespace);
                let log = api.log_stream(pod, &params).await;
                let log = log.map_err(|error| format!("it could not be read: {}", error_chain(&error)))?;
                end_of(log).await
            }
            JobLogs::Folder(folder) => {
                let path = folder.join(&owner.namespace).join(format!("{pod}.log"));
                let read = tokio::fs::read(&path).await;
                let content = read.map_err(|error| format!("it could not be read: {error}"))?;
                let begins = content.len().saturating_sub(MAX_LOG);
                Ok(String::from_utf8_lossy(&content[begins..]).into_owned())
            }
        }
    }
}

fn missing(why: &str) -> JobLog {
    JobLog {
        text: None,
        resource: None,
        missing: Some(why.chars().take(500).collect()),
    }
}

/// The last part of a log that comes in pieces.
async fn end_of(log: impl AsyncRead) -> Result<String, String> {
    let mut log = std::pin::pin!(log);
    let (mut end, mut piece, mut read) = (VecDeque::new(), vec![0_u8; 8192], 0_usize);
    while read < MAX_READ {
        let count = log.read(&mut piece).await;
        let count = count.map_err(|error| format!("it could not be read to its end: {error}"))?;
        if count == 0 {
            break;
        }
        read = read.saturating_add(count);
        end.extend(&piece[..count]);
        let over = end.len().saturating_sub(MAX_LOG);
        end.drain(..over);
    }
    let end: Vec<u8> = end.into();
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// The part of a text that begins with a whole line, if it was cut.
fn whole_lines(end: &str) -> &str {
    if end.len() < MAX_LOG {
        return end;
    }
    end.split_once('\n').map_or("", |(_, rest)| rest)
}

/// The Secrets that a pod has.
fn named(pod: &PodSpec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    for container in containers {
        for variable in container.env.iter().flatten() {
            let from = variable.value_from.as_ref();
            let secret = from.and_then(|from| from.secret_key_ref.as_ref());
            names.extend(secret.map(|secret| secret.name.clone()));
        }
        for all in container.env_from.iter().flatten() {
            names.extend(all.secret_ref.as_ref().map(|secret| secret.name.clone()));
        }
    }
    for volume in pod.volumes.iter().flatten() {
        let secret = volume.secret.as_ref();
        names.extend(secret.and_then(|secret| secret.secret_name.clone()));
        let projected = volume.projected.as_ref();
        let sources = projected.and_then(|projected| projected.sources.as_ref());
        for source in sources.into_iter().flatten() {
            names.extend(source.secret.as_ref().map(|secret| secret.name.clone()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_secret_that_a_pod_has_is_known() {
        let pod = serde_json::from_value::<PodSpec>(json!({
            "containers": [{ "name": "step",
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "valueFrom": { "secretKeyRef": { "name": "a", "key": "k" } } }],
                "envFrom": [{ "secretRef": { "name": "b" } }, { "configMapRef": { "name": "no" } }] }],
            "initContainers": [{ "name": "first", "envFrom": [{ "secretRef": { "name": "c" } }] }],
            "volumes": [
                { "name": "v", "secret": { "secretName": "d" } },
                { "name": "w", "projected": { "sources": [{ "secret": { "name": "e" } }] } },
            ],
        }));
        let names: Vec<String> = named(&pod.unwrap()).into_iter().collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
    }

    #[tokio::test]
    async fn of_a_long_log_the_end_is_kept_from_a_whole_line_on() {
        let line = "0123456789\n";
        let log = line.repeat(MAX_LOG);
        let end = end_of(log.as_bytes()).await.unwrap();
        assert_eq!(end.len(), MAX_LOG);
        assert!(whole_lines(&end).starts_with(line));
        let short = end_of("only\nthis".as_bytes()).await.unwrap();
        assert_eq!(whole_lines(&short), "only\nthis");
    }
}
