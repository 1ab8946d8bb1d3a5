//! GitHub as its documentation has it: <https://docs.github.com/en/rest>.

use serde_json::{Value, json};

use super::{TOKEN, actor, commit, with};
use crate::forge::{
    AccountKind, Act, CommentId, CommitState, CommitStatus, Login, NewFile, NewPullRequest, Opinion,
    PullRequestNumber, PullRequestState,
};
use signoff_api::repository::ForgeKind::GitHub;

fn user(id: u64, login: &str) -> Value {
    json!({"id": id, "login": login, "type": "User", "site_admin": false})
}

fn pull(number: u64, more: &Value) -> Value {
    let end = |name: &str, digit: &str| json!({"label": format!("acme:{name}"), "ref": name, "sha": digit.repeat(40), "repo": {"id": 7}});
    let mut pull = json!({"number": number, "html_url": "https://github.com/acme/flows/pull/1347", "title": "t", "body": null,
        "user": user(1, "signoff"), "state": "open", "merged_at": null, "merge_commit_sha": null, "updated_at": "2026-11-23T10:00:00Z",
        "head": end("signoff/ns/a", "a"), "base": end("main", "b")});
    for (key, value) in more.as_object().unwrap() {
        pull[key] = value.clone();
    }
    pull
}

const PULL: &str = "GET /repos/acme/flows/pulls/41";

#[tokio::test]
async fn who_merged_is_read_from_the_pull_request_and_who_closed_from_its_issue() {
    let merged = json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z", "merged_by": user(2, "alice"), "merge_commit_sha": "c".repeat(40)});
    let (contract, forge) = with(GitHub, &[(PULL, 200, pull(41, &merged))]).await;
    let read = forge.pull_request(PullRequestNumber(41)).await.unwrap();
    let act = Act {
        by: Some(actor(2, "alice")),
        at: Some("2026-11-23T10:01:00Z".parse().unwrap()),
    };
    assert_eq!(
        read.state,
        PullRequestState::Merged {
            act,
            commit: Some(commit("c"))
        }
    );
    assert_eq!(
        (read.head.as_str(), read.head_commit, read.same_project),
        ("signoff/ns/a", Some(commit("a")), true)
    );
    assert_eq!(contract.made()[0].authorization, format!("Bearer {TOKEN}"));

    let events = json!([
        event("closed", "dave", None),
        event("reopened", "dave", None),
        event("closed", "bob", None),
        event("head_ref_deleted", "signoff", None)
    ]);
    assert_eq!(closed_by(events).await.as_deref(), Some("bob"));
}

fn event(kind: &str, actor: &str, commit: Option<&str>) -> Value {
    json!({"id": 1, "event": kind, "actor": user(3, actor), "commit_id": commit, "commit_url": null, "created_at": "2026-11-23T10:02:00Z"})
}

/// Who closed a pull request to which this happened.
async fn closed_by(events: Value) -> Option<String> {
    let answers = [
        (PULL, 200, pull(41, &json!({"state": "closed"}))),
        ("GET /repos/acme/flows/issues/41/events", 200, events),
    ];
    let (_, forge) = with(GitHub, &answers).await;
    let read = forge.pull_request(PullRequestNumber(41)).await.unwrap();
    let PullRequestState::Closed(act) = read.state else {
        panic!("it is closed: {read:?}");
    };
    act.by.map(|actor| actor.login.to_string())
}

#[tokio::test]
async fn what_the_message_of_a_commit_closed_was_closed_by_nobody() {
    let by_message = event("closed", "alice", Some(&"d".repeat(40)));
    let by_hand = event("closed", "bob", None);
    assert_eq!(closed_by(json!([by_message])).await, None);
    assert_eq!(
        closed_by(json!([by_hand, event("reopened", "dave", None), by_message])).await,
        None
    );
    assert_eq!(closed_by(json!([])).await, None);
    // it went with its branch, which whoever merges something else from it may have deleted
    let with_branch = json!([by_hand, event("head_ref_deleted", "bob", None)]);
    assert_eq!(closed_by(with_branch).await, None);
    // there may be a newer one behind so many
    let many = vec![by_hand; 50];
    assert_eq!(closed_by(json!(many)).await, None);
}

/// Whether a commit with these parents is the merge of pull request 41, by what the forge says of that commit and of the head.
async fn is_merge(parents: &[&str], of_commit: &Value, of_head: &Value) -> Option<bool> {
    let merged = json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z", "merged_by": user(2, "alice"), "merge_commit_sha": "c".repeat(40)});
    let (of_c, of_a) = (commit_pulls("c"), commit_pulls("a"));
    let answers = [
        (PULL, 200, pull(41, &merged)),
        (of_c.as_str(), 200, of_commit.clone()),
        (of_a.as_str(), 200, of_head.clone()),
    ];
    let (_, forge) = with(GitHub, &answers).await;
    let request = forge.pull_request(PullRequestNumber(41)).await.unwrap();
    let parents: Vec<_> = parents.iter().map(|digit| commit(digit)).collect();
    forge.is_merge_of(&request, commit("c"), &parents).await.unwrap()
}

fn commit_pulls(digit: &str) -> String {
    format!("GET /repos/acme/flows/commits/{}/pulls", digit.repeat(40))
}

#[tokio::test]
async fn a_merge_is_that_of_a_pull_request_only_if_it_was_merged_by_itself() {
    let merged = |number: u64| {
        pull(
            number,
            &json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z"}),
        )
    };
    let (ours, none) = (json!([merged(41)]), json!([]));
    // merged, and squashed
    assert_eq!(is_merge(&["b", "a"], &ours, &ours).await, Some(true));
    assert_eq!(is_merge(&["b"], &ours, &none).await, Some(true));
    // one that is only open beside it is nothing
    let open_too = json!([merged(41), pull(57, &json!({}))]);
    assert_eq!(is_merge(&["b", "a"], &open_too, &ours).await, Some(true));
    // the commits came along with another pull request, or with one from the same head
    let other = json!([merged(57)]);
    assert_eq!(is_merge(&["b", "d"], &ours, &ours).await, Some(false));
    assert_eq!(is_merge(&["b", "a"], &other, &none).await, Some(false));
    assert_eq!(
        is_merge(&["b", "a"], &json!([merged(41), merged(57)]), &ours).await,
        Some(false)
    );
    assert_eq!(is_merge(&["b", "a"], &ours, &other).await, Some(false));
    assert_eq!(is_merge(&["b", "a", "d"], &ours, &ours).await, Some(false));
    // the forge says nothing yet
    assert_eq!(is_merge(&["b", "a"], &none, &none).await, None);
}

#[tokio::test]
async fn a_head_that_somebody_pushed_to_the_base_was_not_merged() {
    let ours = json!([pull(
        41,
        &json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z"})
    )]);
    let line = commit_pulls("a");
    let merged = json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z", "merged_by": user(2, "alice"), "merge_commit_sha": "a".repeat(40)});
    let (_, forge) = with(
        GitHub,
        &[(PULL, 200, pull(41, &merged)), (line.as_str(), 200, ours)],
    )
    .await;
    let request = forge.pull_request(PullRequestNumber(41)).await.unwrap();
    let moved = forge
        .is_merge_of(&request, commit("a"), &[commit("b")])
        .await
        .unwrap();
    assert_eq!(moved, Some(false));
}

#[tokio::test]
async fn how_many_files_it_changes_is_told_of_a_single_pull_request() {
    let (_, forge) = with(GitHub, &[(PULL, 200, pull(41, &json!({"changed_files": 2})))]).await;
    assert_eq!(forge.changed_files(PullRequestNumber(41)).await.unwrap(), Some(2));
}

#[tokio::test]
async fn the_pull_requests_of_a_branch_are_those_of_the_project_itself() {
    let listed = json!([
        pull(41, &json!({})),
        pull(
            40,
            &json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z"})
        )
    ]);
    let merged = pull(
        40,
        &json!({"state": "closed", "merged_at": "2026-11-23T10:01:00Z", "merged_by": user(2, "alice")}),
    );
    let answers = [
        ("GET /repos/acme/flows/pulls", 200, listed),
        ("GET /repos/acme/flows/pulls/40", 200, merged),
    ];
    let (contract, forge) = with(GitHub, &answers).await;
    let found = forge.pull_requests_from("signoff/ns/a").await.unwrap();
    let states: Vec<bool> = found
        .iter()
        .map(|pull| pull.state == PullRequestState::Open)
        .collect();
    assert_eq!(states, [true, false]);
    assert!(
        contract.lines()[0].contains("head=acme%3Asignoff%2Fns%2Fa"),
        "{:?}",
        contract.lines()
    );
    let deleted_fork = pull(
        41,
        &json!({"head": {"ref": "x", "sha": "a".repeat(40), "repo": null}}),
    );
    let (_, forge) = with(
        GitHub,
        &[("GET /repos/acme/flows/pulls", 200, json!([deleted_fork]))],
    )
    .await;
    assert!(!forge.open_pull_requests_into("main").await.unwrap()[0].same_project);
}

#[tokio::test]
async fn a_pull_request_is_opened_once_and_its_text_set_anew() {
    let (contract, forge) = with(
        GitHub,
        &[
            ("GET /user", 200, user(1, "signoff")),
            // somebody else's from the same branch is not written to
            (
                "GET /repos/acme/flows/pulls",
                200,
                json!([pull(40, &json!({"user": user(5, "mallory")}))]),
            ),
            ("POST /repos/acme/flows/pulls", 201, pull(41, &json!({}))),
            (
                "POST /repos/acme/flows/pulls/41/requested_reviewers",
                201,
                json!({}),
            ),
        ],
    )
    .await;
    let new = NewPullRequest {
        head: "signoff/ns/a".into(),
        base: "main".into(),
        title: "Sign off: go?".into(),
        body: "text".into(),
        draft: false,
        reviewers: vec![Login::new("alice")],
    };
    assert_eq!(
        forge.open_pull_request(&new).await.unwrap().number,
        PullRequestNumber(41)
    );
    let sent = contract.body("POST /repos/acme/flows/pulls");
    assert!(
        contract
            .made()
            .iter()
            .any(|made| made.body == json!({"reviewers": ["alice"]})),
        "{sent}"
    );

    let elsewhere = pull(
        41,
        &json!({"base": {"ref": "live", "sha": "b".repeat(40), "repo": {"id": 7}}}),
    );
    let answers = [
        ("GET /user", 200, user(1, "signoff")),
        ("GET /repos/acme/flows/pulls", 200, json!([elsewhere])),
        (
            "PATCH /repos/acme/flows/pulls/41",
            200,
            pull(41, &json!({"title": "Sign off: go?"})),
        ),
    ];
    let (contract, forge) = with(GitHub, &answers).await;
    forge.open_pull_request(&new).await.unwrap();
    assert_eq!(
        contract.body("PATCH"),
        json!({"title": "Sign off: go?", "body": "text", "base": "main"})
    );

    let draft = NewPullRequest {
        draft: true,
        reviewers: vec![],
        ..new
    };
    let answers = [
        ("GET /user", 200, user(1, "signoff")),
        ("GET /repos/acme/flows/pulls", 200, json!([])),
        ("POST /repos/acme/flows/pulls", 201, pull(42, &json!({}))),
    ];
    let (contract, forge) = with(GitHub, &answers).await;
    forge.open_pull_request(&draft).await.unwrap();
    let sent = contract.body("POST");
    assert_eq!(
        (&sent["title"], &sent["draft"]),
        (&json!("Sign off: go?"), &json!(true))
    );
}

#[tokio::test]
async fn reviews_comments_and_statuses_speak_its_words() {
    let review = |id: u64, state: &str| json!({"id": id, "user": user(2, "alice"), "state": state, "body": "b", "commit_id": "a".repeat(40), "submitted_at": "2026-11-23T10:00:00Z"});
    let reviews: Vec<Value> = [
        "APPROVED",
        "CHANGES_REQUESTED",
        "COMMENTED",
        "DISMISSED",
        "PENDING",
    ]
    .iter()
    .zip(1..)
    .map(|(state, id)| review(id, state))
    .collect();
    let status = format!("POST /repos/acme/flows/statuses/{}", "a".repeat(40));
    let (contract, forge) = with(
        GitHub,
        &[
            ("GET /repos/acme/flows/pulls/41/reviews", 200, json!(reviews)),
            (
                "GET /repos/acme/flows/issues/41/comments",
                200,
                json!([{"id": 8, "user": user(1, "signoff"), "body": "hi", "created_at": "2026-11-23T10:00:00Z", "updated_at": "2026-11-23T10:07:00Z"},
                    {"id": 9, "user": user(1, "signoff"), "body": "hi", "created_at": "2026-11-23T10:00:00Z", "updated_at": "2026-11-23T10:00:00Z"}]),
            ),
            (
                "POST /repos/acme/flows/issues/41/comments",
                201,
                json!({"id": 10, "user": user(1, "signoff"), "body": "new"}),
            ),
            (
                "PATCH /repos/acme/flows/issues/comments/10",
                200,
                json!({"id": 10, "body": "newer"}),
            ),
            (status.as_str(), 201, json!({})),
        ],
    )
    .await;
    let number = PullRequestNumber(41);
    let opinions: Vec<Opinion> = forge
        .reviews(number)
        .await
        .unwrap()
        .into_iter()
        .map(|review| review.opinion)
        .collect();
    assert_eq!(
        opinions,
        [Opinion::Approved, Opinion::ChangesRequested, Opinion::Commented]
    );
    let comments = forge.comments(number).await.unwrap();
    let told: Vec<_> = comments
        .iter()
        .map(|comment| (comment.id, comment.edited))
        .collect();
    assert_eq!(told, [(CommentId(8), true), (CommentId(9), false)]);
    let added = forge.add_comment(number, "new").await.unwrap();
    forge.edit_comment(number, added, "newer").await.unwrap();
    assert_eq!(contract.body("PATCH"), json!({"body": "newer"}));
    let shown = CommitStatus {
        context: "signoff/quorum".into(),
        state: CommitState::Success,
        description: "d".repeat(200),
        target: None,
    };
    forge.set_commit_status(commit("a"), &shown).await.unwrap();
    let sent = contract.body(&status);
    assert_eq!(
        (&sent["state"], &sent["context"]),
        (&json!("success"), &json!("signoff/quorum"))
    );
    assert_eq!(sent["description"].as_str().unwrap().chars().count(), 140);
}

#[tokio::test]
async fn an_account_has_the_teams_it_is_an_active_member_of() {
    let member = |state: &str| json!({"state": state, "role": "member"});
    let (_, forge) = with(
        GitHub,
        &[
            (
                "GET /users/alice",
                200,
                json!({"id": 2, "login": "alice", "type": "User", "email": "alice@example.com"}),
            ),
            (
                "GET /orgs/acme/teams",
                200,
                json!([{"slug": "finance"}, {"slug": "owners"}, {"slug": "ops"}]),
            ),
            (
                "GET /orgs/acme/teams/finance/memberships/alice",
                200,
                member("active"),
            ),
            (
                "GET /orgs/acme/teams/owners/memberships/alice",
                200,
                member("pending"),
            ),
        ],
    )
    .await;
    let account = forge.account(&Login::new("alice")).await.unwrap();
    assert_eq!(forge.groups(&account).await.unwrap(), ["acme/finance"]);
    assert_eq!(
        (account.kind, account.email.as_deref()),
        (AccountKind::User, Some("alice@example.com"))
    );
    let (_, forge) = with(
        GitHub,
        &[(
            "GET /users/app[bot]",
            200,
            json!({"id": 3, "login": "app[bot]", "type": "Bot"}),
        )],
    )
    .await;
    assert_eq!(
        forge.account(&Login::new("app[bot]")).await.unwrap().kind,
        AccountKind::Bot
    );
}

#[tokio::test]
async fn a_file_goes_to_a_new_branch_and_is_read_at_a_commit() {
    let (contract, forge) = with(
        GitHub,
        &[
            (
                "GET /repos/acme/flows/git/ref/heads/main",
                200,
                json!({"ref": "refs/heads/main", "object": {"sha": "b".repeat(40)}}),
            ),
            ("POST /repos/acme/flows/git/refs", 201, json!({})),
            (
                "PUT /repos/acme/flows/contents/decisions/ns/a.yaml",
                201,
                json!({}),
            ),
            (
                "DELETE /repos/acme/flows/git/refs/heads/gone",
                422,
                json!({"message": "Reference does not exist"}),
            ),
        ],
    )
    .await;
    let new = NewFile {
        branch: "signoff/ns/a".into(),
        base: "main".into(),
        path: "decisions/ns/a.yaml".into(),
        content: "x".into(),
        message: "m".into(),
    };
    forge.propose_file(&new).await.unwrap();
    assert_eq!(
        contract.body("POST /repos/acme/flows/git/refs"),
        json!({"ref": "refs/heads/signoff/ns/a", "sha": "b".repeat(40)})
    );
    assert_eq!(
        contract.body("PUT"),
        json!({"branch": "signoff/ns/a", "message": "m", "content": "eA=="})
    );
    forge.delete_branch("gone").await.unwrap();

    // a branch that is there is made anew, and the file that an answered question of the same name left on the base is replaced
    let there = json!({"type": "file", "encoding": "base64", "content": "eA==\n", "sha": "c1b0730e0133447badcfb2e9d7b5b0f5cd4a8ea4"});
    let reference = json!({"ref": "refs/heads/x", "object": {"sha": "b".repeat(40)}});
    let (contract, forge) = with(
        GitHub,
        &[
            (
                "GET /repos/acme/flows/git/ref/heads/signoff/ns/a",
                200,
                reference.clone(),
            ),
            (
                "DELETE /repos/acme/flows/git/refs/heads/signoff/ns/a",
                204,
                json!(null),
            ),
            ("GET /repos/acme/flows/git/ref/heads/main", 200, reference),
            ("POST /repos/acme/flows/git/refs", 201, json!({})),
            ("GET /repos/acme/flows/contents/decisions/ns/a.yaml", 200, there),
            (
                "PUT /repos/acme/flows/contents/decisions/ns/a.yaml",
                200,
                json!({}),
            ),
        ],
    )
    .await;
    forge.propose_file(&new).await.unwrap();
    let changes: Vec<String> = contract
        .lines()
        .into_iter()
        .filter(|line| !line.starts_with("GET"))
        .collect();
    assert_eq!(
        changes,
        [
            "DELETE /repos/acme/flows/git/refs/heads/signoff/ns/a",
            "POST /repos/acme/flows/git/refs",
            "PUT /repos/acme/flows/contents/decisions/ns/a.yaml"
        ]
    );
    assert_eq!(
        contract.body("PUT")["sha"],
        json!("c1b0730e0133447badcfb2e9d7b5b0f5cd4a8ea4")
    );
    assert_eq!(
        forge.file(commit("a"), "decisions/ns/a.yaml").await.unwrap(),
        Some(b"x".to_vec())
    );
    assert_eq!(forge.file(commit("a"), "nothing").await.unwrap(), None);
}
