//! A decision of one's own: the user sends it, and the API server proves who they are.

use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use thiserror::Error;

use signoff_api::{Decision, DecisionSpec};

/// Why a decision was not taken.
#[derive(Debug, Error)]
pub enum NotTaken {
    /// Nobody has checked who decides. What was sent does not count.
    #[error("the API server does not prove who decides")]
    Unproven,
    /// The API server refused it, or could not be reached.
    #[error("the decision was not taken")]
    Refused(#[source] kube::Error),
}

/// Sends a decision as the user whose client it is.
///
/// # Errors
/// If the API server does not take it, or does not prove who decides.
pub async fn create(
    decisions: &Api<Decision>,
    spec: DecisionSpec,
    (user, groups): &(String, Vec<String>),
    params: &PostParams,
) -> Result<Decision, NotTaken> {
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", spec.approval)),
        ..ObjectMeta::default()
    };
    let mut decision = Decision {
        metadata,
        spec,
        status: None,
    };
    match decisions.create(params, &decision).await {
        Ok(decision) if decision.spec.by.is_some() => Ok(decision),
        Ok(_) => Err(NotTaken::Unproven),
        // a server without a mutating policy asks the decider to say who they are, and checks it
        Err(kube::Error::Api(refusal)) if refusal.message.contains("spec.by") => {
            decision.spec.by = Some(user.clone());
            decision.spec.groups = Some(groups.clone());
            decisions
                .create(params, &decision)
                .await
                .map_err(NotTaken::Refused)
        }
        Err(error) => Err(NotTaken::Refused(error)),
    }
}
