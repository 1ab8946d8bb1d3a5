//! `signoff releases`: the releases of a flow.

use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::CliError,
    lines::terminal_width,
    named,
    run::now,
    table::{
        Column::{Free, Whole},
        table,
    },
    timeline::{age, short},
};
use signoff_api::{Flow, Release, name::FlowName, run::Channel};

/// List the releases of a flow, the newest first.
#[derive(Debug, clap::Args)]
pub(super) struct ReleasesArgs {
    /// Name of the flow.
    #[arg(value_parser = named::flow)]
    flow: FlowName,
}

pub(super) async fn verb(args: &ReleasesArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let selection = ListParams::default().fields(&format!("spec.flow={}", args.flow));
    let list = connection.list::<Release>(&selection).await;
    let mut releases = list.map_err(|error| CliError::api("the releases cannot be listed", &error))?;
    releases.sort_by_key(|release| std::cmp::Reverse(release.creation_timestamp().map(|time| time.0)));
    if releases.is_empty() {
        connection.named::<Flow>(&args.flow).await?;
        return Ok(Answer::text(format!("flow {} has no releases", args.flow)).with_data(json!([])));
    }
    // who may not read flows is not told which release is the draft
    let flow = connection.api::<Flow>().get_opt(&args.flow).await.ok().flatten();
    let draft = flow
        .and_then(|flow| flow.status?.draft)
        .map(|draft| draft.release);
    let now = now();
    let rows: Vec<Vec<String>> = releases
        .iter()
        .map(|release| {
            let source = &release.spec.source;
            vec![
                release.name_any(),
                channel(release, draft.as_deref()),
                source.commit.as_deref().map(short).unwrap_or_default().to_owned(),
                source
                    .author
                    .clone()
                    .or_else(|| source.changed_by.clone())
                    .or_else(|| source.applied_by.clone())
                    .unwrap_or_default(),
                source.message.clone().unwrap_or_default(),
                age(release.creation_timestamp().as_ref(), now),
            ]
        })
        .collect();
    let headings = [
        Whole("name"),
        Whole("channel"),
        Whole("commit"),
        Free("author"),
        Free("message"),
        Whole("age"),
    ];
    let text = table(&headings, &rows, terminal_width());
    let names: Vec<String> = releases
        .iter()
        .map(|release| format!("release/{}", release.name_any()))
        .collect();
    Ok(Answer::text(text).with_data(json!(releases)).with_names(names))
}

/// `Live`, `Draft` or nothing.
fn channel(release: &Release, draft: Option<&str>) -> String {
    let status = release.status.as_ref();
    match status.and_then(|status| status.channel) {
        Some(channel) => channel.as_str().to_owned(),
        None if draft == release.metadata.name.as_deref() => Channel::Draft.as_str().to_owned(),
        None => String::new(),
    }
}
