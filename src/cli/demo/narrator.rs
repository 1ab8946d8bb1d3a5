//! Tells the demo's story: prose as it happens, or one JSON document at the end.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::cli::lines::{Lines, terminal_width};

/// How the story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// A line or two for each step, as it happens.
    Prose,
    /// One JSON document at the end.
    Json,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) details: Value,
}

/// Collects what happened and tells it.
#[derive(Debug)]
pub(super) struct Narrator {
    telling: Telling,
    scenes: Vec<Scene>,
}

impl Narrator {
    pub(super) fn new(telling: Telling) -> Self {
        Self {
            telling,
            scenes: Vec::new(),
        }
    }

    /// Something happened: a short text, whose further lines are details, and the same as data.
    pub(super) fn scene(&mut self, name: &'static str, text: impl Into<String>, details: Value) {
        let text = text.into();
        let number = self.scenes.len() + 1;
        for (i, line) in text.lines().enumerate() {
            let prefix = if i == 0 {
                format!("{number:>3}. ")
            } else {
                " ".repeat(5)
            };
            self.say(&format!("{prefix}{line}"));
        }
        self.scenes.push(Scene { name, text, details });
    }

    /// A line outside the numbered story.
    pub(super) fn say(&self, line: &str) {
        if self.telling == Telling::Prose {
            let wide: Lines = line.lines().collect();
            // a closed pipe ends the telling, not the demo
            let _ = write!(std::io::stdout(), "{}", wide.render(terminal_width()));
        }
    }

    pub(super) fn scenes(&self) -> &[Scene] {
        &self.scenes
    }
}
