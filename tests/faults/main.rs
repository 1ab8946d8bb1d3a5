//! Operators as processes on a real API server, while things break around them.
//!
//! Whatever breaks: every run ends as it would have, and a call that must not be repeated is made at most once. And as the audit log has it:
//! every decision is judged once, nothing is overwritten unseen, no write of a process is accepted once another one leads, and nothing is
//! refused for want of a right.

#![allow(clippy::large_futures, reason = "a test's future is polled where it was made")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod audit;
mod story;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of it"
)]
mod support;

use std::time::Duration;

use story::Story;
use support::{
    controlplane::{self, ControlPlane},
    processes::{self, Operator},
    real,
};

/// How long an API server is away: the time that a client gives it to begin an answer has passed twice by then.
const AWAY: Duration = Duration::from_secs(60);

fn cluster(suite: &str) -> Option<ControlPlane> {
    let plane = ControlPlane::start_recording(suite)?;
    real::prepare(&plane);
    Some(plane)
}

/// Starts in a thread that may block.
async fn start(suite: &'static str) -> Option<ControlPlane> {
    tokio::task::spawn_blocking(|| cluster(suite)).await.unwrap()
}

/// What holds whatever broke, as long as at most one leads.
fn check(plane: &ControlPlane) {
    let log = plane.audit();
    audit::nobody_writes_after_another_leads(&log);
    audit::nothing_is_overwritten_and_nothing_counted_twice(&log);
    audit::nothing_was_refused(&log);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_are_killed_and_upgraded_in_the_midst_of_work_lose_nothing() {
    let Some(plane) = start("killed leaders").await else {
        return;
    };
    let mut operators = vec![
        Operator::start(&plane, "first"),
        Operator::start(&plane, "second"),
    ];
    let story = Story::begin(&plane, &operators, 12).await;
    for (number, end) in ["KILL", "TERM", "KILL", "TERM"].into_iter().enumerate() {
        story.until_payments(2 * (number + 1)).await;
        let leader = story.leader(&operators).await;
        // another one comes before this one goes, as in a rolling upgrade
        operators.push(Operator::start(&plane, &format!("later-{number}")));
        story.gateways(&operators);
        operators.remove(leader).end(end);
        story.gateways(&operators);
    }
    story.end().await;
    drop(operators);
    check(&plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_past_its_lease_writes_nothing_when_it_wakes() {
    let Some(plane) = start("a paused leader").await else {
        return;
    };
    let operators = [
        Operator::start(&plane, "first"),
        Operator::start(&plane, "second"),
    ];
    let story = Story::begin(&plane, &operators, 8).await;
    for round in 1..=2 {
        story.until_payments(2 * round).await;
        let leader = story.leader(&operators).await;
        operators[leader].signal("STOP");
        story.gateways(&operators[1 - leader..=1 - leader]);
        // the other one leads, and goes on with what the first one was at
        story.until_led_by(&operators[1 - leader]).await;
        story.until_payments(2 * round + 1).await;
        operators[leader].signal("CONT");
        story.gateways(&operators);
    }
    story.end().await;
    check(&plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_both_believe_they_lead_do_nothing_twice() {
    let Some(plane) = start("two leaders").await else {
        return;
    };
    let operators = [
        Operator::start_with(&plane.kubeconfig(), "first", &["--without-rivals"]),
        Operator::start_with(&plane.kubeconfig(), "second", &["--without-rivals"]),
    ];
    Story::begin(&plane, &operators, 8).await.end().await;
    let log = plane.audit();
    audit::nothing_is_overwritten_and_nothing_counted_twice(&log);
    audit::nothing_was_refused(&log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_for_a_minute_costs_time_only() {
    let Some(mut plane) = start("an API server that is away").await else {
        return;
    };
    let operators = [
        Operator::start(&plane, "first"),
        Operator::start(&plane, "second"),
    ];
    let story = Story::begin(&plane, &operators, 8).await;
    story.until_payments(3).await;
    plane.kill_api_server();
    story.a_callback_is_told_to_come_again().await;
    tokio::time::sleep(AWAY).await;
    let plane = tokio::task::spawn_blocking(move || {
        plane.start_api_server_again();
        plane
    });
    let plane = plane.await.unwrap();
    story.end().await;
    // an API server that has just come up refuses what it has not read its roles for, which is waited out like its absence
    let log = plane.audit();
    audit::nobody_writes_after_another_leads(&log);
    audit::nothing_is_overwritten_and_nothing_counted_twice(&log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_and_an_api_server_that_stall_cost_time_only() {
    let Some(plane) = start("a store that stalls").await else {
        return;
    };
    let operators = [
        Operator::start(&plane, "first"),
        Operator::start(&plane, "second"),
    ];
    let story = Story::begin(&plane, &operators, 8).await;
    for (component, pause) in [
        ("etcd", 1),
        ("kube-apiserver", 1),
        ("etcd", 4),
        ("kube-apiserver", 5),
    ] {
        story.until_payments(1).await;
        plane.signal(component, "STOP");
        tokio::time::sleep(Duration::from_secs(pause)).await;
        plane.signal(component, "CONT");
    }
    story.end().await;
    check(&plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_installed_after_the_operator_are_taken_up() {
    let installed = || {
        let plane = ControlPlane::start_recording("kinds that come later")?;
        let args = [
            "upgrade",
            "--install",
            "signoff",
            "charts/signoff",
            "--set=image.repository=registry.example/signoff",
            "--create-namespace",
            "-n",
            "signoff-system",
        ];
        plane.helm().run(&args).expect_ok();
        let can = ["auth", "can-i", "create", "secrets", "-n", "signoff-system"];
        plane.wait("the operator's rights", || plane.as_user("operator").run(&can).ok);
        Some(plane)
    };
    let Some(plane) = tokio::task::spawn_blocking(installed).await.unwrap() else {
        return;
    };
    let operators = [Operator::start(&plane, "first")];
    operators[0].until_it_answers().await;
    let plane = tokio::task::spawn_blocking(move || {
        real::prepare(&plane);
        plane
    });
    let plane = plane.await.unwrap();
    Story::begin(&plane, &operators, 2).await.end().await;
    check(&plane);
}

/// A store that gets a fifth of the time, all the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_slow_from_the_first_run_to_the_last_costs_time_only() {
    let Some(plane) = start("a slow store").await else {
        return;
    };
    let operators = [
        Operator::start(&plane, "first"),
        Operator::start(&plane, "second"),
    ];
    let story = Story::begin(&plane, &operators, 8).await;
    let slow = async {
        loop {
            plane.signal("etcd", "STOP");
            tokio::time::sleep(Duration::from_millis(400)).await;
            plane.signal("etcd", "CONT");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = story.end() => {}
        () = slow => {}
    }
    plane.signal("etcd", "CONT");
    check(&plane);
}

/// The new ones have other names in the lease, another lease and other logs, as the chart's values have it; people answer between the two.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_while_the_operator_is_upgraded_go_on_under_the_new_one() {
    let Some(plane) = start("an upgrade").await else {
        return;
    };
    let begin = |name: &str| {
        let args = tokio::task::block_in_place(|| processes::args_of_the_chart(&plane));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        Operator::start_with(&plane.kubeconfig(), name, &args)
    };
    let old = ["old-0", "old-1"].map(begin);
    let story = Story::prepare(&plane, &old, 6).await;
    story.until_all_wait().await;
    let values = ["--set=controller.leaseDuration=4s", "--set=log.format=text"];
    tokio::task::block_in_place(|| real::install(&plane, &values));
    for operator in old {
        operator.end("TERM");
    }
    let story = story.with_people(&plane);
    story.until_all_are_answered().await;
    let new = ["new-0", "new-1"].map(begin);
    story.gateways(&new);
    story.end().await;
    check(&plane);
}
