//! What a verb answers, and how it is printed.

use std::{io::Write as _, process::ExitCode};

use serde_json::{Value, json};

use super::{
    error::CliError,
    lines::{self, Lines},
};

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
    /// A picture; of `graph` only.
    #[value(hide = true)]
    Svg,
    /// The language of Graphviz; of `graph` only.
    #[value(hide = true)]
    Dot,
    /// The language of Mermaid; of `graph` only.
    #[value(hide = true)]
    Mermaid,
}

impl Format {
    /// Whether it is one of drawings.
    pub(super) fn is_drawing(self) -> bool {
        match self {
            Self::Svg | Self::Dot | Self::Mermaid => true,
            Self::Table | Self::Json | Self::Yaml | Self::Name => false,
        }
    }
}

/// A verb's answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    text: Lines,
    document: Option<String>,
    data: Value,
    names: Vec<String>,
    next: Vec<String>,
    next_is_for_deciders: bool,
    exit: u8,
    // boxed, so that an answer stays small
    problem: Option<Box<CliError>>,
    printed: bool,
}

impl Answer {
    /// An answer for people; add the same as data.
    pub(super) fn text(text: impl Into<Lines>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A document of ours that is printed byte for byte, such as a script.
    pub(super) fn document(text: String) -> Self {
        Self {
            document: Some(text),
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

    /// The command lines are for whoever may decide, who is not the one who asked.
    pub(super) fn for_deciders(mut self) -> Self {
        self.next_is_for_deciders = true;
        self
    }

    /// An exit code other than 0, for an answer that is no error of the verb itself.
    pub(super) fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// What is wrong although there is an answer: it is told beside it, and its exit code is that of the verb.
    pub(super) fn with_problem(mut self, problem: Option<CliError>) -> Self {
        if let Some(problem) = problem {
            self.exit = problem.exit();
            self.problem = Some(Box::new(problem));
        }
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
        let mut stdout = std::io::stdout();
        let _ = match (format, self.document) {
            (Format::Table | Format::Svg | Format::Dot | Format::Mermaid, None) => {
                lines::print(&self.text);
                Ok(())
            }
            (Format::Table | Format::Svg | Format::Dot | Format::Mermaid, Some(document)) => {
                writeln!(stdout, "{}", document.trim_end())
            }
            (Format::Json, _) => {
                let error = self.problem.as_ref().map(|problem| problem.to_json());
                let envelope =
                    json!({ "ok": self.exit == 0, "data": self.data, "error": error, "next": self.next });
                writeln!(stdout, "{envelope:#}")
            }
            (Format::Yaml, _) => match serde_yaml::to_string(&self.data) {
                Ok(yaml) => write!(stdout, "{yaml}"),
                Err(_) => writeln!(stdout, "{}", self.data),
            },
            (Format::Name, _) => self.names.iter().try_for_each(|name| writeln!(stdout, "{name}")),
        };
        if let Some(problem) = self.problem.filter(|_| format != Format::Json) {
            problem.say();
        }
        if format == Format::Table && !self.next.is_empty() {
            let mut next = Lines::default();
            next.blank();
            next.push(if self.next_is_for_deciders {
                "next, for somebody who may decide:"
            } else {
                "next:"
            });
            for line in &self.next {
                next.command(line);
            }
            lines::say(&next);
        }
        ExitCode::from(self.exit)
    }
}
