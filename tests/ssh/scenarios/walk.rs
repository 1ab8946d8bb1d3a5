//! The operator is cut off from the API server at its n-th write, for every n, and another one takes over: a process is
//! started once, and none is left.

use serde_json::json;
use signoff_api::run::ProcessPhase;

use crate::{
    server::{Sshd, is_alive},
    support::{
        faults::{Cut, cut},
        rig::{Rig, eventually},
    },
};

/// More than a run of this flow needs; the walk ends by itself when a cut is never reached.
const MOST_WRITES: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_starts_no_second_process_and_leaves_none() {
    walk(Cut::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_starts_no_second_process_and_leaves_none() {
    walk(Cut::After).await;
}

async fn walk(at: impl Fn(usize) -> Cut) {
    for n in 1..=MOST_WRITES {
        match one(at(n)).await {
            Some(true) => {}
            Some(false) => {
                assert!(n > 3, "the walk is over after {n} writes");
                return;
            }
            None => return,
        }
    }
    panic!("more than {MOST_WRITES} writes for one run");
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> Option<bool> {
    let server = Sshd::start("crash walk", "")?;
    let rig = Rig::open().await;
    server.connect(&rig, "vm", json!({})).await;
    let operator = rig.operator().await;
    let steps = json!([
        {"name": "start", "ssh": {"connection": "vm", "callback": "done",
            "command": "echo start >> starts; echo $$ > pid; echo \"$SIGNOFF_CALLBACK_URL\" > url; exec sleep 600"}},
        {"name": "done", "wait": {"callback": {}}},
        {"name": "check", "ssh": {"connection": "vm", "wait": true, "command": "echo checked"}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        eventually("it runs", || server.read("url").ends_with('\n')).await;
        let url = server.read("url");
        rig.call_back(url.trim().rsplit('/').next().unwrap(), "{}").await;
        rig.phase("r", "Succeeded").await;
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;

    assert_eq!(server.read("starts"), "start\n", "{at:?}");
    assert!(!is_alive(&server.read("pid")), "{at:?}");
    let processes = run.status.unwrap().processes;
    assert!(
        processes
            .iter()
            .all(|process| process.phase == ProcessPhase::Ended),
        "{at:?}: {processes:?}"
    );
    Some(reached)
}
