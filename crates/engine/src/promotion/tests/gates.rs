//! Which gates a release has to pass.

use super::*;

fn quorums(definition: &Definition, live: Option<&Definition>, repository: Option<&Promotion>) -> Vec<i64> {
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
fn the_repository_has_a_gate_of_its_own() {
    let none = definition(None);
    let repository = definition(Some(5)).promotion;
    assert_eq!(
        quorums(&none, Some(&definition(Some(3))), repository.as_ref()),
        [3, 5]
    );
}
