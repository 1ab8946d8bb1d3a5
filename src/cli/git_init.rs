//! `signoff git init`: a repository to begin with: a flow, the manifest of the Repository, a check for the forge's CI.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Global,
    answer::Answer,
    error::{CliError, exit},
    lines::Lines,
    quoted,
};
use crate::git::RemoteUrl;
use signoff_api::address::without_credentials;

/// Work on the git side of flows.
#[derive(Debug, clap::Args)]
pub(super) struct GitArgs {
    #[command(subcommand)]
    verb: GitVerb,
}

#[derive(Debug, clap::Subcommand)]
enum GitVerb {
    Init(InitArgs),
}

/// Write a repository to begin with: a flow, the Repository's manifest, a check for the forge's CI.
#[derive(Debug, clap::Args)]
struct InitArgs {
    /// Folder to write into.
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Address of the git remote; the folder's own `origin` by default.
    #[arg(long)]
    url: Option<String>,
    /// The forge that serves it; known by itself for github.com and gitlab.com.
    #[arg(long, value_enum)]
    forge: Option<Kind>,
    /// Name of the Repository in the cluster.
    #[arg(long, default_value = "flows", value_parser = name)]
    name: String,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
}

/// A kind of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    #[value(name = "github")]
    GitHub,
    #[value(name = "gitlab")]
    GitLab,
    Gitea,
}

impl Kind {
    /// Path and text of the check for its CI.
    fn check(self) -> (&'static str, &'static str) {
        match self {
            Self::GitHub => (
                ".github/workflows/flows.yaml",
                include_str!("starter/github.yaml"),
            ),
            Self::GitLab => (".gitlab-ci.yml", include_str!("starter/gitlab.yaml")),
            Self::Gitea => (".gitea/workflows/flows.yaml", include_str!("starter/gitea.yaml")),
        }
    }

    /// Where a project's variables for its CI are.
    fn variables(self) -> &'static str {
        match self {
            Self::GitHub => "Settings, Secrets and variables, Actions, Variables",
            Self::GitLab => "Settings, CI/CD, Variables (not protected, so that every branch has it)",
            Self::Gitea => "Settings, Actions, Variables",
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = (1..=50).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a name is at most 50 lower-case letters, digits and dashes".to_owned())
    }
}

pub(super) fn verb(args: &GitArgs, global: &Global) -> Result<Answer, CliError> {
    let GitVerb::Init(args) = &args.verb;
    let starter = Starter::new(args, global)?;
    let files = starter.files();
    let taken: Vec<&str> = files
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| args.folder.join(path).exists())
        .collect();
    if !taken.is_empty() && !args.force {
        let are = if taken.len() == 1 { "is" } else { "are" };
        let message = format!("{} {are} there already", taken.join(", "));
        return Err(CliError::new("AlreadyExists", exit::CONFLICT, message)
            .hint("--force writes over what is there")
            .details(json!({ "files": taken })));
    }
    for (path, text) in &files {
        write(&args.folder.join(path), text)
            .map_err(|error| CliError::internal(&format!("cannot write {path}"), &error))?;
    }
    let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let manifest = "signoff/repository.yaml";
    let there = if args.folder == Path::new(".") {
        manifest.to_owned()
    } else {
        quoted(&args.folder.join(manifest).display().to_string())
    };
    let next = starter
        .setup()
        .into_iter()
        .map(|line| line.replace(manifest, &there));
    let next: Vec<String> = next.collect();
    let mut text = Lines::from(format!("wrote {}", paths.join(", ")));
    if let Some(kind) = starter.forge {
        text.blank();
        text.push(format!(
            "{} needs the variable SIGNOFF_SOURCE: see README.md",
            kind.check().0
        ));
        text.push("Nobody can answer yet: put people into identities in signoff/repository.yaml, as README.md says.");
    }
    Ok(Answer::text(text)
        .with_data(json!({ "files": paths }))
        .with_next(next))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}

/// What the files are filled in with.
struct Starter {
    /// The address as it was given.
    address: String,
    url: RemoteUrl,
    forge: Option<Kind>,
    name: String,
    namespace: Option<String>,
}

impl Starter {
    fn new(args: &InitArgs, global: &Global) -> Result<Self, CliError> {
        let address = match &args.url {
            Some(url) => url.clone(),
            None => origin(&args.folder).ok_or_else(|| {
                let message = format!("{} has no git remote named origin", args.folder.display());
                CliError::new("NoURL", exit::USAGE, message)
                    .hint("name the address of the remote with --url, or add it: git remote add origin URL")
            })?,
        };
        let url: RemoteUrl = address.parse().map_err(|error: crate::git::UrlError| {
            let from = if args.url.is_some() {
                "--url"
            } else {
                "the remote origin"
            };
            let shown = without_credentials(&address);
            CliError::new("InvalidURL", exit::USAGE, format!("{from}, {shown:?}: {error}"))
                .hint("a repository on this machine is file:///path/to/it.git")
        })?;
        let known = match url.host() {
            "github.com" => Some(Kind::GitHub),
            "gitlab.com" => Some(Kind::GitLab),
            _ => None,
        };
        Ok(Self {
            forge: args.forge.or(known),
            address,
            url,
            name: args.name.clone(),
            namespace: global.namespace.as_ref().map(ToString::to_string),
        })
    }

    /// Path and text of every file.
    fn files(&self) -> Vec<(&'static str, String)> {
        let check = self.forge.map(Kind::check);
        let filled = [
            ("flows/hello.yaml", include_str!("starter/flow.yaml")),
            ("tests/hello.yaml", include_str!("starter/scenarios.yaml")),
            ("signoff/repository.yaml", include_str!("starter/repository.yaml")),
            ("README.md", include_str!("starter/README.md")),
        ];
        let filled = filled.map(|(path, text)| (path, self.fill(text)));
        let check = check.map(|(path, text)| (path, text.to_owned()));
        filled.into_iter().chain(check).collect()
    }

    fn fill(&self, text: &str) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let forge = self.forge.map(|_| include_str!("starter/forge.yaml"));
        let login = self
            .login()
            .map(|login| include_str!("starter/connection.yaml").replace("@LOGIN@\n", &login));
        let check = self.forge.map(|kind| {
            let text = include_str!("starter/check.md").replace("@CHECK@", kind.check().0);
            text.replace("@VARIABLES@", kind.variables())
        });
        let forge_setup = self.forge.map(|_| include_str!("starter/setup.md"));
        let connection = login.as_ref().map(|_| "  connection: @NAME@-git\n");
        let mut text = text
            .replace("@CONNECTION@", connection.unwrap_or_default())
            .replace("@FORGE@", forge.unwrap_or_default())
            .replace("@LOGIN@\n", &login.unwrap_or_default())
            .replace("@CHECK@", &check.unwrap_or_default())
            .replace("@FORGE_SETUP@\n", forge_setup.unwrap_or_default())
            .replace("@SETUP@", &self.setup().join("\n"))
            .replace("@IN@", &self.within("-n "))
            .replace("@ANSWER@", self.answer())
            .replace("@NAME@", &self.name)
            .replace("@URL@", &quoted(&self.address));
        if let Some(kind) = self.forge {
            let (kind, api) = self.api(kind);
            text = text.replace("@KIND@", kind).replace("@API@", &quoted(&api));
        }
        text.lines()
            .fold(String::new(), |all, line| all + line.trim_end() + "\n")
    }

    /// How to log in, unless nobody has to.
    fn login(&self) -> Option<String> {
        let secret = |key: &str| format!("{{name: @NAME@-git, key: {key}}}");
        match &self.url {
            RemoteUrl::File(_) => None,
            RemoteUrl::Http(_) => Some(format!(
                "    username: signoff\n    password: {}\n",
                secret("password")
            )),
            RemoteUrl::Ssh(_) => Some(format!(
                "    privateKey: {}\n    knownHosts: {}\n",
                secret("privateKey"),
                secret("knownHosts")
            )),
        }
    }

    /// The kind as the Repository names it, and the address of its API.
    fn api(&self, kind: Kind) -> (&'static str, String) {
        let site = self.site();
        match kind {
            Kind::GitHub if self.url.host() == "github.com" => {
                ("GitHub", "https://api.github.com".to_owned())
            }
            Kind::GitHub => ("GitHub", format!("{site}/api/v3")),
            Kind::GitLab => ("GitLab", format!("{site}/api/v4")),
            Kind::Gitea => ("Gitea", format!("{site}/api/v1")),
        }
    }

    /// Where the forge's pages are: where git is, if that is reached over http as well.
    fn site(&self) -> String {
        match &self.url {
            RemoteUrl::Http(url) => url.origin().ascii_serialization(),
            RemoteUrl::Ssh(_) | RemoteUrl::File(_) => format!("https://{}", self.url.host()),
        }
    }

    fn within(&self, flag: &str) -> String {
        let namespace = self.namespace.as_ref();
        namespace.map_or_else(String::new, |namespace| format!("{flag}{namespace}"))
    }

    /// The commands that set it up.
    fn setup(&self) -> Vec<String> {
        let (within, name) = (self.within(" -n "), &self.name);
        let secret = format!("kubectl{within} create secret generic {name}");
        let git = match &self.url {
            RemoteUrl::File(_) => None,
            RemoteUrl::Http(_) => Some(format!("{secret}-git --from-literal=password=\"$TOKEN\"")),
            RemoteUrl::Ssh(_) => Some(format!(
                "{secret}-git --from-file=privateKey=id_ed25519 --from-file=knownHosts=known_hosts"
            )),
        };
        let forge = self.forge.map(|_| {
            format!("{secret}-forge --from-literal=token=\"$TOKEN\" --from-literal=webhook=\"$(openssl rand -hex 32)\"")
        });
        let apply = format!("kubectl{within} apply -f signoff/repository.yaml");
        git.into_iter().chain(forge).chain([apply]).collect()
    }

    fn answer(&self) -> &'static str {
        if self.forge.is_some() {
            "A run stops at `review`. The question is a pull request here: merge it to approve, close it to reject."
        } else {
            "A run stops at `review`: `signoff approvals` shows the question, `signoff approve` answers it."
        }
    }
}

fn origin(folder: &Path) -> Option<String> {
    let repository = git2::Repository::discover(folder).ok()?;
    let origin = repository.find_remote("origin").ok()?;
    origin.url().ok().map(str::to_owned)
}
