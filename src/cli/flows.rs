//! `signoff flows`: the flows of a namespace, or of all.

use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, Namespaces},
    error::CliError,
    run::now,
    runs::listed,
    table::Column::{Extra, Free, Whole},
    timeline::{age, until},
};
use signoff_api::{Flow, FlowStatus, condition, flow::PromotionPhase};

/// List flows: what is live, what is drafted, and what is wrong with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  signoff flows\n  signoff flows -A")]
pub(super) struct FlowsArgs {
    /// Flows of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

pub(super) async fn verb(args: &FlowsArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let namespaces = Namespaces::of(args.all_namespaces);
    let list = connection
        .list_in::<Flow>(namespaces, &ListParams::default())
        .await;
    let mut flows = list.map_err(|error| CliError::api("the flows cannot be listed", &error))?;
    if flows.is_empty() {
        let text = format!("no flows in {}", connection.places(namespaces));
        return Ok(Answer::text(text).with_data(json!([])));
    }
    flows.sort_by_key(|flow| (flow.namespace(), flow.name_any()));
    let now = now();
    let row = |flow: &Flow| {
        let status = flow.status.clone().unwrap_or_default();
        let release = |named: &Option<signoff_api::flow::NamedRelease>| {
            named
                .as_ref()
                .map(|named| named.release.clone())
                .unwrap_or_default()
        };
        let next = status
            .triggers
            .iter()
            .filter_map(|trigger| trigger.next_at.as_ref());
        vec![
            flow.namespace().unwrap_or_default(),
            flow.name_any(),
            release(&status.live),
            // one that is live is not told twice
            release(
                &status
                    .draft
                    .clone()
                    .filter(|draft| status.live.as_ref() != Some(draft)),
            ),
            message(flow, &status),
            next.map(|at| at.0)
                .min()
                .map(|at| until(at, now))
                .unwrap_or_default(),
            age(flow.creation_timestamp().as_ref(), now),
        ]
    };
    let rows: Vec<Vec<String>> = flows.iter().map(row).collect();
    let headings = [
        Whole("namespace"),
        Whole("name"),
        Whole("live"),
        Whole("draft"),
        Free("message"),
        Extra("next"),
        Extra("age"),
    ];
    let names: Vec<String> = flows
        .iter()
        .map(|flow| format!("flow/{}", flow.name_any()))
        .collect();
    Ok(Answer::text(listed(&headings, rows, namespaces))
        .with_data(json!(flows))
        .with_names(names))
}

/// What is wrong with a flow, or what it waits for; nothing if all is well.
fn message(flow: &Flow, status: &FlowStatus) -> String {
    let ready = status
        .conditions
        .iter()
        .find(|known| known.type_ == condition::READY);
    if let Some(ready) = ready.filter(|ready| ready.status != "True") {
        return format!("{}: {}", ready.reason, ready.message);
    }
    if flow.spec.suspend == Some(true) {
        return "suspended: its triggers start no runs".to_owned();
    }
    let promotion = status.promotion.as_ref();
    match promotion.filter(|promotion| promotion.phase == PromotionPhase::Waiting) {
        Some(promotion) => {
            let approval = promotion.approval.as_deref().unwrap_or_default();
            format!(
                "{} becomes live when approval {approval} is given",
                promotion.release
            )
        }
        None => String::new(),
    }
}
