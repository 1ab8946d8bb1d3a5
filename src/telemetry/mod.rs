//! Logs and metrics, neither of which holds a payload or a secret, and the memory and files of the process.

pub mod files;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod trace_ids;
