//! What a verb answers, and how it is printed.

use std::{io::Write as _, process::ExitCode};

use serde_json::{Value, json};

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// One stable envelope: ok, data, error, next.
    Json,
    /// The data as YAML.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// A verb's answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    data: Value,
    names: Vec<String>,
    next: Vec<String>,
    exit: u8,
    printed: bool,
}

impl Answer {
    /// An answer for people; add the same as data.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    pub(super) fn with_data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// Names as `kind/name`.
    pub(super) fn with_names(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    /// Command lines that make sense now.
    pub(super) fn with_next(mut self, next: impl IntoIterator<Item = String>) -> Self {
        self.next = next.into_iter().collect();
        self
    }

    /// An exit code other than 0, for an answer that is no error of the verb itself.
    pub(super) fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// The verb has printed everything itself; only the exit code is left.
    #[cfg(feature = "dev")]
    pub(super) fn printed(mut self) -> Self {
        self.printed = true;
        self
    }

    /// Prints the answer; a reader that has gone away is no failure.
    pub(super) fn print(self, format: Format) -> ExitCode {
        if self.printed {
            return ExitCode::from(self.exit);
        }
        let mut stdout = std::io::stdout().lock();
        let _ = match format {
            Format::Table => {
                let text = self.text.trim_end();
                if text.is_empty() {
                    Ok(())
                } else {
                    writeln!(stdout, "{text}")
                }
            }
            Format::Json => {
                let envelope =
                    json!({ "ok": self.exit == 0, "data": self.data, "error": null, "next": self.next });
                writeln!(stdout, "{envelope:#}")
            }
            Format::Yaml => match serde_yaml::to_string(&self.data) {
                Ok(yaml) => write!(stdout, "{yaml}"),
                Err(_) => writeln!(stdout, "{}", self.data),
            },
            Format::Name => self.names.iter().try_for_each(|name| writeln!(stdout, "{name}")),
        };
        if format == Format::Table && !self.next.is_empty() {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "\nnext:");
            for line in &self.next {
                let _ = writeln!(stderr, "  {line}");
            }
        }
        ExitCode::from(self.exit)
    }
}
