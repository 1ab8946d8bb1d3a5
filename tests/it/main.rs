//! Integration tests, one module per subject.
#![allow(clippy::large_futures, reason = "a test's future is polled where it was made")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod approvals;
mod architecture;
mod budgets;
mod callbacks;
mod chart;
mod cli;
mod conformance;
mod controlplane;
mod crash_walk;
mod crds;
mod demo;
mod faults;
mod forge;
mod hostile;
mod idle;
mod kill;
mod leadership;
mod live;
mod local_objects;
mod local_rules;
mod local_server;
mod local_support;
mod local_watch;
mod nuisances;
mod own_work;
mod promotion;
mod repositories;
mod repository;
mod runs;
mod scenarios;
mod signatures;
mod signed_merges;
mod starter;
mod support;
mod webhooks;
mod world;
