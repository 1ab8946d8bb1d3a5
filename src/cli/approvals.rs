//! `signoff approvals`: what waits for people.

use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::CliError,
    lines::terminal_width,
    run::now,
    table::{
        Column::{Free, Whole},
        table,
    },
    timeline::{age, until},
};
use signoff_api::Approval;

/// List approvals that wait for people.
#[derive(Debug, clap::Args)]
pub(super) struct ApprovalsArgs {
    /// Also list those that are closed.
    #[arg(long)]
    all: bool,
}

pub(super) async fn verb(args: &ApprovalsArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let list = connection.list::<Approval>(&ListParams::default()).await;
    let mut approvals = list.map_err(|error| CliError::api("the approvals cannot be listed", &error))?;
    let closed = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_closed())
    };
    approvals.retain(|approval| args.all || !closed(approval));
    if approvals.is_empty() {
        return Ok(Answer::text(format!(
            "nothing waits for people in namespace {}",
            connection.namespace
        ))
        .with_data(json!([])));
    }
    let now = now();
    let rows: Vec<Vec<String>> = approvals
        .iter()
        .map(|approval| {
            let status = approval.status.clone().unwrap_or_default();
            vec![
                approval.name_any(),
                approval.spec.title.clone(),
                status.phase.to_string(),
                status.needs.unwrap_or_default(),
                approval
                    .spec
                    .expires_at
                    .as_ref()
                    .map(|time| until(time.0, now))
                    .unwrap_or_default(),
                age(approval.creation_timestamp().as_ref(), now),
            ]
        })
        .collect();
    let headings = [
        Whole("name"),
        Free("title"),
        Whole("phase"),
        Free("needs"),
        Whole("expires"),
        Whole("age"),
    ];
    let text = table(&headings, &rows, terminal_width());
    let names: Vec<String> = approvals
        .iter()
        .map(|approval| format!("approval/{}", approval.name_any()))
        .collect();
    Ok(Answer::text(text).with_data(json!(approvals)).with_names(names))
}
