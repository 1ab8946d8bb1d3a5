//! Channels on a real mail server, and judged by libraries that are not ours.
//!
//! `tests/channels/fetch.sh` fetches them. Where they are missing these tests say so and do not run; with
//! `SIGNOFF_REQUIRE_CHANNELS` set they fail instead.
#![allow(clippy::large_futures, reason = "a test's future is polled where it was made")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod receiver;
mod scenarios;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of it"
)]
mod support;
