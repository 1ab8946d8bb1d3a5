//! `git` steps: what is asked for, asked for again, and what is wrong with a definition.

use super::*;
use crate::{
    effect::{GitContent, GitFileChange, GitRequest, GitTarget},
    facts::GitResponse,
};

fn propose(more: &Value) -> Value {
    let mut git = json!({
        "repository": "site", "branch": "fix-${run.name}", "base": "main", "message": "Say ${inputs.word}",
        "files": ["${inputs.files}", { "path": "index.html", "content": "${inputs.word}", "mode": "Executable" }],
        "pullRequest": { "into": "main", "title": "Say ${inputs.word}", "reviewers": ["${inputs.reviewers}", "dev"], "draft": true },
    });
    for (key, value) in more.as_object().unwrap() {
        if value.is_null() {
            git.as_object_mut().unwrap().remove(key);
        } else {
            git[key] = value.clone();
        }
    }
    json!({ "name": "propose", "retry": { "attempts": 2 }, "git": git })
}

fn inputs() -> Value {
    json!({ "word": "bye", "files": [{ "path": "a", "delete": true }], "reviewers": ["alice", "bob"] })
}

fn begun(more: &Value, inputs: &Value) -> Scenario {
    let mut run = Scenario::of(json!({ "steps": [propose(more)] }), inputs);
    run.tick();
    run
}

fn asked(run: &Scenario) -> &GitRequest {
    match &run.http()[0].request {
        Request::Git(request) => request,
        other => panic!("{other:?}"),
    }
}

fn problems(steps: &Value) -> Vec<String> {
    let definition = json!({
        "inputs": { "type": "object", "properties": { "word": { "type": "string" } }, "required": ["word"] }, "steps": steps,
    });
    let definition: Definition = serde_json::from_value(definition).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

#[test]
fn a_request_is_rendered_and_the_same_again_after_a_crash() {
    let mut run = begun(&json!({}), &inputs());
    let request = asked(&run).clone();
    assert_eq!(request.target, GitTarget::Repository("site".parse().unwrap()));
    assert_eq!(request.branch.as_str(), "fix-r");
    let commit = request.commit.clone().unwrap();
    assert_eq!(commit.message, "Say bye");
    let [gone, index] = commit.files.as_slice() else {
        panic!()
    };
    assert_eq!(gone.change, GitFileChange::Delete);
    let written = GitFileChange::Write {
        content: GitContent::Text("bye".into()),
        executable: Some(true),
    };
    assert_eq!(index.change, written);
    let pull = request.pull_request.clone().unwrap();
    assert_eq!(pull.reviewers, ["alice", "bob", "dev"]);
    let call = run.http()[0].clone();
    assert!(!call.fenced, "a commit that is there is adopted");
    assert_eq!(call.idempotency_key, "u/propose/1");
    run.restart();
    assert_eq!(
        (asked(&run), &run.http()[0].idempotency_key),
        (&request, &call.idempotency_key)
    );
}

#[test]
fn a_branch_that_moved_is_tried_again_and_the_answer_is_the_output() {
    let mut run = begun(&json!({}), &inputs());
    let moved = EffectError {
        reason: StepReason::BranchMoved,
        message: "somebody moved it".into(),
        retryable: true,
        may_have_happened: false,
        retry_after: None,
        status: None,
    };
    run.outcome("propose", Err(moved));
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.pass(1);
    let response = GitResponse {
        changed: true,
        commit: "c0ffee0".into(),
        branch: "fix-r".into(),
        pull_request: Some((7, "http://forge/7".into())),
    };
    run.outcome("propose", Ok(Response::Git(response)));
    let output = &run.state.steps[0].output.as_ref().unwrap().0;
    let wanted = json!({ "changed": true, "commit": "c0ffee0", "branch": "fix-r", "number": 7, "url": "http://forge/7" });
    assert_eq!(*output, wanted);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn what_comes_from_data_is_refused_before_anything_is_sent() {
    let of = |key: &str, value: Value| {
        let mut inputs = inputs();
        inputs[key] = value;
        inputs
    };
    for (inputs, why) in [
        (
            of("files", json!([{ "path": ".GIT/config", "content": "" }])),
            "files[0]",
        ),
        (
            of("files", json!([{ "path": "index.html/x", "content": "" }])),
            "below",
        ),
        (of("files", json!("x")), "no file"),
        (of("reviewers", json!([{}])), "reviewers"),
        (of("word", json!("  ")), "empty"),
        (of("word", json!("x".repeat(5000))), "4096"),
    ] {
        let pull = json!({ "into": "main", "title": "t", "reviewers": ["${inputs.reviewers}"] });
        let message = json!({ "message": "${inputs.word}", "pullRequest": pull });
        let run = begun(&message, &inputs);
        let error = run.state.steps[0].error.as_ref().unwrap();
        assert_eq!(error.reason, StepReason::InvalidRequest, "{why}");
        assert!(error.message.contains(why), "{why}: {}", error.message);
    }
}

#[test]
fn hidden_characters_of_a_title_and_a_message_are_made_visible() {
    let mut inputs = inputs();
    inputs["word"] = json!("a\u{202e}b\u{1b}");
    let run = begun(&json!({}), &inputs);
    let request = asked(&run);
    let told = [
        &request.commit.as_ref().unwrap().message,
        &request.pull_request.as_ref().unwrap().title,
    ];
    for told in told {
        assert!(
            !told.contains(['\u{202e}', '\u{1b}']) && told.contains("202e"),
            "{told}"
        );
    }
}

#[test]
fn what_data_says_is_set_apart_in_a_pull_request_and_what_the_author_says_stays() {
    let mut inputs = inputs();
    inputs["word"] = json!("@acme/owners Fixes #1\n\nApproved by: ceo ![x](https://evil/p.png)");
    let pull = json!({ "into": "main", "title": "Fixes #7: ${inputs.word}",
        "body": "**Fixes #7**, @dev\n\n${inputs.word}\n\n[More](https://h/x)" });
    let run = begun(&json!({ "pullRequest": pull }), &inputs);
    let pull = asked(&run).pull_request.clone().unwrap();
    assert!(
        pull.title
            .starts_with("Fixes #7: @ acme/owners Fixes # 1␊␊Approved by"),
        "{}",
        pull.title
    );
    let body = &pull.body;
    assert!(
        body.starts_with("**Fixes #7**, @dev\n\n") && body.ends_with("\n\n[More](https://h/x)"),
        "{body}"
    );
    for part in ["@acme", "#1", "\nApproved", "![", "](https://evil"] {
        assert!(!body.contains(part), "{part}: {body}");
    }
    let whole = begun(
        &json!({ "pullRequest": { "into": "main", "title": "t", "body": "${inputs.word}" } }),
        &inputs,
    );
    let body = asked(&whole).pull_request.clone().unwrap().body;
    assert!(
        !body.contains("@acme") && body.contains("> Approved by: ceo"),
        "{body}"
    );
    let message = &asked(&run).commit.as_ref().unwrap().message;
    assert!(!message.contains("@acme") && !message.contains("#1"), "{message}");
}

#[test]
fn a_definition_says_what_is_wrong_with_its_commit() {
    let change = |more: Value| problems(&json!([propose(&more)]));
    let plain = json!({ "files": [{ "path": "a", "content": "${inputs.word}" }], "pullRequest": null });
    let with = |more: Value| {
        let mut all = plain.clone();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        change(all)
    };
    assert_eq!(change(plain.clone()), [""; 0]);
    for (more, why) in [
        (json!({ "branch": "refs/heads/x" }), "steps[0].git.branch"),
        (json!({ "base": "a b" }), "steps[0].git.base"),
        (json!({ "connection": "x" }), "either repository or connection"),
        (json!({ "message": null }), "belong together"),
        (
            json!({ "files": [{ "path": "../x", "content": "" }] }),
            "steps[0].git.files[0]",
        ),
        (
            json!({ "files": [{ "path": "x", "content": "", "to": "" }] }),
            "has no to",
        ),
        (
            json!({ "files": [{ "path": "x", "content": "", "mode": "link" }] }),
            "mode is",
        ),
        (
            json!({ "files": [{ "path": "x" }] }),
            "one of content, from and delete",
        ),
        (
            json!({ "files": [{ "path": "x", "content": "" }, { "path": "x", "content": "${inputs.word}" }] }),
            "files: x is there twice",
        ),
        (
            json!({ "files": [{ "path": "x", "content": "" }, { "path": "x/y", "delete": true }] }),
            "another file lies below it",
        ),
        (
            json!({ "files": [{ "path": "x", "content": 5 }] }),
            "files[0]: the content is no text",
        ),
        (
            json!({ "files": [{ "path": "x", "delete": false }] }),
            "files[0]: delete is true",
        ),
        (json!({ "files": [] }), "files: there are none"),
        (
            json!({ "files": [
                { "path": "x", "content": "x".repeat(600 << 10) }, { "path": "y", "content": "y".repeat(600 << 10) },
            ] }),
            "files: they have more than 1048576 bytes together",
        ),
        (json!({ "message": " \n" }), "steps[0].git.message: it is empty"),
        (
            json!({ "pullRequest": { "into": "fix-${run.name}", "title": "t" } }),
            "pullRequest.into: it is the branch",
        ),
        (
            json!({ "pullRequest": { "into": "main", "title": "t", "reviewers": ["a", "a b"] } }),
            "pullRequest.reviewers[1]",
        ),
        (
            json!({ "pullRequest": { "into": "main", "title": " " } }),
            "pullRequest.title: it is empty",
        ),
        (
            json!({ "pullRequest": { "into": "main", "title": "x".repeat(256) } }),
            "pullRequest.title: it has more than 255",
        ),
        (
            json!({ "pullRequest": { "into": "main", "title": "t", "body": "x".repeat(60_001) } }),
            "pullRequest.body: it has more than 60000",
        ),
        (json!({ "files": "x" }), "list of files"),
        (json!({ "files": "${inputs.none}" }), "none"),
        (
            json!({ "repository": null, "connection": "x", "pullRequest": { "into": "main", "title": "t" } }),
            "pullRequest needs a repository",
        ),
        (
            json!({ "pullRequest": { "into": "a..b", "title": "t" } }),
            "git.pullRequest.into",
        ),
    ] {
        let found = with(more.clone());
        assert!(
            found.iter().any(|problem| problem.contains(why)),
            "{more}: {found:?}"
        );
    }
}

#[test]
fn the_output_is_typed_and_a_commit_is_guarded_by_what_people_said() {
    let step = propose(&json!({ "files": [{ "path": "a", "content": "x" }], "pullRequest": null }));
    let reads = |text: &str| problems(&json!([step, { "name": "tell", "set": { "x": text } }]));
    assert_eq!(reads("${steps.propose.output.branch}"), [""; 0]);
    assert_eq!(reads("${steps.propose.output.?number.orValue(0) + 1}"), [""; 0]);
    assert!(
        !reads("${steps.propose.output.number}").is_empty(),
        "it may be absent"
    );
    assert!(!reads("${steps.propose.output.sha}").is_empty());

    let ask =
        json!({ "name": "review", "approval": { "title": "?", "onReject": { "outcome": "Continue" } } });
    let found = problems(&json!([ask, step]));
    assert!(
        found.iter().any(|problem| problem.starts_with("steps[1]")),
        "{found:?}"
    );
}
