//! Parts of a definition that could not be read, so that everything else can be judged all the same.

use std::collections::BTreeSet;

/// Parts of a definition that could not be read. Steps are named by index; those of `finally` come after those of `steps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Steps of which at most the name and `needs` are known. Something stands in their place.
    pub steps: BTreeSet<usize>,
    /// Steps of which a part is missing: they are judged, and it is not known what they give.
    pub parts: BTreeSet<usize>,
    /// Whether there are steps, or loops, that are not known.
    pub others: bool,
    /// Whether the schema of the inputs is missing.
    pub inputs: bool,
    /// Whether triggers are missing.
    pub triggers: bool,
}

impl Unread {
    /// Whether it is known what a step gives.
    pub(super) fn knows(&self, step: usize) -> bool {
        !self.steps.contains(&step) && !self.parts.contains(&step)
    }

    /// Whether all that is known of every step is there.
    pub(super) fn knows_all_steps(&self) -> bool {
        self.steps.is_empty() && self.parts.is_empty() && !self.others
    }
}
