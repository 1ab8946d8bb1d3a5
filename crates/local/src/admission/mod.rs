//! Admission: evaluates the chart's own policies as a real API server does. The text of each rule is in the chart only. A policy that cannot
//! be evaluated here is an error when the control plane opens, and fails a test.

mod authorizer;
mod expression;
mod manifest;
mod policies;
mod request;
mod texts;

pub use manifest::Operation;
pub use policies::{Policies, PolicyError};
pub use request::Request;

#[cfg(test)]
mod tests;
