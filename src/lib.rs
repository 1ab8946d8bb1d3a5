//! Signoff: a Kubernetes operator that runs agent workflows from git and stops for people.
//!
//! This page is the map. Each room is one folder; a room may use only the rooms named beside it
//! (`tests/it/architecture.rs` reads the sources and holds this).
//!
//! | Room | What it is for | May use |
//! |---|---|---|
//! | [`api`] | the kinds: pure data, rules, printer columns, names, conditions; text of others made visible | nothing of ours |
//! | [`engine`] | decisions: pure and synchronous, no I/O, clock, randomness | `api` |
//! | [`net`] | calling out: one client, one address policy, redaction | nothing of ours |
//! | [`steps`] | effects: one executor per step kind that touches the world | `api`, `engine` (effect types), `net` |
//! | [`git`] | fetch, read trees, verify | `api`, `net` |
//! | [`forge`] | GitHub, GitLab, Gitea: pull requests, reviews, commit statuses | `api`, `git` (commit ids, when to leave a host alone), `net` |
//! | [`controllers`] | per kind: gather, decide (engine), write, perform | `api`, `engine`, `steps`, `git`, `forge`, `net`, `telemetry` |
//! | [`gateway`] | HTTP: callbacks, sync hooks, health, metrics | `api`, `engine`, `controllers`, `telemetry` |
//! | [`operator`] | the controllers and the gateway, started and ended together | `api`, `engine`, `steps`, `git`, `net`, `controllers`, `gateway`, `telemetry` |
//! | [`local`] | the embedded control plane of `signoff dev` | `api` |
//! | [`cli`] | one file per verb; output formats | everything |
//! | [`telemetry`] | logs and metrics | `api` (text of others made visible) |
//!
//! `crates/expression` is CEL as Kubernetes has it, and knows nothing of Signoff; `engine` and `local` use it.

pub mod api;
pub mod cli;
pub mod controllers;
pub mod engine;
pub mod forge;
pub mod gateway;
pub mod git;
#[cfg(feature = "dev")]
pub mod local;
pub mod net;
pub mod operator;
pub mod steps;
pub mod telemetry;
