//! What runs that wait cost, and how soon one of them goes on after a restart.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use kube::{
    Api,
    api::{ListParams, PostParams},
};
use signoff_api::{Approval, Run};

use crate::{
    Args, latency,
    load::at_once,
    server::{Server, ServerKind},
    table::Table,
    target::Target,
};

pub async fn measure(table: &mut Table, server: &mut Server, target: &Target, args: &Args) {
    let pool: Vec<Api<Run>> = (0..args.clients)
        .map(|_| Api::namespaced(server.client(), &target.namespace))
        .collect();
    let leads_since = server.leads_since().await;
    let before = settled_memory(server).await;
    // what the second half adds is what a run costs; the first pays for what a burst leaves as well
    let half = args.waiting / 2;
    fill(server, target, &pool, 0..half).await;
    let at_half = settled_memory(server).await;
    fill(server, target, &pool, half..args.waiting).await;
    let after = settled_memory(server).await;
    if server.leads_since().await != leads_since {
        // then there was more than one burst
        table.row("the operator lost its lead meanwhile", "yes", "");
    }
    let each = (after - before) / args.waiting as f64;
    let marginal = (after - at_half) / (args.waiting - half) as f64;
    let whose = if server.kind == ServerKind::Embedded {
        "process, its store included"
    } else {
        "operator"
    };
    let what = format!("memory of the {whose}, per waiting run");
    let told = format!(
        "{:.2} kB, of the second half {:.2} kB",
        each / 1_000.0,
        marginal / 1_000.0
    );
    table.row(&what, &told, "");
    let total = format!(
        "{:.0} MB, of which {:.0} MB without them",
        after / 1e6,
        before / 1e6
    );
    table.row(&format!("memory with {} waiting", args.waiting), &total, "");

    // the last Events of those that came are no writes of those that wait
    server.operator.rests(Duration::from_secs(2)).await;
    let writes = server.operator.count("signoff_api_writes_total").await;
    tokio::time::sleep(Duration::from_secs(args.quiet)).await;
    let writes = server.operator.count("signoff_api_writes_total").await - writes;
    let what = format!(
        "API writes in {} s while {} wait, renewals of the lease aside",
        args.quiet, args.waiting
    );
    table.row(&what, &format!("{writes:.0}"), "");
    latency::measure(
        table,
        server,
        target,
        args.decisions,
        &format!("{} waiting", args.waiting),
    )
    .await;

    let took = restart(server, target).await;
    let fresh = settled_memory(server).await;
    let aside = if server.kind == ServerKind::Embedded {
        ""
    } else {
        &format!(", its lease of {} s included", args.lease)
    };
    let what = format!("restart with {} waiting → first resume{aside}", args.waiting);
    let listed = listed(target).await;
    let beside = format!("{:.2} s (to list them)", listed.as_secs_f64());
    table.row(&what, &format!("{:.2} s", took.as_secs_f64()), &beside);
    table.row("memory after the restart", &format!("{:.0} MB", fresh / 1e6), "");
}

/// Lets these runs come in and wait.
async fn fill(server: &Server, target: &Target, pool: &[Api<Run>], which: Range<usize>) {
    at_once(which.len(), pool.len(), async |number| {
        let run = target.run(&format!("waits-{}", which.start + number), "asking");
        pool[number % pool.len()]
            .create(&PostParams::default(), &run)
            .await
            .unwrap();
    })
    .await;
    all_wait(server, which.end).await;
}

/// Waits until so many wait, as the operator counts them: to list them all the time would be a load of its own.
async fn all_wait(server: &Server, count: usize) {
    let patience = Duration::from_secs(1_800).max(Duration::from_millis(50) * u32::try_from(count).unwrap());
    let deadline = Instant::now() + patience;
    loop {
        let found = server.operator.count("signoff_runs{phase=\"Waiting\"}").await as usize;
        if found >= count {
            return;
        }
        assert!(Instant::now() < deadline, "only {found} wait");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// How long the API server alone takes to list the runs and the approvals that wait, as a new process has to.
async fn listed(target: &Target) -> Duration {
    let began = Instant::now();
    tokio::join!(all_of::<Run>(target), all_of::<Approval>(target));
    began.elapsed()
}

async fn all_of<K>(target: &Target)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let mut page = ListParams::default().limit(500);
    loop {
        let list = target.api::<K>().list(&page).await.unwrap();
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return,
        }
    }
}

/// Memory once nothing has changed it for longer than the operator takes to close what it no longer uses and to give back what is free.
async fn settled_memory(server: &Server) -> f64 {
    let mut last = server.operator.memory();
    loop {
        tokio::time::sleep(Duration::from_secs(45)).await;
        let now = server.operator.memory();
        if (now - last).abs() < 500_000.0 {
            return now;
        }
        last = now;
    }
}

/// Kills the operator while a run waits, and gives how long a new one takes until that run has gone on.
async fn restart(server: &mut Server, target: &Target) -> Duration {
    let question = target.question("waits-0").await;
    let called = target.calls.expect("waits-0");
    server.operator.kill();
    let began = Instant::now();
    if server.kind == ServerKind::Embedded {
        // there is no API server to decide at meanwhile
        server.operator.spawn();
        let decided = async {
            while target.client.apiserver_version().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            target.approve(&question).await
        };
        decided.await;
    } else {
        target.approve(&question).await;
        server.operator.spawn();
    }
    called.await.unwrap().0.duration_since(began)
}
