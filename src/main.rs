//! The `signoff` binary, also usable as `kubectl-signoff`: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    signoff::telemetry::memory::set_up();
    signoff::cli::main(&std::env::args_os().collect::<Vec<_>>())
}
