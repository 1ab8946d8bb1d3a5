//! Repositories: who may do what with them, webhooks and commit statuses.

use reqwest::Method;
use serde_json::{Value, json};

use crate::Account;

/// A repository on the forge.
#[derive(Clone, Debug)]
pub struct Repo {
    pub owner: String,
    pub name: String,
}

impl Repo {
    /// Path of something of it in the API; `rest` is empty or begins with a slash.
    pub fn path(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", self.owner, self.name)
    }
}

impl Account {
    /// Makes an empty private repository of this user.
    pub async fn create_repository(&self, name: &str) -> Repo {
        self.create_at("/user/repos", name).await
    }

    /// Makes an empty private repository of an organisation.
    pub async fn create_repository_of(&self, organisation: &str, name: &str) -> Repo {
        self.create_at(&format!("/orgs/{organisation}/repos"), name).await
    }

    async fn create_at(&self, path: &str, name: &str) -> Repo {
        let repository = json!({"name": name, "private": true, "default_branch": "main"});
        let made = self.call(Method::POST, path, repository).await;
        Repo {
            owner: made["owner"]["login"].as_str().unwrap().to_owned(),
            name: name.to_owned(),
        }
    }

    /// Gives a repository another name.
    pub async fn rename(&self, repo: &Repo, name: &str) -> Repo {
        self.call(Method::PATCH, &repo.path(""), json!({"name": name}))
            .await;
        Repo {
            owner: repo.owner.clone(),
            name: name.to_owned(),
        }
    }

    /// Lets somebody else in, with this permission: `read`, `write` or `admin`.
    pub async fn add_collaborator(&self, repo: &Repo, who: &Account, permission: &str) {
        let path = repo.path(&format!("/collaborators/{}", who.login));
        self.call(Method::PUT, &path, json!({"permission": permission}))
            .await;
    }

    /// Lets whoever has the private key read the repository over ssh.
    pub async fn add_deploy_key(&self, repo: &Repo, public: &str) {
        let key = json!({"title": "signoff", "key": public, "read_only": true});
        self.call(Method::POST, &repo.path("/keys"), key).await;
    }

    /// Protects a branch by a rule, as the API has them (`enable_push`, `required_approvals`, `status_check_contexts`, …).
    pub async fn protect(&self, repo: &Repo, branch: &str, mut rule: Value) {
        rule["rule_name"] = json!(branch);
        self.call(Method::POST, &repo.path("/branch_protections"), rule)
            .await;
    }

    /// Has these events (`push`, `pull_request`, …) told to a URL, signed with a secret. Gives the webhook's number.
    pub async fn add_webhook(&self, repo: &Repo, url: &str, secret: &str, events: &[&str]) -> i64 {
        let config = json!({"url": url, "content_type": "json", "secret": secret});
        let hook = json!({"type": "gitea", "active": true, "events": events, "config": config});
        let made = self.call(Method::POST, &repo.path("/hooks"), hook).await;
        made["id"].as_i64().unwrap()
    }

    /// Removes a webhook; the API cannot change its secret.
    pub async fn remove_webhook(&self, repo: &Repo, number: i64) {
        let path = repo.path(&format!("/hooks/{number}"));
        self.call(Method::DELETE, &path, json!(null)).await;
    }

    /// The commit at the head of a branch, if there is such a branch.
    pub async fn head(&self, repo: &Repo, branch: &str) -> Option<String> {
        let path = repo.path(&format!("/branches/{}", branch.replace('/', "%2F")));
        let found = self.try_call(Method::GET, &path, json!(null)).await.ok()?;
        found["commit"]["id"].as_str().map(str::to_owned)
    }

    /// Sets the status of a commit: `pending`, `success`, `failure` or `error`.
    pub async fn set_status(&self, repo: &Repo, commit: &str, context: &str, state: &str) {
        let path = repo.path(&format!("/statuses/{commit}"));
        self.call(Method::POST, &path, json!({"context": context, "state": state}))
            .await;
    }

    /// The newest status of a commit for each context: `(context, state, description)`.
    pub async fn statuses(&self, repo: &Repo, commit: &str) -> Vec<(String, String, String)> {
        let combined = self.get(&repo.path(&format!("/commits/{commit}/status"))).await;
        let statuses = combined["statuses"].as_array().cloned().unwrap_or_default();
        let text = |status: &Value, key: &str| status[key].as_str().unwrap_or_default().to_owned();
        statuses
            .iter()
            .map(|status| {
                (
                    text(status, "context"),
                    text(status, "status"),
                    text(status, "description"),
                )
            })
            .collect()
    }
}
