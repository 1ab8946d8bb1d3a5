//! Users, tokens, keys, organisations and teams.

use reqwest::Method;
use serde_json::json;

use crate::{Account, Forge};

/// What the documentation says that the operator's token may do.
pub fn documented_scopes() -> Vec<&'static str> {
    let walk = include_str!("../../docs/git.md");
    let row = walk
        .lines()
        .find(|line| line.starts_with("| Gitea, Forgejo | Settings"));
    // each stands between two backticks
    row.unwrap().split('`').skip(1).step_by(2).collect()
}

impl Forge {
    /// The operator's own account, with a token that may do what the documentation says and nothing else.
    pub async fn operator(&self) -> Account {
        let person = self.user("signoff").await;
        let (_, token) = self.token(&person.login, &documented_scopes()).await;
        person.with_token(&token)
    }

    /// A new user whose login begins with this, with a verified e-mail at example.com and a token that may do whatever they may.
    pub async fn user(&self, prefix: &str) -> Account {
        let login = self.name(prefix);
        let email = format!("{login}@example.com");
        self.user_of(login, email).await
    }

    /// A new user of this login, which nobody has, or has any more.
    pub async fn user_called(&self, login: &str) -> Account {
        let email = format!("{}@example.com", self.name(login));
        self.user_of(login.to_owned(), email).await
    }

    /// Gives somebody another login; theirs is free then.
    pub async fn rename(&self, account: &Account, login: &str) -> Account {
        let path = format!("/admin/users/{}/rename", account.login);
        let to = json!({"new_username": login});
        self.admin().call(Method::POST, &path, to).await;
        Account::new(&self.url(), login, &account.email, &account.token)
    }

    async fn user_of(&self, login: String, email: String) -> Account {
        let user = json!({"username": login, "email": email, "password": self.name("password"), "must_change_password": false});
        self.admin().call(Method::POST, "/admin/users", user).await;
        let (_, token) = self.token(&login, &["all"]).await;
        Account::new(&self.url(), &login, &email, &token)
    }

    /// A new token of a user with these scopes, such as `read:repository`: its name and itself.
    pub async fn token(&self, login: &str, scopes: &[&str]) -> (String, String) {
        let name = self.name("token");
        let token = json!({"name": name, "scopes": scopes});
        let made = self
            .admin()
            .call_by_password(Method::POST, &format!("/users/{login}/tokens"), token)
            .await;
        (name, made["sha1"].as_str().unwrap().to_owned())
    }

    /// Takes a token of a user back.
    pub async fn revoke(&self, login: &str, token: &str) {
        let path = format!("/users/{login}/tokens/{token}");
        self.admin()
            .call_by_password(Method::DELETE, &path, json!(null))
            .await;
    }
}

impl Account {
    /// Lets whoever has the private key act as this user over ssh.
    pub async fn add_key(&self, title: &str, public: &str) {
        let key = json!({"title": title, "key": public});
        self.call(Method::POST, "/user/keys", key).await;
    }

    /// Makes an organisation that this user owns.
    pub async fn create_organisation(&self, name: &str) {
        self.call(Method::POST, "/orgs", json!({"username": name})).await;
    }

    /// Makes a team in an organisation, with this permission (`read`, `write` or `admin`) on all of its repositories.
    pub async fn create_team(&self, organisation: &str, name: &str, permission: &str, members: &[&Account]) {
        let team = json!({
            "name": name,
            "permission": permission,
            "includes_all_repositories": true,
            "units": ["repo.code", "repo.pulls", "repo.issues"],
        });
        let made = self
            .call(Method::POST, &format!("/orgs/{organisation}/teams"), team)
            .await;
        for member in members {
            let path = format!("/teams/{}/members/{}", made["id"], member.login);
            self.call(Method::PUT, &path, json!(null)).await;
        }
    }
}
