//! The times of schedules, and the runs that events start.

use jiff::{SignedDuration, Timestamp, tz::TimeZoneDatabase};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NotStarted, SourcePlan, schedule::SchedulePlan};
use crate::{facts::ReleaseFacts, plan::Plan};
use signoff_api::{Definition, Digest, trigger::TriggerReason};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(schedule: Value) -> Result<SchedulePlan, Vec<(&'static str, String)>> {
    SchedulePlan::parse(&serde_json::from_value(schedule).unwrap())
}

fn in_zone(cron: &str, zone: &str) -> SchedulePlan {
    schedule(json!({ "cron": cron, "timeZone": zone })).unwrap()
}

/// The first times after one, as they are in the zone.
fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let (plan, mut at) = (in_zone(cron, zone), time(after));
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let next = || {
        at = plan.next_after(at)?;
        Some(
            at.to_zoned(zone.clone())
                .strftime("%a %m-%d %H:%M %:z")
                .to_string(),
        )
    };
    std::iter::from_fn(next).take(count).collect()
}

#[test]
fn each_local_time_that_is_named_comes_once_when_the_clock_changes() {
    for (cron, zone, after, expected) in [
        // forward at 02:00 in New York
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["Sun 03-08 03:00 -04:00", "Mon 03-09 02:30 -04:00"],
        ),
        (
            "0,30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["Sun 03-08 03:00 -04:00", "Mon 03-09 02:00 -04:00"],
        ),
        (
            "0 3 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["Sun 03-08 03:00 -04:00", "Mon 03-09 03:00 -04:00"],
        ),
        // back at 02:00
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            ["Sun 11-01 01:30 -04:00", "Mon 11-02 01:30 -05:00"],
        ),
        (
            "30 1,2 * * *",
            "America/New_York",
            "2026-11-01T00:00:00-04:00",
            ["Sun 11-01 01:30 -04:00", "Sun 11-01 02:30 -05:00"],
        ),
        // forward at midnight in Cairo
        (
            "0 0 * * *",
            "Africa/Cairo",
            "2026-04-23T12:00:00Z",
            ["Fri 04-24 01:00 +03:00", "Sat 04-25 00:00 +03:00"],
        ),
        (
            "@daily",
            "Africa/Cairo",
            "2026-10-29T12:00:00Z",
            ["Fri 10-30 00:00 +02:00", "Sat 10-31 00:00 +02:00"],
        ),
        // by half an hour on Lord Howe Island
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            ["Sun 10-04 02:30 +11:00", "Mon 10-05 02:15 +11:00"],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            ["Sun 04-05 01:45 +11:00", "Mon 04-06 01:45 +10:30"],
        ),
    ] {
        assert_eq!(times(cron, zone, after, 2), expected, "{cron} in {zone}");
    }
}

#[test]
fn a_schedule_of_every_hour_goes_by_the_time_that_passes() {
    let forward = times("0 * * * *", "America/New_York", "2026-03-08T00:30:00-05:00", 3);
    assert_eq!(
        forward,
        [
            "Sun 03-08 01:00 -05:00",
            "Sun 03-08 03:00 -04:00",
            "Sun 03-08 04:00 -04:00"
        ]
    );
    let back = times(
        "*/30 */1 * * *",
        "America/New_York",
        "2026-11-01T00:45:00-04:00",
        6,
    );
    assert_eq!(
        back,
        [
            "Sun 11-01 01:00 -04:00",
            "Sun 11-01 01:30 -04:00",
            "Sun 11-01 01:00 -05:00",
            "Sun 11-01 01:30 -05:00",
            "Sun 11-01 02:00 -05:00",
            "Sun 11-01 02:30 -05:00"
        ]
    );
}

#[test]
fn days_can_be_named_in_every_way_that_cron_has() {
    for (cron, expected) in [
        ("0 9 L * *", ["Sat 01-31 09:00 +00:00", "Sat 02-28 09:00 +00:00"]),
        (
            "0 9 15W * *",
            ["Thu 01-15 09:00 +00:00", "Mon 02-16 09:00 +00:00"],
        ),
        (
            "0 9 * * FRI#2",
            ["Fri 01-09 09:00 +00:00", "Fri 02-13 09:00 +00:00"],
        ),
        (
            "0 9 * * MON#L",
            ["Mon 01-26 09:00 +00:00", "Mon 02-23 09:00 +00:00"],
        ),
        (
            "30 7 * * MON-FRI",
            ["Thu 01-01 07:30 +00:00", "Fri 01-02 07:30 +00:00"],
        ),
        ("@weekly", ["Sun 01-04 00:00 +00:00", "Sun 01-11 00:00 +00:00"]),
        ("0 0 29 2 *", ["Tue 02-29 00:00 +00:00", "Sun 02-29 00:00 +00:00"]),
    ] {
        assert_eq!(times(cron, "UTC", "2025-12-31T23:59:59Z", 2), expected, "{cron}");
    }
}

#[test]
fn what_cannot_be_a_schedule_is_refused_with_what_is_wrong() {
    for (wrong, field, message) in [
        (json!({"cron": "0 0 30 2 *"}), "cron", "there is no such date"),
        (json!({"cron": "0 0 31 4,6 *"}), "cron", "there is no such date"),
        (json!({"cron": "* * * * * *"}), "cron", "at most once a minute"),
        (json!({"cron": "*/5 * * * * * 2027"}), "cron", "five fields"),
        (json!({"cron": "61 * * * *"}), "cron", "not a cron expression"),
        (json!({"cron": "soon"}), "cron", "not a cron expression"),
        (json!({"cron": "@reboot"}), "cron", "not a cron expression"),
        (
            json!({"cron": "0 9 * * *", "timeZone": "Mars/Olympus"}),
            "timeZone",
            "no time zone",
        ),
        (
            json!({"cron": "0 9 * * *", "jitter": "61m"}),
            "jitter",
            "at most 1h",
        ),
    ] {
        let problems = schedule(wrong.clone()).unwrap_err();
        assert_eq!(problems.len(), 1, "{wrong}");
        assert_eq!(problems[0].0, field, "{wrong}");
        assert!(problems[0].1.contains(message), "{wrong}: {}", problems[0].1);
    }
}

#[test]
fn of_the_times_that_were_missed_the_last_one_starts_a_run_or_none_does() {
    let plan = |missed: &str| schedule(json!({"cron": "0 * * * *", "missed": missed})).unwrap();
    let (after, none) = (time("2026-05-01T08:00:00Z"), SignedDuration::ZERO);
    let due = |missed: &str, now: &str| plan(missed).due(after, time(now), none);
    for missed in ["RunOnce", "Skip"] {
        let early = due(missed, "2026-05-01T08:59:59Z");
        assert_eq!((early.run, early.last, early.missed), (None, None, None));
        assert_eq!(early.next, Some(time("2026-05-01T09:00:00Z")));
        let now = due(missed, "2026-05-01T09:00:00.5Z");
        assert_eq!(now.run, Some(time("2026-05-01T09:00:00Z")), "{missed}");
        assert_eq!((now.missed, now.next), (None, Some(time("2026-05-01T10:00:00Z"))));
        // a new leader takes a while
        let taken_over = due(missed, "2026-05-01T09:01:30Z");
        assert_eq!(taken_over.run, now.run, "{missed}");
        let after_a_night = due(missed, "2026-05-02T08:30:00Z");
        let last = time("2026-05-02T08:00:00Z");
        assert_eq!(after_a_night.run, (missed == "RunOnce").then_some(last));
        assert_eq!(after_a_night.last, Some(last));
        assert_eq!(after_a_night.missed, Some(time("2026-05-01T09:00:00Z")));
        assert_eq!(after_a_night.next, Some(time("2026-05-02T09:00:00Z")));
    }
}

#[test]
fn a_jitter_is_the_same_each_time_and_differs_from_trigger_to_trigger() {
    let plan = schedule(json!({"cron": "0 9 * * *", "jitter": "30m"})).unwrap();
    let delays: Vec<_> = (0..20).map(|n| plan.delay(&format!("ns/flow/{n}"))).collect();
    assert_eq!(delays[3], plan.delay("ns/flow/3"));
    assert!(delays.iter().all(|delay| *delay < SignedDuration::from_mins(30)));
    let different: std::collections::BTreeSet<_> = delays.iter().collect();
    assert!(different.len() > 15, "{different:?}");
    let (at, delay) = (time("2026-05-01T09:00:00Z"), delays[3]);
    let before = plan.due(at - SignedDuration::from_hours(1), at, delay);
    assert_eq!(
        (before.run, before.next, before.wake_at),
        (None, Some(at), Some(at + delay))
    );
    let then = plan.due(at - SignedDuration::from_hours(1), at + delay, delay);
    assert_eq!(then.run, Some(at), "the time meant");
}

#[test]
fn years_of_every_minute_are_passed_over_at_once() {
    let plan = in_zone("* * * 1 *", "Europe/Berlin");
    let due = plan.due(
        time("2026-02-01T00:00:00Z"),
        time("2046-12-31T00:00:00Z"),
        SignedDuration::ZERO,
    );
    assert_eq!(due.run, Some(time("2046-01-31T22:59:00Z")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often it is looked, with however long pauses: each time starts at most one run, none starts early or for a
    /// time before it began, and whoever looks often enough starts each.
    #[test]
    fn each_time_is_due_once_whenever_it_is_looked(
        zone in prop::sample::select(vec!["UTC", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Europe/Berlin"]),
        cron in prop::sample::select(vec!["*/20 * * * *", "0,30 0-3 * * *", "15 2 * * *", "30 1 * * *", "45 23 * * 6", "0 */3 * * *"]),
        start in 1_767_225_600_i64..1_798_761_600,
        pauses in prop::collection::vec(1_i64..7_200, 1..200),
    ) {
        let plan = in_zone(cron, zone);
        let start = Timestamp::from_second(start).unwrap();
        let (mut now, mut cursor, mut runs) = (start, start, Vec::new());
        for pause in pauses {
            now += SignedDuration::from_secs(pause);
            let due = plan.due(cursor, now, SignedDuration::ZERO);
            if let Some(run) = due.run {
                prop_assert!(run > cursor && run <= now);
                runs.push(run);
            }
            prop_assert!(due.next.is_some_and(|next| next > now));
            cursor = due.last.unwrap_or(cursor);
        }
        // those that come one after another, as a timer finds them
        let mut all = Vec::new();
        let mut at = start;
        while let Some(next) = plan.next_after(at).filter(|next| *next <= now) {
            prop_assert!(next > at);
            all.push(next);
            at = next;
        }
        prop_assert!(runs.iter().all(|run| all.contains(run)));
        prop_assert_eq!(runs.last(), all.last());
    }
}

fn definition() -> Definition {
    serde_json::from_value(json!({
        "inputs": {"type": "object", "required": ["day"], "properties": {"day": {"type": "string", "format": "date"}}},
        "triggers": [{"name": "nightly", "schedule": {"cron": "0 2 * * *"},
            "inputs": {"day": "${string(timestamp(trigger.at).getFullYear())}-01-01"}}],
        "steps": [{"name": "one", "set": {"at": "${trigger.?at.orValue('by hand')}"}}],
    }))
    .unwrap()
}

fn release() -> ReleaseFacts {
    ReleaseFacts {
        name: "load-0123456789".into(),
        flow: "load".into(),
        digest: Digest::of(b"1"),
        commit: None,
        author: None,
        repository: None,
        dependencies: vec![],
    }
}

#[test]
fn the_same_event_gives_the_same_run_and_another_one_another() {
    let definition = definition();
    let plan = Plan::compile(&definition).unwrap();
    let start = |at: &str| {
        let event = SchedulePlan::event(time(at));
        plan.triggers()[0].start(&definition, &release(), &event).unwrap()
    };
    let new = start("2026-05-01T02:00:00Z");
    assert_eq!(new, start("2026-05-01T02:00:00Z"));
    assert_ne!(new.name, start("2026-05-02T02:00:00Z").name);
    assert!(new.name.starts_with("load-") && new.name.len() == "load-".len() + 10);
    let said = serde_json::to_value(&new.spec).unwrap();
    assert_eq!(
        said,
        json!({
            "flow": "load", "release": "load-0123456789", "inputs": {"day": "2026-01-01"},
            "requestedBy": "system:signoff:trigger:load/nightly",
            "trigger": {"name": "nightly", "kind": "Schedule", "at": "2026-05-01T02:00:00.000000Z"},
        })
    );
}

#[test]
fn a_run_after_another_one_names_those_who_led_to_that_one() {
    let mut definition = definition();
    definition.triggers = serde_json::from_value(
        json!([{"name": "then", "flow": {"name": "export"}, "inputs": {"day": "2026-01-01"}}]),
    )
    .unwrap();
    let plan = Plan::compile(&definition).unwrap();
    let ended = serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": "export-1", "uid": "u"},
        "spec": {"flow": "export", "requestedBy": "dan", "earlierRequesters": ["ann"]},
        "status": {"phase": "Succeeded", "finishedAt": "2026-05-01T02:00:00Z"}}))
    .unwrap();
    let trigger = &plan.triggers()[0];
    let SourcePlan::Flow(source) = &trigger.source else {
        panic!("it is no flow");
    };
    let event = source.event(&ended, time("2026-05-01T01:00:00Z")).unwrap();
    let new = trigger.start(&definition, &release(), &event).unwrap();
    assert_eq!(new.spec.earlier_requesters, ["ann", "dan"]);
}

#[test]
fn inputs_that_do_not_fit_start_no_run() {
    let mut definition = definition();
    definition.triggers.as_mut().unwrap()[0].inputs =
        serde_json::from_value(json!({"day": "${trigger.name}"})).unwrap();
    let plan = Plan::compile(&definition).unwrap();
    let event = SchedulePlan::event(time("2026-05-01T02:00:00Z"));
    let why = plan.triggers()[0]
        .start(&definition, &release(), &event)
        .unwrap_err();
    assert!(matches!(why, NotStarted::Inputs(_)));
    assert_eq!(why.reason(), TriggerReason::InvalidInputs);
    assert!(why.message().contains("inputs.day"), "{}", why.message());
}

#[test]
fn what_is_wrong_with_a_trigger_is_told_with_its_place() {
    let problems = |trigger: Value| {
        let mut definition = serde_json::to_value(definition()).unwrap();
        definition["triggers"] = json!([trigger, {"name": "other", "inputs": {"day": "2026-01-01"},
            "schedule": {"cron": "0 2 * * *"}}]);
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        let told = problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message));
        told.collect::<Vec<_>>().join("; ")
    };
    let cron = json!({"cron": "0 2 * * *"});
    for (trigger, expected) in [
        (
            json!({"name": "other", "inputs": {"day": "2026-01-01"}, "schedule": cron}),
            "triggers[1].name: there is another trigger other",
        ),
        (
            json!({"name": "a", "inputs": {"day": "2026-01-01"}, "schedule": {"cron": "0 0 30 2 *"}}),
            "triggers[0].schedule.cron: there is no such date",
        ),
        (
            json!({"name": "a", "schedule": cron}),
            "triggers[0].inputs: inputs: \"day\" is a required property",
        ),
        (
            json!({"name": "a", "inputs": {"day": "soon"}, "schedule": cron}),
            "triggers[0].inputs: inputs.day",
        ),
        (
            json!({"name": "a", "inputs": {"day": "${trigger.at}", "x": 1}, "schedule": cron}),
            "triggers[0].inputs: inputs.x: there is no such input",
        ),
        (
            json!({"name": "a", "inputs": {"day": "${inputs.day}"}, "schedule": cron}),
            "triggers[0].inputs.day",
        ),
        (
            json!({"name": "a", "inputs": {"day": "${trigger.body}"}, "schedule": cron}),
            "triggers[0].inputs.day",
        ),
    ] {
        let told = problems(trigger);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_flow_without_triggers_knows_none() {
    let definition = json!({"steps": [{"name": "one", "set": {"at": "${trigger.at}"}}]});
    let definition: Definition = serde_json::from_value(definition).unwrap();
    let problems = Plan::compile(&definition).unwrap_err();
    assert!(
        problems[0].message.contains("the flow has no triggers"),
        "{}",
        problems[0].message
    );
}
