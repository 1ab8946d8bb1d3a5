//! The Lease that says which wait takes an event.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Resource as _, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};

use super::{ArrivedEvent, Claim, EventClaims};
use signoff_api::{Run, names};

impl EventClaims<'_> {
    /// Says which wait takes an event: creates the claim, or changes the one whose wait ended without the event.
    pub(super) async fn write_claim(
        &self,
        before: Option<Lease>,
        claim: &Claim,
        event: &ArrivedEvent,
    ) -> Result<(), kube::Error> {
        let run = &claim.run;
        let owner = OwnerReference {
            api_version: Run::api_version(&()).into_owned(),
            kind: Run::kind(&()).into_owned(),
            name: run.name_any(),
            uid: run.uid().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let lease = Lease {
            metadata: ObjectMeta {
                labels: Some([(names::RUN.to_owned(), run.name_any())].into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(format!("{}/{}", run.name_any(), claim.key)),
                ..LeaseSpec::default()
            }),
        };
        self.write_lease(before, event, lease).await
    }

    /// Creates the Lease of an event, or changes it if it is still as it was read.
    pub(super) async fn write_lease(
        &self,
        before: Option<Lease>,
        event: &ArrivedEvent,
        mut lease: Lease,
    ) -> Result<(), kube::Error> {
        let name = names::event_claim_name(&event.name);
        if let Some(digest) = &event.sha256 {
            let annotations = lease.metadata.annotations.get_or_insert_default();
            annotations.insert(names::EVENT_DIGEST.to_owned(), digest.to_string());
        }
        let field_manager = Some(self.field_manager.to_owned());
        let labels = lease.metadata.labels.get_or_insert_default();
        labels.insert(names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned());
        lease.metadata.name = Some(name.clone());
        let Some(before) = before else {
            let params = PostParams {
                field_manager,
                ..PostParams::default()
            };
            return self.leases().create(&params, &lease).await.map(|_| ());
        };
        lease.metadata.resource_version = before.resource_version();
        let params = PatchParams {
            field_manager,
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&lease);
        self.leases().patch(&name, &params, &patch).await.map(|_| ())
    }
}
