//! `signoff approve`, `reject` and `request-changes`: shows what is decided on and sends the digest it showed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Map, Value, json};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
};
use crate::api::{Approval, Decision, DecisionSpec, Digest, Verdict, json::JsonObject};

/// Decide on an approval.
#[derive(Debug, clap::Args)]
pub(super) struct DecideArgs {
    /// Name of the approval.
    approval: String,
    /// Why; for request-changes, what should change.
    #[arg(short, long)]
    message: Option<String>,
    /// A value that the approval's form asks for, as key=value; repeatable.
    #[arg(long = "value", value_name = "KEY=VALUE")]
    values: Vec<String>,
    /// Decide only if this is still the digest of what is shown.
    #[arg(long)]
    digest: Option<Digest>,
    /// Do not ask before sending, even on a terminal.
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn verb(args: DecideArgs, verdict: Verdict, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let found = connection.api::<Approval>().get(&args.approval).await;
    let approval = found.map_err(|error| CliError::api(&args.approval, &error))?;
    if let Some(digest) = args
        .digest
        .as_ref()
        .filter(|digest| **digest != approval.spec.digest)
    {
        let message = format!("what is shown has {}, not {digest}", approval.spec.digest);
        return Err(
            CliError::new("DigestMismatch", exit::CONFLICT, message).hint("look at it again before deciding")
        );
    }
    show(&approval);
    if !args.yes && !confirmed(verdict)? {
        return Err(CliError::new("NotConfirmed", exit::FAILURE, "nothing was sent"));
    }
    let decision = send(&connection, &args, &approval, verdict).await?;
    let judged = judged(&connection, &decision, global).await?;
    answer(
        &args.approval,
        verdict,
        &judged,
        approval.spec.subject.run.as_deref(),
    )
}

/// What is decided on, on standard error, so that standard output stays data.
fn show(approval: &Approval) {
    let spec = &approval.spec;
    let mut lines = vec![
        spec.title.clone(),
        format!("  approval  {}", approval.name_any()),
        format!("  digest    {}", spec.digest),
    ];
    lines.extend(spec.requested_by.iter().map(|by| format!("  asked by  {by}")));
    for item in &spec.show {
        lines.push(format!("  {}:", item.name));
        lines.extend(item.inline.lines().map(|line| format!("    {line}")));
    }
    let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

fn confirmed(verdict: Verdict) -> Result<bool, CliError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(true);
    }
    let _ = write!(std::io::stderr(), "{verdict}? [y/N] ");
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::internal("the answer cannot be read", &error))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn send(
    connection: &Connection,
    args: &DecideArgs,
    approval: &Approval,
    verdict: Verdict,
) -> Result<Decision, CliError> {
    let values = values(&args.values, approval)?;
    let spec = DecisionSpec {
        approval: args.approval.clone(),
        digest: approval.spec.digest.clone(),
        verdict,
        comment: args.message.clone(),
        values: (!values.is_empty()).then_some(JsonObject(values)),
        by: None,
        groups: None,
        via: None,
    };
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", args.approval)),
        ..ObjectMeta::default()
    };
    let mut decision = Decision {
        metadata,
        spec,
        status: None,
    };
    let decisions: Api<Decision> = connection.api();
    match decisions.create(&PostParams::default(), &decision).await {
        Ok(decision) if decision.spec.by.is_some() => Ok(decision),
        // a server without a mutating policy asks the decider to say who they are, and checks it
        Ok(_) => Err(CliError::new(
            "IdentityUnverified",
            exit::REFUSED,
            "the API server does not prove who decides",
        )
        .hint("its admission policies are missing; install the chart")),
        Err(kube::Error::Api(refusal)) if refusal.message.contains("spec.by") => {
            let (user, groups) = connection.whoami().await?;
            decision.spec.by = Some(user);
            decision.spec.groups = Some(groups);
            let sent = decisions.create(&PostParams::default(), &decision).await;
            sent.map_err(|error| CliError::api("the decision was not taken", &error))
        }
        Err(error) => Err(CliError::api("the decision was not taken", &error)),
    }
}

fn values(pairs: &[String], approval: &Approval) -> Result<Map<String, Value>, CliError> {
    let form = approval
        .spec
        .form
        .as_ref()
        .map(|form| form.0.clone())
        .unwrap_or_default();
    let mut values = Map::new();
    for pair in pairs {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--value {pair}: write KEY=VALUE")))?;
        let string = form["properties"][key]["type"] == json!("string");
        let parsed = if string {
            None
        } else {
            serde_json::from_str(text).ok()
        };
        values.insert(
            key.to_owned(),
            parsed.unwrap_or_else(|| Value::String(text.to_owned())),
        );
    }
    Ok(values)
}

/// Waits until it is judged; past the time-out it is given as it is.
async fn judged(connection: &Connection, decision: &Decision, global: &Global) -> Result<Decision, CliError> {
    let decisions: Api<Decision> = connection.api();
    let name = decision.name_any();
    let is_judged = |decision: Option<&Decision>| {
        decision.is_none_or(|decision| {
            decision
                .status
                .as_ref()
                .is_some_and(|status| status.counted.is_some())
        })
    };
    let waiting = await_condition(decisions.clone(), &name, is_judged);
    // not being judged in time is told by what the decision then says
    let _ = tokio::time::timeout(global.timeout(), waiting).await;
    decisions
        .get(&name)
        .await
        .map_err(|error| CliError::api(&name, &error))
}

fn answer(
    approval: &str,
    verdict: Verdict,
    decision: &Decision,
    run: Option<&str>,
) -> Result<Answer, CliError> {
    let name = decision.name_any();
    let status = decision.status.clone().unwrap_or_default();
    match status.counted {
        Some(false) => {
            let reason = status
                .reason
                .map(|reason| format!("{reason:?}"))
                .unwrap_or_default();
            let message = format!(
                "the decision does not count: {}",
                status.message.unwrap_or_default()
            );
            Err(CliError::new(&reason, exit::REFUSED, message).details(json!(decision)))
        }
        counted => {
            let said = match (verdict, counted) {
                (_, None) => "sent, not judged yet",
                (Verdict::Approve, _) => "approved",
                (Verdict::Reject, _) => "rejected",
                (Verdict::RequestChanges, _) => "changes requested",
            };
            Ok(
                Answer::text(format!("approval/{approval} {said} (decision/{name})"))
                    .with_data(json!(decision))
                    .with_names([format!("decision/{name}")])
                    .with_next(run.map(|run| format!("signoff status {run}"))),
            )
        }
    }
}
