//! Asking the API server what a user may do.

use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec,
};
use kube::api::{ObjectMeta, PostParams};

use super::context::Context;

/// A group that every user of a cluster is in, and that bindings may name.
const AUTHENTICATED: &str = "system:authenticated";

/// A user of the cluster, as somebody acts in it.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The name.
    pub name: &'a str,
    /// The groups, with or without the one that all users are in.
    pub groups: &'a [String],
}

/// Whether a user may do something in a namespace. What the API server does not allow is refused.
///
/// # Errors
/// If the API server refuses to say or does not answer.
pub async fn may(
    context: &Context,
    namespace: &str,
    user: User<'_>,
    what: ResourceAttributes,
) -> kube::Result<bool> {
    let mut groups = user.groups.to_vec();
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let namespace = Some(namespace.to_owned());
    let review = LocalSubjectAccessReview {
        metadata: ObjectMeta {
            namespace: namespace.clone(),
            ..ObjectMeta::default()
        },
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.to_owned()),
            groups: Some(groups),
            resource_attributes: Some(ResourceAttributes {
                namespace: namespace.clone(),
                ..what
            }),
            ..SubjectAccessReviewSpec::default()
        },
        status: None,
    };
    let reviews = context.namespaced::<LocalSubjectAccessReview>(namespace.as_deref().unwrap_or_default());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
