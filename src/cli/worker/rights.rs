//! What a worker may do.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use signoff_api::name::DnsLabel;

/// Whether the caller may take tasks from a queue.
pub(super) async fn may_work(client: &Client, namespace: &str, queue: &DnsLabel) -> kube::Result<bool> {
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let work = ResourceAttributes {
        resource: Some("queues".to_owned()),
        name: Some(queue.to_string()),
        verb: Some("work".to_owned()),
        ..ResourceAttributes::default()
    };
    let write = ResourceAttributes {
        resource: Some("workitems".to_owned()),
        subresource: Some("status".to_owned()),
        verb: Some("update".to_owned()),
        ..ResourceAttributes::default()
    };
    for what in [work, write] {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some("signoff.dev".to_owned()),
                    namespace: Some(namespace.to_owned()),
                    ..what
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            return Ok(false);
        }
    }
    Ok(true)
}
