//! Which questions are ours. A question is bound whole by its digest: what it is about, what is shown, who decides and how. A run's status, which
//! only the operator writes, names the question and its digest before it is put. So one that somebody else put is told from ours.

use serde_json::{Value, json};

use signoff_api::{ApprovalSpec, Digest, RunStatus, approval::ApprovalPurpose, canonical, run::StepStatus};

/// What the question of an approval step is about, beyond what its spec says.
pub(super) fn of_step(release: &Digest, run: &str, step: &StepStatus) -> Value {
    let mut subject =
        json!({ "release": release, "run": run, "step": step.name, "iteration": step.iteration });
    if let Some(item) = step.item {
        subject["item"] = item.into();
    }
    subject
}

/// What the question is about whether an attempt happened.
pub(super) fn of_attempt(release: &Digest, run: &str, step: &StepStatus) -> Value {
    let mut subject = of_step(release, run, step);
    subject["attempt"] = step.attempt.into();
    subject
}

/// In place of the digest of a spec that is not sealed yet.
pub(super) fn unsealed() -> Digest {
    Digest::of(b"")
}

/// A question with the digest that binds it.
pub(super) fn sealed(subject: &Value, mut spec: ApprovalSpec) -> ApprovalSpec {
    spec.digest = unsealed();
    // a spec always has a JSON form; without one the digest would be that of nothing, which no question has
    let content = serde_json::to_value(&spec).unwrap_or_default();
    spec.digest = canonical::digest_of_value(&json!({ "about": subject, "question": content }));
    spec
}

/// Whether a run asks this very question under this name.
pub fn by_run(uid: &str, status: &RunStatus, name: &str, spec: &ApprovalSpec) -> bool {
    let Some(release) = status.release.as_ref().map(|release| &release.digest) else {
        return false;
    };
    let named = |step: &&StepStatus| {
        step.approval.as_deref() == Some(name) && step.digest.as_ref() == Some(&spec.digest)
    };
    let is_sealed = |subject: &Value, spec: ApprovalSpec| {
        let digest = spec.digest.clone();
        sealed(subject, spec).digest == digest
    };
    status.steps.iter().filter(named).any(|step| match spec.purpose {
        ApprovalPurpose::Step => is_sealed(&of_step(release, uid, step), spec.clone()),
        ApprovalPurpose::Outcome => {
            let subject = of_attempt(release, uid, step);
            // where the flow says nobody, the owners of its Repository are filled in when it is put
            let unfilled = ApprovalSpec {
                approvers: None,
                ..spec.clone()
            };
            is_sealed(&subject, spec.clone()) || is_sealed(&subject, unfilled)
        }
        ApprovalPurpose::Promotion => false,
    })
}

/// Whether the digest of a question binds what it says, for the run of this uid on this release. Of a question about an attempt, the number
/// is tried up to `attempts`.
pub fn is_bound(release: &Digest, run: &str, spec: &ApprovalSpec, attempts: i64) -> bool {
    let subject = &spec.subject;
    let (Some(step), Some(iteration)) = (&subject.step, subject.iteration) else {
        return false;
    };
    let mut about = json!({ "release": release, "run": run, "step": step, "iteration": iteration });
    if let Some(item) = subject.item {
        about["item"] = item.into();
    }
    let is_sealed = |about: &Value, spec: &ApprovalSpec| sealed(about, spec.clone()).digest == spec.digest;
    match spec.purpose {
        ApprovalPurpose::Step => is_sealed(&about, spec),
        ApprovalPurpose::Outcome => {
            let unfilled = ApprovalSpec {
                approvers: None,
                ..spec.clone()
            };
            (1..=attempts).any(|attempt| {
                about["attempt"] = attempt.into();
                is_sealed(&about, spec) || is_sealed(&about, &unfilled)
            })
        }
        ApprovalPurpose::Promotion => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signoff_api::step::Approvers;

    fn status(name: &str, digest: &Digest) -> RunStatus {
        let step =
            json!({"name": "s", "iteration": 1, "phase": "Waiting", "approval": name, "digest": digest});
        let release = json!({"name": "f-0", "digest": Digest::of(b"release")});
        serde_json::from_value(json!({"phase": "Waiting", "release": release, "steps": [step]})).unwrap()
    }

    fn question() -> ApprovalSpec {
        let spec = json!({
            "subject": {"run": "r", "step": "s", "iteration": 1}, "purpose": "Step", "digest": unsealed(), "title": "go?",
            "approvers": {"groups": ["finance"]}, "quorum": 2, "selfApproval": false, "verdicts": ["Approve", "Reject"],
            "requestedBy": "dev", "expiresAt": "2026-01-01T00:00:00Z", "escalate": [{"after": "60m", "to": {"groups": ["leads"]}}],
            "form": {"type": "object", "properties": {"a": {"type": "number", "default": null}}},
        });
        let spec: ApprovalSpec = serde_json::from_value(spec).unwrap();
        let step = status("r-s", &spec.digest).steps[0].clone();
        sealed(&of_step(&Digest::of(b"release"), "u", &step), spec)
    }

    #[test]
    fn a_question_is_ours_as_the_run_asks_it_and_in_no_other_way() {
        let ours = question();
        // as it comes back from the API server
        let ours: ApprovalSpec = serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        let state = status("r-s", &ours.digest);
        assert!(by_run("u", &state, "r-s", &ours));
        assert!(!by_run("other", &state, "r-s", &ours), "another run of that name");
        assert!(!by_run("u", &state, "r-t", &ours));
        assert!(!by_run("u", &status("r-s", &unsealed()), "r-s", &ours));
        assert!(!by_run("u", &RunStatus::default(), "r-s", &ours));
        let changes: [fn(&mut ApprovalSpec); 7] = [
            |spec| spec.title = "go on?".into(),
            |spec| spec.approvers = Some(Approvers::default()),
            |spec| spec.quorum = 1,
            |spec| spec.self_approval = true,
            |spec| spec.requested_by = Some("bob".into()),
            |spec| spec.expires_at = None,
            |spec| spec.purpose = ApprovalPurpose::Outcome,
        ];
        for change in changes {
            let mut forged = ours.clone();
            change(&mut forged);
            assert!(!by_run("u", &state, "r-s", &forged), "{forged:?}");
        }
    }
}
