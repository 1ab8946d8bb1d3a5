//! Starting a run, and starting it once.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use signoff_api::{Run, RunSpec};

/// A run that was asked for by name.
#[derive(Debug)]
pub enum Started {
    /// It was started.
    Now(Box<Run>),
    /// The caller had started the same run before.
    Before(Box<Run>),
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server refused or did not answer.
    #[error("the run cannot be started")]
    Api(#[from] kube::Error),
    /// There is another run of that name.
    #[error("run {name} is there already, and it {difference}")]
    Taken {
        /// The name.
        name: String,
        /// What is different.
        difference: &'static str,
    },
}

/// Creates a run.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn create_run(
    client: &Client,
    namespace: &str,
    metadata: ObjectMeta,
    spec: RunSpec,
    params: &PostParams,
) -> kube::Result<Run> {
    let mut run = Run {
        metadata,
        spec,
        status: None,
    };
    let runs = Api::<Run>::namespaced(client.clone(), namespace);
    let created = runs.create(params, &run).await;
    // a server without a mutating policy asks the requester to say who they are, and checks it
    if let Err(kube::Error::Api(refusal)) = &created
        && refusal.message.contains("spec.requestedBy")
    {
        run.spec.requested_by = Some(whoami(client).await?.0);
        return runs.create(params, &run).await;
    }
    created
}

/// Creates a run of this name, or finds the one that the caller created before.
///
/// # Errors
/// If the API server refuses or does not answer, or if there is another run of that name.
pub async fn start_once(
    client: &Client,
    namespace: &str,
    name: &str,
    spec: RunSpec,
    params: &PostParams,
) -> Result<Started, StartError> {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    match create_run(client, namespace, metadata, spec.clone(), params).await {
        Ok(run) => return Ok(Started::Now(Box::new(run))),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => return Err(error.into()),
    }
    let run = Api::<Run>::namespaced(client.clone(), namespace)
        .get(name)
        .await?;
    let difference = match different(&run.spec, &spec) {
        None => {
            let (user, _) = whoami(client).await?;
            let is_own = run.spec.requested_by.as_deref() == Some(user.as_str());
            (!is_own).then_some("was started by somebody else")
        }
        different => different,
    };
    match difference {
        None => Ok(Started::Before(Box::new(run))),
        Some(difference) => Err(StartError::Taken {
            name: name.to_owned(),
            difference,
        }),
    }
}

/// How a run that is there differs from one that is wanted.
fn different(there: &RunSpec, wanted: &RunSpec) -> Option<&'static str> {
    let inputs = |spec: &RunSpec| spec.inputs.clone().unwrap_or_default();
    let channel = |spec: &RunSpec| spec.channel.unwrap_or_default();
    if there.flow != wanted.flow {
        Some("is of another flow")
    } else if there.release != wanted.release || channel(there) != channel(wanted) {
        Some("uses another release")
    } else if inputs(there) != inputs(wanted) {
        Some("has other inputs")
    } else {
        None
    }
}

/// The user name and the groups that the API server knows the caller by.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn whoami(client: &Client) -> kube::Result<(String, Vec<String>)> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await?;
    let user = review
        .status
        .and_then(|status| status.user_info)
        .unwrap_or_default();
    Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
}
