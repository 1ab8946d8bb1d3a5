//! The kinds of `signoff.dev/v1alpha1`: pure data, CEL rules, printer columns, names and conditions.
//!
//! Field documentation here is user text: it becomes `kubectl explain`.

pub mod address;
pub mod approval;
pub mod bounds;
pub mod canonical;
pub mod concurrency;
pub mod condition;
pub mod connection;
pub mod decision;
pub mod digest;
pub mod duration;
mod explained;
pub mod flow;
pub mod git;
pub mod header;
pub mod items;
pub mod json;
pub mod media_type;
pub mod name;
pub mod names;
pub mod notification;
pub mod or_expression;
pub mod reason;
pub mod release;
pub mod repository;
pub mod resolution;
pub mod resource;
pub mod retention;
pub mod retry;
pub mod run;
pub mod schema;
pub mod step;
pub mod text;
pub mod trigger;
pub mod work_item;
pub mod yaml_budget;

pub use approval::{Approval, ApprovalPhase, ApprovalSpec, ApprovalStatus};
pub use connection::{Connection, ConnectionKind, ConnectionSpec};
pub use decision::{Decision, DecisionSpec, DecisionStatus, Verdict};
pub use digest::Digest;
pub use duration::HumanDuration;
pub use flow::{Definition, Flow, FlowSpec, FlowStatus};
pub use json::Json;
pub use media_type::MediaType;
pub use or_expression::{OrExpression, Quorum};
pub use release::{Release, ReleaseSpec, ReleaseStatus};
pub use repository::{Repository, RepositorySpec, RepositoryStatus};
pub use resource::{Resource, ResourceRef};
pub use run::{Run, RunPhase, RunSpec, RunStatus};
pub use step::{Step, StepKind};
pub use trigger::Trigger;
pub use work_item::{WorkItem, WorkItemPhase, WorkItemSpec, WorkItemStatus};

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;

/// API group of every kind.
pub const GROUP: &str = "signoff.dev";
/// The one version served so far.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "signoff.dev/v1alpha1";

/// They are derived from the types, which takes a while, once in each process.
static CRDS: LazyLock<Vec<CustomResourceDefinition>> = LazyLock::new(|| {
    let crds = [
        Repository::crd(),
        Flow::crd(),
        Release::crd(),
        Run::crd(),
        Approval::crd(),
        Decision::crd(),
        with_status(WorkItem::crd()),
        Connection::crd(),
    ];
    crds.into_iter().map(explained::in_paragraphs).collect()
});

/// The same with a status from the beginning, of which the defaults are known: nobody writes it before it changes.
fn with_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_mut());
        let fields = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = fields.and_then(|fields| fields.get_mut("status")) {
            status.default = Some(JSON(serde_json::json!({})));
        }
    }
    crd
}

/// The definitions of all kinds, in the order a reader meets them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    CRDS.clone()
}
