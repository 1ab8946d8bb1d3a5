//! Signoff: a Kubernetes operator that runs agent workflows from git and stops for people.
//!
//! This page is the map. The crates beside this one are walls that the compiler holds: what a crate does not depend on, it
//! cannot use.
//!
//! | Crate | What it is for | Depends on, of ours |
//! |---|---|---|
//! | [`signoff_api`] | the kinds: pure data, rules, printer columns, names, conditions; text of others made visible | nothing |
//! | `signoff_expression` | CEL as Kubernetes has it, within a budget | nothing |
//! | [`signoff_engine`] | decisions: pure and synchronous, no I/O, clock, randomness | `signoff_api`, `signoff_expression` |
//! | `signoff_local` | the embedded control plane of `signoff dev` | `signoff_api`, `signoff_expression` |
//!
//! This crate touches the world. Each room is one folder; a room may use `signoff_api`, and the rooms and crates named beside
//! it (`tests/it/architecture.rs` reads the sources and holds this).
//!
//! | Room | What it is for | May use |
//! |---|---|---|
//! | [`net`] | calling out: one client, one address policy, redaction | nothing of ours |
//! | [`ssh`] | connections over ssh, for git remotes and for commands | nothing of ours |
//! | [`store`] | the object store: content that is large or binary | `net`, `cluster` (fairness, the context of controllers) |
//! | [`perform`] | effects: one executor per step kind that touches the world | `signoff_engine` (effect types), `cluster` (the reader of Secrets, the clock, lists), `net`, `ssh`, `store`, `git`, `forge`, `remotes` |
//! | [`manifest`] | YAML and its places, objects of our kinds checked without a server | `signoff_engine`, `signoff_expression` |
//! | [`simulation`] | flows against scenarios, offline: stubs, scripted decisions, a clock that jumps | `signoff_engine`, `manifest` |
//! | [`git`] | fetch, read trees, verify | `net`, `ssh`, `manifest` |
//! | [`forge`] | GitHub, GitLab, Gitea: pull requests, reviews, commit statuses | `git` (commit ids, when to leave a host alone), `net` |
//! | [`cluster`] | what every controller needs: clients, watches that all share ([`cluster::shared`]), queues, back-off, timers, leadership, proof of the policies, Secrets | `signoff_engine`, `telemetry` |
//! | [`remotes`] | a Repository's remote: credentials, mirror, trusted keys, forge | `cluster`, `git`, `forge`, `net` |
//! | [`runs`] | the Run controller: gather, decide (engine), write, perform | `signoff_engine`, `cluster`, `perform`, `store`, `telemetry` |
//! | [`approvals`] | the Approval controller, and questions as pull requests | `signoff_engine`, `cluster`, `runs`, `remotes`, `git`, `forge`, `telemetry` |
//! | [`promotion`] | the Flow and Release controllers: releases are cut and promoted | `signoff_engine`, `cluster` |
//! | [`records`] | signed records of runs that ended, how one is verified, and retention | `signoff_engine`, `cluster`, `store` |
//! | [`notifications`] | messages about questions and ends, as flows ask for them | `signoff_engine`, `cluster`, `perform`, `store` (the run that a call is for) |
//! | [`triggers`] | the trigger controller: runs that start by themselves | `signoff_engine`, `cluster` |
//! | [`sync`] | the Repository controller, and what is said of it on forges | `signoff_engine`, `cluster`, `remotes`, `git`, `forge`, `net`, `manifest` |
//! | [`work`] | the controller of tasks: leases, answers of workers | `signoff_engine`, `cluster`, `runs` |
//! | [`drawing`] | flows and runs as pictures, for the command line and for the page | nothing of ours |
//! | [`client`] | what a user asks of the API server with the user's own rights, for the command line, the page and agents | `signoff_engine`, `cluster` (runs that are retried) |
//! | [`mcp`] | the tools of agents (Model Context Protocol), whatever carries them | `signoff_engine`, `client`, `cluster` (objects that cannot be decoded, the clock of the API server) |
//! | [`gateway`] | HTTP: callbacks, sync hooks, resources, agents, health, metrics | `signoff_engine`, `client`, `cluster`, `mcp`, `net`, `store`, `sync`, `telemetry` |
//! | [`web`] | the page for people | `signoff_engine`, `client`, `cluster`, `drawing` |
//! | [`operator`] | the controllers and the gateway, started and ended together | `signoff_engine`, `net`, `git`, `perform`, `cluster`, `store`, `remotes`, `runs`, `approvals`, `promotion`, `records`, `notifications`, `triggers`, `sync`, `work`, `gateway`, `telemetry` |
//! | [`cli`] | one file per verb; output formats | everything |
//! | [`telemetry`] | logs and metrics | nothing more |

pub mod approvals;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod drawing;
pub mod forge;
pub mod gateway;
pub mod git;
pub mod manifest;
pub mod mcp;
pub mod net;
pub mod notifications;
pub mod operator;
pub mod perform;
pub mod promotion;
pub mod records;
pub mod remotes;
pub mod runs;
pub mod simulation;
pub mod ssh;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod triggers;
pub mod web;
pub mod work;
