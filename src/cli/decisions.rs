//! `signoff decisions`: who decided what, out of the records of runs that ended.

use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    archived::{self, Archive},
    error::CliError,
    lines::terminal_width,
    store_options::StoreArgs,
    table::{
        Column::{Extra, Free, Whole},
        table,
    },
    verify,
};
use crate::records::{keys::PublicKey, read::Wanted, verify::Record};
use signoff_api::{Verdict, decision::Via, name::FlowName};

/// List the decisions of people, out of the records of runs that ended. Runs that were deleted since are among them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff decisions --store s3://signoff/production -n payments --month 2026-11\n  signoff decisions -A --by alice@example.com --key records.pub --csv"
)]
pub(super) struct DecisionsArgs {
    /// Only decisions of this user.
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    /// Only decisions in runs of this flow.
    #[arg(long)]
    flow: Option<FlowName>,
    /// Only decisions of this month (UTC), such as 2026-11.
    #[arg(long, value_name = "MONTH", value_parser = archived::month)]
    month: Option<String>,
    /// Decisions of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Public keys that you trust (PEM, one or several in a file); repeatable. The exit code is 10 if a record that was
    /// read is not signed by one of them or contradicts itself, whatever is listed.
    #[arg(short, long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print comma-separated values.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A decision, and what it was about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    at: Option<Timestamp>,
    by: String,
    verdict: Verdict,
    /// Whether it counted, and if not, why.
    counted: bool,
    reason: String,
    namespace: String,
    flow: String,
    run: String,
    step: String,
    title: String,
    comment: String,
    via: Option<Via>,
    digest: String,
    release: String,
    record: String,
    /// Whether the record is verified, if keys were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
}

pub(super) async fn verb(args: DecisionsArgs, global: &Global) -> Result<Answer, CliError> {
    let keys = verify::keys(&args.key)?;
    let archive = Archive::open(args.store, args.all_namespaces, global).await?;
    let wanted = Wanted {
        // a run ends no earlier than people decide in it
        from: args.month.clone(),
        ..archive.wanted()
    };
    let found = archive.read(&wanted, |path, record| {
        let path = path.to_string();
        let unverified = unverified(&record, &keys);
        let rows = rows(&path, &record, (!keys.is_empty()).then_some(unverified.is_none()));
        (rows, unverified.map(|why| format!("{path}: {why}")))
    });
    let found = found.await?;
    let (rows, unverified): (Vec<_>, Vec<_>) = found.records.into_iter().unzip();
    // whatever is listed: what was taken out of a record, or renamed, is in no row of it
    let unverified = unverified.into_iter().flatten().collect();
    let problem = archived::problem(&found.passed_over, unverified, !keys.is_empty());
    let mut rows: Vec<Row> = rows.into_iter().flatten().collect();
    rows.retain(|row| {
        let month = row.at.map(|at| at.strftime("%Y-%m").to_string());
        args.by.as_ref().is_none_or(|by| *by == row.by)
            && args.flow.as_ref().is_none_or(|flow| flow.as_str() == row.flow)
            && (args.month.is_none() || args.month == month)
    });
    rows.sort_by_key(|row| row.at);
    let answer = if args.csv {
        Answer::document(csv(&rows))
    } else if rows.is_empty() {
        Answer::text("no such decisions in the object store")
    } else {
        shown(&rows)
    };
    Ok(answer.with_data(json!(rows)).with_problem(problem))
}

/// Why a record is not verified, if keys are given and it is not.
fn unverified(record: &Record, keys: &[PublicKey]) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    if record.signed_by(keys).is_none() {
        return Some("it is not signed by any of the keys, or was changed".to_owned());
    }
    let contradictions = record.contradictions();
    let first = contradictions.first()?;
    Some(format!("it contradicts itself: {first}"))
}

/// The decisions of a record.
fn rows(path: &str, record: &Record, verified: Option<bool>) -> Vec<Row> {
    let predicate = &record.statement.predicate;
    let status = predicate.run.status.as_ref();
    let release = status.and_then(|status| status.release.as_ref());
    let all = predicate.questions.iter().flat_map(|question| {
        let asked = &question.approval.spec;
        question.decisions.iter().map(move |decision| (asked, decision))
    });
    let rows = all.map(|(asked, decision)| {
        let judged = decision.status.clone().unwrap_or_default();
        Row {
            at: decision.created_at,
            by: decision.spec.by.clone().unwrap_or_default(),
            verdict: decision.spec.verdict,
            counted: judged.counted == Some(true),
            reason: judged
                .reason
                .map(|reason| format!("{reason:?}"))
                .unwrap_or_default(),
            namespace: predicate.namespace.clone(),
            flow: predicate.run.spec.flow.to_string(),
            run: predicate.run.name.clone(),
            step: asked.subject.step.clone().unwrap_or_default(),
            title: asked.title.clone(),
            comment: decision.spec.comment.clone().unwrap_or_default(),
            via: decision.spec.via.clone(),
            digest: decision.spec.digest.to_string(),
            release: release.map(|release| release.name.clone()).unwrap_or_default(),
            record: path.to_owned(),
            verified,
        }
    });
    rows.collect()
}

fn channel(row: &Row) -> String {
    let channel = row.via.as_ref().map(|via| json!(via.channel));
    let channel = channel.as_ref().and_then(|channel| channel.as_str());
    channel.unwrap_or("api").to_owned()
}

fn verified(row: &Row) -> String {
    match row.verified {
        None => String::new(),
        Some(true) => "yes".to_owned(),
        Some(false) => "NO".to_owned(),
    }
}

fn shown(rows: &[Row]) -> Answer {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.at
                    .map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
                    .unwrap_or_default(),
                row.by.clone(),
                row.verdict.to_string(),
                if row.counted {
                    "yes".to_owned()
                } else {
                    row.reason.clone()
                },
                row.run.clone(),
                row.step.clone(),
                channel(row),
                row.title.clone(),
                row.comment.clone(),
                verified(row),
                row.namespace.clone(),
            ]
        })
        .collect();
    let headings = [
        Whole("at"),
        Whole("by"),
        Whole("verdict"),
        Whole("counted"),
        Whole("run"),
        Whole("step"),
        Extra("via"),
        Free("title"),
        Free("comment"),
        Extra("verified"),
        Extra("namespace"),
    ];
    Answer::text(table(&headings, &cells, terminal_width()))
}

/// As RFC 4180 has it.
fn csv(rows: &[Row]) -> String {
    let heading = [
        "at",
        "by",
        "verdict",
        "counted",
        "reason",
        "namespace",
        "flow",
        "run",
        "step",
        "title",
        "comment",
        "via",
        "evidence",
        "digest",
        "release",
        "record",
        "verified",
    ];
    let mut lines = vec![heading.join(",")];
    lines.extend(rows.iter().map(|row| {
        let evidence = row.via.as_ref().map(|via| json!(via.evidence).to_string());
        let cells = [
            row.at.map(|at| at.to_string()).unwrap_or_default(),
            row.by.clone(),
            row.verdict.to_string(),
            row.counted.to_string(),
            row.reason.clone(),
            row.namespace.clone(),
            row.flow.clone(),
            row.run.clone(),
            row.step.clone(),
            row.title.clone(),
            row.comment.clone(),
            channel(row),
            evidence.unwrap_or_default(),
            row.digest.clone(),
            row.release.clone(),
            row.record.clone(),
            verified(row),
        ];
        cells.map(|cell| field(&cell)).join(",")
    }));
    lines.join("\r\n")
}

/// A field of a line. What others wrote is no formula for a spreadsheet.
fn field(text: &str) -> String {
    let text = signoff_api::text::visible(text);
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.into_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_one_field_and_no_formula() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a, b", "\"a, b\""),
            ("say \"yes\"", "\"say \"\"yes\"\"\""),
            ("=1+1", "'=1+1"),
            ("-2", "'-2"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
