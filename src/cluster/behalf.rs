//! Deciding on behalf of somebody who has answered elsewhere: only what that person may do, and with how the answer came in.

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use signoff_api::{Decision, DecisionSpec, GROUP, decision::Via, names};

use super::{
    access::{self, User},
    context::Context,
    create::create_or_adopt,
    object_key::ApprovalKey,
};

/// A user of the cluster who has answered elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user.
    pub user: String,
    /// The groups of that user.
    pub groups: Vec<String>,
}

/// Somebody who was found to have the right to decide on an approval.
#[derive(Debug)]
pub struct Decider<'a> {
    on: &'a ApprovalKey,
    person: Person,
}

/// What came of deciding.
#[derive(Debug, PartialEq, Eq)]
pub enum Decided {
    /// The decision is there, and will be judged.
    Made,
    /// The API server does not take it, and why.
    Refused(String),
}

/// Why it could not be decided now.
#[derive(Debug, thiserror::Error)]
#[error("cannot {0}")]
pub struct BehalfError(pub &'static str, #[source] pub kube::Error);

/// Asks whether somebody has the verb `approve` on an approval. Gives back who has not.
///
/// # Errors
/// If the API server refuses to say or does not answer.
pub async fn decider<'a>(
    context: &Context,
    on: &'a ApprovalKey,
    person: Person,
) -> Result<Result<Decider<'a>, Person>, BehalfError> {
    let what = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        resource: Some("approvals".to_owned()),
        verb: Some("approve".to_owned()),
        name: Some(on.name().to_owned()),
        ..ResourceAttributes::default()
    };
    let user = User {
        name: &person.user,
        groups: &person.groups,
    };
    match access::may(context, on.namespace(), user, what).await {
        Ok(true) => Ok(Ok(Decider { on, person })),
        Ok(false) => Ok(Err(person)),
        Err(error) => Err(BehalfError("ask who may approve", error)),
    }
}

impl Decider<'_> {
    /// Makes a decision of this name. One that is there already was made of the same answer.
    ///
    /// # Errors
    /// If the API server refuses for now or does not answer.
    pub async fn decide(
        self,
        context: &Context,
        name: &str,
        via: Via,
        spec: DecisionSpec,
    ) -> Result<Decided, BehalfError> {
        let spec = DecisionSpec {
            by: Some(self.person.user),
            groups: Some(self.person.groups),
            via: Some(via),
            ..spec
        };
        let mut decision = Decision::new(name, spec);
        let label = (names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned());
        decision.metadata.labels = Some([label].into());
        let decisions = context.namespaced::<Decision>(self.on.namespace());
        match create_or_adopt(&decisions, &decision, |_| true).await {
            Ok(_) => Ok(Decided::Made),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                Ok(Decided::Refused(status.message.clone()))
            }
            Err(error) => Err(BehalfError("create the decision", error)),
        }
    }
}
