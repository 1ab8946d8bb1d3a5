//! Somebody on the forge, and the calls they make to its API.

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// Somebody on the forge, with a token that may do whatever they may.
#[derive(Clone)]
pub struct Account {
    pub login: String,
    pub email: String,
    pub token: String,
    forge: String,
    password: Option<String>,
    client: Client,
}

/// A call that the forge refused.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Account").field(&self.login).finish()
    }
}

impl Account {
    pub(super) fn new(forge: &str, login: &str, email: &str, token: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // a kept connection belongs to the runtime of one test, and an account may serve several
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self {
            login: login.to_owned(),
            email: email.to_owned(),
            token: token.to_owned(),
            forge: forge.to_owned(),
            password: None,
            client,
        }
    }

    pub(super) fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The same person with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn forge(&self) -> &str {
        &self.forge
    }

    /// Calls the API with the token; `path` begins with a slash.
    pub async fn try_call(&self, method: Method, path: &str, body: Value) -> Result<Value, Refusal> {
        let request = self
            .request(method, path)
            .header("authorization", format!("token {}", self.token));
        send(request, body).await
    }

    /// Calls the API with the token, and fails if it refuses.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.try_call(method.clone(), path, body).await;
        answer.unwrap_or_else(|refusal| panic!("{} may not {method} {path}: {refusal:?}", self.login))
    }

    /// The same with the password, which only the administrator has; tokens cannot be made with a token.
    pub(super) async fn call_by_password(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self
            .request(method, path)
            .basic_auth(&self.login, self.password.as_ref());
        send(request, body).await.unwrap()
    }

    /// What is at a path, or a failure.
    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, json!(null)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}/api/v1{path}", self.forge))
    }
}

async fn send(request: RequestBuilder, body: Value) -> Result<Value, Refusal> {
    let request = if body.is_null() {
        request
    } else {
        request.json(&body)
    };
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    if status.is_success() {
        return Ok(serde_json::from_str(&text).unwrap_or_default());
    }
    Err(Refusal {
        status,
        message: text,
    })
}
