//! Errors as people and programs read them: one message, a code, a hint, an exit code.

use std::{io::Write as _, process::ExitCode};

use serde_json::{Value, json};

use super::{
    answer::Format,
    lines::{self, Lines},
};
use crate::{cluster::error_chain, mcp::ToolError};

/// Exit codes, as `docs/cli.md` lists them.
pub(super) mod exit {
    /// Anything that has no code of its own.
    pub(in crate::cli) const FAILURE: u8 = 1;
    /// The arguments make no sense.
    pub(in crate::cli) const USAGE: u8 = 2;
    /// What was named does not exist.
    pub(in crate::cli) const NOT_FOUND: u8 = 3;
    /// The API server forbids it, or a decision does not count.
    pub(in crate::cli) const REFUSED: u8 = 4;
    /// Something else is there, or was written meanwhile.
    pub(in crate::cli) const CONFLICT: u8 = 5;
    /// With `--wait`: the run ended, but did not succeed.
    pub(in crate::cli) const RUN_ENDED_BADLY: u8 = 6;
    /// There is no API server to talk to.
    pub(in crate::cli) const UNREACHABLE: u8 = 7;
    /// A manifest is not valid.
    pub(in crate::cli) const INVALID: u8 = 8;
    /// What was waited for has not come: people are asked, or `--timeout` passed.
    pub(in crate::cli) const NOT_YET: u8 = 9;
    /// A replay decides something else than the record says, or a record contradicts itself or is not verified.
    pub(in crate::cli) const DIFFERS: u8 = 10;
    /// Records were passed over that cannot be read.
    pub(in crate::cli) const UNREADABLE: u8 = 11;
}

/// Why a verb failed.
#[derive(Debug)]
pub(super) struct CliError {
    code: String,
    /// What happened on one line, and what that line speaks of, a line each.
    message: Vec<String>,
    hint: Option<String>,
    /// Command lines that make sense now.
    next: Vec<String>,
    // boxed, so that a result with it stays small
    details: Box<Value>,
    exit: u8,
}

impl CliError {
    pub(super) fn new(code: &str, exit: u8, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: vec![message.into()],
            hint: None,
            next: vec![],
            details: Box::default(),
            exit,
        }
    }

    /// Whether it has this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// What the message speaks of, a line each.
    pub(super) fn listing(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.message.extend(lines);
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn next(mut self, next: impl IntoIterator<Item = String>) -> Self {
        self.next = next.into_iter().collect();
        self
    }

    pub(super) fn details(mut self, details: Value) -> Self {
        self.details = Box::new(details);
        self
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new("Usage", exit::USAGE, message)
    }

    pub(super) fn internal(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new("Failed", exit::FAILURE, format!("{what}: {}", error_chain(error)))
    }

    /// From what the API server, or the way to it, said.
    pub(super) fn api(what: &str, error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            let why = match error {
                // the layers between say nothing to people
                kube::Error::Service(error) => {
                    format!("the API server cannot be reached: {}", innermost(error.as_ref()))
                }
                error => error_chain(error),
            };
            return Self::new("Unreachable", exit::UNREACHABLE, format!("{what}: {why}"))
                .hint("is the API server up, and is this the right kubeconfig and context?");
        };
        let exit = match status.code {
            404 => exit::NOT_FOUND,
            401 | 403 => exit::REFUSED,
            409 => exit::CONFLICT,
            400 | 422 => exit::INVALID,
            _ => exit::FAILURE,
        };
        let code = if status.reason.is_empty() {
            "Failed"
        } else {
            &status.reason
        };
        let kind_missing = status.code == 404
            && status
                .details
                .as_ref()
                .is_none_or(|details| details.name.is_empty());
        let error = Self::new(code, exit, status.message.clone());
        if kind_missing {
            error
                .hint("the kinds are not installed")
                .next(["signoff crds | kubectl apply -f -".to_owned()])
        } else {
            error
        }
    }

    /// The same for an agent.
    pub(super) fn to_tool_error(&self) -> ToolError {
        let error = ToolError::new(&self.code, self.message.join("\n"));
        match &self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Tells of the error: as JSON on stdout, or as text on stderr.
    pub(super) fn report(&self, format: Format) -> ExitCode {
        if format == Format::Json {
            let envelope = json!({ "ok": false, "data": null, "error": self.to_json(), "next": self.next });
            let _ = writeln!(std::io::stdout(), "{envelope:#}");
        } else {
            self.say();
        }
        ExitCode::from(self.exit)
    }

    /// The error in an envelope.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "code": self.code, "message": self.message.join("\n"), "hint": self.hint, "details": self.details,
        })
    }

    /// Tells of the error on stderr.
    pub(super) fn say(&self) {
        let mut told = Lines::default();
        for (number, line) in self.message.iter().enumerate() {
            let lead = if number == 0 { "error: " } else { "" };
            told.push(format!("{lead}{line}"));
        }
        if let Some(hint) = &self.hint {
            told.push(format!("hint: {hint}"));
        }
        for line in &self.next {
            told.command(line);
        }
        lines::say(&told);
    }

    /// Its exit code.
    pub(super) fn exit(&self) -> u8 {
        self.exit
    }
}

/// What an error comes from in the end.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What clap says of the arguments: help and version are no errors.
pub(super) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if error.use_stderr() && json {
        let text = error.render().to_string();
        return CliError::usage(text.trim_end().trim_start_matches("error: ")).report(Format::Json);
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
}
