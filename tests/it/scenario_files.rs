//! `signoff test`: the scenarios of the examples hold, and what the verb prints and writes.

use std::{path::Path, process::Command};

use serde_json::Value;

fn test(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_signoff"))
        .arg("test")
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_scenarios_of_every_example_hold() {
    let (code, out, err) = test(&["-R", "examples"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.contains("ok     examples/refund/tests/refund.yaml: changed-then-paid-once"),
        "{out}"
    );
}

/// The scenarios of the refund example in a folder of its own, changed.
fn changed(folder: &Path, from: &str, to: &str) -> String {
    for file in ["flow.yaml", "connection.yaml"] {
        std::fs::copy(format!("examples/refund/{file}"), folder.join(file)).unwrap();
    }
    let text = std::fs::read_to_string("examples/refund/tests/refund.yaml").unwrap();
    assert!(text.contains(from));
    std::fs::create_dir(folder.join("tests")).unwrap();
    let path = folder.join("tests/refund.yaml");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    path.display().to_string()
}

#[test]
fn what_is_not_as_expected_is_told_with_its_story_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "times: 1, request", "times: 2, request");
    let report = dir.path().join("report.xml");
    let (code, out, _) = test(&[&file, "--junit", report.to_str().unwrap()]);
    assert_eq!(code, Some(8), "{out}");
    assert!(out.contains("calls of pay: sent 1 times; expected 2"), "{out}");
    assert!(out.contains("the operator is killed and starts again"), "{out}");
    assert!(out.ends_with("2 passed, 1 failed\n"), "{out}");
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("tests=\"3\" failures=\"1\""), "{report}");
    let (_, out, _) = test(&[&file, "-o", "json", "--name", "nobody"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["data"]["passed"], 1);
    assert_eq!(out["data"]["scenarios"][0]["name"], "nobody-answers");
}

#[test]
fn update_writes_what_happened_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "times: 1, request", "times: 2, request");
    let before = std::fs::read_to_string(&file).unwrap();
    let (code, out, err) = test(&[&file, "--update"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(out, "3 expectations written\n");
    let after = std::fs::read_to_string(&file).unwrap();
    let head = before.split("  expect:\n").next().unwrap();
    assert!(after.starts_with(head), "{after}");
    let (code, out, _) = test(&[&file]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn what_cannot_be_read_is_told_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "crash: AfterSend", "crash: Sometimes");
    let (code, _, err) = test(&[&file]);
    assert_eq!(code, Some(8), "{err}");
    assert!(err.contains("refund.yaml:39:17:"), "{err}");
    assert!(
        err.contains("spec.stubs[2].crash: unknown variant `Sometimes`"),
        "{err}"
    );
    let (code, _, err) = test(&["examples/refund/flow.yaml"]);
    assert_eq!(code, Some(8), "{err}");
    assert!(err.contains("there is no scenario"), "{err}");
}

#[test]
fn flows_that_run_each_other_are_validated_together() {
    let dir = tempfile::tempdir().unwrap();
    let flow = |name: &str, child: &str, order: &str| {
        let text = format!(
            "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: {name}}}\nspec:\n  inputs: {{type: object, \
             properties: {{order: {{type: string}}}}}}\n  steps:\n  - name: run\n    flow:\n      name: {child}\n      \
             inputs: {{order: {order}}}\n"
        );
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).unwrap();
    };
    let validate = |files: &[&str]| {
        let files = files.iter().map(|file| dir.path().join(file));
        let validate = Command::new(env!("CARGO_BIN_EXE_signoff"))
            .arg("validate")
            .args(files)
            .output();
        let output = validate.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    flow("one", "two", "\"81\"");
    flow("two", "other", "\"81\"");
    assert_eq!(validate(&["one.yaml", "two.yaml"]).0, Some(0));
    flow("two", "one", "\"81\"");
    let (code, told) = validate(&["one.yaml", "two.yaml"]);
    assert_eq!(code, Some(8), "{told}");
    assert!(told.contains("one.yaml:9:7: spec.steps[0].flow.name"), "{told}");
    assert!(
        told.contains("in a circle: one runs two, which runs one"),
        "{told}"
    );
    assert_eq!(validate(&["one.yaml"]).0, Some(0), "the other one is not known");
    flow("two", "other", "\"81\"");
    flow("one", "two", "81");
    let (code, told) = validate(&["one.yaml", "two.yaml"]);
    assert_eq!(code, Some(8), "{told}");
    assert!(told.contains("flow two: inputs.order"), "{told}");
}
