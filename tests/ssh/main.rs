//! `ssh` steps on a real OpenSSH server on loopback ports.
//!
//! `tests/ssh/install.sh` installs it. Where it is missing these tests say so and do not run; with `SIGNOFF_REQUIRE_SSHD` set
//! they fail instead.
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
