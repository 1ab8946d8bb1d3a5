//! Reading as the user: one object, or those of a namespace or of all. One that cannot be decoded takes no other with it.

use axum::http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::Deserialize;

use super::{PageError, Web};
use crate::cluster::objects::{self, Decoded, Kind};

/// Which namespaces a list shows: `?ns=NAME`, `?ns=*` for all, the user's own by default.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Scope {
    ns: Option<String>,
    /// Only objects of this flow.
    pub(super) flow: Option<String>,
    /// Only objects in this phase.
    pub(super) phase: Option<String>,
}

impl Scope {
    /// The objects of a flow in a namespace.
    pub(super) fn of(namespace: &str, flow: &str) -> Self {
        Self {
            ns: Some(namespace.to_owned()),
            flow: Some(flow.to_owned()),
            phase: None,
        }
    }

    /// The namespace, or none for all.
    pub(super) fn namespace<'a>(&'a self, web: &'a Web) -> Option<&'a str> {
        match self.ns.as_deref() {
            None | Some("") => Some(&web.namespace),
            Some("*") => None,
            Some(name) => Some(name),
        }
    }
}

impl Web {
    pub(super) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(super) async fn one<K: Kind>(&self, namespace: &str, name: &str) -> Result<K, PageError> {
        if !is_name(namespace) || !is_name(name) {
            return Err(PageError::not_found("there is no such object"));
        }
        let found = self.api::<K>(namespace).get_opt(name).await;
        let kind = K::kind(&()).to_lowercase();
        let found = found.map_err(|error| PageError::api("it cannot be read", &error))?;
        found.ok_or_else(|| {
            let message = format!("there is no {kind} {name} in namespace {namespace}");
            PageError::new(StatusCode::NOT_FOUND, message)
        })
    }

    pub(super) async fn all<K: Kind>(
        &self,
        namespace: Option<&str>,
        selection: &ListParams,
    ) -> Result<Vec<K>, PageError> {
        let api = match namespace {
            Some(namespace) if !is_name(namespace) => {
                return Err(PageError::not_found("there is no such namespace"));
            }
            Some(namespace) => Api::<Decoded<K>>::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let listed = objects::list(&api, selection).await;
        let listed = listed.map_err(|error| PageError::api("they cannot be listed", &error))?;
        Ok(listed.items)
    }
}

/// What may stand in a path to the API server.
fn is_name(text: &str) -> bool {
    text.parse::<signoff_api::name::ObjectName>().is_ok()
}

pub(super) fn created(object: &impl Resource) -> Timestamp {
    let created = object.meta().creation_timestamp.as_ref();
    created.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

pub(super) fn namespace_of(object: &impl kube::ResourceExt) -> String {
    object.namespace().unwrap_or_default()
}

pub(super) fn name_of(object: &impl kube::ResourceExt) -> String {
    object.name_any()
}

pub(super) fn now() -> Timestamp {
    Timestamp::now()
}
