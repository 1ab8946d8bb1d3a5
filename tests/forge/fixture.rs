//! What the forge tells of people, so that tests of decisions by pull request have something to stand on.

use serde_json::{Value, json};

use crate::{Account, Forge, Pull, ssh_key};

const SUITE: &str = "a real forge's own answers";

/// Whether it was merged, and by whom.
async fn merged(asker: &Account, pull: &Pull) -> (bool, Value) {
    let seen = asker.pull(pull).await;
    (
        seen["merged"].as_bool().unwrap(),
        seen["merged_by"]["login"].clone(),
    )
}

#[tokio::test]
async fn the_api_tells_who_merged_and_who_reviewed_whatever_the_commits_claim() {
    let Some(forge) = Forge::shared(SUITE).await else {
        return;
    };
    let [owner, author, reviewer] = [
        forge.user("owner").await,
        forge.user("author").await,
        forge.user("reviewer").await,
    ];
    let organisation = forge.name("shop");
    owner.create_organisation(&organisation).await;
    owner
        .create_team(&organisation, "finance", "write", &[&author, &reviewer])
        .await;
    let repo = owner.create_repository_of(&organisation, "flows").await;
    let mut work = author.checkout(&repo).await;
    let main = work.push("main", &[("a.txt", Some("1"))]).await;
    work.point("proposal", "main").await;
    work.claim(&owner.login, &owner.email);
    let head = work.push("proposal", &[("b.txt", Some("2"))]).await;
    assert_ne!(main, head);
    let rule = json!({"enable_push": false, "required_approvals": 1, "block_on_rejected_reviews": true,
        "enable_status_check": true, "status_check_contexts": ["quorum"]});
    owner.protect(&repo, "main", rule).await;
    let main_ref = work.commit("main", &[("c.txt", Some("3"))]).await;
    let pushed = work
        .try_git(&["push", "origin", &format!("{main_ref}:refs/heads/main")])
        .await;
    assert!(pushed.is_err(), "the branch is protected");

    let pull = author.open_pull(&repo, "proposal", "main", "A question").await;
    assert_eq!(author.pulls(&repo, "open").await.len(), 1);
    assert!(author.try_review(&pull, "APPROVED", "mine").await.is_err());
    reviewer
        .review(&pull, "REQUEST_CHANGES", "a smaller amount, please")
        .await;
    assert!(author.try_merge(&pull).await.is_err());
    reviewer.review(&pull, "APPROVED", "good").await;
    assert!(
        author.try_merge(&pull).await.is_err(),
        "the status is not there yet"
    );
    author.set_status(&repo, &head, "quorum", "success").await;
    assert_eq!(
        author.statuses(&repo, &head).await,
        [("quorum".to_owned(), "success".to_owned(), String::new())]
    );
    reviewer.merge(&pull).await;
    assert_eq!(merged(&author, &pull).await, (true, json!(reviewer.login)));
    let seen = author.pull(&pull).await;
    assert_eq!(seen["user"]["login"], json!(author.login));
    assert_eq!(
        owner.head(&repo, "main").await.as_deref(),
        seen["merge_commit_sha"].as_str()
    );
    let states: Vec<_> = author
        .reviews(&pull)
        .await
        .into_iter()
        .map(|(login, state, _)| (login, state))
        .collect();
    let by_reviewer = |state: &str| (reviewer.login.clone(), state.to_owned());
    assert_eq!(states, [by_reviewer("REQUEST_CHANGES"), by_reviewer("APPROVED")]);
}

#[tokio::test]
async fn a_closed_pull_request_is_not_a_merged_one_and_comments_keep_their_authors() {
    let Some(forge) = Forge::shared(SUITE).await else {
        return;
    };
    let owner = forge.user("owner").await;
    let guest = forge.user("guest").await;
    let repo = owner.create_repository("flows").await;
    owner.add_collaborator(&repo, &guest, "read").await;
    let work = owner.checkout(&repo).await;
    work.push("main", &[("a.txt", Some("1"))]).await;
    work.point("proposal", "main").await;
    work.push("proposal", &[("a.txt", None), ("b.txt", Some("2"))])
        .await;
    let pull = owner.open_pull(&repo, "proposal", "main", "A question").await;
    guest.comment(&pull, "why?").await;
    assert!(guest.try_merge(&pull).await.is_err(), "a reader cannot merge");
    owner.close(&pull).await;
    assert_eq!(guest.pull(&pull).await["state"], json!("closed"));
    assert_eq!(merged(&guest, &pull).await, (false, Value::Null));
    assert_eq!(
        owner.comments(&pull).await,
        [(guest.login.clone(), "why?".to_owned())]
    );
    let emails = guest.get("/user/emails").await;
    assert_eq!(
        (&emails[0]["email"], &emails[0]["verified"]),
        (&json!(guest.email), &json!(true))
    );
}

#[tokio::test]
async fn a_key_and_a_token_open_no_more_than_they_were_made_for() {
    let Some(forge) = Forge::shared(SUITE).await else {
        return;
    };
    let owner = forge.user("owner").await;
    let repo = owner.create_repository("flows").await;
    let (_, public) = ssh_key();
    owner.add_key("laptop", &public).await;
    assert_eq!(owner.get("/user/keys").await[0]["title"], json!("laptop"));
    let (_, narrow) = forge.token(&owner.login, &["read:repository"]).await;
    let narrow = owner.with_token(&narrow);
    assert_eq!(narrow.get(&repo.path("")).await["private"], json!(true));
    assert!(
        narrow
            .checkout(&repo)
            .await
            .try_git(&["push", "origin", "HEAD:refs/heads/main"])
            .await
            .is_err()
    );
}
