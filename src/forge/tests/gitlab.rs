//! GitLab as its documentation has it: <https://docs.gitlab.com/api/merge_requests/>.

use serde_json::{Value, json};

use super::{actor, commit, with};
use crate::forge::{
    AccountKind, Act, CommitState, CommitStatus, Login, NewFile, NewPullRequest, Opinion, PullRequestNumber,
    PullRequestState,
};
use signoff_api::repository::ForgeKind::GitLab;

const PROJECT: &str = "/projects/acme%2Fflows";

fn user(id: u64, username: &str) -> Value {
    json!({"id": id, "username": username, "state": "active"})
}

fn request(iid: u64, more: &Value) -> Value {
    let mut request = json!({"id": 1, "iid": iid, "web_url": "https://gitlab.com/acme/flows/-/merge_requests/41", "title": "t",
        "description": "", "author": user(1, "signoff"), "state": "opened", "source_branch": "signoff/ns/a", "target_branch": "main",
        "source_project_id": 7, "target_project_id": 7, "sha": "a".repeat(40), "merge_commit_sha": null, "squash_commit_sha": null,
        "merge_user": null, "merged_at": null, "closed_by": null, "closed_at": null, "updated_at": "2026-11-23T10:00:00.123Z"});
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn line(method: &str, rest: &str) -> String {
    format!("{method} {PROJECT}/{rest}")
}

#[tokio::test]
async fn a_merge_request_tells_who_merged_or_closed_it() {
    let at = |time: &str| Some(time.parse().unwrap());
    let merged = json!({"state": "merged", "merge_user": user(2, "alice"), "merged_at": "2026-11-23T10:01:00.000Z", "squash_commit_sha": "c".repeat(40)});
    let one = line("GET", "merge_requests/41");
    let (_, forge) = with(GitLab, &[(one.as_str(), 200, request(41, &merged))]).await;
    let act = Act {
        by: Some(actor(2, "alice")),
        at: at("2026-11-23T10:01:00Z"),
    };
    let read = forge.pull_request(PullRequestNumber(41)).await.unwrap();
    assert_eq!(
        read.state,
        PullRequestState::Merged {
            act,
            commit: Some(commit("c"))
        }
    );

    let closed =
        json!({"state": "closed", "closed_by": user(3, "bob"), "closed_at": "2026-11-23T10:02:00.000Z"});
    let (_, forge) = with(GitLab, &[(one.as_str(), 200, request(41, &closed))]).await;
    let act = Act {
        by: Some(actor(3, "bob")),
        at: at("2026-11-23T10:02:00Z"),
    };
    assert_eq!(
        forge.pull_request(PullRequestNumber(41)).await.unwrap().state,
        PullRequestState::Closed(act)
    );

    let fork = request(41, &json!({"source_project_id": 8}));
    let list = line("GET", "merge_requests");
    let (contract, forge) = with(GitLab, &[(list.as_str(), 200, json!([fork]))]).await;
    assert!(
        forge.pull_requests_from("signoff/ns/a").await.unwrap().is_empty(),
        "a fork's is another's"
    );
    assert!(
        contract.lines()[0].contains("state=all&source_branch=signoff%2Fns%2Fa"),
        "{:?}",
        contract.lines()
    );
}

#[tokio::test]
async fn approvals_and_requested_changes_are_its_reviews() {
    let note = |id: u64, author: u64, system: bool, body: &str| {
        json!({"id": id, "author": user(author, "x"), "system": system, "body": body, "created_at": "2026-11-23T10:00:00.000Z",
        "updated_at": if id == 4 { "2026-11-23T10:09:00.000Z" } else { "2026-11-23T10:00:00.000Z" }})
    };
    let (one, approvals) = (
        line("GET", "merge_requests/41"),
        line("GET", "merge_requests/41/approvals"),
    );
    let (reviewers, notes) = (
        line("GET", "merge_requests/41/reviewers"),
        line("GET", "merge_requests/41/notes"),
    );
    let versions = line("GET", "merge_requests/41/versions");
    let version = |digit: &str, minute: u32| json!({"head_commit_sha": digit.repeat(40), "created_at": format!("2026-11-23T10:{minute:02}:00.000Z")});
    let (contract, forge) = with(GitLab, &[
        (one.as_str(), 200, request(41, &json!({}))),
        // the approval came before the newest push
        (versions.as_str(), 200, json!([version("c", 9), version("a", 5), version("b", 1)])),
        (approvals.as_str(), 200, json!({"approved": true, "approved_by": [{"user": user(2, "alice"), "approved_at": "2026-11-23T10:07:00.000Z"}]})),
        (reviewers.as_str(), 200, json!([{"user": user(3, "bob"), "state": "requested_changes"}, {"user": user(2, "alice"), "state": "approved"}])),
        (notes.as_str(), 200, json!([note(1, 3, false, "first"), note(2, 3, false, "half, please"), note(3, 3, true, "requested changes"), note(4, 2, false, "fine")])),
    ]).await;
    let reviews = forge.reviews(PullRequestNumber(41)).await.unwrap();
    let told: Vec<_> = reviews
        .iter()
        .map(|review| (review.by.login.as_str(), review.opinion, review.body.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("alice", Opinion::Approved, ""),
            ("bob", Opinion::ChangesRequested, "half, please")
        ]
    );
    assert_eq!(
        reviews[0].commit,
        Some(commit("a")),
        "what was there when she approved"
    );
    // one more note is no other review
    let more = json!([
        note(2, 3, false, "half, please"),
        note(5, 3, false, "are you there?")
    ]);
    let comments = forge.comments(PullRequestNumber(41)).await.unwrap();
    contract.answer(&notes, 200, &[], more.to_string().into_bytes());
    let again = forge.reviews(PullRequestNumber(41)).await.unwrap();
    assert_eq!(again[1].body, "are you there?");
    assert_eq!(again[1].id, reviews[1].id);
    // versions are read page by page
    let mut lines = contract.lines().into_iter();
    assert!(lines.any(|line| line.starts_with(&versions) && line.contains("page=1")));
    assert_eq!(comments.len(), 3, "what GitLab writes itself is no comment");
    let edited: Vec<bool> = comments.iter().map(|comment| comment.edited).collect();
    assert_eq!(edited, [false, false, true]);
}

/// What GitLab is asked to tell whether a commit is the merge of merge request 41.
struct Merged<'a> {
    /// More of the merge request.
    request: Value,
    method: &'a str,
    /// The merge requests that it names for the head.
    of_head: Value,
}

impl Merged<'_> {
    async fn is_merge(&self, of: &str, parents: &[&str]) -> Option<bool> {
        let one = line("GET", "merge_requests/41");
        let named = |digit: &str| {
            line(
                "GET",
                &format!("repository/commits/{}/merge_requests", digit.repeat(40)),
            )
        };
        let (of_head, of_commit) = (named("a"), named("c"));
        let project = format!("GET {PROJECT}");
        let answers = [
            (one.as_str(), 200, request(41, &self.request)),
            (of_commit.as_str(), 200, json!([])),
            (of_head.as_str(), 200, self.of_head.clone()),
            (
                project.as_str(),
                200,
                json!({"id": 7, "merge_method": self.method}),
            ),
        ];
        let (_, forge) = with(GitLab, &answers).await;
        let pull = forge.pull_request(PullRequestNumber(41)).await.unwrap();
        let parents: Vec<_> = parents.iter().map(|digit| commit(digit)).collect();
        forge.is_merge_of(&pull, commit(of), &parents).await.unwrap()
    }
}

#[tokio::test]
async fn a_merge_is_that_of_a_merge_request_only_if_it_was_merged_by_itself() {
    let merged = |iid: u64| request(iid, &json!({"state": "merged"}));
    let with = |request: Value, method: &'static str, of_head: Value| Merged {
        request,
        method,
        of_head,
    };
    let ours = json!([merged(41), request(57, &json!({}))]);
    let by_commit = with(
        json!({"state": "merged", "merge_commit_sha": "c".repeat(40)}),
        "merge",
        ours.clone(),
    );
    assert_eq!(by_commit.is_merge("c", &["b", "a"]).await, Some(true));
    assert_eq!(by_commit.is_merge("c", &["b", "d"]).await, Some(false));
    // the head got there by a push, as this project makes merge commits
    assert_eq!(by_commit.is_merge("a", &["b"]).await, Some(false));
    let both = json!([merged(41), merged(57)]);
    let along = with(json!({"state": "merged"}), "merge", both.clone());
    assert_eq!(along.is_merge("c", &["b", "a"]).await, Some(false));

    let squashed = with(
        json!({"state": "merged", "squash_commit_sha": "c".repeat(40)}),
        "merge",
        ours.clone(),
    );
    assert_eq!(squashed.is_merge("c", &["b"]).await, Some(true));
    assert_eq!(
        squashed.is_merge("d", &["b", "c"]).await,
        Some(true),
        "squashed, then merged"
    );

    let moved = with(json!({"state": "merged"}), "ff", ours);
    assert_eq!(moved.is_merge("a", &["b"]).await, Some(true));
    assert_eq!(moved.is_merge("d", &["b"]).await, Some(false));
    let along = with(json!({"state": "merged"}), "ff", both);
    assert_eq!(along.is_merge("a", &["b"]).await, Some(false));
    let silent = with(json!({"state": "merged"}), "ff", json!([]));
    assert_eq!(silent.is_merge("a", &["b"]).await, None);
}

#[tokio::test]
async fn how_many_files_it_changes_is_a_text_that_may_say_more_than_it_counts() {
    let one = line("GET", "merge_requests/41");
    for (count, files) in [
        (json!("2"), Some(2)),
        (json!("1000+"), Some(u64::MAX)),
        (json!(null), None),
    ] {
        let answer = request(41, &json!({"changes_count": count}));
        let (_, forge) = with(GitLab, &[(one.as_str(), 200, answer)]).await;
        assert_eq!(forge.changed_files(PullRequestNumber(41)).await.unwrap(), files);
    }
}

#[tokio::test]
async fn a_merge_request_is_opened_changed_and_closed() {
    let (list, one, new) = (
        line("GET", "merge_requests"),
        line("GET", "merge_requests/41"),
        line("POST", "merge_requests"),
    );
    let put = line("PUT", "merge_requests/41");
    let wanted = NewPullRequest {
        head: "signoff/ns/a".into(),
        base: "main".into(),
        title: "Sign off: go?".into(),
        body: "text".into(),
        draft: false,
        reviewers: vec![Login::new("Alice"), Login::new("nobody")],
    };
    let (contract, forge) = with(
        GitLab,
        &[
            ("GET /user", 200, user(1, "signoff")),
            // somebody else's from the same branch is not written to
            (
                list.as_str(),
                200,
                json!([request(40, &json!({"author": user(5, "mallory")}))]),
            ),
            ("GET /users", 200, json!([user(2, "alice")])),
            (new.as_str(), 201, request(41, &json!({}))),
        ],
    )
    .await;
    forge.open_pull_request(&wanted).await.unwrap();
    let sent = contract.body("POST");
    assert_eq!(
        (
            &sent["source_branch"],
            &sent["target_branch"],
            &sent["reviewer_ids"]
        ),
        (&json!("signoff/ns/a"), &json!("main"), &json!([2]))
    );

    let answers = [
        ("GET /user", 200, user(1, "signoff")),
        (
            list.as_str(),
            200,
            json!([request(41, &json!({"target_branch": "live"}))]),
        ),
        (one.as_str(), 200, request(41, &json!({}))),
        (put.as_str(), 200, request(41, &json!({}))),
    ];
    let (contract, forge) = with(GitLab, &answers).await;
    forge.open_pull_request(&wanted).await.unwrap();
    assert_eq!(
        contract.body("PUT"),
        json!({"title": "Sign off: go?", "description": "text", "target_branch": "main"})
    );
    // a draft is one by its title, until people say that it is ready
    let draft = NewPullRequest {
        draft: true,
        reviewers: vec![],
        ..wanted
    };
    for (there, title) in [
        (json!([]), "Draft: Sign off: go?"),
        (
            json!([request(41, &json!({"title": "Draft: before"}))]),
            "Draft: Sign off: go?",
        ),
        (json!([request(41, &json!({"title": "before"}))]), "Sign off: go?"),
    ] {
        let answers = [
            ("GET /user", 200, user(1, "signoff")),
            (list.as_str(), 200, there),
            (one.as_str(), 200, request(41, &json!({}))),
            (put.as_str(), 200, request(41, &json!({}))),
            (new.as_str(), 201, request(41, &json!({}))),
        ];
        let (contract, forge) = with(GitLab, &answers).await;
        forge.open_pull_request(&draft).await.unwrap();
        let made = contract.made();
        let titles: Vec<_> = made
            .iter()
            .filter_map(|made| made.body["title"].as_str())
            .collect();
        assert_eq!(titles, [title]);
    }
    let (contract, forge) = with(GitLab, &answers).await;
    forge.close_pull_request(PullRequestNumber(41)).await.unwrap();
    assert_eq!(contract.body("PUT"), json!({"state_event": "close"}));
}

#[tokio::test]
async fn an_account_is_looked_up_by_its_name_and_is_in_the_group_or_not() {
    let whole = json!({"id": 2, "username": "alice", "state": "active", "bot": false, "public_email": "alice@example.com"});
    let (_, forge) = with(
        GitLab,
        &[
            ("GET /users", 200, json!([user(2, "alice")])),
            ("GET /users/2", 200, whole),
            (
                "GET /groups/acme/members/all/2",
                200,
                json!({"id": 2, "username": "alice", "state": "active", "access_level": 40}),
            ),
        ],
    )
    .await;
    let account = forge.account(&Login::new("Alice")).await.unwrap();
    assert_eq!(forge.groups(&account).await.unwrap(), ["acme"]);
    assert_eq!(
        (account.kind, account.email.as_deref()),
        (AccountKind::User, Some("alice@example.com"))
    );
    assert!(
        forge.account(&Login::new("ali")).await.is_err(),
        "a search is no match"
    );
    let bot = json!({"id": 3, "username": "project_7_bot", "bot": true, "public_email": ""});
    let (_, forge) = with(GitLab, &[("GET /user", 200, bot)]).await;
    assert_eq!(forge.own_account().await.unwrap().kind, AccountKind::Bot);
}

#[tokio::test]
async fn files_branches_and_statuses_are_commits_deletions_and_pipelines() {
    let commits = line("POST", "repository/commits");
    let raw = line("GET", "repository/files/decisions%2Fns%2Fa.yaml/raw");
    let status = line("POST", &format!("statuses/{}", "a".repeat(40)));
    let delete = line("DELETE", "repository/branches/signoff%2Fns%2Fa");
    let (contract, forge) = with(
        GitLab,
        &[
            (commits.as_str(), 201, json!({})),
            (raw.as_str(), 200, json!({"x": 1})),
            (
                status.as_str(),
                400,
                json!({"message": "Cannot transition status via :enqueue from :pending"}),
            ),
            (delete.as_str(), 204, json!(null)),
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
    let sent = contract.body("POST");
    assert_eq!(
        (&sent["branch"], &sent["start_branch"]),
        (&json!("signoff/ns/a"), &json!("main"))
    );
    assert_eq!(
        sent["actions"],
        json!([{"action": "create", "file_path": "decisions/ns/a.yaml", "content": "x"}])
    );
    let branch = line("GET", "repository/branches/signoff%2Fns%2Fa");
    contract.answer(&branch, 200, &[], b"{}".to_vec());
    forge.propose_file(&new).await.unwrap();
    assert!(
        contract.lines().contains(&delete),
        "one that is there is made anew"
    );
    assert_eq!(
        forge.file(commit("a"), "decisions/ns/a.yaml").await.unwrap(),
        Some(br#"{"x":1}"#.to_vec())
    );
    assert_eq!(forge.file(commit("a"), "nothing").await.unwrap(), None);
    forge.delete_branch("signoff/ns/a").await.unwrap();
    forge.delete_branch("gone").await.unwrap();
    let shown = CommitStatus {
        context: "signoff/quorum".into(),
        state: CommitState::Pending,
        description: "d".into(),
        target: None,
    };
    forge.set_commit_status(commit("a"), &shown).await.unwrap();
}
