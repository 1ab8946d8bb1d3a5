//! What is done until a wish is settled, step by step.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::*;
use signoff_api::{
    Approval, ApprovalPhase, FlowStatus, canonical,
    flow::{PromotionPhase, PromotionStatus},
    names,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A flow `f`, its releases, and what people were asked about them.
#[derive(Default)]
struct World {
    releases: BTreeMap<String, Release>,
    repository: Option<Promotion>,
    approvals: BTreeMap<String, Approval>,
    status: FlowStatus,
    involved: Involved,
    /// What is known of the release that `f-N` runs, if it runs one.
    dependency: Option<KnownDependency>,
}

/// What is wrong with an approval that has the name of a question.
type Spoil = fn(&mut Approval);

impl World {
    /// With release `f-N`, cut N seconds after the first, whose gate needs `quorum` people.
    fn with(mut self, number: i64, quorum: Option<i64>) -> Self {
        let mut definition = definition(quorum);
        definition.description = Some(format!("number {number}"));
        let release = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": format!("f-{number}"), "namespace": "ns", "uid": format!("uid-{number}"),
                "creationTimestamp": Timestamp::from_second(number).unwrap()},
            "spec": {"flow": "f", "definition": definition, "digest": canonical::digest(&definition).unwrap(), "source": {}},
        });
        let release = serde_json::from_value(release).unwrap();
        self.releases.insert(format!("f-{number}"), release);
        self
    }

    fn live(mut self, release: &str) -> Self {
        self.status.live = Some(signoff_api::flow::NamedRelease {
            release: release.to_owned(),
            digest: Digest::of(release.as_bytes()),
        });
        self
    }

    fn gate_of_repository(mut self, quorum: i64) -> Self {
        self.repository = definition(Some(quorum)).promotion;
        self
    }

    fn find(&self, name: &str) -> Found {
        match self.releases.get(name) {
            None => Err(Unusable::NotFound(name.to_owned())),
            Some(release) => usable("f", Arc::new(release.clone())).unwrap(),
        }
    }

    /// The approval of a question, which is created if it is not there.
    fn asked(&mut self, ask: &Ask) -> Asked {
        let question = ask.question(&self.involved, NOW);
        let owner =
            json!({"apiVersion": "v1", "kind": "Release", "name": "r", "uid": ask.release.metadata.uid});
        let approval = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": ask.name(), "namespace": "ns", "ownerReferences": [owner]}, "spec": question});
        let created = || serde_json::from_value(approval).unwrap();
        let approval = self.approvals.entry(ask.name()).or_insert_with(created);
        let (gate, approval) = (ask.gate.name, Arc::new(approval.clone()));
        Asked {
            gate,
            question,
            approval,
        }
    }

    fn is_closed(approval: &Approval) -> bool {
        approval.status.clone().unwrap_or_default().phase.is_closed()
    }

    fn withdraw(&mut self, questions: &Questions) -> String {
        for name in questions.names() {
            if let Some(approval) = self.approvals.get_mut(&name) {
                let status = approval.status.clone().unwrap_or_default();
                approval.status = superseded(&status, NOW).or(Some(status));
            }
        }
        format!("withdraw {} round {}", questions.release, questions.round)
    }

    /// Does what is to be done about a wish until nothing more is, and says what that was.
    fn promote(&mut self, wanted: Option<&str>) -> Vec<String> {
        let (mut known, mut told) = (Known::default(), Vec::new());
        for _ in 0..10 {
            match next(wanted, &self.status, &known) {
                Step::Forget(questions) => {
                    let withdrawn = questions.map(|questions| self.withdraw(&questions));
                    told.extend(withdrawn);
                    told.push("forget".to_owned());
                    self.status.promotion = None;
                }
                Step::FindWanted(name) => {
                    known.wanted = Some(self.find(&name));
                    known.repository = self.repository.clone();
                    told.push(format!("find {name}"));
                }
                Step::FindDependencies(release) => {
                    let wanted = release.metadata.name.as_deref().unwrap_or_default();
                    known.dependencies = Some(self.dependency.iter().cloned().collect());
                    told.push(format!("find dependencies of {wanted}"));
                }
                Step::FindLive(name) => {
                    known.live = Some(self.find(&name));
                    told.push(format!("find live {name}"));
                }
                Step::FindClosed(name) => {
                    let closed = self
                        .approvals
                        .iter()
                        .filter(|(_, approval)| Self::is_closed(approval));
                    let closed: HashSet<String> = closed.map(|(name, _)| name.clone()).collect();
                    known.closed = Some(closed);
                    told.push(format!("find closed of {name}"));
                }
                Step::Ask(ask) => {
                    known.asked.push(self.asked(&ask));
                    told.push(format!("ask {} round {}", ask.gate.name, ask.round));
                }
                Step::Finish(done) => {
                    told.extend(done.withdraw.map(|questions| self.withdraw(&questions)));
                    done.change.apply(&mut self.status);
                    told.push(match done.outcome {
                        Outcome::Settled => "settled".to_owned(),
                        Outcome::Waiting(message) => format!("waiting: {message}"),
                        Outcome::Blocked(dependency) => format!("blocked: {dependency}"),
                        Outcome::Refused(phase, message) => format!("refused {phase:?}: {message}"),
                        Outcome::Impossible(problem) => format!("{}: {problem}", problem.reason()),
                    });
                    return told.iter().map(|line| readable(line)).collect();
                }
            }
        }
        panic!("there is no end to it: {told:?}")
    }

    fn answer(&mut self, release: &str, gate: &str, round: i64, phase: ApprovalPhase) {
        let name = names::promotion_approval_name(release, round, gate);
        let approval = self.approvals.get_mut(&name).unwrap();
        let status = approval.status.get_or_insert_default();
        status.phase = phase;
        status.message = Some(format!("said {phase}"));
    }

    fn promotion(&self) -> &PromotionStatus {
        self.status.promotion.as_ref().unwrap()
    }
}

/// The names of approvals, without what makes them unique.
fn readable(line: &str) -> String {
    let mut line = line.to_owned();
    for release in ["f-1", "f-2", "f-3"] {
        for round in 1..5 {
            for gate in GATES {
                let name = names::promotion_approval_name(release, round, gate);
                line = line.replace(&name, &format!("{release}/{gate}/{round}"));
            }
        }
    }
    line
}

#[test]
fn without_a_wish_or_once_it_is_live_nothing_is_done() {
    assert_eq!(World::default().promote(None), ["settled"]);
    let mut world = World::default().live("f-1");
    assert_eq!(world.promote(Some("f-1")), ["settled"]);
    assert_eq!(world.status.promotion, None);
}

#[test]
fn the_first_promotion_without_a_gate_is_made_at_once() {
    let mut world = World::default().with(1, None);
    assert_eq!(world.promote(Some("f-1")), ["find f-1", "settled"]);
    let live = world.status.live.clone().unwrap();
    assert_eq!(live.release, "f-1");
    assert_eq!(live.digest, world.releases["f-1"].spec.digest);
    let promotion = world.promotion();
    assert_eq!(
        (promotion.phase, promotion.round),
        (PromotionPhase::Promoted, None)
    );
}

#[test]
fn the_first_promotion_is_judged_by_its_own_gate() {
    let mut world = World::default().with(1, Some(1));
    let asked = [
        "find f-1",
        "find closed of f-1",
        "ask release round 1",
        "waiting: waiting for approval f-1/release/1 before f-1 becomes live",
    ];
    assert_eq!(world.promote(Some("f-1")), asked);
    assert_eq!(world.status.live, None);
    // the round is known now
    assert_eq!(
        world.promote(Some("f-1")),
        ["find f-1", "ask release round 1", asked[3]]
    );
    world.answer("f-1", "release", 1, ApprovalPhase::Approved);
    let settled = ["find f-1", "ask release round 1", "settled"];
    assert_eq!(world.promote(Some("f-1")), settled);
    let promotion = world.promotion();
    assert_eq!(
        (promotion.phase, promotion.round, &promotion.approval),
        (PromotionPhase::Promoted, Some(1), &None)
    );
}

#[test]
fn the_gate_of_the_release_that_is_live_judges_the_next() {
    let mut strict = World::default().with(1, Some(3)).with(2, None).live("f-1");
    let told = strict.promote(Some("f-2"));
    assert_eq!(told[..2], ["find f-2", "find live f-1"]);
    assert_eq!(told[3], "ask release round 1");
    let asked = strict.approvals.values().next().unwrap();
    assert_eq!(asked.spec.quorum, 3);
    let mut lax = World::default().with(1, None).with(2, Some(3)).live("f-1");
    assert_eq!(lax.promote(Some("f-2")), ["find f-2", "find live f-1", "settled"]);
}

#[test]
fn the_gate_of_the_repository_holds_where_the_release_has_none() {
    let mut world = World::default().with(1, None).gate_of_repository(2);
    let told = world.promote(Some("f-1"));
    assert_eq!(told[2], "ask repository round 1");
    world.answer("f-1", "repository", 1, ApprovalPhase::Approved);
    assert_eq!(world.promote(Some("f-1")).last().unwrap(), "settled");
}

#[test]
fn of_two_gates_both_are_asked_at_once_and_each_must_approve() {
    for (first, second) in [("release", "repository"), ("repository", "release")] {
        let mut world = World::default().with(1, Some(1)).gate_of_repository(2);
        let told = world.promote(Some("f-1"));
        assert_eq!(
            told[2..],
            [
                "ask release round 1",
                "ask repository round 1",
                "waiting: waiting for approval f-1/release/1 before f-1 becomes live"
            ]
        );
        world.answer("f-1", first, 1, ApprovalPhase::Approved);
        let waits = format!("waiting: waiting for approval f-1/{second}/1 before f-1 becomes live");
        assert_eq!(*world.promote(Some("f-1")).last().unwrap(), waits);
        assert_eq!(world.status.live, None, "{first} alone is not enough");
        world.answer("f-1", second, 1, ApprovalPhase::Approved);
        assert_eq!(world.promote(Some("f-1")).last().unwrap(), "settled");
    }
}

#[test]
fn a_no_at_one_gate_is_the_end_whatever_the_other_says() {
    for (gate, other) in [("release", "repository"), ("repository", "release")] {
        let mut world = World::default().with(1, Some(1)).gate_of_repository(2);
        world.promote(Some("f-1"));
        world.answer("f-1", gate, 1, ApprovalPhase::Rejected);
        world.answer("f-1", other, 1, ApprovalPhase::Approved);
        let told = world.promote(Some("f-1"));
        assert_eq!(told.last().unwrap(), "refused Rejected: said Rejected");
        let approval = readable(world.promotion().approval.as_deref().unwrap());
        assert_eq!(approval, format!("f-1/{gate}/1"));
    }
}

#[test]
fn what_was_refused_is_not_asked_again_until_it_is_wished_for_anew() {
    let mut world = World::default().with(1, None).with(2, Some(1)).live("f-1");
    world.repository = definition(Some(1)).promotion;
    world.promote(Some("f-2"));
    world.answer("f-2", "repository", 1, ApprovalPhase::Rejected);
    world.promote(Some("f-2"));
    let still = [
        "find f-2",
        "find live f-1",
        "refused Rejected: the promotion of f-2 was not approved; name another release, or this one again later",
    ];
    assert_eq!(world.promote(Some("f-2")), still);
    assert_eq!(world.promote(Some("f-1")), ["forget", "settled"]);
    let told = world.promote(Some("f-2"));
    assert_eq!(told[2..4], ["find closed of f-2", "ask repository round 2"]);
}

#[test]
fn any_other_end_of_a_question_than_a_no_is_told_as_timed_out() {
    for (phase, told) in [
        (ApprovalPhase::Rejected, "refused Rejected: said Rejected"),
        (ApprovalPhase::Expired, "refused TimedOut: said Expired"),
        (ApprovalPhase::Cancelled, "refused TimedOut: said Cancelled"),
        (ApprovalPhase::Superseded, "refused TimedOut: said Superseded"),
        (
            ApprovalPhase::ChangesRequested,
            "refused TimedOut: said ChangesRequested",
        ),
    ] {
        let mut world = World::default().with(1, Some(1));
        world.promote(Some("f-1"));
        world.answer("f-1", "release", 1, phase);
        assert_eq!(world.promote(Some("f-1")).last().unwrap(), told);
        assert_eq!(world.status.live, None);
        assert_eq!(world.promotion().round, Some(1));
    }
}

#[test]
fn another_wish_closes_the_questions_about_the_one_before() {
    let waiting = || {
        let world = World::default().with(1, Some(1)).with(2, None).with(3, None);
        let mut world = world.live("f-1");
        world.promote(Some("f-2"));
        world
    };
    let asked = names::promotion_approval_name("f-2", 1, "release");
    for (wish, first) in [
        (Some("f-3"), "find f-3"),
        (Some("f-1"), "settled"),
        (None, "settled"),
    ] {
        let mut world = waiting();
        let told = world.promote(wish);
        assert_eq!(told[..3], ["withdraw f-2 round 1", "forget", first], "{wish:?}");
        let status = world.approvals[&asked].status.as_ref().unwrap();
        assert_eq!(status.phase, ApprovalPhase::Superseded);
    }
}

#[test]
fn a_promotion_that_is_over_is_forgotten_without_closing_anything() {
    for phase in [
        PromotionPhase::Promoted,
        PromotionPhase::Rejected,
        PromotionPhase::TimedOut,
    ] {
        let mut world = World::default().with(1, Some(1));
        world.promote(Some("f-1"));
        world.status.promotion.as_mut().unwrap().phase = phase;
        assert_eq!(world.promote(None), ["forget", "settled"]);
    }
}

#[test]
fn an_approval_that_asks_for_something_else_is_withdrawn_and_people_are_asked_again() {
    let spoils: [(&str, Spoil); 5] = [
        ("quorum", |approval| approval.spec.quorum = 0),
        ("self approval", |approval| approval.spec.self_approval = true),
        ("digest", |approval| approval.spec.digest = Digest::of(b"other")),
        ("no owner", |approval| approval.metadata.owner_references = None),
        ("a release that is gone", |approval| {
            for owner in approval.metadata.owner_references.iter_mut().flatten() {
                "uid-0".clone_into(&mut owner.uid);
            }
        }),
    ];
    for (what, spoil) in spoils {
        for phase in [ApprovalPhase::Pending, ApprovalPhase::Approved] {
            let mut world = World::default().with(1, Some(2));
            world.promote(Some("f-1"));
            world.answer("f-1", "release", 1, phase);
            world.approvals.values_mut().for_each(spoil);
            let again = [
                "find f-1",
                "ask release round 1",
                "withdraw f-1 round 1",
                "waiting: f-1/release/1 asks for something else; people are asked again",
            ];
            assert_eq!(world.promote(Some("f-1")), again, "{what}");
            let told = world.promote(Some("f-1"));
            assert_eq!(told[1], "ask release round 2", "{what}");
            assert_eq!(world.status.live, None, "{what}");
        }
    }
}

#[test]
fn the_second_gate_is_not_asked_while_the_first_has_another_question() {
    let mut world = World::default().with(1, Some(2)).gate_of_repository(1);
    world.promote(Some("f-1"));
    let first = names::promotion_approval_name("f-1", 1, "release");
    world.approvals.get_mut(&first).unwrap().spec.quorum = 1;
    let told = world.promote(Some("f-1"));
    assert_eq!(told[1..3], ["ask release round 1", "withdraw f-1 round 1"]);
}

#[test]
fn a_question_that_was_put_earlier_or_keeps_more_people_out_is_the_same() {
    let spoils: [Spoil; 2] = [
        |approval| approval.spec.expires_at = None,
        |approval| approval.spec.written_by.push("mallory".to_owned()),
    ];
    for spoil in spoils {
        let mut world = World::default().with(1, Some(1));
        world.involved.written_by = vec!["alice".to_owned()];
        world.promote(Some("f-1"));
        world.answer("f-1", "release", 1, ApprovalPhase::Approved);
        world.approvals.values_mut().for_each(spoil);
        assert_eq!(world.promote(Some("f-1")).last().unwrap(), "settled");
    }
}

#[test]
fn a_question_that_lets_an_author_decide_is_another() {
    let mut world = World::default().with(1, Some(1));
    world.promote(Some("f-1"));
    world.answer("f-1", "release", 1, ApprovalPhase::Approved);
    world.involved.written_by = vec!["alice".to_owned()];
    assert_eq!(world.promote(Some("f-1"))[2], "withdraw f-1 round 1");
}

#[test]
fn a_release_that_cannot_be_used_is_not_made_live() {
    let mut world = World::default().with(1, None).with(2, None).with(3, None);
    world.releases.get_mut("f-2").unwrap().spec.flow = "g".to_owned();
    world.releases.get_mut("f-3").unwrap().spec.digest = Digest::of(b"forged");
    let forged = format!(
        "ReleaseForged: release f-3 says it is {}, but its content is {}",
        Digest::of(b"forged"),
        canonical::digest(&world.releases["f-3"].spec.definition).unwrap()
    );
    for (name, told) in [
        ("f-4", "ReleaseNotFound: there is no release f-4 to make live"),
        ("f-2", "ReleaseOfAnotherFlow: release f-2 is of flow g"),
        ("f-3", forged.as_str()),
    ] {
        assert_eq!(world.promote(Some(name)), [&format!("find {name}"), told]);
        assert_eq!(world.status, FlowStatus::default());
    }
}

#[test]
fn a_release_becomes_live_only_after_those_that_it_runs() {
    let pinned = Digest::of(b"pinned");
    let live = |release: &str, digest: &Digest| {
        let (release, digest) = (release.to_owned(), digest.clone());
        Some(signoff_api::flow::NamedRelease { release, digest })
    };
    let release = |digest: &Digest, ready: Option<&str>| {
        let conditions = ready.map(|ready| {
            json!([{ "type": "Ready", "status": ready, "reason": "Verified", "message": "",
                "lastTransitionTime": Timestamp::UNIX_EPOCH }])
        });
        let release = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": "g-1", "namespace": "ns"},
            "spec": {"flow": "g", "definition": definition(None), "digest": digest, "source": {}},
            "status": {"conditions": conditions.unwrap_or(json!([]))},
        });
        Some(Arc::new(serde_json::from_value::<Release>(release).unwrap()))
    };
    let other = Digest::of(b"other");
    let blocked =
        "blocked: f-1 runs release g-1 of flow g, which is not live and never was: make it live first";
    for (what, live, release, told) in [
        ("nothing is known", None, None, blocked),
        ("it is live", live("g-1", &pinned), None, "settled"),
        ("another is live", live("g-2", &other), None, blocked),
        ("another has its name", live("g-1", &other), None, blocked),
        ("it is a draft", None, release(&pinned, None), blocked),
        (
            "it was live",
            live("g-2", &other),
            release(&pinned, Some("True")),
            "settled",
        ),
        ("it is forged", None, release(&pinned, Some("False")), blocked),
        ("another was live", None, release(&other, Some("True")), blocked),
    ] {
        let mut world = World::default().with(1, None);
        let wanted = &mut world.releases.get_mut("f-1").unwrap().spec;
        wanted.dependencies = vec![signoff_api::release::Dependency {
            flow: "g".to_owned(),
            release: "g-1".to_owned(),
            digest: pinned.clone(),
        }];
        wanted.digest = wanted.content_digest().unwrap();
        world.dependency = Some(KnownDependency { live, release });
        let steps = ["find f-1", "find dependencies of f-1", told];
        assert_eq!(world.promote(Some("f-1")), steps, "{what}");
        assert_eq!(world.status.live.is_some(), told == "settled", "{what}");
    }
}

#[test]
fn nothing_becomes_live_while_the_gate_of_what_is_live_is_not_known() {
    let mut world = World::default().with(2, None).live("f-1");
    let told = [
        "find f-2",
        "find live f-1",
        "LiveReleaseUnusable: f-1 is live, but its gate is not known: there is no release f-1 to make live",
    ];
    assert_eq!(world.promote(Some("f-2")), told);
    let mut forged = World::default().with(1, None).with(2, None).live("f-1");
    forged.releases.get_mut("f-1").unwrap().spec.digest = Digest::of(b"forged");
    let told = forged.promote(Some("f-2"));
    assert!(told[2].starts_with("LiveReleaseUnusable"), "{told:?}");
    assert_eq!(forged.status.live_release(), Some("f-1"));
}

#[test]
fn a_promotion_to_a_release_that_was_cut_before_is_a_rollback() {
    let world = || World::default().with(1, None).with(2, None);
    let mut back = world().live("f-2");
    back.promote(Some("f-1"));
    assert_eq!(back.promotion().rolled_back_from.as_deref(), Some("f-2"));
    let mut forth = world().live("f-1");
    forth.promote(Some("f-2"));
    assert_eq!(forth.promotion().rolled_back_from, None);
    // within one second nobody knows
    let mut same = world().live("f-2");
    let cut = same.releases["f-1"].metadata.creation_timestamp.clone();
    same.releases.get_mut("f-2").unwrap().metadata.creation_timestamp = cut;
    same.promote(Some("f-1"));
    assert_eq!(same.promotion().rolled_back_from, None);
}

#[test]
fn a_rollback_goes_through_the_gate_and_is_told_after_it() {
    let mut world = World::default().with(1, None).with(2, Some(1)).live("f-2");
    world.promote(Some("f-1"));
    assert_eq!(world.promotion().rolled_back_from, None);
    world.answer("f-1", "release", 1, ApprovalPhase::Approved);
    world.promote(Some("f-1"));
    assert_eq!(world.promotion().rolled_back_from.as_deref(), Some("f-2"));
}

#[test]
fn a_wish_after_others_is_a_new_round_of_questions() {
    let mut world = World::default().with(1, Some(1)).with(2, Some(1)).live("f-1");
    for round in 1..4 {
        let told = world.promote(Some("f-2"));
        let asked = format!("ask release round {round}");
        assert_eq!(
            told[told.len() - 3..told.len() - 1],
            ["find closed of f-2", asked.as_str()]
        );
        world.promote(None);
    }
}
