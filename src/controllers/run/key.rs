//! The name of a run, as a key.

use std::fmt;

use kube::{Resource, ResourceExt as _};

/// Namespace and name of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl RunKey {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object that is a run.
    pub(crate) fn of(run: &impl Resource) -> Self {
        Self::new(run.namespace().unwrap_or_default(), run.name_any())
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
