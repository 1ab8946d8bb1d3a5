//! Logs: text for people or JSON lines for machines, on standard error.

use std::io::IsTerminal as _;

use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    fmt,
    fmt::{
        FormatFields,
        format::{Writer, debug_fn},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use signoff_api::text::Line;

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error("{0:?} is not a log level or filter; write for example info, or signoff=debug,kube=warn")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Again(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging. `RUST_LOG` is stronger than `level`, which is a level such as `info` for Signoff's own lines or a whole filter.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogsError> {
    let wanted = filter_of(&std::env::var("RUST_LOG").unwrap_or_else(|_| level.to_owned()));
    let filter = EnvFilter::try_new(&wanted).map_err(|source| LogsError::Filter(wanted, source))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let layer = layer.with_ansi(colours).fmt_fields(visible_fields());
            registry.with(layer).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .map_err(LogsError::Again)
}

/// Fields as they are written by default, on one line with everything in them visible: some hold text of tenants.
fn visible_fields() -> impl for<'writer> FormatFields<'writer> {
    let write = |writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", Line(&text)),
            name => write!(writer, "{name}={}", Line(&text)),
        }
    };
    debug_fn(write).delimited(" ")
}

/// A bare level speaks of Signoff; the libraries below it stay at warnings, and the client for the API server is silent: what it reports as
/// errors is reported by whoever asked, with what follows from it. What agents do wrong is told to them.
fn filter_of(level: &str) -> String {
    if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        // a verb that talks of errors only says itself what went wrong
        let others = if level == "error" { "error" } else { "warn" };
        format!(
            "{others},kube_client::client::builder=off,kube_client::client=error,rmcp=error,signoff={level}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// What was logged, where several threads may write.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_field_with_text_of_others_stays_on_its_line_and_is_seen() {
        let (written, name) = (Written::default(), "flow\n2026 ERROR forged\u{202e}\u{1b}[2J");
        let writer = written.clone();
        let layer = fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(visible_fields());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(flow = %name, tries = 2, "it failed: {name}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let seen = r"flow␊2026 ERROR forged\u{202e}␛[2J";
        let line = format!("it failed: {seen} flow={seen} tries=2\n");
        assert!(
            text.ends_with(&line) && text.matches('\n').count() == 1,
            "{text:?}"
        );
    }

    #[test]
    fn a_bare_level_is_for_our_own_lines() {
        assert_eq!(
            filter_of("debug"),
            "warn,kube_client::client::builder=off,kube_client::client=error,rmcp=error,signoff=debug"
        );
        assert_eq!(filter_of("signoff=trace,kube=info"), "signoff=trace,kube=info");
    }
}
