//! Calls: one executor for each sort of request. An executor chooses nothing; it performs what it is told and says what
//! came of it.

mod connection;
mod error;
mod git;
pub mod http;
mod job;
mod llm;
mod memory;
mod probe;
mod resource;
mod smtp;
mod ssh;
mod turns;
mod values;

use bytes::Bytes;
use kube::Client;

use self::{
    git::GitExecutor,
    http::{HttpExecutor, HttpExecutorError},
    llm::LlmExecutor,
    smtp::SmtpExecutor,
    ssh::SshExecutor,
    values::ValueExecutor,
};
pub use self::{
    job::{JobAttempt, JobLogs, JobReader, JobSaidError},
    probe::Check,
    turns::{CallTurn, CallTurns},
};
use crate::{
    cluster::context::Clock,
    remotes::RepositorySettings,
    store::{Owner, Store},
};
use signoff_api::{Resource, run::ProcessStatus};
use signoff_engine::{
    effect::{Call, Request},
    facts::{EffectError, ProcessFact, Response},
};

/// Performs calls. Cheap to clone; all clones share connections.
#[derive(Clone)]
pub struct Executors {
    client: Client,
    http: HttpExecutor,
    llm: LlmExecutor,
    ssh: SshExecutor,
    smtp: SmtpExecutor,
    git: GitExecutor,
    values: ValueExecutor,
    jobs: JobReader,
}

impl std::fmt::Debug for Executors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executors")
            .field("http", &self.http)
            .field("ssh", &self.ssh)
            .field("smtp", &self.smtp)
            .finish_non_exhaustive()
    }
}

impl Executors {
    /// Executors that read Connections and Secrets with this client and call only where the network of the settings allows it.
    pub fn new(
        client: Client,
        settings: RepositorySettings,
        clock: Clock,
    ) -> Result<Self, HttpExecutorError> {
        let network = settings.network.clone();
        let ssh = SshExecutor::new(client.clone(), network.clone());
        let http = HttpExecutor::new(client.clone(), network.clone(), clock.clone())?;
        let values = ValueExecutor::new(clock.clone());
        let smtp = SmtpExecutor::new(client.clone(), network, clock, http.memory().clone());
        let git = GitExecutor::new(client.clone(), settings);
        Ok(Self {
            llm: LlmExecutor::new(http.clone()),
            jobs: JobReader::new(client.clone()),
            http,
            client,
            ssh,
            smtp,
            git,
            values,
        })
    }

    /// The same, which keep resources in this store.
    #[must_use]
    pub fn keeping_in(self, store: Option<Store>) -> Self {
        let http = self.http.keeping_in(store.clone());
        Self {
            client: self.client,
            llm: LlmExecutor::new(http.clone()),
            http,
            ssh: self.ssh,
            smtp: self.smtp.keeping_in(store.clone()),
            git: self.git,
            jobs: self.jobs.keeping_in(store.clone()),
            values: self.values.keeping_in(store),
        }
    }

    /// The same, which read the logs of Jobs from there.
    #[must_use]
    pub fn with_job_logs(mut self, logs: JobLogs) -> Self {
        self.jobs = self.jobs.with_logs(logs);
        self
    }

    /// Reads what Jobs said.
    pub fn jobs(&self) -> &JobReader {
        &self.jobs
    }

    /// Executors for unit tests, which may call this machine.
    #[cfg(test)]
    pub(crate) fn local(client: Client, clock: Clock) -> Result<Self, HttpExecutorError> {
        let mirrors = std::env::temp_dir().join("signoff-unit-tests");
        Self::new(client, RepositorySettings::local(mirrors), clock)
    }

    /// The content of a resource, if the run may read it.
    ///
    /// # Errors
    /// If it may not, or the content cannot be read.
    pub async fn read(&self, run: &Owner, resource: &Resource, limit: u64) -> Result<Bytes, EffectError> {
        self.http.read(run, resource, limit).await
    }

    /// Performs one attempt for a run. What comes back holds none of the secrets that were used.
    pub async fn perform(&self, run: &Owner, call: &Call) -> Result<Response, EffectError> {
        match &call.request {
            Request::Http(request) => {
                let answered = self.http.perform(run, call, request).await;
                answered.map(Response::Http)
            }
            Request::Ssh(request) => {
                let answered = self.ssh.perform(run, call, request).await;
                answered.map(Response::Ssh)
            }
            Request::Llm(request) => {
                let answered = self.llm.perform(run, call, request).await;
                answered.map(Response::Llm)
            }
            Request::Email(request) => {
                let answered = self.smtp.perform(run, call, request).await;
                answered.map(Response::Email)
            }
            Request::Store(request) => {
                let answered = self.values.perform(run, call, request).await;
                answered.map(Response::Store)
            }
            Request::Git(request) => {
                let answered = self.git.perform(run, call, request, &self.http).await;
                answered.map(Response::Git)
            }
        }
    }

    /// Ends a process that a run has started on another machine. At once, it has less time to end by itself.
    pub async fn end_process(&self, run: &Owner, process: &ProcessStatus, at_once: bool) -> ProcessFact {
        self.ssh.end_process(run, process, at_once).await
    }
}
