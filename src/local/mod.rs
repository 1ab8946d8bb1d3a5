//! The embedded control plane of `signoff dev`: an API server that speaks the Kubernetes API for our
//! kinds and the few core kinds they need, with its state on disk. It depends on nothing of ours but `api`.

pub mod admission;
pub mod discovery;
pub mod managed_fields;
pub mod openapi;
pub mod patch;
pub mod rbac;
pub mod registry;
pub mod schema;
pub mod status;
pub mod table;
pub mod users;

pub use users::User;
