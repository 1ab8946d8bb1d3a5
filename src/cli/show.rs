//! `signoff show`: a question, without an answer to it.

use kube::ResourceExt as _;
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    decide::{self, card::Card},
    error::CliError,
    lines::Lines,
    named,
    run::now,
};
use signoff_api::{Approval, Decision, Definition, name::ObjectName};
use signoff_engine::{judge::refusal_of, question::consequence};

/// Show what an approval asks, who decides, and what comes of each answer. Nothing is sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  signoff approvals --mine && signoff show refund-7c2k-review-5f0c2a91d4")]
pub(super) struct ShowArgs {
    /// Name of the approval.
    #[arg(value_parser = named::approval)]
    approval: ObjectName,
}

pub(super) async fn verb(args: &ShowArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let approval: Approval = connection.get(&args.approval).await?;
    let decisions = decide::decisions(&connection, &args.approval)
        .await
        .unwrap_or_default();
    let card = Card {
        approval: &approval,
        decisions: &decisions,
        answer: None,
        preview: None,
        consequence: None,
    };
    let mut lines = card.render();
    let mut next = Vec::new();
    let status = approval.status.as_ref();
    if status.is_none_or(|status| !status.phase.is_closed()) {
        let definition = decide::definition(&connection, &approval).await;
        answers(&mut lines, &approval, definition.as_ref());
        next = commands(&connection, &approval, &decisions, &mut lines, global).await;
    }
    Ok(Answer::text(lines)
        .with_data(json!(approval))
        .with_names([format!("approval/{}", args.approval)])
        .with_next(next))
}

/// What comes of each answer that is on offer.
fn answers(lines: &mut Lines, approval: &Approval, definition: Option<&Definition>) {
    lines.blank();
    lines.push("What an answer does when it decides the question:");
    for verdict in &approval.spec.verdicts {
        let follows = consequence(&approval.spec, definition, *verdict, None);
        lines.field(&verdict.to_string(), follows);
    }
}

/// The commands with which the caller may answer, or else why they may not.
async fn commands(
    connection: &Connection,
    approval: &Approval,
    decisions: &[Decision],
    lines: &mut Lines,
    global: &Global,
) -> Vec<String> {
    let Ok(caller) = connection.whoami().await else {
        return Vec::new();
    };
    let decisions: Vec<&Decision> = decisions.iter().collect();
    if let Some(why) = refusal_of(&caller, approval, &decisions, now()) {
        lines.blank();
        lines.push(format!("An answer of yours would not count: {why}."));
        return Vec::new();
    }
    let (name, digest) = (approval.name_any(), &approval.spec.digest);
    ["approve", "reject"]
        .map(|verb| global.command(&format!("{verb} {name} --digest {digest}")))
        .into()
}
