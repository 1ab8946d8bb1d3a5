//! Which release a run that is not started yet will use.

use kube::{Api, Client};

use signoff_api::{Flow, FlowStatus, Release, RunSpec, condition, run::Channel};

/// The release that a run will use.
#[derive(Debug)]
pub enum ReleaseChoice {
    /// This one.
    Known(Box<Release>),
    /// The caller may not read it. The API server and the operator have the last word anyway.
    Unreadable,
}

impl ReleaseChoice {
    /// The release, if it is known.
    pub fn release(&self) -> Option<&Release> {
        match self {
            Self::Known(release) => Some(release),
            Self::Unreadable => None,
        }
    }
}

/// Why there is no release for a run.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The flow could not be read.
    #[error("flow {0} cannot be read")]
    Flow(String, #[source] kube::Error),
    /// The release could not be read.
    #[error("release {0} cannot be read")]
    Release(String, #[source] kube::Error),
    /// The flow has no release of this channel, so the run would only wait.
    #[error("flow {flow} has no {} release yet", channel.as_str().to_lowercase())]
    NotYet {
        /// The flow.
        flow: String,
        /// The channel of the run.
        channel: Channel,
    },
    /// The newest content of the flow is no definition.
    #[error("flow {flow} has no valid draft: {why}")]
    InvalidDraft {
        /// The flow.
        flow: String,
        /// What is wrong with it.
        why: String,
    },
    /// The release is of another flow.
    #[error("release {release} is of flow {of}, not of {flow}")]
    OtherFlow {
        /// The release.
        release: String,
        /// Its flow.
        of: String,
        /// The flow of the run.
        flow: String,
    },
}

/// The release that a run with this spec will use.
///
/// # Errors
/// If flow or release are not there, or do not go together.
pub async fn choose_release(
    client: &Client,
    namespace: &str,
    spec: &RunSpec,
) -> Result<ReleaseChoice, ReleaseError> {
    let name = match &spec.release {
        Some(release) => release.to_string(),
        None => match wanted(client, namespace, spec).await? {
            Some(name) => name,
            None => return Ok(ReleaseChoice::Unreadable),
        },
    };
    let found = Api::<Release>::namespaced(client.clone(), namespace)
        .get(&name)
        .await;
    let release = match found {
        Ok(release) => release,
        Err(error) if is_forbidden(&error) => return Ok(ReleaseChoice::Unreadable),
        Err(error) => return Err(ReleaseError::Release(name, error)),
    };
    if spec.flow != *release.spec.flow {
        return Err(ReleaseError::OtherFlow {
            release: name,
            of: release.spec.flow,
            flow: spec.flow.to_string(),
        });
    }
    Ok(ReleaseChoice::Known(Box::new(release)))
}

/// The name of the release of the channel. None if the caller may not read the flow.
async fn wanted(client: &Client, namespace: &str, spec: &RunSpec) -> Result<Option<String>, ReleaseError> {
    let found = Api::<Flow>::namespaced(client.clone(), namespace)
        .get(&spec.flow)
        .await;
    let flow = match found {
        Ok(flow) => flow,
        Err(error) if is_forbidden(&error) => return Ok(None),
        Err(error) => return Err(ReleaseError::Flow(spec.flow.to_string(), error)),
    };
    let status = flow.status.unwrap_or_default();
    let channel = spec.channel.unwrap_or_default();
    if channel == Channel::Draft
        && let Some(why) = invalid_draft(&status, flow.metadata.generation)
    {
        let flow = spec.flow.to_string();
        return Err(ReleaseError::InvalidDraft { flow, why });
    }
    let wanted = match channel {
        Channel::Draft => status.draft,
        Channel::Live => status.live,
    };
    let flow = spec.flow.to_string();
    let wanted = wanted.ok_or(ReleaseError::NotYet { flow, channel })?;
    Ok(Some(wanted.release))
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Why the newest draft cannot run, if that is known.
pub fn invalid_draft(status: &FlowStatus, generation: Option<i64>) -> Option<String> {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|known| known.type_ == condition::READY && known.status == "False")?;
    let is_current = ready.observed_generation == generation;
    (is_current && ready.reason == "InvalidDefinition").then(|| ready.message.clone())
}
