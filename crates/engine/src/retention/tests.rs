use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

const STAY: Stay = Stay {
    least: Duration::from_secs(10),
    repeated: REPEATED,
};

fn run(name: &str, finished_at: Option<i64>) -> RunFacts {
    RunFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        flow: "f".to_owned(),
        finished_at: finished_at.map(at),
        is_recorded: finished_at.is_some(),
        parent: None,
        retries: None,
        started_after: None,
        is_repeatable: false,
    }
}

fn child(name: &str, of: &str, owns: bool, finished_at: Option<i64>) -> RunFacts {
    let uid = format!("uid-{of}");
    RunFacts {
        parent: Some(Parent { uid, owns }),
        ..run(name, finished_at)
    }
}

fn leaving_at(runs: &[RunFacts], keep: usize, after: u64, now: i64) -> Vec<&str> {
    let after = Duration::from_secs(after);
    let left = leaving(runs, |_| Rule { keep, after }, STAY, at(now));
    let roots = left.iter().flat_map(|group| &group.roots);
    roots.map(|at| runs[*at].name.as_str()).collect()
}

#[test]
fn runs_past_the_number_or_the_time_go_and_the_oldest_first() {
    let runs = [
        run("c", Some(300)),
        run("a", Some(100)),
        run("d", None),
        run("b", Some(200)),
    ];
    assert_eq!(leaving_at(&runs, 2, 10_000, 400), ["a"]);
    assert_eq!(leaving_at(&runs, 0, 10_000, 400), ["a", "b", "c"]);
    assert_eq!(leaving_at(&runs, 100, 200, 400), ["a", "b"]);
    assert!(leaving_at(&runs, 100, 10_000, 400).is_empty());
    // the last one has only just ended
    assert_eq!(leaving_at(&runs, 0, 1, 305), ["a", "b"]);
}

#[test]
fn each_flow_is_counted_by_itself() {
    let mut runs = [run("a", Some(100)), run("b", Some(200)), run("c", Some(300))];
    runs[1].flow = "g".to_owned();
    assert_eq!(leaving_at(&runs, 1, 10_000, 400), ["a"]);
}

#[test]
fn a_run_without_a_record_stays() {
    let mut runs = [run("a", Some(100))];
    runs[0].is_recorded = false;
    assert!(leaving_at(&runs, 0, 1, 10_000).is_empty());
}

#[test]
fn a_run_that_a_step_started_goes_with_the_run_of_that_step_and_never_before() {
    let runs = [
        run("p", Some(100)),
        child("c", "p", true, Some(90)),
        child("g", "c", true, Some(80)),
    ];
    assert!(
        leaving_at(&runs, 1, 10_000, 400).is_empty(),
        "children do not count"
    );
    assert_eq!(leaving_at(&runs, 0, 10_000, 400), ["p"]);
    let mut open = runs.clone();
    open[0].finished_at = None;
    assert!(leaving_at(&open, 0, 1, 400).is_empty());
    for wrong in 1..3 {
        let mut unrecorded = runs.clone();
        unrecorded[wrong].is_recorded = false;
        assert!(leaving_at(&unrecorded, 0, 1, 400).is_empty());
    }
}

#[test]
fn a_run_that_nobody_waits_for_stays_while_its_starter_goes_on_and_outlives_it() {
    let mut runs = [run("p", None), child("c", "p", false, Some(90))];
    assert!(leaving_at(&runs, 0, 1, 400).is_empty());
    runs[0] = run("p", Some(100));
    assert_eq!(leaving_at(&runs, 0, 10_000, 400), ["c", "p"]);
}

#[test]
fn a_run_that_was_retried_goes_in_the_same_look_as_all_that_retry_it_and_before_them() {
    let mut runs = vec![run("c", Some(300)), run("a", Some(100)), run("b", Some(200))];
    runs[0].retries = Some("b".to_owned());
    runs[2].retries = Some("a".to_owned());
    assert_eq!(leaving_at(&runs, 0, 10_000, 400), ["a", "b", "c"]);
    assert!(leaving_at(&runs, 1, 10_000, 400).is_empty(), "the newest stays");
    assert!(
        leaving_at(&runs, 100, 150, 400).is_empty(),
        "two of them are past their time"
    );
    runs[0].is_recorded = false;
    assert!(leaving_at(&runs, 0, 10_000, 400).is_empty());
    runs[0].finished_at = None;
    assert!(leaving_at(&runs, 0, 10_000, 400).is_empty());
}

#[test]
fn runs_whose_steps_retried_runs_of_one_another_go_together() {
    let mut runs = [
        run("p", Some(100)),
        child("pc", "p", true, Some(90)),
        run("q", Some(200)),
        child("qc", "q", true, Some(190)),
        run("z", Some(150)),
    ];
    runs[3].retries = Some("pc".to_owned());
    let rule = |keep| {
        move |_: &str| Rule {
            keep,
            after: Duration::from_secs(10_000),
        }
    };
    let all = leaving(&runs, rule(0), STAY, at(400));
    let group = |roots: &[usize], all: &[usize]| Leaving {
        roots: roots.to_vec(),
        all: all.to_vec(),
    };
    assert_eq!(all, [group(&[0, 2], &[0, 1, 2, 3]), group(&[4], &[4])]);
    assert_eq!(leaving(&runs, rule(1), STAY, at(400)), [group(&[4], &[4])]);
}

#[test]
fn a_run_that_the_end_of_another_one_started_goes_after_that() {
    let mut runs = vec![run("b", Some(100)), run("a", Some(50))];
    runs[0].started_after = Some("a".to_owned());
    assert_eq!(leaving_at(&runs, 0, 10_000, 400), ["a"]);
    runs.pop();
    assert_eq!(leaving_at(&runs, 0, 10_000, 400), ["b"]);
}

#[test]
fn a_run_stays_while_its_request_may_be_repeated() {
    let mut runs = [run("a", Some(0))];
    runs[0].is_repeatable = true;
    let three_days = 72 * 3600;
    assert!(leaving_at(&runs, 0, 720 * 3600, three_days - 1).is_empty());
    assert_eq!(leaving_at(&runs, 0, 720 * 3600, three_days), ["a"]);
    assert_eq!(
        leaving_at(&runs, 0, 3600, 3600),
        ["a"],
        "the flow says a shorter time"
    );
}

prop_compose! {
    fn any_run(count: usize)(
        name in 0..count, flow in 0..2_usize, finished in prop::option::weighted(0.8, 0..1_000_i64),
        recorded in prop::bool::weighted(0.8), parent in prop::option::of((0..count, any::<bool>())),
        retries in prop::option::weighted(0.2, 0..count), after in prop::option::weighted(0.2, 0..count),
        repeatable in any::<bool>(),
    ) -> RunFacts {
        RunFacts {
            flow: format!("f{flow}"),
            is_recorded: finished.is_some() && recorded,
            parent: parent.map(|(of, owns)| Parent { uid: format!("uid-{of}"), owns }),
            retries: retries.map(|of| of.to_string()),
            started_after: after.map(|of| of.to_string()),
            is_repeatable: repeatable,
            ..run(&name.to_string(), finished)
        }
    }
}

proptest! {
    /// Whatever refers to whatever, cycles and names twice among them.
    #[test]
    fn nothing_goes_that_has_not_ended_or_is_not_recorded_or_that_a_run_needs_which_stays(
        runs in prop::collection::vec(any_run(8), 0..10), keep in 0..4_usize, after in 1..2_000_u64,
    ) {
        let rule = Rule { keep, after: Duration::from_secs(after) };
        let left = leaving(&runs, |_| rule, STAY, at(1_500));
        let families = Families::of(&runs);
        for group in &left {
            for root in &group.roots {
                prop_assert!(families.owner(*root).is_none());
                prop_assert!(families.family(*root).iter().all(|gone| group.all.contains(gone)));
            }
            for gone in &group.all {
                prop_assert!(runs[*gone].finished_at.is_some() && runs[*gone].is_recorded);
                for (other, stays) in runs.iter().enumerate().filter(|(other, _)| !group.all.contains(other)) {
                    prop_assert!(stays.retries.as_ref() != Some(&runs[*gone].name), "{other} retries it");
                }
            }
        }
        let roots: Vec<usize> = left.iter().flat_map(|group| group.roots.clone()).collect();
        for flow in ["f0", "f1"] {
            let there = |root: &usize| runs[*root].flow == flow && runs[*root].finished_at.is_some();
            let ended = families.roots().filter(there).count();
            let young = |root: &&usize| age(runs[**root].finished_at.unwrap(), at(1_500)) < rule.after;
            let gone = roots.iter().filter(|root| there(root)).filter(young).count();
            prop_assert!(gone <= ended.saturating_sub(keep), "only those past the number");
        }
    }

    #[test]
    fn in_the_end_all_that_are_recorded_and_past_their_time_are_gone(
        count in 1..8_usize, links in prop::collection::vec((0..8_usize, 0..3_u8), 8),
    ) {
        let mut runs: Vec<RunFacts> = (0..count).map(|n| run(&n.to_string(), Some(i64::try_from(n).unwrap()))).collect();
        for (at, (to, kind)) in links.iter().enumerate().take(count).skip(1) {
            let earlier = to % at;
            match kind {
                0 => runs[at].retries = Some(earlier.to_string()),
                1 => runs[at].parent = Some(Parent { uid: format!("uid-{earlier}"), owns: true }),
                _ => {}
            }
        }
        for _ in 0..count {
            let rule = Rule { keep: 0, after: Duration::from_secs(1) };
            let left = leaving(&runs, |_| rule, STAY, at(10_000));
            let gone: HashSet<usize> = left.iter().flat_map(|group| group.all.clone()).collect();
            let mut at = 0..;
            let stays: Vec<RunFacts> = runs.iter().filter(|_| !gone.contains(&at.next().unwrap())).cloned().collect();
            runs = stays;
        }
        prop_assert!(runs.is_empty(), "{runs:?}");
    }
}
