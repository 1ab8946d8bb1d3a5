//! Integration tests that need nothing but this repository, one module per subject.
//!
//! The modules in [`scenarios`] open their API server with `support::server`, so that they can be played on a real one too.
#![allow(clippy::large_futures, reason = "a test's future is polled where it was made")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod architecture;
mod ci;
mod crds;
mod demo;
mod fuzz;
mod kill;
mod local_connections;
mod local_objects;
mod local_rights;
mod local_rules;
mod local_server;
mod local_watch;
mod manifests;
mod scenario_files;
mod scenarios;
mod schemas;
mod state_folder;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of it"
)]
mod support;

use support::{controlplane, local as local_support, world};
