//! The command of a task: a process group of its own, that is ended whole.

use std::{
    io,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

/// Begins the lines that tell how far a command is.
const PROGRESS: &str = "::progress ";
/// Exit code of a failure that may be tried again, as in sysexits.h.
const TRY_AGAIN: i32 = 75;
/// Longest line, and largest file with a result, in bytes.
const MAX_RESULT: u64 = 1024 * 1024;
/// How long a command may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How often is looked whether something of it is left.
const LOOK: Duration = Duration::from_millis(50);

/// Looks whether there is such a program, before a task is taken for it.
pub(super) fn look_up(program: &str) -> io::Result<()> {
    let file = |path: &Path| {
        let about = path.metadata()?;
        let is_program = about.is_file() && about.permissions().mode() & 0o111 != 0;
        is_program
            .then_some(())
            .ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    };
    if program.contains('/') {
        return file(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| file(&folder.join(program)).is_ok());
    found.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// How a command ended.
pub(super) enum Ended {
    /// Well, with what it wrote as its result.
    Succeeded(Option<String>),
    /// Badly.
    Failed { message: String, retryable: bool },
}

/// A command that was started.
pub(super) struct Command {
    group: Option<Pid>,
    ended: JoinHandle<io::Result<(ExitStatus, Option<Line>)>>,
    output: NamedTempFile,
}

impl Command {
    /// Starts it. What it says of its progress comes from the other end.
    pub(super) fn start(
        command: &[String],
        input: &Value,
        variables: &[(&'static str, String)],
    ) -> io::Result<(Self, UnboundedReceiver<String>)> {
        let [program, arguments @ ..] = command else {
            return Err(io::Error::other("there is no command"));
        };
        let output = NamedTempFile::new()?;
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .env("SIGNOFF_OUTPUT", output.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let group = group.and_then(Pid::from_raw);
        let (progress, said) = unbounded_channel();
        let input = format!("{input}\n");
        let ended = tokio::spawn(async move {
            let writing = async {
                if let Some(mut stdin) = stdin {
                    // a command need not read it
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            let reading = async {
                match stdout {
                    Some(stdout) => read(stdout, &progress).await,
                    None => None,
                }
            };
            let ((), last, ended) = tokio::join!(writing, reading, child.wait());
            Ok((ended?, last))
        });
        let started = Self { group, ended, output };
        Ok((started, said))
    }

    /// Waits until it has ended. What it left in the background with its standard output counts.
    pub(super) async fn until_it_ends(&mut self) -> Ended {
        let unknown = |error: &dyn std::error::Error| Ended::Failed {
            message: format!("how the command ended is not known: {error}"),
            retryable: true,
        };
        let (status, last) = match (&mut self.ended).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return unknown(&error),
            Err(error) => return unknown(&error),
        };
        if status.success() {
            return match self.written().await {
                Ok(Some(written)) => Ended::Succeeded(Some(written)),
                Ok(None) => match last {
                    None => Ended::Succeeded(None),
                    Some(Line { text, is_cut: false }) => Ended::Succeeded(Some(text)),
                    Some(Line { is_cut: true, .. }) => Ended::Failed {
                        message: format!("the last line of the command is longer than {MAX_RESULT} bytes"),
                        retryable: true,
                    },
                },
                Err(error) => Ended::Failed {
                    message: format!("the result cannot be read: {error}"),
                    retryable: true,
                },
            };
        }
        let said = last.map(|last| format!(": {}", last.text.chars().take(500).collect::<String>()));
        let said = said.unwrap_or_default();
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Failed {
                message: format!("the command ended with exit code {code}{said}"),
                retryable: code == TRY_AGAIN,
            },
            (None, signal) => Ended::Failed {
                message: format!(
                    "the command was ended by signal {}{said}",
                    signal.unwrap_or_default()
                ),
                retryable: true,
            },
        }
    }

    /// What it wrote to its file.
    async fn written(&self) -> io::Result<Option<String>> {
        let file = tokio::fs::File::open(self.output.path()).await?;
        let mut text = String::new();
        let read = file.take(MAX_RESULT + 1).read_to_string(&mut text).await?;
        if read as u64 > MAX_RESULT {
            return Err(io::Error::other(format!("it is larger than {MAX_RESULT} bytes")));
        }
        let text = text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// Ends what is left of its process group: asks first, and kills later.
    pub(super) async fn end(&mut self) {
        let Some(group) = self.group else { return };
        if kill_process_group(group, Signal::TERM).is_ok() {
            let asked = tokio::time::Instant::now();
            loop {
                tokio::time::sleep(LOOK).await;
                if rustix::process::test_kill_process_group(group).is_err() {
                    break;
                }
                if asked.elapsed() >= GRACE {
                    let _ = kill_process_group(group, Signal::KILL);
                    break;
                }
            }
        }
        // nothing is left of it, and another process may get its number
        self.group = None;
    }
}

impl Drop for Command {
    /// A command does not outlive the work on its task, however that ends.
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A line that a command wrote, as far as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    text: String,
    is_cut: bool,
}

/// Reads what a command writes. Gives its last line that says nothing of progress.
async fn read(stdout: impl AsyncRead + Unpin, progress: &UnboundedSender<String>) -> Option<Line> {
    let mut lines = BufReader::new(stdout);
    let mut last = None;
    // the rest of a line that is too long
    let mut is_rest = false;
    loop {
        let mut line = Vec::new();
        // the line break counts
        let read = (&mut lines)
            .take(MAX_RESULT + 1)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(bytes) if bytes > 0) {
            return last;
        }
        let is_whole = line.ends_with(b"\n");
        let is_cut = !is_whole && line.len() as u64 > MAX_RESULT;
        if std::mem::replace(&mut is_rest, is_cut) {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        match text.strip_prefix(PROGRESS) {
            // nobody listens at the end
            Some(said) => drop(progress.send(said.to_owned())),
            None if text.is_empty() && !is_cut => {}
            None => {
                last = Some(Line {
                    text: text.to_owned(),
                    is_cut,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn last(written: &[u8]) -> Option<Line> {
        let (progress, _said) = unbounded_channel();
        read(written, &progress).await
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_not_taken_for_its_end() {
        let most = usize::try_from(MAX_RESULT).unwrap();
        let long = |bytes: usize| "x".repeat(bytes);
        let whole = last(format!("first\n{}\n", long(most)).as_bytes()).await.unwrap();
        assert_eq!((whole.text.len(), whole.is_cut), (most, false));
        for rest in ["7", "7\n", "\n::progress half\n\n"] {
            let cut = last(format!("first\n{}{rest}", long(most + 1)).as_bytes()).await;
            assert!(cut.unwrap().is_cut, "{rest:?}");
        }
        let later = last(format!("{}7\n{{}}\n", long(3 * most)).as_bytes())
            .await
            .unwrap();
        assert_eq!((later.text.as_str(), later.is_cut), ("{}", false));
    }
}
