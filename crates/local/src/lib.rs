//! The embedded control plane of `signoff dev`: an API server that speaks the Kubernetes API for our
//! kinds and the few core kinds they need, with its state on disk. Of ours it uses `api`, `expression` and the text of the
//! chart's admission policies.

mod accounts;
pub mod admission;
mod clock;
mod core_kinds;
mod core_rules;
pub mod discovery;
mod files;
mod handlers;
mod ids;
mod janitor;
mod kubeconfig;
pub mod managed_fields;
pub mod openapi;
pub mod patch;
mod plane;
pub mod rbac;
pub mod registry;
pub mod schema;
mod seed;
mod server;
pub mod status;
pub mod store;
pub mod table;
mod tls;
pub mod users;
mod watch;

pub use plane::{ControlPlane, Identity, Options};
pub use store::OpenError;
pub use users::User;
