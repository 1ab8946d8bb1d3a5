//! The name of an approval, as a key.

use crate::controllers::object_key::ObjectKey;
use signoff_api::{Approval, Decision};

/// Namespace and name of an approval.
pub type ApprovalKey = ObjectKey<Approval>;

impl ApprovalKey {
    /// The approval that a decision is on.
    pub fn decided_by(decision: &Decision) -> Self {
        Self::new(
            decision.metadata.namespace.as_deref().unwrap_or_default(),
            &decision.spec.approval,
        )
    }
}
