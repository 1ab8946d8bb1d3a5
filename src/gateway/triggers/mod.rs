//! `POST /v1/triggers/<namespace>/<flow>/<trigger>`: starts a run for each event that a sender tells of, and gives it to a
//! run that waits for it.

mod cloud_event;
mod proof;
mod runs;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json as JsonBody,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Gateway, bodies, payload::Payload, problem::Problem, signature::SHORTEST_SECRET};
use crate::cluster::{
    error_chain,
    event_claims::{ArrivedEvent, ClaimError, EventClaims, NotKept, Offered, Offers, Terms},
    releases::LoadedRelease,
    secrets::{self, SecretError},
};
use signoff_api::{
    Flow, bounds,
    name::{DnsLabel, FlowName},
    names,
    reason::{Classified as _, ErrorClass},
    trigger::EventStart,
};
use signoff_engine::trigger::{
    Event, NewRun, NotStarted, SourcePlan, TriggerPlan,
    webhook::{Delivery, Unwanted, WebhookPlan},
};

/// Largest body, in bytes, compressed or not.
const MAX_BODY: usize = 1 << 20;
/// Headers that prove who the sender is: no expression sees them.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-gitlab-token"];

/// A trigger that is asked for.
struct Asked {
    flow: Flow,
    release: Arc<LoadedRelease>,
    trigger: TriggerPlan,
    webhook: WebhookPlan,
}

pub(super) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(DnsLabel, FlowName, DnsLabel)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // what is no name is part of no address of the API server
    let Path((namespace, flow, name)) = path.map_err(|_| unknown())?;
    // what does not tell whether there is such a trigger comes first
    Payload::is_taken(&headers)?;
    let found = if gateway.is_for(&namespace) {
        find(&gateway, &namespace, &flow, &name).await
    } else {
        Err(unknown())
    };
    let asked = match found {
        Ok(asked) => asked,
        Err(problem) => {
            // the same is read as where there is one
            bodies::pass_over(body, MAX_BODY).await?;
            return Err(problem);
        }
    };
    // who sent it is known when all of it is there
    let whole = gateway.bodies.read(&namespace, body, MAX_BODY).await?;
    let payload = proven(&gateway, &namespace, &asked, &headers, &whole.bytes).await?;
    if asked.trigger.is_suspended || asked.flow.spec.suspend.unwrap_or_default() {
        return Err(Problem::new(StatusCode::CONFLICT, "the trigger is suspended"));
    }
    let mut headers = texts(&headers);
    let body = cloud_event::unwrapped(&mut headers, payload.parse()?)?;
    if let Some(answer) = greeting(&asked.webhook, &headers, &body) {
        return Ok(answer);
    }
    let delivery = Delivery {
        at: gateway.context.now(),
        headers,
        body,
        sha256: payload.sha256(),
    };
    let Asked {
        release,
        trigger,
        webhook,
        flow: of,
    } = asked;
    let (start, headers) = (webhook.start, delivery.headers.clone());
    // how long it takes to tell what starts, the definition says
    let told = move || wanted(&release, &trigger, &webhook, &delivery);
    match gateway.context.evaluate(&namespace, told).await {
        Ok(events) => {
            let sender = Sender {
                gateway: &gateway,
                namespace: &namespace,
                flow: of.metadata.name.as_deref().unwrap_or_default(),
                trigger: &name,
                headers: &headers,
            };
            answer(&sender, start, events).await
        }
        Err(Refused::Unwanted(why @ Unwanted::Condition)) => {
            Ok(JsonBody(json!({ "runs": [], "message": why.to_string() })).into_response())
        }
        Err(Refused::Unwanted(why)) => Err(unprocessable(&why.to_string())),
        Err(Refused::NotStarted(why)) => Err(unprocessable(&why.message())),
    }
}

/// Why a request starts no run.
enum Refused {
    Unwanted(Unwanted),
    NotStarted(NotStarted),
}

/// An event, and the run that it starts where it starts one.
struct Arrived {
    event: Event,
    run: Option<NewRun>,
}

/// The events of a request, with the runs that they start. Either all of them can be told or none.
fn wanted(
    release: &LoadedRelease,
    trigger: &TriggerPlan,
    webhook: &WebhookPlan,
    delivery: &Delivery,
) -> Result<Vec<Arrived>, Refused> {
    let events = webhook
        .events(&release.facts, delivery)
        .map_err(Refused::Unwanted)?;
    let arrived = events.into_iter().map(|event| {
        let run = match webhook.start {
            EventStart::Always | EventStart::Unmatched => {
                Some(trigger.start(&release.definition, &release.facts, &event)?)
            }
            EventStart::Never => None,
        };
        Ok(Arrived { event, run })
    });
    arrived.collect::<Result<_, _>>().map_err(Refused::NotStarted)
}

/// Whose request it is, of which trigger.
struct Sender<'a> {
    gateway: &'a Gateway,
    namespace: &'a str,
    flow: &'a str,
    trigger: &'a str,
    headers: &'a BTreeMap<String, String>,
}

/// Gives events to the runs that wait for them, and starts runs. The answer names both, also the second time.
async fn answer(sender: &Sender<'_>, start: EventStart, events: Vec<Arrived>) -> Result<Response, Problem> {
    let mut told = Told::default();
    let mut new = Vec::new();
    let hash = |key: &String| names::event_key(sender.flow, sender.trigger, key);
    let keys = events.iter().filter_map(|arrived| arrived.event.key.as_ref());
    let hashes: BTreeSet<String> = keys.map(hash).collect();
    let _turn = if hashes.is_empty() {
        None
    } else {
        Some(sender.gateway.turns.to_offer(sender.namespace).await)
    };
    let claims = EventClaims {
        context: &sender.gateway.context,
        releases: &sender.gateway.releases,
        namespace: sender.namespace,
        field_manager: names::FIELD_MANAGER_GATEWAY,
    };
    let mut offers = Offers::new(claims, hashes);
    for Arrived { event, run } in events {
        let offered = offer(sender, &mut offers, start, (event, run.as_ref())).await?;
        let is_matched = matches!(offered, Offered::Taken(_));
        told.add(offered, start)?;
        if !is_matched || start == EventStart::Always {
            new.extend(run);
        }
    }
    let names: Vec<String> = new.iter().map(|new| new.name.clone()).collect();
    told.is_new |= runs::start(sender, new).await?;
    Ok(told.response(&names))
}

/// Offers an event to the runs that wait for it, or may wait for it later.
async fn offer(
    sender: &Sender<'_>,
    offers: &mut Offers<'_>,
    start: EventStart,
    (event, run): (Event, Option<&NewRun>),
) -> Result<Offered, Problem> {
    let Some(key) = &event.key else {
        return Ok(Offered::Untaken(None));
    };
    // an event that started a run is not for waits that began later
    let may_choose = match run {
        Some(run) => !runs::exists(sender, run).await?,
        None => true,
    };
    let may_keep = match start {
        EventStart::Always => may_choose,
        // it starts a run instead
        EventStart::Unmatched => false,
        EventStart::Never => true,
    };
    let arrived = ArrivedEvent {
        name: names::triggered_run_name(sender.flow, sender.trigger, &event.id),
        flow: sender.flow.to_owned(),
        trigger: sender.trigger.to_owned(),
        hash: names::event_key(sender.flow, sender.trigger, key),
        at: event.at,
        headers: sender.headers.clone(),
        body: event.payload().clone(),
        sha256: event.sha256,
    };
    let terms = Terms { may_choose, may_keep };
    let offered = offers.offer(&arrived, terms).await;
    offered.map_err(|error| match error {
        ClaimError::Api(_) | ClaimError::Release(_) | ClaimError::Contended => unavailable(&error),
        ClaimError::TooLarge => too_large(&error.to_string()).with("limit", bounds::MAX_EVENT),
        ClaimError::NoRoom => too_large(&error.to_string()),
        ClaimError::OtherBody => unprocessable(&error.to_string()),
    })
}

fn too_large(why: &str) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// What became of the events of a request.
#[derive(Default)]
struct Told {
    waits: Vec<Value>,
    kept: usize,
    /// Whether something happened just now.
    is_new: bool,
}

impl Told {
    fn add(&mut self, offered: Offered, start: EventStart) -> Result<(), Problem> {
        match offered {
            Offered::Taken(taken) => {
                self.is_new |= taken.is_new;
                self.waits.push(json!({ "run": taken.run, "step": taken.step }));
            }
            Offered::Kept { is_new } => {
                self.is_new |= is_new;
                self.kept += 1;
            }
            // what starts a run is not lost
            Offered::Untaken(Some(NotKept::TooLarge)) if start == EventStart::Never => {
                let most = bounds::MAX_EVENT;
                let why = format!(
                    "a run may wait for this event later, and at most {most} bytes are kept until then"
                );
                return Err(too_large(&why).with("limit", most));
            }
            Offered::Untaken(Some(NotKept::Full)) if start == EventStart::Never => {
                let why = "as many events of this trigger as may be are kept for later waits; try again";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
            }
            Offered::Untaken(_) => {}
        }
        Ok(())
    }

    fn response(self, runs: &[String]) -> Response {
        let mut body = json!({ "runs": runs });
        if self.kept > 0 {
            body["kept"] = json!(self.kept);
        }
        if !self.waits.is_empty() {
            body["waits"] = Value::Array(self.waits);
        } else if self.kept > 0 {
            body["message"] = json!("the event is kept for a run that may wait for it later");
        } else if runs.is_empty() {
            body["message"] = json!("no run waits for the event");
        }
        let status = if self.is_new {
            StatusCode::ACCEPTED
        } else {
            StatusCode::OK
        };
        (status, JsonBody(body)).into_response()
    }
}

fn unprocessable(why: &str) -> Problem {
    let why: String = why.chars().take(1_024).collect();
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

/// Whoever does not know the secret learns nothing about which triggers there are.
fn unknown() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        format!(
            "there is no such trigger in a live release, or the signature is wrong or old, or its secret has fewer than {SHORTEST_SECRET} bytes"
        ),
    )
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::warn!(error = %error_chain(error), "a request to a trigger could not be taken");
    Problem::unavailable()
}

/// The trigger of the release that is live now.
async fn find(gateway: &Gateway, namespace: &str, flow: &str, name: &str) -> Result<Asked, Problem> {
    let flows = gateway.context.namespaced::<Flow>(namespace);
    let flow = flows.get_opt(flow).await;
    let flow = flow.map_err(|error| unavailable(&error))?.ok_or_else(unknown)?;
    let live = flow.status.as_ref().and_then(|status| status.live_release());
    let live = live.ok_or_else(unknown)?;
    let release = gateway.releases.load(namespace, live).await.map_err(|error| {
        if error.class() == ErrorClass::Transient {
            unavailable(&error)
        } else {
            unknown()
        }
    })?;
    let is_of_flow = flow.metadata.name.as_deref() == Some(release.facts.flow.as_str());
    let triggers = release.plan.triggers().iter();
    let trigger = triggers
        .clone()
        .find(|trigger| is_of_flow && trigger.name == *name)
        .cloned();
    let trigger = trigger.ok_or_else(unknown)?;
    let webhook = match &trigger.source {
        SourcePlan::Webhook(webhook) => (**webhook).clone(),
        SourcePlan::Schedule(_) | SourcePlan::Flow(_) => return Err(unknown()),
    };
    Ok(Asked {
        flow,
        release,
        trigger,
        webhook,
    })
}

/// The body of a sender that knows the secret. Only such a sender is told what is wrong with it.
async fn proven(
    gateway: &Gateway,
    namespace: &str,
    asked: &Asked,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Payload, Problem> {
    let raw = Bytes::copy_from_slice(bytes);
    match Payload::of(headers, raw.clone(), MAX_BODY) {
        Ok(payload) => {
            prove(gateway, namespace, asked, headers, &payload).await?;
            Ok(payload)
        }
        Err(problem) => {
            let payload = Payload::as_sent(headers, raw)?;
            prove(gateway, namespace, asked, headers, &payload).await?;
            Err(problem)
        }
    }
}

/// Whether the sender knows the secret.
async fn prove(
    gateway: &Gateway,
    namespace: &str,
    asked: &Asked,
    headers: &HeaderMap,
    payload: &Payload,
) -> Result<(), Problem> {
    let auth = &asked.webhook.auth;
    let secret = secrets::read(gateway.context.client(), namespace, auth.secret()).await;
    let secret = secret.map_err(|error| match error {
        SecretError::Unreadable(..) => unavailable(&error),
        SecretError::NoSecret { .. } | SecretError::NoKey { .. } | SecretError::NotText { .. } => unknown(),
    })?;
    let now = gateway.context.now().as_second();
    match proof::is_proven(auth, &secret.bytes, headers, payload, now) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unknown()),
        Err(weak) => {
            let weaks = &gateway.weak;
            weaks.tell(&gateway.context, &asked.flow, &secret.of, weak).await;
            Err(unknown())
        }
    }
}

/// The headers that expressions see. The values of one that comes several times are joined (RFC 9110, section 5.3).
fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let names = headers.keys().map(HeaderName::as_str);
    let shown = names.filter(|name| !SECRET_HEADERS.contains(name));
    let all = |name: &str| {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        values.collect::<Vec<_>>().join(", ")
    };
    shown.map(|name| (name.to_owned(), all(name))).collect()
}

/// The answer to a request that only asks whether somebody is there.
fn greeting(webhook: &WebhookPlan, headers: &BTreeMap<String, String>, body: &Value) -> Option<Response> {
    use signoff_api::trigger::WebhookAuth as Auth;
    match &webhook.auth {
        Auth::Github(_) => {
            let event = headers.get("x-github-event").map(String::as_str);
            (event == Some("ping"))
                .then(|| JsonBody(json!({ "runs": [], "message": "pong" })).into_response())
        }
        Auth::Slack(_) => {
            let challenge = body["challenge"]
                .as_str()
                .filter(|_| body["type"] == "url_verification");
            challenge.map(|challenge| JsonBody(json!({ "challenge": challenge })).into_response())
        }
        Auth::StandardWebhooks(_) | Auth::Gitlab(_) | Auth::Bearer(_) => None,
    }
}
