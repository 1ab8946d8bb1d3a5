//! Logs and metrics. Neither holds a payload or a secret.

pub mod logs;
pub mod metrics;
