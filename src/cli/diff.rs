//! `signoff diff`: what would change if the draft became live.

use kube::Api;
use serde_json::json;
use similar::TextDiff;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
};
use crate::api::{Flow, Release};

/// Show how the draft of a flow differs from what is live.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// Name of the flow.
    flow: String,
}

pub(super) async fn verb(args: &DiffArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let flow = connection
        .api::<Flow>()
        .get(&args.flow)
        .await
        .map_err(|error| CliError::api(&args.flow, &error))?;
    let status = flow.status.unwrap_or_default();
    let Some(draft) = status.draft.map(|draft| draft.release) else {
        let message = format!("flow {} has no valid draft", args.flow);
        return Err(CliError::new("NoDraft", exit::NOT_FOUND, message));
    };
    let releases = connection.api::<Release>();
    let new = definition(&releases, Some(&draft)).await?;
    let old = definition(&releases, status.live.as_deref()).await?;
    let live = status.live.clone().unwrap_or_else(|| "nothing".to_owned());
    let unified = TextDiff::from_lines(&old, &new)
        .unified_diff()
        .header(&live, &draft)
        .to_string();
    let data = json!({ "live": status.live, "draft": draft, "changed": old != new, "diff": unified });
    let text = if old == new {
        format!("{draft} is live; there is no difference")
    } else {
        unified
    };
    let next = (old != new).then(|| format!("signoff promote {} {draft}", args.flow));
    Ok(Answer::text(text).with_data(data).with_next(next))
}

/// A release's definition as YAML; nothing is the empty text.
async fn definition(releases: &Api<Release>, name: Option<&str>) -> Result<String, CliError> {
    let Some(name) = name else {
        return Ok(String::new());
    };
    let release = releases
        .get(name)
        .await
        .map_err(|error| CliError::api(name, &error))?;
    let sorted =
        serde_json::to_value(&release.spec.definition).map_err(|error| CliError::internal(name, &error))?;
    serde_yaml::to_string(&sorted).map_err(|error| CliError::internal(name, &error))
}
