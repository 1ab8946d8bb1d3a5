//! Requests to the gateway.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Event;
use crate::{
    expression::{EvaluationError, Expression, Scope, Template, type_name},
    facts::ReleaseFacts,
    schema::Schema,
};
use signoff_api::{
    Digest, Json, canonical,
    trigger::{EventStart, WebhookAuth},
};

/// Most runs of one request.
const MAX_ITEMS: usize = 100;

/// Requests.
#[derive(Clone, Debug)]
pub struct WebhookPlan {
    /// How the sender proves who it is.
    pub auth: WebhookAuth,
    pub(crate) schema: Option<Json>,
    pub(crate) when: Option<Expression>,
    pub(crate) dedupe: Option<Template>,
    pub(crate) each: Option<Expression>,
    pub(crate) key: Option<Template>,
    /// When an event starts a run.
    pub start: EventStart,
}

/// A request whose sender is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// When it came.
    pub at: Timestamp,
    /// What it came with; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What it says.
    pub body: Value,
    /// Digest of its bytes.
    pub sha256: Digest,
}

/// Why a request starts nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unwanted {
    /// The condition is false, which is no mistake of the sender.
    #[error("the trigger wants no such event")]
    Condition,
    /// The body does not fit the schema.
    #[error("the body does not fit{0}")]
    Schema(String),
    /// The schema cannot be used.
    #[error("the schema cannot be used: {0}")]
    BadSchema(String),
    /// An expression has no value.
    #[error("{0} cannot be evaluated: {1}")]
    Expression(&'static str, EvaluationError),
    /// Nothing tells the event from others.
    #[error("the request has no id: send it in a header such as webhook-id, or let the trigger say `dedupe`")]
    NoId,
    /// There is no list.
    #[error("`each` is a list, not {0}")]
    NoList(&'static str),
    /// There are too many.
    #[error("`each` has {0} items; at most {MAX_ITEMS} are taken")]
    TooMany(usize),
}

impl WebhookPlan {
    /// A request is new if its id is; whatever else changes in the trigger, it was heard already.
    pub(super) fn digest() -> Digest {
        canonical::digest_of_value(&json!("webhook"))
    }

    /// The events that a request is: one, or one for each item.
    ///
    /// # Errors
    /// Why it is none.
    pub fn events(&self, release: &ReleaseFacts, delivery: &Delivery) -> Result<Vec<Event>, Unwanted> {
        self.fits(&delivery.body)?;
        let headers: Map<String, Value> = delivery
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        let known = vec![
            ("body", delivery.body.clone()),
            ("headers", Value::Object(headers)),
        ];
        let mut scope = Scope::default();
        scope.set("release", release.as_variable());
        for (name, value) in &known {
            scope.set(name, value.clone());
        }
        if let Some(when) = &self.when {
            let holds = when.holds(&scope);
            if !holds.map_err(|error| Unwanted::Expression("`when`", error))? {
                return Err(Unwanted::Condition);
            }
        }
        let Some(each) = &self.each else {
            let id = match &self.dedupe {
                Some(dedupe) => text(dedupe, &scope)?,
                None => self.id(delivery).ok_or(Unwanted::NoId)?,
            };
            let key = self.key(&scope)?;
            return Ok(vec![event(delivery, id, key, known, delivery.sha256.clone())]);
        };
        let items = each.evaluate(&scope);
        let items = match items.map_err(|error| Unwanted::Expression("`each`", error))? {
            Value::Array(items) if items.len() > MAX_ITEMS => return Err(Unwanted::TooMany(items.len())),
            Value::Array(items) => items,
            other => return Err(Unwanted::NoList(type_name(&other))),
        };
        let mut events = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            scope.set("item", item.clone());
            let id = match &self.dedupe {
                Some(dedupe) => text(dedupe, &scope)?,
                None => format!("{}#{i}", self.id(delivery).ok_or(Unwanted::NoId)?),
            };
            let digest = canonical::digest_of_value(&item);
            let key = self.key(&scope)?;
            let mut known = known.clone();
            known.push(("item", item));
            events.push(event(delivery, id, key, known, digest));
        }
        Ok(events)
    }

    /// The key by which waits take an event. One without a key is for none.
    fn key(&self, scope: &Scope) -> Result<Option<String>, Unwanted> {
        let Some(key) = &self.key else { return Ok(None) };
        let key = key.text(scope);
        let key = key.map_err(|error| Unwanted::Expression("`key`", error))?;
        Ok((!key.is_empty()).then_some(key))
    }

    fn fits(&self, body: &Value) -> Result<(), Unwanted> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let schema =
            Schema::compile(schema.as_value()).map_err(|error| Unwanted::BadSchema(error.to_string()))?;
        match schema.misfits(body).first() {
            Some(misfit) => Err(Unwanted::Schema(format!(
                " at {:?}: {}",
                misfit.pointer, misfit.message
            ))),
            None => Ok(()),
        }
    }

    /// What the sender calls the delivery: the same each time that it is sent.
    fn id(&self, delivery: &Delivery) -> Option<String> {
        let header = |name: &str| delivery.headers.get(name).filter(|id| !id.is_empty()).cloned();
        // as JSON, so that nothing in one of them passes for a part of the other
        let cloud_event = || Some(json!([header("ce-source")?, header("ce-id")?]).to_string());
        match &self.auth {
            WebhookAuth::StandardWebhooks(_) => header("webhook-id"),
            WebhookAuth::Github(_) => header("x-github-delivery")
                .or_else(|| header("x-gitea-delivery"))
                .or_else(cloud_event),
            // a signature is over this id and no other
            WebhookAuth::Gitlab(_) if delivery.headers.contains_key("webhook-signature") => {
                header("webhook-id")
            }
            WebhookAuth::Gitlab(_) => header("idempotency-key")
                .or_else(|| header("webhook-id"))
                .or_else(|| header("x-gitlab-event-uuid")),
            WebhookAuth::Slack(_) => delivery.body["event_id"].as_str().map(str::to_owned),
            WebhookAuth::Bearer(_) => cloud_event()
                .or_else(|| header("webhook-id"))
                .or_else(|| header("idempotency-key")),
        }
    }
}

fn text(dedupe: &Template, scope: &Scope) -> Result<String, Unwanted> {
    let text = dedupe.text(scope);
    let text = text.map_err(|error| Unwanted::Expression("`dedupe`", error))?;
    if text.is_empty() {
        Err(Unwanted::NoId)
    } else {
        Ok(text)
    }
}

fn event(
    delivery: &Delivery,
    id: String,
    key: Option<String>,
    variables: Vec<(&'static str, Value)>,
    sha256: Digest,
) -> Event {
    Event {
        at: delivery.at,
        id,
        key,
        variables,
        run: None,
        requesters: vec![],
        depth: None,
        sha256: Some(sha256),
    }
}
