//! What a real Gitea answers when its people and settings are in the way of who did what.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use signoff::forge::{Login, PullRequestState};

use crate::controlplane::PATIENCE;
use crate::{Account, Pull, client::Desk};

impl Account {
    /// Leaves comments on the first line of a file, all in one review.
    async fn comment_on_the_line(&self, pull: &Pull, path: &str, count: usize) {
        let comment = json!({"path": path, "body": "hm", "new_position": 1});
        let review = json!({"event": "COMMENT", "body": "", "comments": vec![comment; count]});
        let path = pull.repo.path(&format!("/pulls/{}/reviews", pull.number));
        self.call(Method::POST, &path, review).await;
    }

    async fn reopen(&self, pull: &Pull) {
        let path = pull.repo.path(&format!("/pulls/{}", pull.number));
        self.call(Method::PATCH, &path, json!({"state": "open"})).await;
    }
}

fn closed_by(state: &PullRequestState) -> Option<Login> {
    match state {
        PullRequestState::Closed(act) => act.by.clone().map(|by| by.login),
        other => panic!("it is closed: {other:?}"),
    }
}

#[tokio::test]
async fn who_closed_it_last_is_found_behind_comments_that_the_timeline_leaves_out() {
    let Some(desk) = Desk::open().await else { return };
    let (bob, mallory) = (desk.colleague("bob").await, desk.colleague("mallory").await);
    let (request, pull) = desk.put().await;
    bob.close(&pull).await;
    bob.reopen(&pull).await;
    // its pages are cut before they are thinned out, so the first one is short and not the last
    desk.owner
        .comment_on_the_line(&pull, "decisions/ns/a.yaml", 60)
        .await;
    mallory.close(&pull).await;
    let by = closed_by(&desk.state(request.number).await);
    assert_eq!(by, Some(Login::new(&mallory.login)));
}

#[tokio::test]
async fn a_timeline_of_exactly_one_page_is_read() {
    let Some(desk) = Desk::open().await else { return };
    let (request, pull) = desk.put().await;
    let path = desk
        .repo
        .path(&format!("/issues/{}/timeline?limit=50", pull.number));
    let there = desk.owner.get(&path).await.as_array().unwrap().len();
    for _ in there..49 {
        desk.owner.comment(&pull, "hm").await;
    }
    desk.owner.close(&pull).await;
    assert_eq!(desk.owner.get(&path).await.as_array().unwrap().len(), 50);
    let by = closed_by(&desk.state(request.number).await);
    assert_eq!(by, Some(Login::new(&desk.owner.login)));
}

#[tokio::test]
async fn what_a_deleted_account_did_is_nobodys_and_hides_nothing_else() {
    let Some(desk) = Desk::open().await else { return };
    let (gone, alice) = (desk.colleague("gone").await, desk.colleague("alice").await);
    let (request, pull) = desk.put().await;
    let work = gone.checkout(&desk.repo).await;
    work.push("theirs", &[("b.txt", Some("2"))]).await;
    gone.open_pull(&desk.repo, "theirs", "main", "mine").await;
    gone.comment(&pull, "hm").await;
    gone.review(&pull, "APPROVED", "good").await;
    alice.review(&pull, "APPROVED", "fine").await;
    gone.close(&pull).await;
    let path = format!("/admin/users/{}", gone.login);
    desk.forge.admin().call(Method::DELETE, &path, json!(null)).await;

    assert_eq!(closed_by(&desk.state(request.number).await), None);
    let reviews = desk.client.reviews(request.number).await.unwrap();
    let by: Vec<_> = reviews.iter().map(|review| review.by.login.as_str()).collect();
    assert_eq!(by, [alice.login.as_str()]);
    assert_eq!(desk.client.comments(request.number).await.unwrap().len(), 1);
    let open = desk.client.open_pull_requests_into("main").await.unwrap();
    assert_eq!(open.len(), 1, "the one of the deleted account");
}

#[tokio::test]
async fn a_merge_that_the_forge_only_guesses_is_nobodys() {
    let Some(desk) = Desk::open().await else { return };
    let mallory = desk.colleague("mallory").await;
    let guess = json!({"has_pull_requests": true, "autodetect_manual_merge": true});
    desk.owner.call(Method::PATCH, &desk.repo.path(""), guess).await;
    let (request, _) = desk.put().await;
    // the newest push to the base is the owner's, and the proposal becomes a part of it without any merge
    let work = mallory.checkout(&desk.repo).await;
    work.git(&["fetch", "origin"]).await;
    work.git(&["push", "--force", "origin", "origin/main:refs/heads/signoff/ns/a"])
        .await;
    let guessed = async {
        loop {
            let said = desk.owner.pull(&desk.pull(request.number)).await;
            if said["merged"] == json!(true) {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let said = tokio::time::timeout(PATIENCE, guessed).await.unwrap();
    assert_eq!(
        said["merged_by"]["login"],
        desk.owner.login.as_str(),
        "who merged nothing"
    );
    let PullRequestState::Merged { act, .. } = desk.state(request.number).await else {
        panic!("it counts as merged");
    };
    assert_eq!(act.by, None);
}
