//! `signoff approvals`: what waits for people.

use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, Namespaces},
    error::CliError,
    lines::{self, Lines},
    named,
    run::now,
    runs::listed,
    table::Column::{Extra, Free, Whole},
    timeline::{age, until},
};
use signoff_api::{Approval, ApprovalPhase, Decision};
use signoff_engine::judge::refusal_of;

/// List approvals that wait for people.
#[derive(Debug, clap::Args)]
pub(super) struct ApprovalsArgs {
    /// Also list those that are closed.
    #[arg(long)]
    all: bool,
    /// Only those in this phase, such as Approved; repeatable.
    #[arg(long, value_name = "PHASE", value_parser = named::phase::<ApprovalPhase>, conflicts_with = "all")]
    phase: Vec<ApprovalPhase>,
    /// Only those on which your decision would count and is not given yet.
    #[arg(long, conflicts_with_all = ["all", "phase"])]
    mine: bool,
    /// Approvals of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

pub(super) async fn verb(args: &ApprovalsArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let namespaces = Namespaces::of(args.all_namespaces);
    let list = connection
        .list_in::<Approval>(namespaces, &ListParams::default())
        .await;
    let mut approvals = list.map_err(|error| CliError::api("the approvals cannot be listed", &error))?;
    let phase = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default()
    };
    approvals.retain(|approval| match args.phase.as_slice() {
        [] => args.all || !phase(approval).is_closed(),
        phases => phases.contains(&phase(approval)),
    });
    if args.mine {
        keep_mine(&connection, namespaces, &mut approvals).await?;
    }
    let deadline = |approval: &Approval| approval.spec.expires_at.as_ref().map(|time| time.0);
    approvals.sort_by_key(|approval| {
        let at = deadline(approval);
        (at.is_none(), at, approval.creation_timestamp().map(|time| time.0))
    });
    if approvals.is_empty() {
        let places = connection.places(namespaces);
        let text = match args.phase.as_slice() {
            [] if args.mine => format!("nothing waits for you in {places}"),
            [] => format!("nothing waits for people in {places}"),
            phases => format!("no approvals that are {} in {places}", named::list(phases)),
        };
        return Ok(Answer::text(text).with_data(json!([])));
    }
    let now = now();
    let rows: Vec<Vec<String>> = approvals
        .iter()
        .map(|approval| {
            let status = approval.status.clone().unwrap_or_default();
            vec![
                approval.namespace().unwrap_or_default(),
                approval.name_any(),
                approval.spec.title.clone(),
                status.phase.to_string(),
                status.needs.unwrap_or_default(),
                approval.spec.subject.run.clone().unwrap_or_default(),
                approval.spec.requested_by.clone().unwrap_or_default(),
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
        Whole("namespace"),
        Whole("name"),
        Free("title"),
        Whole("phase"),
        Free("needs"),
        Extra("run"),
        Extra("asked by"),
        Extra("expires"),
        Extra("age"),
    ];
    let text = listed(&headings, rows, namespaces);
    let names: Vec<String> = approvals
        .iter()
        .map(|approval| format!("approval/{}", approval.name_any()))
        .collect();
    let next = approvals
        .iter()
        .find(|approval| !phase(approval).is_closed())
        .filter(|_| namespaces == Namespaces::One)
        .map(|approval| global.command(&format!("show {}", approval.name_any())));
    Ok(Answer::text(text)
        .with_data(json!(approvals))
        .with_names(names)
        .with_next(next))
}

/// Keeps those on which a decision of the caller would count, and on which they have not decided yet.
async fn keep_mine(
    connection: &Connection,
    namespaces: Namespaces,
    approvals: &mut Vec<Approval>,
) -> Result<(), CliError> {
    let caller = connection.whoami().await?;
    let listed = connection
        .list_in::<Decision>(namespaces, &ListParams::default())
        .await;
    let decisions = match listed {
        Ok(decisions) => decisions,
        // whoever may see questions and not decisions has an answer nevertheless
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => {
            let note = "decisions cannot be listed, so that questions may be among these on which yours is not judged yet";
            lines::say(&Lines::from(note.to_owned()));
            Vec::new()
        }
        Err(error) => return Err(CliError::api("the decisions cannot be listed", &error)),
    };
    approvals.retain(|approval| {
        let status = approval.status.as_ref();
        let mut counted = status.iter().flat_map(|status| &status.counted);
        if counted.any(|vote| vote.by == caller.0) {
            return false;
        }
        let about = |decision: &&Decision| {
            decision.namespace() == approval.namespace() && *decision.spec.approval == *approval.name_any()
        };
        let decisions: Vec<&Decision> = decisions.iter().filter(about).collect();
        refusal_of(&caller, approval, &decisions, now()).is_none()
    });
    Ok(())
}
