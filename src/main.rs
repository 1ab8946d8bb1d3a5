//! The `signoff` binary, also usable as `kubectl-signoff`: arguments in, exit code out.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Gives memory back after a burst, such as the listing at a start, which the C library's allocator keeps.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    signoff::cli::main(std::env::args_os().collect())
}
