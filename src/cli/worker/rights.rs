//! What a worker may do.

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::Client;

use crate::client::may;
use signoff_api::name::DnsLabel;

/// Whether the caller may take tasks from a queue.
pub(super) async fn may_work(client: &Client, namespace: &str, queue: &DnsLabel) -> kube::Result<bool> {
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
        if !may(client, namespace, what).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
