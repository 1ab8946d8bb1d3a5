//! `signoff demo`: the whole story, from git push to a person's decision to done, on this machine alone.

mod checkout;
mod narrator;
mod shop;
mod story;
mod watching;

use std::{io::Write as _, path::PathBuf, time::Duration};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::{
    narrator::{Narrator, Telling},
    story::Story,
};
use super::{
    answer::{Answer, Format},
    dev::{DevArgs, DevError, Instance},
    error::{CliError, exit},
    operator::stop_asked,
};

/// Play the whole story on this machine, with no cluster and no network beyond loopback.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave everything running afterwards and print commands to play with.
    #[arg(long)]
    pub keep: bool,
    /// Folder for the state; a temporary one that is removed afterwards by default.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The control plane did not start.
    #[error(transparent)]
    Start(#[from] DevError),
    /// A file or socket could not be used.
    #[error("a file or a socket could not be used")]
    Io(#[source] std::io::Error),
    /// There is no git.
    #[error("cannot run git; the demo needs it on the PATH")]
    NoGit(#[source] std::io::Error),
    /// A git command failed.
    #[error("git failed: {0}")]
    Git(String),
    /// The API server refused something the demo needs.
    #[error("{0}")]
    Api(String, #[source] Box<kube::Error>),
    /// Something that has to happen did not.
    #[error("{what} did not happen within {} s; last seen: {seen}", within.as_secs())]
    NotSeen {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What was there instead.
        seen: String,
    },
    /// Something happened that must not.
    #[error("unexpected: {0}")]
    Unexpected(String),
    /// The example that the demo plays is not usable.
    #[error("the example is not usable: {0}")]
    Example(String),
}

/// Plays the demo. It prints its own answer as the story goes.
pub(super) async fn verb(args: DemoArgs, format: Format) -> Result<Answer, CliError> {
    let telling = match format {
        Format::Table | Format::Svg | Format::Dot | Format::Mermaid => Telling::Prose,
        Format::Json => Telling::Json,
        Format::Yaml | Format::Name => {
            return Err(CliError::usage("the demo is told as prose, or with -o json"));
        }
    };
    match run(args, telling).await {
        Ok(()) => Ok(Answer::default().printed()),
        // the document on stdout has told it already
        Err(_) if telling == Telling::Json => Ok(Answer::default().printed().with_exit(exit::FAILURE)),
        Err(error) => Err(CliError::internal("the demo did not come to its end", &error)),
    }
}

async fn run(args: DemoArgs, telling: Telling) -> Result<(), DemoError> {
    let temporary = TemporaryFolder::new(args.data.as_deref()).map_err(DemoError::Io)?;
    let dir = temporary.path.clone();
    let shutdown = CancellationToken::new();
    let ephemeral = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let dev = DevArgs {
        data: dir.join("state"),
        listen: ephemeral,
        gateway: ephemeral,
        admin: None,
        store: None,
        record_keys: None,
        otlp_endpoint: None,
    };
    let mut narrator = Narrator::new(telling);
    narrator.say("signoff demo: a flow goes from git push to a person's decision to done.\n");
    let instance = Instance::start(&dev).await?;
    let played = play(&instance, &dir, &mut narrator, &shutdown).await;
    if telling == Telling::Json {
        let error = played.as_ref().err().map(ToString::to_string);
        let data = json!({ "scenes": narrator.scenes(), "timeline": played.as_ref().ok() });
        let document = match error {
            None => json!({ "ok": true, "data": data }),
            Some(message) => {
                json!({ "ok": false, "data": data, "error": { "code": "DemoFailed", "message": message } })
            }
        };
        let _ = writeln!(std::io::stdout(), "{document:#}");
    }
    if args.keep && played.is_ok() {
        keep(&instance, &narrator).await;
    } else if played.is_ok() {
        narrator
            .say("\nsignoff demo --keep leaves it running to play with; signoff dev starts one of your own.");
    }
    shutdown.cancel();
    instance.stop().await;
    temporary.remove();
    played.map(drop)
}

async fn play(
    instance: &Instance,
    dir: &std::path::Path,
    narrator: &mut Narrator,
    shutdown: &CancellationToken,
) -> Result<serde_json::Value, DemoError> {
    Story::set_up(instance, dir, narrator, shutdown.clone())
        .await?
        .tell()
        .await
}

async fn keep(instance: &Instance, narrator: &Narrator) {
    narrator.say(&format!(
        "\nEverything is still running. In another terminal:\n  \
         export KUBECONFIG={kubeconfig}\n  \
         kubectl get flows,releases,runs,approvals,decisions\n  \
         signoff run refund --input order=82 --input amount=300 --context dev\n  \
         signoff approvals\n  \
         signoff approve <approval> -m 'looks right' --context alice\n\n\
         Ctrl-C ends it and removes the temporary state.",
        kubeconfig = instance.kubeconfig().display(),
    ));
    stop_asked().await;
}

/// A folder of its own under the system's temporary one, or one the user named, which then stays.
struct TemporaryFolder {
    path: PathBuf,
    remove: bool,
}

impl TemporaryFolder {
    fn new(named: Option<&std::path::Path>) -> std::io::Result<Self> {
        let unique: u64 = rand::random();
        let temporary = || std::env::temp_dir().join(format!("signoff-demo-{unique:016x}"));
        let (path, remove) = named.map_or_else(|| (temporary(), true), |path| (path.to_owned(), false));
        std::fs::create_dir_all(&path)?;
        Ok(Self {
            path: path.canonicalize()?,
            remove,
        })
    }

    fn remove(&self) {
        if self.remove
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the demo's folder could not be removed");
        }
    }
}
