//! Promotion: which gates a release must pass to become live, and what people are asked.
//!
//! The gates are those of the Repository and of the release that is live now, so that a draft cannot loosen the gate it is judged by. Only
//! the first promotion is judged by the promoted release's own gate.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

use super::{difference::difference, plan::Plan, question::item};
use signoff_api::{
    ApprovalSpec, Definition, Digest, Verdict,
    approval::{ApprovalPurpose, ApprovalSubject, ShownItem},
    canonical,
    flow::{Promotion, PromotionApproval},
    release::{Dependency, ReleaseSource},
};

/// Names of the gates there can be: that of the release that is live, and that of the Repository.
pub const GATES: [&str; 2] = ["release", "repository"];

/// One gate and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Tells two gates apart, so that they have two approvals.
    pub name: &'static str,
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
    /// The releases that its steps run.
    pub dependencies: &'a [Dependency],
    /// The same of what is live now.
    pub live_dependencies: &'a [Dependency],
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
        name: GATES[0],
        approval: gate.approval.clone(),
    });
    let of_repository = repository.map(|gate| Gate {
        name: GATES[1],
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
        item("what changes", "text/plain", what_changes(candidate)),
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
        "gate": gate.name,
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
        parents: vec![],
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

/// The difference in words, what loosens control first.
fn what_changes(candidate: &Candidate<'_>) -> String {
    let live = candidate.live.map(|(_, _, definition)| definition);
    // whoever wrote a release by hand may have written one that nothing can follow
    let mut definitions = live.into_iter().chain([candidate.definition]);
    if definitions.any(|definition| Plan::of_release(definition).is_err()) {
        return "It cannot be told, since one of the two cannot run: compare the documents below.".to_owned();
    }
    difference(live, candidate.definition)
        .with_dependencies(candidate.live_dependencies, candidate.dependencies)
        .to_text()
}

fn shown(name: &str, value: &Value) -> ShownItem {
    item(name, "application/json", format!("{value:#}"))
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
            dependencies: &[],
            live_dependencies: &[],
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
                dependencies: &[],
                live_dependencies: &[],
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

    fn question_about(live: &Value, new: &Value) -> ApprovalSpec {
        let read = |definition: &Value| serde_json::from_value::<Definition>(definition.clone()).unwrap();
        let (live, new) = (read(live), read(new));
        let (digest, source) = (Digest::of(b""), ReleaseSource::default());
        let candidate = Candidate {
            release: "f-1",
            uid: "u-1",
            flow: "f",
            digest: &digest,
            definition: &new,
            source: &source,
            dependencies: &[],
            live_dependencies: &[],
            live: Some(("f-0", &digest, &live)),
        };
        let involved = Involved::default();
        question(
            &candidate,
            &gates(&candidate, None)[0],
            1,
            &involved,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn asking(groups: &[&str], description: &str) -> Value {
        json!({"description": description, "promotion": {"approval": {"quorum": 1}},
            "steps": [{"name": "ask", "approval": {"title": "go?", "approvers": {"groups": groups}}}]})
    }

    #[test]
    fn what_changes_is_shown_first_and_bound_by_the_digest() {
        let spec = question_about(&asking(&["finance"], ""), &asking(&["finance", "everybody"], ""));
        let names: Vec<&str> = spec.show.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["what changes", "source", "definition", "live now"]);
        let told = &spec.show[0].inline;
        assert!(
            told.contains("Loosens control\n  ! step ask: more people may approve"),
            "{told}"
        );
        let same = question_about(&asking(&["finance"], ""), &asking(&["finance"], ""));
        assert_ne!(spec.digest, same.digest);
    }

    #[test]
    fn however_large_the_definitions_are_the_question_is_bounded() {
        let steps = |text: &str| {
            let step = |n: usize| json!({"name": format!("s{n}"), "set": {"x": text.repeat(2_000)}});
            let steps: Vec<Value> = (0..100).map(step).collect();
            json!({"promotion": {"approval": {"quorum": 1}}, "steps": steps})
        };
        let spec = question_about(&steps("a"), &steps("b"));
        let sizes: Vec<usize> = spec.show.iter().map(|item| item.inline.len()).collect();
        assert!(sizes.iter().all(|size| *size <= 64 * 1024), "{sizes:?}");
        assert!(sizes.iter().sum::<usize>() <= 256 * 1024, "{sizes:?}");
        assert!(
            spec.show[2]
                .inline
                .contains("bytes are left out; the digest of all of it is sha256:")
        );
    }

    #[test]
    fn what_cannot_run_is_not_compared() {
        let circle = json!({"promotion": {"approval": {"quorum": 1}}, "steps": [
            {"name": "a", "needs": ["b"], "set": {"x": 1}}, {"name": "b", "needs": ["a"], "set": {"x": 1}}]});
        let spec = question_about(&asking(&["finance"], ""), &circle);
        assert!(spec.show[0].inline.contains("cannot run"));
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
