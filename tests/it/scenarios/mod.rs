//! End-to-end scenarios. Each runs on an embedded API server here; `tests/controlplane/scenarios.sh` runs all of them on a real one too.

mod api_faults;
mod approvals;
mod bounds;
mod budgets;
mod callbacks;
mod cli;
mod computed;
mod connections;
mod crash_walk;
mod endings;
mod flow_ends;
mod flows;
mod forged_approvals;
mod gateway;
mod hostile;
mod idle;
mod items;
mod leadership;
mod live;

mod own_work;
mod poison;
mod promotion;
mod prune;
mod repositories;
mod repository;
mod retries;
mod runs;
mod schedules;
mod signatures;
mod signed_merges;
mod starter;
mod tenants;
mod trigger_webhooks;
mod undecodable;
mod webhooks;
