//! `signoff show`: a question, without an answer to it.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    decide::{self, card::Card},
    error::CliError,
    lines::Lines,
    named, quoted,
    run::now,
};
use signoff_api::{Approval, Decision, Definition, Verdict, name::ObjectName};
use signoff_engine::{
    judge::{Form, refusal_of},
    question::consequence,
};

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
    let verdicts: Vec<String> = approval.spec.verdicts.iter().map(ToString::to_string).collect();
    let columns = verdicts.iter().map(String::len).max().unwrap_or_default();
    for (verdict, name) in approval.spec.verdicts.iter().zip(&verdicts) {
        let follows = consequence(&approval.spec, definition, *verdict, None);
        lines.column(columns, name, follows);
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
    let answers = answer_lines(approval);
    answers.iter().map(|line| global.command(line)).collect()
}

/// The command lines of the answers that are on offer, with what each of them needs. What is in capitals is to be replaced.
fn answer_lines(approval: &Approval) -> Vec<String> {
    let (name, digest) = (quoted(&approval.name_any()), &approval.spec.digest);
    let is_changed = approval
        .status
        .as_ref()
        .is_some_and(|status| status.amendment.is_some());
    let mut lines = Vec::new();
    for verdict in &approval.spec.verdicts {
        let (verb, more) = match verdict {
            Verdict::Approve => ("approve", values(approval)),
            Verdict::Reject => ("reject", String::new()),
            Verdict::RequestChanges => ("request-changes", " -m 'WHAT SHOULD CHANGE'".to_owned()),
            Verdict::Delegate => ("delegate", " --to USER".to_owned()),
            Verdict::Withdraw => continue,
        };
        let line = format!("{verb} {name} --digest {digest}{more}");
        if *verdict == Verdict::Approve && is_changed {
            lines.push(format!("{line} --as-changed"));
        }
        lines.push(line);
    }
    lines
}

/// What an approval has to fill in: as those did who approve so far, or else the defaults.
fn values(approval: &Approval) -> String {
    let given = approval.status.as_ref().and_then(|status| status.values.as_ref());
    let form = Form::of(approval.spec.form.as_ref());
    let values = form.fields().into_iter().filter_map(|field| {
        let known = given.and_then(|given| given.0.get(field.name));
        let known = known.or_else(|| field.default().filter(|_| field.required));
        let text = match known {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None if field.required => "VALUE".to_owned(),
            None => return None,
        };
        Some(format!(" --value {}", quoted(&format!("{}={text}", field.name))))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_are_printed_are_on_offer_and_have_what_they_need() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let mut approval: Approval = serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "r-review"},
            "spec": {
                "subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": "Step", "digest": digest,
                "requestedBy": "dev", "quorum": 2, "selfApproval": false, "title": "Pay?", "verdicts": ["Approve", "RequestChanges"],
                "form": {"type": "object", "required": ["amount", "why", "kind"], "properties": {
                    "amount": {"type": "integer"}, "why": {"type": "string"}, "kind": {"type": "string", "default": "a b"},
                    "more": {"type": "string"}}},
            },
            "status": {"phase": "Pending", "values": {"why": "it's due"}},
        }))
        .unwrap();
        let approve = format!(
            "approve r-review --digest {digest} --value amount=VALUE --value 'kind=a b' --value 'why=it'\\''s due'"
        );
        let changes = format!("request-changes r-review --digest {digest} -m 'WHAT SHOULD CHANGE'");
        assert_eq!(answer_lines(&approval), [approve, changes]);
        approval.spec.form = None;
        approval.spec.verdicts = vec![Verdict::Approve];
        let approve = format!("approve r-review --digest {digest}");
        assert_eq!(answer_lines(&approval), std::slice::from_ref(&approve));
        approval.status.as_mut().unwrap().amendment = serde_json::from_value(json!({
            "decision": "d", "by": "alice", "digest": digest}))
        .unwrap();
        assert_eq!(
            answer_lines(&approval),
            [format!("{approve} --as-changed"), approve]
        );
    }
}
