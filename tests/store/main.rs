//! The object store on a real S3 server: `SeaweedFS` on loopback ports.
//!
//! `tests/store/fetch.sh` fetches it. Where it is missing these tests say so and do not run; with `SIGNOFF_REQUIRE_STORE` set
//! they fail instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod memory;
mod s3;
mod server;
mod verifiers;
