//! A run that goes on from one that ended badly.

use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};

use super::create_run;
use crate::cluster::earlier_runs;
use signoff_api::{
    Release, Run, RunPhase, RunSpec, RunStatus,
    name::{DnsLabel, NameError, ReleaseName},
    retry::{RetryOf, RunName},
    run::PinnedRelease,
};
use signoff_engine::{
    plan::Plan,
    retry::{self, ChildFacts, EarlierRun},
};

/// What separates the name of a run from the number of its retry.
const SUFFIX: &str = "-retry-";
/// Most runs that could not retry a run, and whose names are passed over.
const MAX_REFUSED: usize = 10;
/// Longest name of a run.
const MAX_NAME: usize = 63;

/// Why a run is not retried.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// It goes on.
    #[error("run {run} has not ended: {phase}")]
    NotEnded {
        /// Its name.
        run: String,
        /// What it does.
        phase: RunPhase,
    },
    /// There is nothing to go on from.
    #[error("run {0} succeeded; `signoff rerun {0}` starts it again")]
    Succeeded(String),
    /// It never began.
    #[error("run {0} ended before it had a release; `signoff rerun {0}` starts it again")]
    NoRelease(String),
    /// Another run goes on from it.
    #[error("run {run} is retried by run {by} already")]
    AlreadyRetried {
        /// Its name.
        run: String,
        /// The other run.
        by: String,
    },
    /// The release cannot be read, and no step is named.
    #[error("its release cannot be read, so it cannot be told where to begin: give --from STEP")]
    Unreadable,
    /// No step did not end well, and none is named.
    #[error("it cannot be told where to begin: give --from STEP")]
    NoBeginning,
    /// A run that begins there would be refused.
    #[error("{0}")]
    Refused(String),
    /// The name of an object of the run is none.
    #[error("an object of the run has no name")]
    Name(#[from] NameError),
    /// The API server refused to create the run, or did not answer.
    #[error("the run cannot be started")]
    Start(#[source] kube::Error),
    /// The API server refused or did not answer.
    #[error("the run cannot be retried")]
    Api(#[from] kube::Error),
}

/// A retry that would be accepted as things are.
#[derive(Clone, Debug)]
pub struct Retry {
    earlier: String,
    from: DnsLabel,
    spec: RunSpec,
}

impl Retry {
    /// The first step that is done again.
    pub fn from(&self) -> &DnsLabel {
        &self.from
    }

    /// Creates the run that retries the earlier one. One that could not retry it has a name, but is in nobody's way.
    ///
    /// # Errors
    /// If another run retries it, or if the API server refuses or does not answer.
    pub async fn start(
        self,
        client: &Client,
        namespace: &str,
        params: &PostParams,
    ) -> Result<Run, RetryError> {
        let runs = Api::<Run>::namespaced(client.clone(), namespace);
        let mut name = next_name(&self.earlier);
        for _ in 0..MAX_REFUSED {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            match create_run(client, namespace, metadata, self.spec.clone(), params).await {
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                    let known = readable(runs.get(&name).await)?;
                    if known.is_none_or(|known| retries(&known, &self.spec)) {
                        break;
                    }
                    name = next_name(&name);
                }
                created => return created.map_err(RetryError::Start),
            }
        }
        Err(RetryError::AlreadyRetried {
            run: self.earlier,
            by: name,
        })
    }
}

/// How a run would be retried from this step, or else from the first that did not end well.
///
/// # Errors
/// If it cannot be retried, or if the API server refuses or does not answer.
pub async fn plan_retry(
    client: &Client,
    namespace: &str,
    earlier: &Run,
    from: Option<&DnsLabel>,
) -> Result<Retry, RetryError> {
    let name = earlier.name_any();
    let status = earlier.status.clone().unwrap_or_default();
    if !status.phase.is_finished() {
        return Err(RetryError::NotEnded {
            run: name,
            phase: status.phase,
        });
    }
    if status.phase == RunPhase::Succeeded {
        return Err(RetryError::Succeeded(name));
    }
    let Some(pinned) = &status.release else {
        return Err(RetryError::NoRelease(name));
    };
    let runs = Api::<Run>::namespaced(client.clone(), namespace);
    if let Some(by) = earlier_runs::claimed(&runs, &name, &status, None).await? {
        return Err(RetryError::AlreadyRetried { run: name, by });
    }
    let from = begin(client, namespace, from, earlier, pinned).await?;
    let spec = RunSpec {
        retry_of: Some(RetryOf {
            run: name.parse::<RunName>()?,
            from: Some(from.clone()),
        }),
        release: Some(pinned.name.parse::<ReleaseName>()?),
        inputs: earlier.spec.inputs.clone(),
        ..RunSpec::of(earlier.spec.flow.clone())
    };
    Ok(Retry {
        earlier: name,
        from,
        spec,
    })
}

/// The step to begin with, if the run can be retried from there: a run that cannot would be the one that retries it.
async fn begin(
    client: &Client,
    namespace: &str,
    from: Option<&DnsLabel>,
    earlier: &Run,
    pinned: &PinnedRelease,
) -> Result<DnsLabel, RetryError> {
    let releases = Api::<Release>::namespaced(client.clone(), namespace);
    let release = readable(releases.get(&pinned.name).await)?;
    let plan = release.and_then(|release| Plan::of_release(&release.spec.definition).ok());
    let Some(plan) = plan else {
        return from.cloned().ok_or(RetryError::Unreadable);
    };
    let status = earlier.status.clone().unwrap_or_default();
    let from = match from {
        Some(step) => step.clone(),
        None => retry::first_unfinished(&plan, &status)
            .ok_or(RetryError::NoBeginning)?
            .parse()?,
    };
    let inputs = earlier.inputs().cloned().unwrap_or_default();
    let mut known = EarlierRun {
        name: earlier.name_any(),
        uid: earlier.uid().unwrap_or_default(),
        requesters: vec![],
        inputs: inputs.clone(),
        status,
        is_child: false,
        children: ChildFacts::new(),
    };
    let runs = Api::<Run>::namespaced(client.clone(), namespace);
    known.children = earlier_runs::children(&runs, &plan, Some(&from), &known, None).await?;
    let same = (&pinned.digest, &inputs);
    retry::take_over(&plan, Some(&from), &known, same, &mut RunStatus::default())
        .map_err(|refused| RetryError::Refused(refused.to_string()))?;
    Ok(from)
}

/// An object that has to be there; none if it may not be read, as the API server has the last word anyway.
fn readable<K>(read: kube::Result<K>) -> kube::Result<Option<K>> {
    match read {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a retry. It is the same for all who retry a run, so that only the first of them does.
fn next_name(run: &str) -> String {
    // a run that the retry of another one started has the suffix within its name
    let retried = run.rsplit_once(SUFFIX);
    let retried = retried.and_then(|(root, number)| Some((root, number.parse::<u32>().ok()?)));
    let (root, number) = retried.map_or((run, 1), |(root, number)| (root, number.saturating_add(1)));
    let suffix = format!("{SUFFIX}{number}");
    let room = MAX_NAME - suffix.len();
    let root = root.get(..room).unwrap_or(root).trim_end_matches(['-', '.']);
    format!("{root}{suffix}")
}

/// Whether a run retries the same run as another would, and could. Long names are cut, so a name may be that of another.
fn retries(known: &Run, other: &RunSpec) -> bool {
    let of = |spec: &RunSpec| spec.retry_of.as_ref().map(|of| of.run.clone());
    let status = known.status.clone().unwrap_or_default();
    of(&known.spec) == of(other) && (status.retry.is_some() || !status.phase.is_finished())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_has_one_name_for_all_who_ask_for_it_and_the_next_another() {
        assert_eq!(next_name("refund-x7k2q"), "refund-x7k2q-retry-1");
        assert_eq!(next_name("refund-x7k2q-retry-1"), "refund-x7k2q-retry-2");
        assert_eq!(next_name("refund-x7k2q-retry-9"), "refund-x7k2q-retry-10");
        let below = "refund-x7k2q-retry-1-apply-effa769df9";
        assert_eq!(next_name(below), format!("{below}-retry-1"));
        let long = next_name(&"a".repeat(63));
        assert_eq!(long.len(), 63);
        assert!(long.parse::<RunName>().is_ok());
        assert!(
            next_name(&format!("{}-b", "a".repeat(54)))
                .parse::<RunName>()
                .is_ok()
        );
    }
}
