//! A run with a clock that stands still, and what can happen to it.

use super::*;
use crate::effect::HttpBody;
use signoff_api::release::Dependency;

/// A run with a clock that stands still until it is moved.
pub(crate) struct Scenario {
    pub(crate) plan: Plan,
    pub(crate) state: RunStatus,
    pub(crate) facts: Facts,
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<Effect>,
    /// Whether the last decision need not be written.
    pub(crate) is_deferrable: bool,
    pub(crate) wake_at: Option<Timestamp>,
}

impl Scenario {
    pub(crate) fn of(definition: Value, inputs: &Value) -> Self {
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let keys = CallbackKeys::new("k1", [("k1".to_owned(), vec![7; 32])].into()).unwrap();
        let facts = Facts {
            run: RunFacts {
                namespace: "default".into(),
                name: "r".into(),
                uid: "u".into(),
                generation: Some(1),
                requested_by: Some("dev".into()),
                earlier_requesters: vec![],
                parents: vec![],
                depth: None,
                trigger: None,
                inputs: JsonObject(inputs.as_object().cloned().unwrap()),
                cancel: false,
                terminate: false,
                stopped_by: None,
                stop_message: None,
                suspend: false,
                channel: signoff_api::run::Channel::Live,
                resolutions: BTreeMap::new(),
            },
            release: ReleaseFacts {
                name: "f-1".into(),
                flow: "f".into(),
                digest: Digest::of(b"1"),
                commit: None,
                author: None,
                repository: None,
                dependencies: vec![Dependency {
                    flow: "child".into(),
                    release: "child-1".into(),
                    digest: Digest::of(b"child"),
                }],
            },
            place: Place::Unlimited,
            objects: BTreeMap::new(),
            refused: BTreeMap::new(),
            unopened: BTreeMap::new(),
            outcomes: vec![],
            in_flight: BTreeSet::new(),
            waiting_calls: BTreeMap::new(),
            connections: BTreeMap::new(),
            callbacks: CallbackMinter {
                base_url: "http://gateway".into(),
                keys,
            },
            contents: BTreeMap::new(),
        };
        let plan = Plan::of_release(&definition).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        Self {
            plan,
            state: RunStatus::default(),
            facts,
            now,
            effects: vec![],
            is_deferrable: false,
            wake_at: None,
        }
    }

    /// Decides once, as the controller does: what was asked for is under way afterwards, what was heard is forgotten.
    pub(crate) fn tick(&mut self) -> &mut Self {
        let Advance {
            state,
            effects,
            is_deferrable,
            wake_at,
        } = advance(&self.plan, &self.state, &self.facts, self.now);
        self.state = state;
        self.is_deferrable = is_deferrable;
        self.wake_at = wake_at;
        self.facts.outcomes.clear();
        for effect in &effects {
            match effect {
                Effect::Call(call) => {
                    self.facts.in_flight.insert(call.key.clone());
                }
                Effect::Open(OwnedObject::Approval(open)) => {
                    let fact = ApprovalFact {
                        digest: open.spec.digest.clone(),
                        status: ApprovalStatus::default(),
                    };
                    let key = ObjectKey::approval(&open.name);
                    self.facts
                        .objects
                        .insert(key, ObjectFact::Approval(Box::new(fact)));
                }
                Effect::Open(OwnedObject::WorkItem(open)) => {
                    let fact = work::fact(&open.spec, &WorkItemStatus::default());
                    let key = ObjectKey::work_item(&open.name);
                    let known = self.facts.objects.entry(key);
                    known.or_insert(ObjectFact::WorkItem(Box::new(fact)));
                }
                // it is there when the test says so
                Effect::Open(OwnedObject::Run(_) | OwnedObject::Job(_)) | Effect::Close(_) => {}
                Effect::Abort(key) => {
                    self.facts.in_flight.remove(key);
                }
            }
        }
        self.effects = effects;
        if self.has_more_to_do() {
            return self;
        }
        let again = advance(&self.plan, &self.state, &self.facts, self.now);
        assert_eq!(again.state, self.state, "deciding again changes nothing");
        self
    }

    /// Whether the last turn was enough and left something to the next one.
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.wake_at == Some(self.now)
    }

    pub(crate) fn answer(&mut self, step: &str, status: u16, body: Value) -> &mut Self {
        let response = HttpResponse {
            status,
            headers: BTreeMap::new(),
            body,
        };
        self.outcome(step, Ok(Response::Http(response)))
    }

    pub(crate) fn outcome(&mut self, step: &str, result: Result<Response, EffectError>) -> &mut Self {
        let key = self
            .facts
            .in_flight
            .iter()
            .find(|key| {
                key.step == step
                    || key
                        .item
                        .is_some_and(|item| format!("{}[{item}]", key.step) == step)
            })
            .cloned()
            .expect("the step is under way");
        self.facts.in_flight.remove(&key);
        self.facts.outcomes.push(EffectOutcome {
            key,
            at: self.now,
            result,
        });
        self.tick()
    }

    pub(crate) fn decide(&mut self, approval: &str, phase: ApprovalPhase) -> &mut Self {
        self.open(approval).phase = phase;
        self.tick()
    }

    /// The status of the question that is open, by its name without the hash.
    pub(crate) fn open(&mut self, approval: &str) -> &mut ApprovalStatus {
        self.questions_mut()
            .find(|(name, status)| is_called(name, approval) && status.phase == ApprovalPhase::Pending)
            .map(|(_, status)| status)
            .expect("the approval is open")
    }

    pub(crate) fn questions_mut(&mut self) -> impl Iterator<Item = (&str, &mut ApprovalStatus)> {
        let objects = self.facts.objects.iter_mut();
        objects.filter_map(|(key, fact)| match fact {
            ObjectFact::Approval(fact) => Some((key.name.as_str(), &mut fact.status)),
            ObjectFact::Run(_) | ObjectFact::WorkItem(_) | ObjectFact::Job(_) | ObjectFact::Process(_) => {
                None
            }
        })
    }

    pub(crate) fn restart(&mut self) -> &mut Self {
        self.facts.in_flight.clear();
        self.tick()
    }

    pub(crate) fn pass(&mut self, seconds: i64) -> &mut Self {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self.tick()
    }

    pub(crate) fn http(&self) -> Vec<&Call> {
        let calls = self.effects.iter().filter_map(|effect| match effect {
            Effect::Call(call) => Some(&**call),
            Effect::Open(_) | Effect::Close(_) | Effect::Abort(_) => None,
        });
        calls.collect()
    }

    pub(crate) fn opened(&self) -> Vec<&OpenApproval> {
        let opened = self.effects.iter().filter_map(|effect| match effect {
            Effect::Open(OwnedObject::Approval(open)) => Some(&**open),
            Effect::Open(OwnedObject::Run(_) | OwnedObject::WorkItem(_) | OwnedObject::Job(_))
            | Effect::Call(_)
            | Effect::Close(_)
            | Effect::Abort(_) => None,
        });
        opened.collect()
    }

    pub(crate) fn steps(&self) -> Vec<(&str, i64, StepPhase, Option<StepOutcome>)> {
        self.state
            .steps
            .iter()
            .map(|step| (step.name.as_str(), step.iteration, step.phase, step.outcome))
            .collect()
    }
}

/// What is asked over HTTP.
pub(crate) fn request(call: &Call) -> &HttpRequest {
    match &call.request {
        Request::Http(request) => request,
        request @ (Request::Ssh(_)
        | Request::Git(_)
        | Request::Llm(_)
        | Request::Email(_)
        | Request::Store(_)) => {
            panic!("not over HTTP: {request:?}")
        }
    }
}

/// The JSON body of a request.
pub(crate) fn json(request: &HttpRequest) -> &Value {
    match &request.body {
        Some(HttpBody::Json(body)) => body,
        other => panic!("no JSON body: {other:?}"),
    }
}

/// Whether a question is called so, or so but for the hash at its end.
pub(crate) fn is_called(name: &str, readable: &str) -> bool {
    let hash = name
        .strip_prefix(readable)
        .and_then(|rest| rest.strip_prefix('-'));
    name == readable
        || hash.is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}
