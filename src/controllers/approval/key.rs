//! The name of an approval, as a key that is cheap to keep and to share.

use std::{fmt, sync::Arc};

use kube::{Resource, ResourceExt as _};

use crate::api::Decision;

/// Namespace and name of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApprovalKey(Arc<str>);

impl ApprovalKey {
    /// The key of a name in a namespace. Neither can contain a slash.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// The key of an object that is an approval.
    pub fn of(approval: &impl Resource) -> Self {
        Self::new(
            approval.meta().namespace.as_deref().unwrap_or_default(),
            &approval.name_any(),
        )
    }

    /// The approval that a decision is on.
    pub fn decided_by(decision: &Decision) -> Self {
        Self::new(
            decision.metadata.namespace.as_deref().unwrap_or_default(),
            &decision.spec.approval,
        )
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name in the namespace.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for ApprovalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
