//! `/mcp`: the tools of agents over HTTP (MCP, Streamable HTTP without sessions). The token of the caller goes to the API server,
//! which says who it is and what it may do. The gateway adds no rights of its own, but for reading the object store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http_body_util::Full;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::{Client, Config, ResourceExt as _, client::Body as ApiBody, config::AuthInfo};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use tokio::sync::Semaphore;

use super::{
    Gateway,
    problem::Problem,
    resources::{Resources, bearer},
};
use crate::{
    client::{self, whoami},
    cluster::{error_chain, fairness::Permits},
    mcp::{Caller, Content, MAX_CONTENT, ToolError, ToolServer},
    store::Owner,
};
use signoff_api::{Resource, Run};

/// Largest message. Inputs of a run are at most half of it.
const MAX_BODY: usize = 512 << 10;
/// How many tokens the API server is asked about at the same time: anybody may send some.
const REVIEWS: usize = 16;
/// Longest wait for one of them to be over.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many messages are answered at the same time. A user has most of them at most.
const ANSWERED: usize = 128;
/// How much of the time for a request is left when a wait ends.
const MARGIN: Duration = Duration::from_secs(3);
/// What service accounts are called; their namespace follows.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Agents that the gateway serves. Clones share its bounds.
#[derive(Clone)]
pub struct Agents {
    /// Reaches the API server without credentials. Each request takes those of its caller.
    anonymous: Client,
    hosts: Vec<String>,
    origins: Vec<String>,
    reviews: Arc<Semaphore>,
    answered: Permits,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents")
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Agents {
    /// Serves agents that reach the gateway under these names of hosts, with or without a port, and that are not web pages, or
    /// web pages of these origins. Of the configuration, the credentials are not used.
    ///
    /// # Errors
    /// If there can be no client.
    pub fn new(mut config: Config, hosts: Vec<String>, origins: Vec<String>) -> kube::Result<Self> {
        config.auth_info = AuthInfo::default();
        Ok(Self {
            anonymous: Client::try_from(config)?,
            hosts,
            origins,
            reviews: Arc::new(Semaphore::new(REVIEWS)),
            answered: Permits::that_leave_some(ANSWERED),
        })
    }

    /// As [`Agents::new`], for agents and pages of this machine.
    ///
    /// # Errors
    /// If there can be no client.
    pub fn local(config: Config) -> kube::Result<Self> {
        const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
        let origins = HOSTS.map(|host| format!("http://{host}:*"));
        Self::new(config, HOSTS.map(str::to_owned).to_vec(), origins.to_vec())
    }

    /// A client with the rights of a token. None if it cannot be one.
    fn client(&self, token: &str) -> Option<Client> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        let anonymous = self.anonymous.clone();
        let service = tower::service_fn(move |mut request: http::Request<ApiBody>| {
            let (client, value) = (anonymous.clone(), value.clone());
            async move {
                request.headers_mut().insert(header::AUTHORIZATION, value);
                client.send(request).await
            }
        });
        Some(Client::new(service, "default"))
    }

    /// The name of the user whose token it is.
    async fn user(&self, client: &Client) -> Result<String, Problem> {
        let turn = tokio::time::timeout(PATIENCE, self.reviews.acquire()).await;
        let _turn = turn.map_err(|_| Problem::busy())?.map_err(|_| Problem::busy())?;
        match whoami(client).await {
            Ok((user, _)) if !user.is_empty() && user != "system:anonymous" => Ok(user),
            Ok(_) => Err(unauthorized()),
            Err(kube::Error::Api(status)) if status.code == 401 => Err(unauthorized()),
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "the API server did not say whose token an agent sent");
                Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "it cannot be found out just now whose token this is; try again",
                ))
            }
        }
    }

    fn config(&self) -> StreamableHttpServerConfig {
        StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MAX_BODY)
            .with_allowed_hosts(self.hosts.clone())
            .with_allowed_origins(self.origins.clone())
            .enforce_origin_validation()
    }
}

pub(super) async fn answer(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match answered(&gateway, request).await {
        Ok(response) => response,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer realm=\"signoff\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

async fn answered(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let agents = gateway.agents.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "this gateway serves no agents: an administrator allows it with --mcp",
        )
    })?;
    let (mut parts, body) = request.into_parts();
    let client = agents.client(bearer(&parts.headers)?).ok_or_else(unauthorized)?;
    parts.headers.remove(header::AUTHORIZATION);
    let user = agents.user(&client).await?;
    let _turn = agents.answered.acquire(&user).await;
    let body = gateway.bodies.read(&user, body, MAX_BODY).await?;
    let caller = Caller {
        client,
        namespace: own_namespace(gateway, &user),
    };
    let content = Arc::new(StoredContent(gateway.resources.clone()));
    let server = ToolServer::new(caller, content)
        .only_in(gateway.namespaces.clone())
        .waiting_at_most(gateway.request_timeout.saturating_sub(MARGIN));
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        agents.config(),
    );
    let message = Full::new(Bytes::copy_from_slice(&body.bytes));
    let response = service.handle(http::Request::from_parts(parts, message)).await;
    Ok(response.map(Body::new))
}

/// The namespace of a service account, or the only one that there is.
fn own_namespace(gateway: &Gateway, user: &str) -> Option<String> {
    let account = user.strip_prefix(SERVICE_ACCOUNT);
    let of_account = account.and_then(|account| account.split_once(':'));
    match of_account {
        Some((namespace, _)) => Some(namespace.to_owned()),
        None if gateway.namespaces.len() == 1 => gateway.namespaces.first().cloned(),
        None => None,
    }
}

fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "send a token of the API server: Authorization: Bearer TOKEN",
    )
}

/// Content from the object store, for callers who may `get` `runs/resources`.
struct StoredContent(Resources);

#[async_trait]
impl Content for StoredContent {
    async fn read(&self, caller: &Caller, run: &Run, resource: &Resource) -> Result<Bytes, ToolError> {
        let store = self.0.store().ok_or_else(|| {
            ToolError::new("NoStore", "this gateway has no object store")
                .hint("an administrator configures one with --store")
        })?;
        let owner = Owner {
            namespace: run.namespace().unwrap_or_default(),
            run: run.name_any(),
            uid: run.uid().unwrap_or_default(),
        };
        if !may_read(&caller.client, &owner).await? {
            return Err(
                ToolError::new("Forbidden", "you may not read resources of this run")
                    .hint("it needs the verb get on runs/resources"),
            );
        }
        let _turn = self.0.sending(&owner.namespace).await;
        let content = async {
            let content = store.read(&owner, &resource.sha256, MAX_CONTENT).await?;
            content.whole().await
        };
        content.await.map_err(|error| {
            tracing::warn!(error = %error_chain(&error), "content could not be read for an agent");
            ToolError::new("Unavailable", format!("the content cannot be read: {error}"))
                .hint("try again in a while")
        })
    }
}

async fn may_read(client: &Client, owner: &Owner) -> Result<bool, ToolError> {
    let what = ResourceAttributes {
        resource: Some("runs".to_owned()),
        subresource: Some("resources".to_owned()),
        name: Some(owner.run.clone()),
        verb: Some("get".to_owned()),
        ..ResourceAttributes::default()
    };
    let answer = client::may(client, &owner.namespace, what).await;
    answer.map_err(|error| ToolError::api("your rights are not known", &error))
}
