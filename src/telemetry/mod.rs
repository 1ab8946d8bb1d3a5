//! Logs and metrics, neither of which holds a payload or a secret, and the memory of the process.

pub mod logs;
pub mod memory;
pub mod metrics;
