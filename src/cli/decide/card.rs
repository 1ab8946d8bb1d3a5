//! What is decided on and what the answer does, as it is shown before the answer is sent.

use kube::ResourceExt as _;
use serde_json::Value;

use crate::cli::lines::Lines;
use signoff_api::{Approval, Decision, DecisionSpec, Verdict, approval::Amendment, json::JsonObject};
use signoff_engine::{
    judge::{Form, Preview, Tally, problems_of_changes},
    question::{binary, facts},
};

/// A question, and an answer to it if one is about to be sent.
pub(in crate::cli) struct Card<'a> {
    pub(in crate::cli) approval: &'a Approval,
    /// The decisions on it, as far as they may be read.
    pub(in crate::cli) decisions: &'a [Decision],
    pub(in crate::cli) answer: Option<&'a DecisionSpec>,
    /// What the answer comes to, if enough is known to tell.
    pub(in crate::cli) preview: Option<&'a Preview>,
    /// What happens when it decides the question; none if it cannot be sent.
    pub(in crate::cli) consequence: Option<&'a str>,
}

impl Card<'_> {
    pub(in crate::cli) fn render(&self) -> Lines {
        let mut lines = self.question();
        self.shown(&mut lines);
        self.amendment(&mut lines);
        self.form(&mut lines);
        self.votes(&mut lines);
        if let Some(answer) = self.answer {
            told(answer, &mut lines);
            if let Some(consequence) = self.consequence {
                self.effect(&mut lines, answer, consequence);
            }
        }
        lines
    }

    fn question(&self) -> Lines {
        let spec = &self.approval.spec;
        let mut lines = Lines::from(format!("Approval {}", self.approval.name_any()));
        lines.blank();
        lines.block(2, &spec.title);
        lines.blank();
        lines.exact("digest", spec.digest.to_string());
        for (label, value) in facts(spec) {
            lines.field(label, value);
        }
        if let Some(deadline) = &spec.expires_at {
            lines.field("until", deadline.0.to_string());
        }
        let status = self.approval.status.clone().unwrap_or_default();
        if let Some(every) = &spec.remind_every {
            let so_far = status.reminders.unwrap_or_default();
            lines.field("reminders", format!("every {every}, {so_far} so far"));
        }
        if status.phase.is_closed() {
            let message = status.message.unwrap_or_default();
            lines.field("closed", format!("{}: {message}", status.phase));
        } else {
            let tally = Tally::of(spec, &status);
            lines.field("tally", standing(tally, status.needs.as_deref()));
        }
        lines
    }

    fn shown(&self, lines: &mut Lines) {
        for item in &self.approval.spec.show {
            lines.blank();
            if let Some(told) = binary(item) {
                lines.push(format!("Shown as “{}”, not on a terminal:", item.name));
                lines.block(2, &told);
                continue;
            }
            lines.push(format!("Shown as “{}” ({}):", item.name, item.media_type));
            lines.block(2, &item.inline);
            if item.editable.is_some() {
                lines.push(format!(
                    "  You may change it, with --change '{}=VALUE'.",
                    item.name
                ));
            }
        }
    }

    /// What somebody else changed of what is shown.
    fn amendment(&self, lines: &mut Lines) {
        let status = self.approval.status.clone().unwrap_or_default();
        let (Some(Amendment { by, digest, .. }), Some(shown)) = (status.amendment, status.shown) else {
            return;
        };
        lines.blank();
        lines.push(format!(
            "As changed by {by} ({digest}), to approve with --as-changed:"
        ));
        for (name, value) in &shown.0 {
            lines.block(2, &format!("{name} = {}", text_of(value)));
        }
    }

    fn form(&self, lines: &mut Lines) {
        let form = Form::of(self.approval.spec.form.as_ref());
        let fields = form.fields();
        if fields.is_empty() {
            return;
        }
        lines.blank();
        lines.push("What you may fill in, with --value KEY=VALUE:");
        for field in fields {
            lines.block(2, &format!("{}: {}", field.name, field.terms()));
            if let Some(about) = field.about() {
                lines.block(4, about);
            }
        }
    }

    fn votes(&self, lines: &mut Lines) {
        let status = self.approval.status.clone().unwrap_or_default();
        if status.counted.is_empty() {
            return;
        }
        lines.blank();
        for hop in &status.delegations {
            lines.field("handed on", format!("by {} to {}", hop.from, hop.to));
        }
        lines.push("Votes that count so far:");
        for vote in &status.counted {
            lines.field(
                "vote",
                format!("{} by {} at {}", vote.verdict, vote.by, vote.at.0),
            );
            let decision = self
                .decisions
                .iter()
                .find(|decision| decision.name_any() == vote.decision);
            // those who approve so far agree in the values
            let values = match decision {
                Some(decision) => decision.spec.values.as_ref(),
                None => status.values.as_ref(),
            };
            given(
                lines,
                values,
                decision.and_then(|decision| decision.spec.comment.as_deref()),
            );
        }
    }

    fn effect(&self, lines: &mut Lines, answer: &DecisionSpec, consequence: &str) {
        let Some(preview) = self.preview else {
            let decides = answer.verdict != Verdict::Approve || self.approval.spec.quorum <= 1;
            if decides {
                lines.push(format!("  If it counts, {consequence}."));
            } else {
                lines.push(format!("  Once enough people approve, {consequence}."));
            }
            return;
        };
        if let Some(why) = &preview.refused {
            lines.push(format!("  It would not count: {}.", why.message));
            return;
        }
        if preview.proposes {
            lines.push("  It changes what is shown, and somebody else has to approve that.");
        }
        if preview.replaces.is_some() {
            lines.push("  It replaces your earlier answer.");
        }
        for name in &preview.set_aside {
            let status = self.approval.status.as_ref();
            let vote = status
                .into_iter()
                .flat_map(|status| &status.counted)
                .find(|vote| vote.decision == *name);
            let by = vote.map_or(name.as_str(), |vote| vote.by.as_str());
            lines.push(format!(
                "  It sets aside the approval of {by}, which has other values: {by} would have to approve yours."
            ));
        }
        if preview.phase.is_closed() {
            if answer.verdict == Verdict::Approve {
                lines.push(format!(
                    "  With it {} of {} approve.",
                    preview.tally.approved, preview.tally.quorum
                ));
            }
            lines.push(format!("  It decides the question: {consequence}."));
        } else {
            let standing = standing(preview.tally, preview.needs.as_deref());
            lines.push(format!("  The tally is then {standing}."));
            lines.push(format!("  Once enough people approve, {consequence}."));
        }
    }
}

/// An answer as it will be sent.
fn told(answer: &DecisionSpec, lines: &mut Lines) {
    lines.blank();
    lines.push(format!("Your answer is {}:", answer.verdict));
    if let Some(to) = &answer.to {
        lines.field("to", to);
    }
    for (name, value) in answer.shown.iter().flat_map(|shown| &shown.0) {
        lines.block(4, &format!("{name} is {}", text_of(value)));
    }
    given(lines, answer.values.as_ref(), answer.comment.as_deref());
}

/// `1 of 2 approve; waits for 1 more of finance`.
pub(super) fn standing(tally: Tally, needs: Option<&str>) -> String {
    let tally = format!("{} of {} approve", tally.approved, tally.quorum);
    match needs {
        Some(needs) => format!("{tally}; waits for {needs}"),
        None => tally,
    }
}

/// What somebody filled in and said with it: text of others, so behind the frame.
fn given(lines: &mut Lines, values: Option<&JsonObject>, comment: Option<&str>) {
    for (key, value) in values.into_iter().flat_map(|values| &values.0) {
        lines.block(4, &format!("{key} = {value}"));
    }
    if let Some(comment) = comment {
        lines.push("    with the comment");
        lines.block(4, comment);
    }
}

/// What is written as KEY=VALUE, read as the form declares it, and all that is wrong with it.
pub(super) fn values(
    pairs: &[String],
    approval: &Approval,
    verdict: Verdict,
) -> (Option<JsonObject>, Vec<String>) {
    let (mut given, mut unread) = (Vec::new(), Vec::new());
    for pair in pairs {
        match pair.split_once('=') {
            Some((key, text)) => given.push((key.to_owned(), text.to_owned())),
            None => unread.push(format!("{pair}: write KEY=VALUE")),
        }
    }
    let (values, problems) = Form::of(approval.spec.form.as_ref()).read(&given, verdict);
    unread.extend(problems);
    (values, unread)
}

/// A value for people: text as it is, anything else as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => format!("{other:#}"),
    }
}

/// What is changed of what is shown, and all that is wrong with it.
pub(super) fn changes(
    pairs: &[String],
    as_changed: bool,
    approval: &Approval,
) -> (Option<JsonObject>, Vec<String>) {
    if as_changed {
        let status = approval.status.clone().unwrap_or_default();
        return match status.amendment {
            Some(_) => (status.shown, vec![]),
            None => (None, vec!["nobody has changed what is shown".to_owned()]),
        };
    }
    let mut changed = serde_json::Map::new();
    let mut problems = Vec::new();
    for pair in pairs {
        let Some((name, text)) = pair.split_once('=') else {
            problems.push(format!("{pair}: write NAME=VALUE"));
            continue;
        };
        let text = match text.strip_prefix('@').map(std::fs::read_to_string) {
            None => text.to_owned(),
            Some(Ok(text)) => text,
            Some(Err(error)) => {
                problems.push(format!("{name}: {text} cannot be read: {error}"));
                continue;
            }
        };
        let item = approval.spec.show.iter().find(|item| item.name == name);
        let is_json = item.is_some_and(|item| item.media_type == "application/json");
        let value = match serde_json::from_str(&text) {
            Ok(value) if is_json => value,
            Ok(_) | Err(_) => Value::String(text),
        };
        if changed.insert(name.to_owned(), value).is_some() {
            problems.push(format!("{name}: it is given twice"));
        }
    }
    let changed = (!changed.is_empty()).then_some(JsonObject(changed));
    problems.extend(problems_of_changes(&approval.spec, changed.as_ref()));
    (changed, problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use signoff_api::ApprovalPhase;

    fn approval() -> Approval {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "r-review"},
            "spec": {
                "subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": "Step",
                "digest": format!("sha256:{}", "0".repeat(64)), "requestedBy": "dev", "quorum": 2, "selfApproval": false,
                "title": "Pay 5?\n  digest        sha256:1\r\u{1b}[1A\u{202e}", "verdicts": ["Approve", "Reject"],
                "approvers": {"groups": ["finance"]},
                "show": [{"name": "Your answer is Reject:\n", "mediaType": "text/plain", "inline": "a\nYour answer is Reject:\n"}],
                "form": {"type": "object", "required": ["amount"], "properties": {
                    "amount": {"type": "integer", "minimum": 0, "default": 5, "description": "how much\n  tally  2 of 2"}}},
            },
            "status": {"phase": "Pending", "needs": "1 more of finance", "values": {"amount": 5},
                "counted": [{"decision": "r-review-1", "by": "bob", "verdict": "Approve", "at": "2026-11-23T10:00:00.000000Z"}]},
        }))
        .unwrap()
    }

    fn decision() -> Decision {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"name": "r-review-1"},
            "spec": {"approval": "r-review", "digest": format!("sha256:{}", "0".repeat(64)), "verdict": "Approve", "by": "bob",
                "comment": "fine\nApproval other", "values": {"amount": 5}},
        }))
        .unwrap()
    }

    #[test]
    fn a_card_shows_all_and_nothing_of_others_looks_like_ours() {
        let (approval, decisions) = (approval(), [decision()]);
        let answer: DecisionSpec = serde_json::from_value(json!({
            "approval": "r-review", "digest": approval.spec.digest, "verdict": "Approve", "values": {"amount": 7}, "comment": "less"}))
        .unwrap();
        let preview = Preview {
            refused: None,
            phase: ApprovalPhase::Pending,
            tally: Tally {
                approved: 1,
                quorum: 2,
            },
            needs: Some("1 more of finance".to_owned()),
            set_aside: vec!["r-review-1".to_owned()],
            replaces: None,
            proposes: false,
        };
        let card = Card {
            approval: &approval,
            decisions: &decisions,
            answer: Some(&answer),
            preview: Some(&preview),
            consequence: Some("the run goes on with step pay"),
        };
        insta::assert_snapshot!(card.render().render(None));
    }

    #[test]
    fn a_list_is_given_as_json_or_entry_by_entry() {
        let mut approval = approval();
        approval.spec.form = Some(
            json!({"type": "object", "properties": {
                "tags": {"type": "array", "items": {"type": "string"}},
                "counts": {"type": "array", "items": {"type": "integer"}}}})
            .into(),
        );
        let given = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            let (values, problems) = values(&pairs, &approval, Verdict::Approve);
            (values.map(|values| values.to_value()), problems)
        };
        for pairs in [
            &["tags=a", "tags=1", "counts=2"][..],
            &[r#"tags=["a","1"]"#, "counts=[2]"],
        ] {
            let (read, problems) = given(pairs);
            assert_eq!(read, Some(json!({"tags": ["a", "1"], "counts": [2]})));
            assert!(problems.is_empty(), "{problems:?}");
        }
        assert_eq!(given(&["tags="]).0, Some(json!({"tags": [""]})));
        assert_eq!(given(&["counts=x"]).1.len(), 1);
    }

    #[test]
    fn values_are_read_as_declared_and_all_problems_are_told_together() {
        let given = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            values(&pairs, &approval(), Verdict::Approve)
        };
        let (read, problems) = given(&["amount=7"]);
        assert_eq!(read.map(|read| read.to_value()), Some(json!({"amount": 7})));
        assert!(problems.is_empty(), "{problems:?}");
        let (_, problems) = given(&["amount=much", "admin=true", "nothing"]);
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
