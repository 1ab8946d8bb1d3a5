//! Flows and their releases.

use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ToolError,
    list::{self, Page},
    server::{Place, ToolServer},
};
use signoff_api::{
    Definition, Flow, Release,
    name::{FlowName, ReleaseName},
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListFlows {
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    page: Page,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GetFlow {
    #[serde(flatten)]
    place: Place,
    /// Name of the flow.
    flow: FlowName,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListReleases {
    #[serde(flatten)]
    place: Place,
    /// Name of the flow.
    flow: FlowName,
    #[serde(flatten)]
    page: Page,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GetRelease {
    #[serde(flatten)]
    place: Place,
    /// Name of the release.
    release: ReleaseName,
}

pub(super) async fn list(server: &ToolServer, args: ListFlows) -> Result<Value, ToolError> {
    let flows = server.api(&args.place)?;
    list::page(&flows, &args.page, &[], "flows", summary).await
}

fn summary(flow: &Flow) -> Value {
    let status = flow.status.clone().unwrap_or_default();
    json!({
        "name": flow.name_any(),
        "description": flow.spec.definition.description,
        "live": status.live_release(),
        "draft": status.draft.map(|draft| draft.release),
        "suspended": flow.spec.suspend.unwrap_or_default(),
    })
}

pub(super) async fn get(server: &ToolServer, args: GetFlow) -> Result<Value, ToolError> {
    let flows = server.api::<Flow>(&args.place)?;
    let flow = flows
        .get(&args.flow)
        .await
        .map_err(|error| ToolError::api(&format!("flow {}", args.flow), &error))?;
    let mut shown = summary(&flow);
    let status = flow.status.clone().unwrap_or_default();
    // a run takes the inputs of the live release, which may be older than the draft
    let live = match status.live_release() {
        Some(live) => server
            .api::<Release>(&args.place)?
            .get_opt(live)
            .await
            .ok()
            .flatten(),
        None => None,
    };
    let (of, definition) = match &live {
        Some(release) => ("live release", &release.spec.definition),
        None => ("draft", &flow.spec.definition),
    };
    shown["inputs"] = json!({"of": of, "schema": definition.inputs});
    shown["steps"] = steps(definition);
    shown["problems"] = json!(status.problems);
    shown["conditions"] = json!(status.conditions);
    Ok(shown)
}

/// The steps by name and kind.
fn steps(definition: &Definition) -> Value {
    let steps = definition.all_steps();
    steps
        .map(|step| json!({"name": step.name, "kind": step.kind.rules().key}))
        .collect()
}

pub(super) async fn list_releases(server: &ToolServer, args: ListReleases) -> Result<Value, ToolError> {
    let releases = server.api(&args.place)?;
    let of_flow = [format!("spec.flow={}", args.flow)];
    list::page(&releases, &args.page, &of_flow, "releases", release_summary).await
}

fn release_summary(release: &Release) -> Value {
    let status = release.status.as_ref();
    json!({
        "name": release.name_any(),
        "flow": release.spec.flow,
        "digest": release.spec.digest,
        "channel": status.and_then(|status| status.channel),
        "source": release.spec.source,
        "createdAt": release.creation_timestamp(),
    })
}

pub(super) async fn get_release(server: &ToolServer, args: GetRelease) -> Result<Value, ToolError> {
    let release = server
        .api::<Release>(&args.place)?
        .get(&args.release)
        .await
        .map_err(|error| ToolError::api(&format!("release {}", args.release), &error))?;
    let mut shown = release_summary(&release);
    shown["definition"] = json!(release.spec.definition);
    shown["dependencies"] = json!(release.spec.dependencies);
    Ok(shown)
}
