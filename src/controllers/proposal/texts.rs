//! What people are told in comments.

use super::claim::Claim;
use crate::api::{Approval, Verdict};

/// Begins the hidden mark of a comment that answers a claim.
const MARK: &str = "<!-- signoff:answer ";
/// Ends it.
const END: &str = " -->";

/// Says why a claim does not count.
pub(super) fn answer(claim: &Claim, why: &str) -> String {
    let meant = match claim.verdict {
        Verdict::Approve => "an approval",
        Verdict::Reject => "a rejection",
        Verdict::RequestChanges => "a request for changes",
    };
    // what others wrote must not end the mark or begin another
    let why = why.replace("<!--", "").replace("-->", "");
    format!(
        "{MARK}{}{END}\n@{}: the {} does not count as {meant}: {why}",
        claim.id, claim.by.login, claim.act
    )
}

/// The claim that a comment answers, if it is such a comment.
pub(super) fn answers(comment: &str) -> Option<String> {
    let (id, _) = comment.strip_prefix(MARK)?.split_once(END)?;
    Some(id.to_owned())
}

/// Says what became of a question, when its pull request is closed.
pub(super) fn closed(approval: Option<&Approval>) -> String {
    let status = approval.and_then(|approval| approval.status.as_ref());
    let Some(status) = status.filter(|status| status.phase.is_closed()) else {
        return "Closed: the question is not put here any more. Nothing done here counts.".to_owned();
    };
    let at = status.decided_at.as_ref();
    let at = at
        .map(|at| format!(" at {}", at.0.strftime("%F %T UTC")))
        .unwrap_or_default();
    let message = status.message.as_deref().unwrap_or("nothing more is known");
    let message = message.replace("<!--", "").replace("-->", "");
    format!(
        "Closed: {}{at}: {message}. Nothing done here counts any more.",
        status.phase
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Actor, Login};

    #[test]
    fn an_answer_is_found_again_by_its_mark() {
        let claim = Claim {
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
        };
        let text = answer(&claim, "no --> <!-- signoff:answer merged -->");
        assert_eq!(answers(&text).as_deref(), Some("review-7"));
        assert!(
            text.ends_with(
                "@alice: the approving review does not count as an approval: no   signoff:answer merged "
            ),
            "{text:?}"
        );
        assert_eq!(answers("nice"), None);
    }
}
