//! From request to response: authentication, authorization, routing, then one file per verb.

mod authorize;
pub mod body;
mod create;
mod decode;
mod delete;
mod documents;
pub mod events;
mod impersonate;
mod meta;
pub mod negotiate;
mod objects;
mod patch;
pub mod path;
mod protobuf;
pub mod query;
mod read;
mod review;
pub mod selector;
mod update;
mod watch;

pub use create::bootstrap;
pub use delete::{FOREGROUND, ORPHAN, remove};

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::Value;

use body::Body;
use negotiate::Form;
use objects::Saved;
use path::{Route, Target};
use query::Query;
use selector::Filter;

use crate::plane::Plane;
use crate::registry::ResourceKind;
use crate::status::ApiError;
use crate::store::{Entry, Key};
use crate::users::User;

/// Who sends a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A client in this process that acts as a user.
    Trusted(Arc<User>),
    /// A client on a connection: its token says who it is.
    Connection,
}

/// One request on a resource.
pub struct Call<'a> {
    plane: &'a Arc<Plane>,
    user: User,
    target: Target,
    verb: &'static str,
    query: Query,
    headers: HeaderMap,
    form: Form,
    body: Bytes,
}

/// Answers any request.
pub async fn serve<B>(
    plane: Arc<Plane>,
    caller: Caller,
    request: Request<B>,
) -> Result<Response<Body>, Infallible>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let answer = answer(&plane, &caller, &parts.method, &parts.uri, parts.headers, body).await;
    let response = answer.unwrap_or_else(|error| body::error(&error));
    tracing::debug!(method = %parts.method, uri = %parts.uri, status = response.status().as_u16(), "request");
    Ok(response)
}

async fn answer<B>(
    plane: &Arc<Plane>,
    caller: &Caller,
    method: &Method,
    uri: &http::Uri,
    headers: HeaderMap,
    body: B,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    let route = path::route(&plane.registry, uri.path());
    if let Some(Route::Health) = route {
        return Ok(health(plane));
    }
    let user = match caller {
        Caller::Trusted(user) => User::clone(user),
        Caller::Connection => authenticate(plane, &headers)?,
    };
    let user = impersonate::resolve(plane, user, &headers)?;
    let query = Query::parse(uri.query());
    let Some(Route::Resource(target)) = route else {
        authorize::path(plane, &user, method, uri.path())?;
        return match route {
            Some(Route::Version) => Ok(body::object(StatusCode::OK, &documents::version())),
            Some(Route::Document(parts)) => documents::answer(plane, &parts, &headers),
            _ => Err(ApiError::no_such_resource()),
        };
    };
    let verb = path::verb(method, &target, query.flag("watch"))?;
    authorize::target(plane, &user, verb, &target)?;
    let form = Form::negotiate(&headers, &query)?;
    let bytes = body::collect(body).await?;
    let call = Call {
        plane,
        user,
        target,
        verb,
        query,
        headers,
        form,
        body: bytes,
    };
    call.dispatch().await
}

fn health(plane: &Plane) -> Response<Body> {
    if plane.store.healthy() {
        body::text(StatusCode::OK, "ok")
    } else {
        body::text(StatusCode::INTERNAL_SERVER_ERROR, "the store cannot write")
    }
}

fn authenticate(plane: &Plane, headers: &HeaderMap) -> Result<User, ApiError> {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .ok_or_else(ApiError::unauthorized)?;
    let (scheme, token) = header.split_once(' ').ok_or_else(ApiError::unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::unauthorized());
    }
    plane
        .accounts
        .by_token(token.trim())
        .cloned()
        .ok_or_else(ApiError::unauthorized)
}

impl Call<'_> {
    async fn dispatch(self) -> Result<Response<Body>, ApiError> {
        if self.kind().is_review() {
            return review::answer(&self);
        }
        match self.verb {
            "get" => read::get(&self),
            "list" => read::list(&self),
            "watch" => watch::start(&self),
            "create" => create::create(&self).await,
            "update" => update::update(&self).await,
            "patch" => patch::patch(&self).await,
            "delete" => delete::one(&self).await,
            "deletecollection" => delete::collection(&self).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn kind(&self) -> &Arc<ResourceKind> {
        &self.target.kind
    }

    fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    fn is_status(&self) -> bool {
        self.target.part.as_deref() == Some("status")
    }

    fn key(&self, name: &str) -> Key {
        Key {
            resource: events::stored_as(self.kind()),
            namespace: if self.kind().namespaced {
                self.namespace().to_owned()
            } else {
                String::new()
            },
            name: name.to_owned(),
        }
    }

    fn current(&self) -> Result<Arc<Entry>, ApiError> {
        let found = self.plane.store.get(&self.key(self.name()));
        found.ok_or_else(|| ApiError::not_found(self.kind(), self.name()))
    }

    fn filter(&self) -> Result<Filter, ApiError> {
        Filter::parse(
            self.kind(),
            self.target.namespace.as_deref(),
            self.query.get("labelSelector"),
            self.query.get("fieldSelector"),
        )
    }

    fn user_agent(&self) -> &str {
        self.headers
            .get(USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// An answer with what was saved, in the form asked for, and the warnings that go with it.
    fn saved(&self, code: StatusCode, saved: Saved, warnings: &[String]) -> Response<Body> {
        let mut response = match saved {
            Saved::Stored(entry) if self.form == Form::Object && !events::is_alias(self.kind()) => {
                body::rendered(code, entry.json.clone())
            }
            Saved::Stored(entry) => self.one(code, entry.value()),
            Saved::Only(object) => self.one(code, object),
        };
        body::warn(&mut response, warnings);
        response
    }

    /// An answer with one object in the form asked for.
    fn one(&self, code: StatusCode, object: Value) -> Response<Body> {
        body::object(
            code,
            &self.form.one(self.kind(), events::shown(self.kind(), object)),
        )
    }
}
