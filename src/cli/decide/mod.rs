//! `signoff approve`, `reject` and `request-changes`: shows what is decided on and sends the digest it showed.

pub(super) mod card;

use kube::{Api, ResourceExt as _, api::ListParams, runtime::wait::await_condition};
use serde_json::json;

use self::card::Card;
use super::{
    Global,
    answer::Answer,
    connect::{Connection, post_params},
    error::{CliError, exit},
    lines::{self, Lines},
    named,
    run::now,
};
use crate::cluster::own_decision::{self, NotTaken};
use signoff_api::{
    Approval, ApprovalPhase, Decision, DecisionSpec, Definition, Digest, Release, Run, Verdict,
    decision::DecisionReason, name::ObjectName,
};
use signoff_engine::{
    judge::{Preview, Tally, preview_for},
    question::consequence,
};

/// Decide on an approval.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  signoff approvals && signoff approve refund-7c2k-review-5f0c2a91d4 -m 'as agreed'"
)]
pub(super) struct DecideArgs {
    /// Name of the approval.
    #[arg(value_parser = named::approval)]
    approval: ObjectName,
    /// Why; for request-changes, what should change.
    #[arg(short, long)]
    message: Option<String>,
    /// A value that the approval's form asks for, as key=value; repeatable.
    #[arg(long = "value", value_name = "KEY=VALUE")]
    values: Vec<String>,
    /// A new value of an editable item, as name=value; name=@FILE reads it from a file; repeatable.
    #[arg(long = "change", value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// User to whom your vote is handed on; only for delegate.
    #[arg(long, value_name = "USER")]
    to: Option<String>,
    /// Approve what is shown as it was changed last.
    #[arg(long, conflicts_with = "changes")]
    as_changed: bool,
    /// Decide only if this is still the digest of what is shown.
    #[arg(long)]
    digest: Option<Digest>,
    /// Do not ask before sending, even on a terminal.
    #[arg(short, long)]
    yes: bool,
    /// Send it even if it is known not to count.
    #[arg(long)]
    force: bool,
}

pub(super) async fn verb(args: DecideArgs, verdict: Verdict, global: &Global) -> Result<Answer, CliError> {
    if (verdict == Verdict::Delegate) != args.to.is_some() {
        let message = "delegate, and no other verdict, takes --to USER";
        return Err(CliError::new("InvalidDelegation", exit::INVALID, message));
    }
    let says_nothing = args.message.as_deref().is_none_or(|text| text.trim().is_empty());
    if verdict == Verdict::RequestChanges && says_nothing {
        let message = "say what should change: -m TEXT";
        return Err(CliError::new("NoMessage", exit::INVALID, message));
    }
    let connection = Connection::open(global).await?;
    let approval: Approval = connection.get(&args.approval).await?;
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
    let (values, problems) = card::values(&args.values, &approval, verdict);
    let (shown, wrong) = card::changes(&args.changes, args.as_changed, &approval);
    let problems: Vec<String> = problems.into_iter().chain(wrong).collect();
    let answer = DecisionSpec {
        approval: args.approval.clone(),
        digest: approval.spec.digest.clone(),
        verdict,
        comment: args.message.clone(),
        values,
        shown,
        to: args.to.clone(),
        by: None,
        groups: None,
        via: None,
    };
    let decisions = decisions(&connection, &args.approval).await;
    let preview = preview_of(&connection, &approval, decisions.as_deref(), &answer).await;
    let definition = definition(&connection, &approval).await;
    let consequence = consequence(
        &approval.spec,
        definition.as_ref(),
        verdict,
        answer.values.as_ref(),
    );
    let card = Card {
        approval: &approval,
        decisions: decisions.as_deref().unwrap_or_default(),
        answer: Some(&answer),
        preview: preview.as_ref(),
        // what is wrong with the values is told below
        consequence: problems.is_empty().then_some(&consequence),
    };
    lines::say(&card.render());
    if !problems.is_empty() {
        let message = "nothing was sent, since the values or changes do not fit:";
        let details = json!({ "problems": problems });
        return Err(CliError::new("InvalidValues", exit::INVALID, message)
            .listing(problems.into_iter().map(|problem| format!("  {problem}")))
            .details(details));
    }
    if let Some(refused) = preview.as_ref().and_then(|preview| preview.refused.as_ref())
        && !args.force
    {
        let message = format!("nothing was sent, since it would not count: {}", refused.message);
        return Err(
            CliError::new(&format!("{:?}", refused.reason), exit_of(refused.reason), message)
                .hint("--force sends it all the same, and it is kept as refused"),
        );
    }
    confirm(&args, verdict, global)?;
    let decision = send(&connection, answer).await?;
    let judged = judged(&connection, &decision, global).await?;
    // it is written before the decision is said to count
    let approval = connection.api().get(&args.approval).await.unwrap_or(approval);
    let next = approval.spec.subject.run.as_deref();
    let next = next.map(|run| global.command(&format!("status {run}")));
    Ok(told(&approval, &judged, preview.as_ref(), &consequence)?.with_next(next))
}

/// Makes sure that whoever decides has seen what they approve.
fn confirm(args: &DecideArgs, verdict: Verdict, global: &Global) -> Result<(), CliError> {
    if args.yes || args.digest.is_some() {
        return Ok(());
    }
    let confirmed = lines::confirm(&format!("{verdict}?"))
        .map_err(|error| CliError::internal("the answer cannot be read", &error))?;
    match confirmed {
        Some(true) => Ok(()),
        Some(false) => Err(CliError::new("NotConfirmed", exit::FAILURE, "nothing was sent")),
        // what is taken back or refused does no harm unseen
        None if verdict != Verdict::Approve => Ok(()),
        None => {
            let message =
                "nothing was sent: without a terminal, say with --digest what you approve, or give -y";
            let show = global.command(&format!("show {}", args.approval));
            Err(CliError::new("NotConfirmed", exit::USAGE, message).next([show]))
        }
    }
}

/// The decisions on an approval, if they may be read.
pub(super) async fn decisions(connection: &Connection, approval: &str) -> Option<Vec<Decision>> {
    let selection = ListParams::default().fields(&format!("spec.approval={approval}"));
    connection.list::<Decision>(&selection).await.ok()
}

/// What the answer comes to, if the decisions so far and who is asking are known.
async fn preview_of(
    connection: &Connection,
    approval: &Approval,
    decisions: Option<&[Decision]>,
    answer: &DecisionSpec,
) -> Option<Preview> {
    let decisions: Vec<&Decision> = decisions?.iter().collect();
    let caller = connection.whoami().await.ok()?;
    Some(preview_for(&caller, approval, &decisions, answer, now()))
}

/// The definition that the run of a question follows, if it may be read.
pub(super) async fn definition(connection: &Connection, approval: &Approval) -> Option<Definition> {
    let run = connection
        .api::<Run>()
        .get_opt(approval.spec.subject.run.as_deref()?)
        .await
        .ok()??;
    let release = run.status?.release?.name;
    let release = connection.api::<Release>().get_opt(&release).await.ok()??;
    Some(release.spec.definition)
}

async fn send(connection: &Connection, spec: DecisionSpec) -> Result<Decision, CliError> {
    let caller = connection.whoami().await?;
    let sent = own_decision::create(&connection.api(), spec, &caller, &post_params()).await;
    sent.map_err(|error| match error {
        NotTaken::Unproven => CliError::new(
            "IdentityUnverified",
            exit::REFUSED,
            "the API server does not prove who decides",
        )
        .hint("its admission policies are missing; install the chart"),
        NotTaken::Refused(error) => CliError::api("the decision was not taken", &error),
    })
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

/// The exit code of an answer that does not count.
fn exit_of(reason: DecisionReason) -> u8 {
    match reason {
        DecisionReason::AlreadyDecided
        | DecisionReason::Amended
        | DecisionReason::Delegated
        | DecisionReason::NothingToWithdraw
        | DecisionReason::Withdrawn
        | DecisionReason::AmendmentProposed
        | DecisionReason::Cancelled
        | DecisionReason::DigestMismatch
        | DecisionReason::Expired
        | DecisionReason::Replaced
        | DecisionReason::Superseded
        | DecisionReason::TooEarly => exit::CONFLICT,
        DecisionReason::ApprovalNotFound => exit::NOT_FOUND,
        DecisionReason::InvalidValues => exit::INVALID,
        DecisionReason::ActsAsRequester
        | DecisionReason::Counted
        | DecisionReason::IdentityUnverified
        | DecisionReason::InvalidDelegation
        | DecisionReason::NotAnApprover
        | DecisionReason::SelfApproval
        | DecisionReason::ServiceAccount
        | DecisionReason::VerdictNotOffered => exit::REFUSED,
    }
}

/// What was sent, what it counts for, and what comes of it.
fn told(
    approval: &Approval,
    decision: &Decision,
    preview: Option<&Preview>,
    consequence: &str,
) -> Result<Answer, CliError> {
    let name = decision.name_any();
    let status = decision.status.clone().unwrap_or_default();
    if status.reason == Some(DecisionReason::AmendmentProposed) {
        let text = format!("approval/{} changed (decision/{name})", approval.name_any());
        let mut text = Lines::from(text);
        text.push("somebody else has to approve it with --as-changed");
        return Ok(Answer::text(text)
            .with_data(json!(decision))
            .with_names([format!("decision/{name}")]));
    }
    if status.counted == Some(false) {
        let reason = status.reason.unwrap_or(DecisionReason::IdentityUnverified);
        let message = format!(
            "the decision does not count: {}",
            status.message.unwrap_or_default()
        );
        return Err(CliError::new(&format!("{reason:?}"), exit_of(reason), message).details(json!(decision)));
    }
    let stands = approval.status.clone().unwrap_or_default();
    let tally = Tally::of(&approval.spec, &stands);
    let of = format!("approval/{}", approval.name_any());
    let mut text = Lines::default();
    match (status.counted, stands.phase) {
        (None, _) => text.push(format!("{of} sent, not judged yet (decision/{name})")),
        (Some(_), ApprovalPhase::Approved) => {
            text.push(format!("{of} approved (decision/{name})"));
            text.push(format!("{}: {consequence}", card::standing(tally, None)));
        }
        (Some(_), ApprovalPhase::Rejected) => {
            text.push(format!("{of} rejected (decision/{name}): {consequence}"));
        }
        (Some(_), ApprovalPhase::ChangesRequested) => {
            text.push(format!("{of} changes requested (decision/{name}): {consequence}"));
        }
        (Some(_), ApprovalPhase::Pending) => {
            text.push(format!(
                "{of} not decided yet; your {} counts (decision/{name})",
                decision.spec.verdict
            ));
            text.push(card::standing(tally, stands.needs.as_deref()));
            let set_aside = preview.map_or(0, |preview| preview.set_aside.len());
            if set_aside > 0 {
                text.push(format!(
                    "set aside, since they have other values: {set_aside} earlier"
                ));
            }
        }
        (Some(_), ApprovalPhase::Expired | ApprovalPhase::Cancelled | ApprovalPhase::Superseded) => {
            text.push(format!("{of} is closed ({}) (decision/{name})", stands.phase));
        }
    }
    let mut data = json!(decision);
    data["phase"] = json!(stands.phase);
    data["tally"] = json!(tally);
    data["counted"] = json!(stands.counted);
    data["needs"] = json!(stands.needs);
    let exit = if status.counted.is_none() {
        exit::NOT_YET
    } else {
        0
    };
    Ok(Answer::text(text)
        .with_data(data)
        .with_names([format!("decision/{name}")])
        .with_exit(exit))
}
