//! `signoff graph`: draws a flow, and what a run of it did.

#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use kube::ResourceExt as _;
use serde_json::json;

use super::{
    Global,
    answer::{Answer, Format},
    connect::Connection,
    error::{CliError, exit},
    manifest,
};
use crate::drawing::{dot, mermaid, model::Graph, svg};
use signoff_api::{
    Definition, Flow, Release, Run,
    name::{FlowName, ObjectName, ReleaseName},
};

/// Draw a flow: its steps, what they need, branches, loops and approvals. With --run, also what a run of it did.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Formats of -o: table (text), svg, dot, mermaid, json, yaml\n\nExamples:\n  \
                  signoff graph flow.yaml\n  signoff graph refund -o svg > refund.svg\n  signoff graph --run refund-x7k2q"
)]
pub(super) struct GraphArgs {
    /// A flow of the namespace, or a file (*.yaml, *.yml, *.json, or a path); - reads standard input.
    #[arg(value_name = "FLOW|FILE", required_unless_present_any = ["run", "file"])]
    flow: Option<String>,
    /// Draw the flow in this manifest.
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["run", "release"])]
    file: Option<PathBuf>,
    /// Draw this release of the flow instead of its newest content.
    #[arg(long, value_name = "RELEASE", conflicts_with = "run")]
    release: Option<ReleaseName>,
    /// Draw the release that this run uses, and what the run did.
    #[arg(long, value_name = "RUN", conflicts_with = "flow")]
    run: Option<ObjectName>,
}

pub(super) async fn verb(args: &GraphArgs, global: &Global) -> Result<Answer, CliError> {
    let graph = if let Some(run) = &args.run {
        of_run(&Connection::open(global).await?, run).await?
    } else {
        let file = match (&args.file, args.flow.as_deref()) {
            (Some(file), name) => Some((file.as_path(), name)),
            (None, Some(flow)) if is_file(flow) => Some((Path::new(flow), None)),
            (None, _) => None,
        };
        match (file, &args.flow) {
            (Some((file, wanted)), _) => {
                let (name, spec) = manifest::flow(file, wanted)?;
                Graph::of(format!("Flow {name}"), &spec.definition, None)
            }
            (None, Some(flow)) => {
                let name = flow.parse::<FlowName>();
                let name = name.map_err(|error| CliError::usage(format!("{flow}: {error}")))?;
                of_flow(&Connection::open(global).await?, &name, args.release.as_deref()).await?
            }
            (None, None) => return Err(CliError::usage("name a flow, a file or a run")),
        }
    };
    let answer = match global.output {
        Format::Table | Format::Json | Format::Yaml | Format::Name => Answer::text(text::render(&graph)),
        Format::Svg => Answer::document(svg::render(&graph)),
        Format::Dot => Answer::document(dot::render(&graph)),
        Format::Mermaid => Answer::document(mermaid::render(&graph)),
    };
    let names: Vec<String> = graph
        .steps
        .iter()
        .map(|step| format!("step/{}", step.name))
        .collect();
    Ok(answer.with_data(json!(graph)).with_names(names))
}

/// Whether it is a path, and not a name of the namespace.
fn is_file(text: &str) -> bool {
    let ending = Path::new(text).extension();
    text == "-"
        || text.contains('/')
        || ending.is_some_and(|ending| manifest::ENDINGS.iter().any(|known| ending == *known))
}

async fn of_flow(connection: &Connection, name: &FlowName, release: Option<&str>) -> Result<Graph, CliError> {
    if let Some(release) = release {
        let definition = of_release(connection, release, name).await?;
        return Ok(Graph::of(
            format!("Release {release} of flow {name}"),
            &definition,
            None,
        ));
    }
    let flow: Flow = connection.get(name).await?;
    Ok(Graph::of(format!("Flow {name}"), &flow.spec.definition, None))
}

async fn of_run(connection: &Connection, name: &ObjectName) -> Result<Graph, CliError> {
    let run: Run = connection.get(name).await?;
    let status = run.status.clone().unwrap_or_default();
    let Some(release) = &status.release else {
        let message = format!("run {} has no release yet", run.name_any());
        return Err(CliError::new("NotYet", exit::NOT_YET, message));
    };
    let flow = &run.spec.flow;
    let definition = of_release(connection, &release.name, flow).await?;
    let title = format!("Run {} of flow {flow}: {}", run.name_any(), status.phase);
    Ok(Graph::of(title, &definition, Some(&status)))
}

async fn of_release(connection: &Connection, name: &str, flow: &FlowName) -> Result<Definition, CliError> {
    let release: Release = connection.get(name).await?;
    if release.spec.flow != *flow {
        let message = format!("release {name} is of flow {}, not of {flow}", release.spec.flow);
        return Err(CliError::new("NotFound", exit::NOT_FOUND, message));
    }
    Ok(release.spec.definition)
}
