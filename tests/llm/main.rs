//! `llm` steps on a real small language model, on a loopback port.
//!
//! `tests/llm/fetch.sh` fetches it. Where it is missing these tests say so and do not run; with `SIGNOFF_REQUIRE_LLM` set they
//! fail instead.
#![allow(clippy::large_futures, reason = "a test's future is polled where it was made")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod scenarios;
mod server;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of it"
)]
mod support;
