//! What a worker writes to its task.

use k8s_openapi::jiff::Timestamp;
use kube::{Api, api::PostParams};

use signoff_api::{WorkItem, WorkItemStatus, work_item::WorkAnswer};
use signoff_engine::work::{self, Lost};

/// How often a write is tried again that met another one.
const TRIES: usize = 5;

/// Why a worker could not write.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The API server refused or did not answer.
    #[error("the task cannot be written")]
    Api(#[from] kube::Error),
    /// The task is not the worker's.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl TaskError {
    /// Whether the task is not the worker's any more, or never was. Otherwise another try may help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Api(kube::Error::Api(status)) => matches!(status.code, 400 | 403 | 404 | 413 | 422),
            Self::Api(_) => false,
        }
    }
}

/// A worker's hold on a task.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The tasks of the namespace, with the worker's own rights.
    pub api: Api<WorkItem>,
    /// The worker, as the API server knows it.
    pub worker: String,
    /// Name of the task.
    pub name: String,
    /// Number of the claim.
    pub number: i64,
}

/// Takes a task from the queue, if it is there still.
///
/// # Errors
/// If somebody else was faster, or the API server refuses or does not answer.
pub async fn claim(
    api: &Api<WorkItem>,
    params: &PostParams,
    item: &WorkItem,
    worker: &str,
    now: Timestamp,
) -> Result<(WorkItem, Claim), TaskError> {
    let status = item.status.clone().unwrap_or_default();
    let name = item.metadata.name.clone().unwrap_or_default();
    let next = work::claim(&item.spec, &status, worker, now)?;
    let number = next.claim;
    let claimed = WorkItem {
        status: Some(next),
        ..item.clone()
    };
    // the version that was read is in it, so that only one worker succeeds
    let claimed = api.replace_status(&name, params, &claimed).await?;
    let claim = Claim {
        api: api.clone(),
        worker: worker.to_owned(),
        name,
        number,
    };
    Ok((claimed, claim))
}

impl Claim {
    /// Renews the lease, and says how far it is.
    ///
    /// # Errors
    /// If the task is not the worker's any more, or the API server refuses or does not answer.
    pub async fn renew(
        &self,
        params: &PostParams,
        progress: Option<&str>,
        now: Timestamp,
    ) -> Result<WorkItem, TaskError> {
        let next = |item: &WorkItem, status: &WorkItemStatus| work::renew(&item.spec, status, progress, now);
        self.write(params, next).await
    }

    /// Answers.
    ///
    /// # Errors
    /// As for [`Self::renew`].
    pub async fn answer(&self, params: &PostParams, answer: &WorkAnswer) -> Result<WorkItem, TaskError> {
        self.write(params, |_, status| work::answer(status, answer.clone()))
            .await
    }

    /// Puts the task back in the queue.
    ///
    /// # Errors
    /// As for [`Self::renew`].
    pub async fn give_back(&self, params: &PostParams) -> Result<WorkItem, TaskError> {
        self.write(params, |_, status| work::give_back(status)).await
    }

    /// Writes what follows from how the task stands, as long as it is the worker's under this claim.
    async fn write(
        &self,
        params: &PostParams,
        next: impl Fn(&WorkItem, &WorkItemStatus) -> WorkItemStatus,
    ) -> Result<WorkItem, TaskError> {
        let mut tries = 0;
        loop {
            let item = self.api.get(&self.name).await?;
            let status = item.status.clone().unwrap_or_default();
            work::owns(&status, &self.worker, self.number)?;
            let written = WorkItem {
                status: Some(next(&item, &status)),
                ..item
            };
            match self.api.replace_status(&self.name, params, &written).await {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
                written => return Ok(written?),
            }
        }
    }
}
