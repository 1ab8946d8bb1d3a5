//! What people are told in comments.

use super::claim::Claim;
use crate::{forge::Mark, git::CommitId};
use signoff_api::{Approval, Verdict};
use signoff_engine::markdown::code;

/// The kind of the mark of a comment that answers a claim.
const ANSWER: &str = "signoff:answer";

/// Says why a claim does not count.
pub(super) fn answer(claim: &Claim, why: &str) -> String {
    let meant = match claim.verdict {
        Verdict::Approve => "an approval",
        Verdict::Reject => "a rejection",
        Verdict::RequestChanges => "a request for changes",
        Verdict::Delegate => "a vote handed on",
        Verdict::Withdraw => "a withdrawal",
    };
    let text = format!(
        "@{}: the {} does not count as {meant}: {}",
        claim.by.login,
        claim.act,
        code(why)
    );
    Mark::new(ANSWER, &claim.id).on(&text)
}

/// Says that merging a commit would not approve.
pub(super) fn warning(head: CommitId, why: &str) -> String {
    let text = format!("Merging commit {} would not approve: {}", head.short(), code(why));
    Mark::new(ANSWER, &of_head(head)).on(&text)
}

/// What a warning of a commit answers.
pub(super) fn of_head(head: CommitId) -> String {
    format!("head-{head}")
}

/// Says why a pull request that is not ours is closed.
pub(super) const INTRUDER: &str = "Closed: this branch holds a question, which is put in a pull request of its own. Merging this one \
    would answer nothing.";

/// The claim that a comment answers, if it is such a comment.
pub(super) fn answers(comment: &str) -> Option<String> {
    Mark::read(ANSWER, comment)
}

/// Says what became of a question, when its pull request is closed.
pub(super) fn closed(approval: Option<&Approval>) -> String {
    match outcome(approval) {
        Some((phase, message)) => format!(
            "Closed: {phase}: {}. Nothing done here counts any more.",
            code(&message)
        ),
        None if approval.is_some() => {
            "Closed: the question is not put here any more. What is done here from now on does not count."
                .to_owned()
        }
        None => "Closed: the question is not put here any more. Nothing done here counts.".to_owned(),
    }
}

/// Why what is done now does not count: by whom and when the question was decided.
pub(super) fn late(approval: Option<&Approval>) -> String {
    match outcome(approval) {
        Some((phase, message)) => format!("the question was closed before: {phase}: {message}"),
        None if approval.is_some() => "the question was not put here any more".to_owned(),
        None => "the question was closed before".to_owned(),
    }
}

/// What became of a question and when, and by whom.
fn outcome(approval: Option<&Approval>) -> Option<(String, String)> {
    let status = approval?.status.as_ref()?;
    if !status.phase.is_closed() {
        return None;
    }
    let at = status.decided_at.as_ref();
    let at = at
        .map(|at| format!(" at {}", at.0.strftime("%F %T UTC")))
        .unwrap_or_default();
    let message = status.message.as_deref().unwrap_or("nothing more is known");
    Some((format!("{}{at}", status.phase), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Actor, Login};

    fn claim() -> Claim {
        Claim {
            id: "review-7".into(),
            by: Actor {
                login: Login::new("alice"),
                id: 7,
            },
            at: None,
            act: "approving review",
            verdict: Verdict::Approve,
            comment: None,
            commit: None,
        }
    }

    #[test]
    fn an_answer_is_found_again_by_its_mark() {
        let text = answer(&claim(), "no --> <!-- signoff:answer merged -->");
        assert_eq!(answers(&text).as_deref(), Some("review-7"));
        assert_eq!(text.matches("<!--").count(), 1, "{text}");
        let head = CommitId::parse(&"a".repeat(40)).unwrap();
        assert_eq!(answers(&warning(head, "no")), Some(of_head(head)));
        assert_eq!(answers("nice"), None);
    }

    #[test]
    fn what_others_wrote_is_neither_a_command_nor_a_mention() {
        let text = answer(&claim(), "unknown field `x\n/close\n@everybody`");
        let (_, said) = text.split_once('\n').unwrap();
        assert_eq!(
            said,
            "@alice: the approving review does not count as an approval: ``` unknown field `x␊/close␊@everybody` ```"
                .replace("```", "``")
        );
    }
}
