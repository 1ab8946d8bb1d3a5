//! `signoff demo` as a newcomer runs it: the binary, no arguments but the output format, twice in a row.

use std::process::{Command, Output};

use serde_json::Value;

fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signoff"))
        .arg("demo")
        .args(args)
        .env("NO_COLOR", "1")
        .env_remove("KUBECONFIG")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_tells_the_whole_story_and_does_so_twice() {
    for _ in 0..2 {
        let output = demo(&[]);
        let told = text(&output.stdout);
        assert!(output.status.success(), "{told}\n{}", text(&output.stderr));
        for part in [
            "draft Release refund-",
            "is live",
            "stays on its own release",
            "dev, who asked, tries to approve; it does not count",
            "agent tries to approve and is refused",
            "alice of finance approves",
            "Succeeded",
        ] {
            assert!(told.contains(part), "{part:?} is missing in:\n{told}");
        }
    }
}

#[test]
fn the_demo_as_json_is_one_document_with_every_scene_and_the_timeline() {
    let output = demo(&["-o", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document on stdout");
    assert_eq!(document["ok"], true);
    let scenes: Vec<&str> = document["data"]["scenes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scene| scene["name"].as_str().unwrap())
        .collect();
    let expected = [
        "start",
        "repository",
        "draft",
        "promote",
        "run",
        "approval",
        "draft",
        "promote",
        "pinned",
        "requester-refused",
        "agent-refused",
        "approved",
        "effect",
        "callback",
        "succeeded",
    ];
    assert_eq!(scenes, expected);
    let timeline = &document["data"]["timeline"];
    assert_eq!(timeline["approvedBy"], "alice");
    let steps: Vec<&str> = timeline["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["propose", "review", "pay", "settled"]);
}
