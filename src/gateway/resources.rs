//! `GET /v1/resources/<namespace>/<run>/<sha256>`: content of a run, for those who may read it. Whose token it is, and what its
//! owner may do, is for the API server to say.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::TryStreamExt as _;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::ResourceAttributes,
};
use kube::{Api, ResourceExt as _, api::PostParams};
use tokio::sync::Semaphore;

use super::{Gateway, problem::Problem};
use crate::{
    cluster::{
        access::{self, User},
        error_chain,
        fairness::{Permit, Permits},
    },
    store::{Owner, Store, StoreError},
};
use signoff_api::{Digest, GROUP, Run};

/// How many tokens the API server is asked about at the same time: anybody may send some.
const REVIEWS: usize = 16;
/// Longest wait for one of them to be over.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many contents are sent at the same time.
const SENT: usize = 32;
/// Longest token.
const MAX_TOKEN: usize = 16 * 1024;

/// Where content is, and how much of it is given out at the same time.
#[derive(Clone, Debug)]
pub struct Resources {
    store: Option<Store>,
    reviews: Arc<Semaphore>,
    sent: Permits,
}

impl Resources {
    /// Gives out content of this store, if there is one.
    pub fn of(store: Option<Store>) -> Self {
        Self {
            store,
            reviews: Arc::new(Semaphore::new(REVIEWS)),
            sent: Permits::that_leave_some(SENT),
        }
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The store, or that there is none.
    pub(super) fn store_or_problem(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "this gateway has no object store: an administrator configures one with --store",
            )
        })
    }

    /// A turn to send content of a namespace.
    pub(super) async fn sending(&self, namespace: &str) -> Permit {
        self.sent.acquire(namespace).await
    }
}

pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    Path((namespace, run, sha256)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = gateway.resources.store_or_problem()?;
    let nothing = || Problem::new(StatusCode::NOT_FOUND, "there is no such content");
    let sha256: Digest = format!("sha256:{sha256}").parse().map_err(|_| nothing())?;
    let token = bearer(&headers)?;
    let user = user(&gateway, token).await?;
    let wanted = ResourceAttributes {
        resource: Some("runs".to_owned()),
        subresource: Some("resources".to_owned()),
        name: Some(run.clone()),
        verb: Some("get".to_owned()),
        ..ResourceAttributes::default()
    };
    if !may(&gateway, &namespace, &user, wanted).await? {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "you may not read resources of this run: it needs the verb get on runs/resources",
        ));
    }
    let found = gateway
        .context
        .namespaced::<Run>(&namespace)
        .get_metadata_opt(&run)
        .await;
    let found = found.map_err(|error| unanswered(&error))?.ok_or_else(nothing)?;
    let owner = Owner {
        namespace,
        run,
        uid: found.uid().unwrap_or_default(),
    };
    // for as long as it is sent
    let permit = gateway.resources.sending(&owner.namespace).await;
    let content = store
        .read(&owner, &sha256, u64::MAX)
        .await
        .map_err(|error| refusal(&error))?;
    let size = HeaderValue::from(content.size);
    let pieces = content.into_stream().inspect_err(|error| {
        tracing::warn!(error = %error_chain(error), "content could not be sent to its end");
    });
    let pieces = pieces.inspect_ok(move |_| {
        let _held = &permit;
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, size);
    // whoever wrote it, no browser shows it as a page of ours
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token
        .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
        .ok_or_else(unauthorized)
}

fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "send a token of the API server: Authorization: Bearer TOKEN",
    )
}

/// Whose token it is.
pub(super) async fn user(gateway: &Gateway, token: &str) -> Result<UserInfo, Problem> {
    let turn = tokio::time::timeout(PATIENCE, gateway.resources.reviews.acquire()).await;
    let _turn = turn.map_err(|_| Problem::busy())?.map_err(|_| Problem::busy())?;
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token.to_owned()),
            ..TokenReviewSpec::default()
        },
        ..TokenReview::default()
    };
    let reviews = Api::<TokenReview>::all(gateway.context.client().clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let status = answer
        .map_err(|error| unanswered(&error))?
        .status
        .unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true));
    user.filter(|user| user.username.as_ref().is_some_and(|name| !name.is_empty()))
        .ok_or_else(unauthorized)
}

/// Whether a user may do something with a resource of ours in a namespace that the gateway is for.
pub(super) async fn may(
    gateway: &Gateway,
    namespace: &str,
    user: &UserInfo,
    what: ResourceAttributes,
) -> Result<bool, Problem> {
    if !gateway.is_for(namespace) {
        return Ok(false);
    }
    let what = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        ..what
    };
    let user = User {
        name: user.username.as_deref().unwrap_or_default(),
        groups: user.groups.as_deref().unwrap_or_default(),
    };
    let may = access::may(&gateway.context, namespace, user, what).await;
    may.map_err(|error| unanswered(&error))
}

pub(super) fn unanswered(error: &kube::Error) -> Problem {
    tracing::warn!(error = %error_chain(error), "the API server did not say who may read or write content");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "it cannot be found out just now who may do this; try again",
    )
}

pub(super) fn refusal(error: &StoreError) -> Problem {
    match error {
        StoreError::NotFound | StoreError::NoStore | StoreError::TooLarge(_) => {
            Problem::new(StatusCode::NOT_FOUND, "there is no such content")
        }
        StoreError::HashMismatch => Problem::new(StatusCode::BAD_GATEWAY, error.to_string()),
        StoreError::Refused(_) | StoreError::Unavailable(_) => {
            tracing::warn!(error = %error_chain(error), "the object store could not be used");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the object store cannot be used just now; try again",
            )
        }
    }
}
