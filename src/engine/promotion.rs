//! Promotion: which gates a release must pass to become live, and what people are asked.
//!
//! The gates are those of the Repository and of the release that is live now, so that a draft cannot loosen the gate it is judged by. Only
//! the first promotion is judged by the promoted release's own gate.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

use crate::api::{
    ApprovalSpec, Definition, Digest, Verdict,
    approval::{ApprovalPurpose, ApprovalSubject, ShownItem},
    canonical,
    flow::{Promotion, PromotionApproval},
    release::ReleaseSource,
};

/// One gate and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Appended to the approval's name, so that two gates have two approvals.
    pub suffix: &'static str,
    /// What people are asked.
    pub approval: PromotionApproval,
}

/// A release that is to become live, and what is live now.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Name of the release.
    pub release: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its flow.
    pub flow: &'a str,
    /// Its digest.
    pub digest: &'a Digest,
    /// Its definition.
    pub definition: &'a Definition,
    /// Where it came from.
    pub source: &'a ReleaseSource,
    /// Name, digest and definition of what is live now.
    pub live: Option<(&'a str, &'a Digest, &'a Definition)>,
}

/// Who had a hand in a promotion, as far as the API server or a signature proves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Involved {
    /// Who asked for it.
    pub requested_by: Option<String>,
    /// Who wrote the release.
    pub written_by: Vec<String>,
}

/// The gates of a promotion; none means that it is made at once.
pub fn gates(candidate: &Candidate<'_>, repository: Option<&Promotion>) -> Vec<Gate> {
    let judge = candidate
        .live
        .map_or(candidate.definition, |(_, _, definition)| definition);
    let of_release = judge.promotion.as_ref().map(|gate| Gate {
        suffix: "",
        approval: gate.approval.clone(),
    });
    let of_repository = repository.map(|gate| Gate {
        suffix: "-repository",
        approval: gate.approval.clone(),
    });
    of_release.into_iter().chain(of_repository).collect()
}

/// What people are asked at a gate, for the `round`-th time. An answer to an earlier round, or about a release of the same name that is gone, is
/// about another digest.
pub fn question(
    candidate: &Candidate<'_>,
    gate: &Gate,
    round: i64,
    involved: &Involved,
    deadline: Timestamp,
) -> ApprovalSpec {
    let title = match candidate.live {
        Some((live, ..)) => format!(
            "Make {} live for flow {}, in place of {live}?",
            candidate.release, candidate.flow
        ),
        None => format!("Make {} live for flow {}?", candidate.release, candidate.flow),
    };
    let mut show = vec![
        shown("source", &json!(candidate.source)),
        shown("definition", &json!(candidate.definition)),
    ];
    if let Some((_, _, definition)) = candidate.live {
        show.push(shown("live now", &json!(definition)));
    }
    let subject = json!({
        "release": candidate.release,
        "uid": candidate.uid,
        "digest": candidate.digest,
        "round": round,
        "live": candidate.live.map(|(_, digest, _)| digest),
        "gate": gate.suffix,
    });
    let digest = canonical::digest_of_value(&json!({ "subject": subject, "title": title, "show": show }));
    let approval = &gate.approval;
    ApprovalSpec {
        subject: ApprovalSubject {
            release: Some(candidate.release.to_owned()),
            ..ApprovalSubject::default()
        },
        purpose: ApprovalPurpose::Promotion,
        digest,
        requested_by: involved.requested_by.clone(),
        author: candidate.source.written_by().cloned(),
        written_by: involved.written_by.clone(),
        title,
        show,
        form: None,
        approvers: approval.approvers.clone(),
        quorum: approval.quorum.unwrap_or(1),
        self_approval: approval.self_approval.unwrap_or(false),
        verdicts: vec![Verdict::Approve, Verdict::Reject],
        expires_at: Some(Time(deadline)),
        escalate: approval.escalate.clone().unwrap_or_default(),
        repository: candidate.source.repository.clone(),
        ask_via: approval.ask_via,
    }
}

/// Shown whole where it fits, otherwise by digest and size.
fn shown(name: &str, value: &Value) -> ShownItem {
    const MAX: usize = 60_000;
    let text = format!("{value:#}");
    let inline = if text.len() <= MAX {
        text
    } else {
        format!(
            "{} ({} bytes, too large to show)",
            canonical::digest_of_value(value),
            text.len()
        )
    };
    ShownItem {
        name: name.to_owned(),
        media_type: "application/json".to_owned(),
        inline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(quorum: Option<i64>) -> Definition {
        let promotion = quorum.map(|quorum| json!({ "approval": { "quorum": quorum } }));
        serde_json::from_value(
            json!({ "steps": [{ "name": "a", "set": { "x": 1 } }], "promotion": promotion }),
        )
        .unwrap()
    }

    fn quorums(
        definition: &Definition,
        live: Option<&Definition>,
        repository: Option<&Promotion>,
    ) -> Vec<i64> {
        let digest = Digest::of(b"");
        let candidate = Candidate {
            release: "f-1",
            uid: "u-1",
            flow: "f",
            digest: &digest,
            definition,
            source: &ReleaseSource::default(),
            live: live.map(|live| ("f-0", &digest, live)),
        };
        gates(&candidate, repository)
            .iter()
            .filter_map(|gate| gate.approval.quorum)
            .collect()
    }

    #[test]
    fn the_live_release_judges_and_only_the_first_one_judges_itself() {
        let (none, two, three) = (definition(None), definition(Some(2)), definition(Some(3)));
        assert_eq!(quorums(&two, None, None), [2]);
        assert_eq!(quorums(&none, Some(&three), None), [3]);
        assert_eq!(quorums(&two, Some(&none), None), Vec::<i64>::new());
    }

    #[test]
    fn each_round_and_each_release_of_a_name_is_another_question() {
        let (digest, gated, source) = (Digest::of(b""), definition(Some(1)), ReleaseSource::default());
        let asked = |uid: &str, round| {
            let candidate = Candidate {
                release: "f-1",
                uid,
                flow: "f",
                digest: &digest,
                definition: &gated,
                source: &source,
                live: None,
            };
            let gate = &gates(&candidate, None)[0];
            question(
                &candidate,
                gate,
                round,
                &Involved::default(),
                Timestamp::UNIX_EPOCH,
            )
            .digest
        };
        assert_eq!(asked("u-1", 1), asked("u-1", 1));
        assert_ne!(asked("u-1", 1), asked("u-1", 2));
        assert_ne!(asked("u-1", 1), asked("u-2", 1));
    }

    #[test]
    fn the_repository_has_a_gate_of_its_own() {
        let none = definition(None);
        let repository = definition(Some(5)).promotion;
        assert_eq!(
            quorums(&none, Some(&definition(Some(3))), repository.as_ref()),
            [3, 5]
        );
    }
}
