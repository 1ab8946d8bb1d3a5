//! What is decided on and what the answer does, as it is shown before the answer is sent.

use kube::ResourceExt as _;
use serde_json::Value;

use crate::cli::lines::Lines;
use signoff_api::{Approval, Decision, DecisionSpec, Verdict, json::JsonObject, step::Approvers};
use signoff_engine::judge::{Form, Preview, Tally};

/// A question and an answer to it.
pub(super) struct Card<'a> {
    pub(super) approval: &'a Approval,
    /// The decisions on it, as far as they may be read.
    pub(super) decisions: &'a [Decision],
    pub(super) answer: &'a DecisionSpec,
    /// What the answer comes to, if enough is known to tell.
    pub(super) preview: Option<&'a Preview>,
    /// What happens when it decides the question; none if it cannot be sent.
    pub(super) consequence: Option<&'a str>,
}

impl Card<'_> {
    pub(super) fn render(&self) -> Lines {
        let mut lines = self.question();
        self.shown(&mut lines);
        self.form(&mut lines);
        self.votes(&mut lines);
        self.answer(&mut lines);
        if let Some(consequence) = self.consequence {
            self.effect(&mut lines, consequence);
        }
        lines
    }

    fn question(&self) -> Lines {
        let spec = &self.approval.spec;
        let mut lines = Lines::from(format!("Approval {}", self.approval.name_any()));
        lines.blank();
        lines.block(2, &spec.title);
        lines.blank();
        let subject = &spec.subject;
        if let (Some(run), Some(step)) = (&subject.run, &subject.step) {
            let round = subject.iteration.filter(|round| *round > 1);
            let round = round.map(|round| format!(", time {round}")).unwrap_or_default();
            lines.field("about", format!("step {step} of run {run}{round}"));
        }
        if let Some(release) = &subject.release {
            lines.field("about", format!("release {release}"));
        }
        lines.exact("digest", spec.digest.to_string());
        if let Some(by) = &spec.requested_by {
            lines.field("asked by", by);
        }
        for above in &spec.parents {
            let by = above.requested_by.as_ref();
            let by = by.map(|by| format!(", asked by {by}")).unwrap_or_default();
            lines.field(
                "started by",
                format!("run {} of flow {}{by}", above.run, above.flow),
            );
        }
        if let Some(author) = &spec.author {
            lines.field("written by", author);
        }
        lines.field("approvers", approvers(spec.approvers.as_ref()));
        if let Some(deadline) = &spec.expires_at {
            lines.field("until", deadline.0.to_string());
        }
        let status = self.approval.status.clone().unwrap_or_default();
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
            lines.push(format!("Shown as “{}” ({}):", item.name, item.media_type));
            lines.block(2, &item.inline);
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

    fn answer(&self, lines: &mut Lines) {
        lines.blank();
        lines.push(format!("Your answer is {}:", self.answer.verdict));
        given(lines, self.answer.values.as_ref(), self.answer.comment.as_deref());
    }

    fn effect(&self, lines: &mut Lines, consequence: &str) {
        let Some(preview) = self.preview else {
            let decides = self.answer.verdict != Verdict::Approve || self.approval.spec.quorum <= 1;
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
            if self.answer.verdict == Verdict::Approve {
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

fn approvers(approvers: Option<&Approvers>) -> String {
    let Some(approvers) = approvers else {
        return "everybody with the verb approve".to_owned();
    };
    let groups = approvers.groups.iter().map(|group| format!("group {group}"));
    let users = approvers.users.iter().cloned();
    let accounts = approvers.service_accounts.iter();
    let accounts = accounts.map(|account| format!("service account {account}"));
    let all: Vec<String> = groups.chain(users).chain(accounts).collect();
    if all.is_empty() {
        "nobody".to_owned()
    } else {
        all.join(", ")
    }
}

/// What is written as KEY=VALUE, read as the form declares it, and all that is wrong with it.
pub(super) fn values(
    pairs: &[String],
    approval: &Approval,
    verdict: Verdict,
) -> (Option<JsonObject>, Vec<String>) {
    let form = approval.spec.form.as_ref();
    let mut values = serde_json::Map::new();
    let mut problems = Vec::new();
    for pair in pairs {
        let Some((key, text)) = pair.split_once('=') else {
            problems.push(format!("{pair}: write KEY=VALUE"));
            continue;
        };
        let declared = form.and_then(|form| form.0["properties"][key]["type"].as_str());
        let text_only = || Value::String(text.to_owned());
        let value = if declared == Some("string") {
            text_only()
        } else {
            serde_json::from_str(text).unwrap_or_else(|_| text_only())
        };
        if values.insert(key.to_owned(), value).is_some() {
            problems.push(format!("{key}: it is given twice"));
        }
    }
    let values = (!values.is_empty()).then_some(JsonObject(values));
    let form = Form::of(form);
    problems.extend(match verdict {
        Verdict::Approve => form.problems(values.as_ref()),
        Verdict::Reject | Verdict::RequestChanges => form.unknown(values.as_ref()),
    });
    (values, problems)
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
        };
        let card = Card {
            approval: &approval,
            decisions: &decisions,
            answer: &answer,
            preview: Some(&preview),
            consequence: Some("the run goes on with step pay"),
        };
        insta::assert_snapshot!(card.render().render(None));
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
