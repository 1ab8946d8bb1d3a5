//! Tests of Connections: whether the Secrets that they name are there, and whether the other side answers. Nothing is sent that
//! anybody reads.

use std::{collections::BTreeMap, time::Duration};

use super::{Executors, connection, error};
use crate::{net::redact::Secrets, store::Owner};
use signoff_api::{
    connection::{ConnectionKind, HttpAuth, HttpConnection, OAuth2Grant, SmtpConnection},
    name::ObjectName,
    reason::StepReason,
    step::HttpMethod,
    text::into_visible,
};
use signoff_engine::{
    effect::{Call, CallPart, EffectKey, HttpChannel, HttpRequest, HttpTarget, Request},
    facts::{EffectError, HttpResponse},
};

/// One thing that was looked at.
#[derive(Debug)]
pub struct Check {
    /// What it is.
    pub what: String,
    /// What was found, or what is wrong. It holds no secret.
    pub result: Result<String, EffectError>,
}

impl Executors {
    /// Looks at a Connection: at each Secret that it names, and, if all are there, whether the other side answers.
    ///
    /// # Errors
    /// If there is no such Connection, or it cannot be read.
    pub async fn probe(
        &self,
        namespace: &str,
        name: &ObjectName,
        timeout: Duration,
    ) -> Result<Vec<Check>, EffectError> {
        let client = &self.client;
        let spec = connection::find(client, namespace, name, None).await?;
        let mut checks = Vec::new();
        for reference in spec.secrets() {
            let read = connection::secret(client, namespace, reference, &mut Secrets::default()).await;
            let found = read.and_then(|value| {
                let empty = || error::invalid(StepReason::SecretNotFound, "it is empty");
                (!value.is_empty())
                    .then(|| "it is there".to_owned())
                    .ok_or_else(empty)
            });
            checks.push(Check {
                what: format!("key {} of Secret {}", reference.key, reference.name),
                result: found,
            });
        }
        if checks.iter().any(|check| check.result.is_err()) {
            return Ok(checks);
        }
        let of = Probed {
            executors: self,
            namespace,
            name,
            timeout,
        };
        checks.push(Check {
            what: "other side".to_owned(),
            result: Box::pin(of.remote(spec.kind)).await,
        });
        Ok(checks)
    }
}

/// A Connection that is being looked at.
struct Probed<'a> {
    executors: &'a Executors,
    namespace: &'a str,
    name: &'a ObjectName,
    timeout: Duration,
}

impl Probed<'_> {
    /// Whether the other side answers, or why it is not called.
    async fn remote(&self, kind: ConnectionKind) -> Result<String, EffectError> {
        match kind {
            ConnectionKind::Git(_) => {
                Ok("not called: `signoff sync` tells what a Repository with it finds".to_owned())
            }
            ConnectionKind::Llm(_) => Ok("not called: each question to a model costs".to_owned()),
            // whoever uses it gets another one, which only the operator keeps
            ConnectionKind::Http(http) if has_refresh_token(&http) => Ok(
                "not called: a refresh token can be good for one use only, and that is the operator's"
                    .to_owned(),
            ),
            ConnectionKind::Http(_) => {
                let (name, path, bound) = (self.name.clone(), String::new(), None);
                let target = HttpTarget::Connection { name, path, bound };
                self.http(HttpMethod::Get, target)
                    .await
                    .and_then(|answer| judged(&answer))
            }
            ConnectionKind::Slack(_) => {
                let target = self.channel(HttpChannel::Slack, "/auth.test");
                self.http(HttpMethod::Post, target)
                    .await
                    .and_then(|answer| of_slack(&answer))
            }
            ConnectionKind::Teams(_) => self.webhook(HttpChannel::Teams).await,
            ConnectionKind::Discord(_) => self.webhook(HttpChannel::Discord).await,
            ConnectionKind::Webhook(_) => self.webhook(HttpChannel::Webhook).await,
            ConnectionKind::Smtp(smtp) => self.within(self.smtp(*smtp)).await,
            ConnectionKind::Ssh(_) => {
                let ssh = self.executors.ssh.log_in(self.namespace, self.name);
                let logged_in = Box::pin(self.within(ssh)).await;
                logged_in.map(|host| format!("{host} accepts the login"))
            }
        }
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, EffectError>>) -> Result<T, EffectError> {
        let place = format!("the other side of {}", self.name);
        let late = || error::timed_out(&place, self.timeout);
        tokio::time::timeout(self.timeout, asked)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn channel(&self, channel: HttpChannel, path: &str) -> HttpTarget {
        HttpTarget::Channel {
            channel,
            name: self.name.clone(),
            path: path.to_owned(),
            bound: None,
        }
    }

    /// A receiver of messages. It is asked for nothing but headers, so that it takes no message. Many servers answer 404 to
    /// whatever is no post, so only for Discord it means that there is no such webhook.
    async fn webhook(&self, channel: HttpChannel) -> Result<String, EffectError> {
        let target = self.channel(channel, "");
        let answer = self.http(HttpMethod::Head, target).await?;
        let status = answer.status;
        match (channel, status) {
            (_, 410) | (HttpChannel::Discord, 404) => Err(error::invalid(
                StepReason::UnexpectedStatus,
                format!("there is no receiver at the address any more (status {status})"),
            )),
            (_, 404) => Ok(format!(
                "it answers with status {status} to HEAD, which says nothing of posts"
            )),
            _ => judged(&answer),
        }
    }

    async fn http(&self, method: HttpMethod, target: HttpTarget) -> Result<HttpResponse, EffectError> {
        let request = HttpRequest {
            target,
            method,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            body: None,
            redirects: 0,
            save: None,
            reads_body: true,
        };
        let call = Call {
            key: EffectKey {
                step: "test".to_owned(),
                iteration: 1,
                item: None,
                attempt: 1,
            },
            idempotency_key: "test".to_owned(),
            fenced: false,
            part: CallPart::Whole,
            timeout: self.timeout,
            request: Request::Http(request.clone()),
        };
        let nobody = Owner {
            namespace: self.namespace.to_owned(),
            run: String::new(),
            uid: String::new(),
        };
        self.executors.http.perform(&nobody, &call, &request).await
    }

    async fn smtp(&self, smtp: SmtpConnection) -> Result<String, EffectError> {
        let has_login = smtp.password.is_some();
        self.executors
            .smtp
            .log_in(self.namespace, self.name, smtp)
            .await?;
        Ok(if has_login {
            "the mail server accepts the login".to_owned()
        } else {
            "the mail server answers".to_owned()
        })
    }
}

fn has_refresh_token(http: &HttpConnection) -> bool {
    match &http.auth {
        Some(HttpAuth::OAuth2(oauth2)) => match oauth2.grant {
            OAuth2Grant::RefreshToken => true,
            OAuth2Grant::ClientCredentials | OAuth2Grant::JwtBearer => false,
        },
        Some(_) | None => false,
    }
}

/// What the status of an answer says. Most APIs have nothing at their base address, so 404 and 405 are answers too.
fn judged(answer: &HttpResponse) -> Result<String, EffectError> {
    let said = format!("it answers with status {}", answer.status);
    match answer.status {
        401 | 403 => Err(error::invalid(StepReason::CredentialsRefused, said)),
        500.. => Err(error::not_ready(StepReason::UnexpectedStatus, said)),
        _ => Ok(said),
    }
}

/// Slack says in its answer whose token it is.
fn of_slack(answer: &HttpResponse) -> Result<String, EffectError> {
    let text = |name: &str| {
        let text = answer.body[name].as_str().unwrap_or("?");
        into_visible(text.chars().take(100).collect())
    };
    if answer.body["ok"] == true {
        return Ok(format!(
            "the token is that of {} in {}",
            text("user"),
            text("team")
        ));
    }
    let said = format!("Slack says {} (status {})", text("error"), answer.status);
    Err(error::invalid(StepReason::CredentialsRefused, said))
}
