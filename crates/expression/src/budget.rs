//! What an evaluation may take.

use crate::error::{Error, Resource};

/// Steps and bytes that an evaluation may take. Both only ever grow: memory that is given back is not counted back, so that the bound
/// holds for what is in use and for the work of getting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A step is the evaluation of one node, or work that takes about as long.
    pub steps: u64,
    /// Bytes allocated for values.
    pub bytes: u64,
}

impl Default for Limits {
    /// As many steps as Kubernetes gives one call, which take a fraction of a second.
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            bytes: 32 << 20,
        }
    }
}

/// What is left for an evaluation, or for several that share it.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    left: Limits,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Budget {
    /// A budget of which nothing is used.
    pub fn new(limits: Limits) -> Self {
        Self { limits, left: limits }
    }

    /// What was used so far.
    pub fn used(&self) -> Limits {
        Limits {
            steps: self.limits.steps - self.left.steps,
            bytes: self.limits.bytes - self.left.bytes,
        }
    }

    /// Takes steps.
    pub fn step(&mut self, count: u64) -> Result<(), Error> {
        let left = self.left.steps.checked_sub(count);
        self.left.steps = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Error::BudgetExceeded(Resource::Steps))
    }

    /// Takes memory, before it is allocated. Filling it is work as well.
    pub fn allocate(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = bytes as u64;
        let left = self.left.bytes.checked_sub(bytes);
        self.left.bytes = left.unwrap_or(0);
        left.ok_or(Error::BudgetExceeded(Resource::Bytes))?;
        self.step(bytes / 256)
    }

    /// Takes the steps of looking at so many bytes.
    pub fn scan(&mut self, bytes: usize) -> Result<(), Error> {
        self.step(1 + bytes as u64 / 32)
    }
}
