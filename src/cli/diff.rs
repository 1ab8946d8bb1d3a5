//! `signoff diff`: what would change if the draft, another release or a file became live.

use std::path::{Path, PathBuf};

use kube::ResourceExt as _;
use serde_json::{Value, json};
use similar::TextDiff;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    lines::Lines,
    manifest, quoted,
};
use signoff_api::{
    Definition, Flow, Release,
    name::{FlowName, ReleaseName},
    release::Dependency,
};
use signoff_engine::difference::difference;

/// Longest Markdown printed, in bytes: what fits into a comment on any forge.
const MARKDOWN: usize = 60_000;

/// Show what would change if the draft became live: steps, expressions, and who may approve what.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// Name of the flow; with -f only needed to pick one of several in the file.
    #[arg(required_unless_present = "file")]
    flow: Option<FlowName>,
    /// Compare with this release instead of what is live.
    #[arg(long, value_name = "RELEASE")]
    against: Option<ReleaseName>,
    /// Show this release instead of the draft.
    #[arg(long, value_name = "RELEASE", conflicts_with = "file")]
    release: Option<ReleaseName>,
    /// Show the flow in this manifest instead of the draft; - reads standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show the lines that differ instead.
    #[arg(long)]
    unified: bool,
    /// Show it as Markdown, for a comment on a pull request.
    #[arg(long, conflicts_with = "unified")]
    markdown: bool,
}

/// One side of the comparison: a definition and what it is called.
struct Side {
    name: String,
    definition: Definition,
    /// The releases that its steps run; not known of a file.
    dependencies: Option<Vec<Dependency>>,
}

impl Side {
    fn is_other(&self, than: &Self) -> bool {
        let is_known = self.dependencies.is_some() && than.dependencies.is_some();
        self.definition != than.definition || is_known && self.dependencies != than.dependencies
    }
}

pub(super) async fn verb(args: &DiffArgs, global: &Global) -> Result<Answer, CliError> {
    let file = args
        .file
        .as_deref()
        .map(|path| from_file(path, args.flow.as_deref()));
    let file = file.transpose()?;
    let name = match (&file, &args.flow) {
        (Some((name, _)), _) => name.clone(),
        (None, Some(name)) => name.to_string(),
        (None, None) => return Err(CliError::usage("name a flow, or give a file with -f")),
    };
    let connection = Connection::open(global).await?;
    let flow = connection
        .api::<Flow>()
        .get_opt(&name)
        .await
        .map_err(|error| CliError::api(&name, &error))?;
    let missing = flow.is_none();
    let status = flow.and_then(|flow| flow.status).unwrap_or_default();
    let (new, next) = match (file, &args.release, &status.draft) {
        (Some((_, side)), _, _) => {
            let next = global.command(&format!("apply -f {}", quoted(&side.name)));
            (side, next)
        }
        (None, ..) if missing => {
            return Err(connection.not_found::<Flow>(&name));
        }
        (None, Some(release), _) => {
            let next = global.command(&format!("promote {name} {release}"));
            (from_release(&connection, release, &name).await?, next)
        }
        (None, None, Some(draft)) => {
            let next = global.command(&format!("promote {name} {}", draft.release));
            (from_release(&connection, &draft.release, &name).await?, next)
        }
        (None, None, None) => {
            let message = format!("flow {name} has no valid draft");
            return Err(CliError::new("NoDraft", exit::NOT_FOUND, message));
        }
    };
    let old = match args.against.as_deref().or(status.live_release()) {
        Some(release) => Some(from_release(&connection, release, &name).await?),
        None => None,
    };
    let answer = compare(&name, old.as_ref(), &new, args)?;
    let worth_it = args.against.is_none() && old.as_ref().is_none_or(|old| new.is_other(old));
    Ok(answer.with_next(worth_it.then_some(next)))
}

fn compare(flow: &str, old: Option<&Side>, new: &Side, args: &DiffArgs) -> Result<Answer, CliError> {
    let mut difference = difference(old.map(|old| &old.definition), &new.definition);
    let runs = |side: Option<&Side>| match side {
        Some(side) => side.dependencies.clone(),
        None => Some(vec![]),
    };
    if let (Some(before), Some(after)) = (runs(old), runs(Some(new))) {
        difference = difference.with_dependencies(&before, &after);
    }
    let changed = !difference.is_empty();
    let before = old.map(|old| old.name.as_str());
    let mut data = json!({
        "flow": flow,
        "from": before,
        "to": new.name,
        "changed": changed,
        "loosensControl": difference.loosens_control(),
        "difference": difference,
    });
    let mut text = Lines::default();
    if args.unified {
        let lines = unified(old, new)?;
        data["unified"] = Value::from(lines.as_str());
        text.report(&lines);
    } else if args.markdown {
        text.report(&difference.to_markdown(MARKDOWN));
    } else {
        text.push(format!("{flow}: {} → {}", before.unwrap_or("nothing"), new.name));
        if changed {
            text.report(&difference.to_text());
        } else {
            text.push("there is no difference");
        }
    }
    Ok(Answer::text(text).with_data(data))
}

/// The lines of YAML that differ.
fn unified(old: Option<&Side>, new: &Side) -> Result<String, CliError> {
    let before = old.map(yaml).transpose()?.unwrap_or_default();
    let name = old.map_or("nothing", |old| old.name.as_str());
    Ok(TextDiff::from_lines(&before, &yaml(new)?)
        .unified_diff()
        .header(name, &new.name)
        .to_string())
}

fn yaml(side: &Side) -> Result<String, CliError> {
    let sorted =
        serde_json::to_value(&side.definition).map_err(|error| CliError::internal(&side.name, &error))?;
    serde_yaml::to_string(&sorted).map_err(|error| CliError::internal(&side.name, &error))
}

async fn from_release(connection: &Connection, name: &str, flow: &str) -> Result<Side, CliError> {
    let release: Release = connection.get(name).await?;
    if release.spec.flow != flow {
        let message = format!("release {name} is of flow {}, not of {flow}", release.spec.flow);
        return Err(CliError::new("NotFound", exit::NOT_FOUND, message));
    }
    Ok(Side {
        name: release.name_any(),
        definition: release.spec.definition,
        dependencies: Some(release.spec.dependencies),
    })
}

/// The flow in a manifest.
fn from_file(path: &Path, wanted: Option<&str>) -> Result<(String, Side), CliError> {
    let (name, spec) = manifest::flow(path, wanted)?;
    let side = Side {
        name: path.display().to_string(),
        definition: spec.definition,
        dependencies: None,
    };
    Ok((name, side))
}
