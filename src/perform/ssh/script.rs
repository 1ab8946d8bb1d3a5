//! What is run on a host. It is sent over the channel and evaluated there by `/bin/sh`, so that nothing of it is in the list of
//! processes, and no server has to take environment variables.
//!
//! A process has a folder in `~/.local/state/signoff/processes`, with a file `process` by which we know it as ours. The file `pid` there names the process that was started: it is made by a link,
//! so exactly one of several starts can make it, and it is whole. The file `ended` says that nothing is to be started any
//! more: whoever starts looks for it after it made `pid`, and whoever ends looks for `pid` after it made `ended`.

use std::{collections::BTreeMap, fmt::Write as _};

const COMMON: &str = include_str!("common.sh");
const START: &str = include_str!("start.sh");
const LAUNCH: &str = include_str!("launch.sh");
const END: &str = include_str!("end.sh");

/// How a script is sent: the command for the shell of the user, and what goes over the channel.
pub(super) struct Script {
    pub(super) command: String,
    pub(super) input: Vec<u8>,
}

/// What is started.
pub(super) struct Start<'a> {
    /// Name of the folder.
    pub(super) name: &'a str,
    /// Text by which our own lines are found among what the host writes.
    pub(super) mark: &'a str,
    pub(super) directory: Option<&'a str>,
    pub(super) command: &'a str,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) stdin: Option<&'a str>,
    /// Whether the end of the command is waited for.
    pub(super) wait: bool,
}

/// Starts a process, and waits for its end if that is asked for. One that goes on by itself is started once: a later start
/// says its id.
pub(super) fn start(start: &Start<'_>) -> Script {
    let length = start.stdin.map(|stdin| stdin.len().to_string());
    let mut environment = String::new();
    for (name, value) in start.env {
        // writing to a String cannot fail
        let _ = writeln!(environment, "export {name}={}", quoted(value));
    }
    let text = given(&[
        ("so_n", start.name),
        ("so_m", start.mark),
        ("so_C", start.command),
        ("so_L", LAUNCH),
        ("so_w", if start.wait { "yes" } else { "" }),
        ("so_n_in", length.as_deref().unwrap_or_default()),
        ("so_D", start.directory.unwrap_or_default()),
        ("so_E", &environment),
    ]);
    sent(&text, START, start.stdin)
}

/// Ends a process group; for good if no later start may begin it. The grace is in fifths of a second.
pub(super) fn end(name: &str, mark: &str, grace: u32, for_good: bool) -> Script {
    let text = given(&[
        ("so_n", name),
        ("so_m", mark),
        ("so_k", &grace.to_string()),
        ("so_o", if for_good { "yes" } else { "" }),
    ]);
    sent(&text, END, None)
}

fn given(variables: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        let _ = writeln!(text, "{name}={}", quoted(value));
    }
    text
}

/// One compound command, so that a text that was cut off does nothing.
fn sent(given: &str, what: &str, stdin: Option<&str>) -> Script {
    let text = format!("{{\n{given}{COMMON}{what}}}\n");
    let length = text.len();
    let mut input = text.into_bytes();
    input.extend_from_slice(stdin.unwrap_or_default().as_bytes());
    Script {
        // a byte at a time, so that what follows is left for the command
        command: format!("exec /bin/sh -c 'eval \"$(dd bs=1 count={length} 2>/dev/null)\"'"),
        input,
    }
}

/// A text as one word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
