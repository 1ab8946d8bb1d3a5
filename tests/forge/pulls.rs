//! Pull requests: opened, merged, closed, reviewed and commented on as somebody.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::controlplane::PATIENCE;
use crate::{Account, Repo, account::Refusal};

/// A pull request.
#[derive(Clone, Debug)]
pub struct Pull {
    pub repo: Repo,
    pub number: i64,
}

impl Pull {
    fn path(&self, rest: &str) -> String {
        self.repo.path(&format!("/pulls/{}{rest}", self.number))
    }

    /// As an issue, which is where its comments are.
    fn issue(&self, rest: &str) -> String {
        self.repo.path(&format!("/issues/{}{rest}", self.number))
    }
}

impl Account {
    /// Proposes to merge a branch into another.
    pub async fn open_pull(&self, repo: &Repo, head: &str, base: &str, title: &str) -> Pull {
        let pull = json!({"head": head, "base": base, "title": title});
        let made = self.call(Method::POST, &repo.path("/pulls"), pull).await;
        Pull {
            repo: repo.clone(),
            number: made["number"].as_i64().unwrap(),
        }
    }

    /// All pull requests of a repository in this state: `open`, `closed` or `all`.
    pub async fn pulls(&self, repo: &Repo, state: &str) -> Vec<Pull> {
        let found = self.get(&repo.path(&format!("/pulls?state={state}"))).await;
        let numbers = found
            .as_array()
            .unwrap()
            .iter()
            .map(|pull| pull["number"].as_i64());
        numbers
            .map(|number| Pull {
                repo: repo.clone(),
                number: number.unwrap(),
            })
            .collect()
    }

    /// What the API says of it: `title`, `body`, `state`, `merged`, `merged_by.login`, `merge_commit_sha`, `head.sha` and more.
    pub async fn pull(&self, pull: &Pull) -> Value {
        self.get(&pull.path("")).await
    }

    /// Merges it, or fails.
    pub async fn merge(&self, pull: &Pull) {
        self.try_merge(pull).await.unwrap();
    }

    /// Merges it, once the forge knows whether it can be.
    pub async fn try_merge(&self, pull: &Pull) -> Result<(), Refusal> {
        self.try_merge_by(pull, "merge").await
    }

    /// Merges it in one of the forge's ways: `merge`, `squash`, `rebase`, `rebase-merge` or `fast-forward-only`.
    pub async fn try_merge_by(&self, pull: &Pull, way: &str) -> Result<(), Refusal> {
        let merging = async {
            loop {
                let merge = json!({"do": way});
                let merged = self.try_call(Method::POST, &pull.path("/merge"), merge).await;
                match merged {
                    // it looks for conflicts in the background
                    Err(refusal) if refusal.is_not_yet() => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    other => return other.map(drop),
                }
            }
        };
        tokio::time::timeout(PATIENCE, merging)
            .await
            .expect("the forge looks for conflicts")
    }

    /// Closes it without merging.
    pub async fn close(&self, pull: &Pull) {
        self.call(Method::PATCH, &pull.path(""), json!({"state": "closed"}))
            .await;
    }

    /// Reviews it: `APPROVED`, `REQUEST_CHANGES` or `COMMENT`.
    pub async fn review(&self, pull: &Pull, event: &str, body: &str) {
        self.try_review(pull, event, body).await.unwrap();
    }

    /// Tries to review it.
    pub async fn try_review(&self, pull: &Pull, event: &str, body: &str) -> Result<(), Refusal> {
        let review = json!({"event": event, "body": body});
        self.try_call(Method::POST, &pull.path("/reviews"), review)
            .await
            .map(drop)
    }

    /// Its reviews: `(login, state, body)`.
    pub async fn reviews(&self, pull: &Pull) -> Vec<(String, String, String)> {
        let reviews = self.get(&pull.path("/reviews")).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reviews = reviews.as_array().unwrap().iter();
        reviews
            .map(|review| {
                (
                    text(&review["user"]["login"]),
                    text(&review["state"]),
                    text(&review["body"]),
                )
            })
            .collect()
    }

    /// Comments on it.
    pub async fn comment(&self, pull: &Pull, body: &str) {
        self.call(Method::POST, &pull.issue("/comments"), json!({"body": body}))
            .await;
    }

    /// Its comments, oldest first: `(login, body)`.
    pub async fn comments(&self, pull: &Pull) -> Vec<(String, String)> {
        let comments = self.get(&pull.issue("/comments")).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let comments = comments.as_array().unwrap().iter();
        comments
            .map(|comment| (text(&comment["user"]["login"]), text(&comment["body"])))
            .collect()
    }
}

impl Refusal {
    fn is_not_yet(&self) -> bool {
        self.status == StatusCode::METHOD_NOT_ALLOWED && self.message.contains("try again later")
    }
}
