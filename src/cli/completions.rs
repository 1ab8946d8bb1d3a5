//! `signoff completions`: what a shell needs to complete arguments.

use clap_complete::Shell;

use super::answer::Answer;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub(super) fn verb(args: &CompletionsArgs, command: &mut clap::Command) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "signoff", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Answer::document(script.clone()).with_data(serde_json::Value::String(script))
}
