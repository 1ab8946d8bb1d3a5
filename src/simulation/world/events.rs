//! What happens to a run from outside: decisions, callbacks, and changes of its spec.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde_json::{Value, json};

use super::{Question, World, fact, of_item};
use crate::simulation::{
    compare::word,
    flows,
    scenario::{Callback, Decide, Event, Heartbeat, Resolve, RunEvent, TriggerEvent, has_long_integer},
    trigger,
};
use signoff_api::{
    DecisionSpec, Json, bounds, canonical,
    name::ObjectName,
    names,
    resolution::Resolution,
    run::{CallbackRecord, EventRecord, HeartbeatRecord},
    step::CallbackWait,
    trigger::EventStart,
};
use signoff_engine::{
    callback_body,
    callback_token::{CallbackAddress, is_over},
    events::{OpenWait, accepts, may_await, open},
    heartbeat::{Renewal, renew},
    judge::{ActsAs, DecisionFact, Proof, judge},
    object::ObjectKey,
    resolution,
};

/// What a call that comes too late is told.
const NOTHING_WAITS: &str = "nothing waits for this callback any more";

/// An event that no wait has taken.
pub(super) struct KeptEvent {
    at: Timestamp,
    hash: String,
    name: String,
    /// Its trigger: the flow and the name.
    of: (String, String),
    headers: BTreeMap<String, String>,
    body: Value,
}

impl World<'_> {
    pub(super) fn happen(&mut self, event: &Event) {
        let step = event.step.as_deref().unwrap_or_default();
        let named = of_item(step, event.item);
        let (what, came) = match (
            &event.decide,
            &event.callback,
            &event.heartbeat,
            &event.webhook,
            &event.resolve,
            &event.task,
            &event.run,
        ) {
            (Some(decide), ..) => (
                format!("{} decides on {named}", decide.by),
                self.decide(step, event.item, decide),
            ),
            (_, Some(callback), ..) => (
                format!("the callback of {named}"),
                self.called_back(step, event.item, callback),
            ),
            (_, _, Some(Heartbeat {}), ..) => (
                format!("a heartbeat of {named}"),
                self.heard_from(step, event.item),
            ),
            (.., Some(answer), _) => (
                format!("{} answers the task of {named}", answer.by),
                self.worked(step, event.item, answer),
            ),
            (.., Some(resolve), _, _) => (
                format!("{} resolves {named}", resolve.by),
                self.resolved(step, event.item, resolve),
            ),
            (_, _, _, Some(came), ..) => (
                format!("an event of trigger {}", came.trigger),
                self.offered(came),
            ),
            (.., Some(change)) => {
                match change {
                    RunEvent::Cancel => self.run_mut().facts.run.cancel = true,
                    RunEvent::Terminate => self.run_mut().facts.run.terminate = true,
                    RunEvent::Suspend => self.run_mut().facts.run.suspend = true,
                    RunEvent::Resume => self.run_mut().facts.run.suspend = false,
                }
                (
                    format!("{change:?}").to_lowercase() + " the run",
                    Ok((json!(null), String::new())),
                )
            }
            (None, None, None, None, None, None, None) => return,
        };
        let (came, why) = match came {
            Ok(came) => came,
            Err(problem) => {
                self.problems.push(format!("{what} at {}: {problem}", self.now));
                return;
            }
        };
        let why = if why.is_empty() { why } else { format!(" ({why})") };
        let result = if came.is_null() {
            String::new()
        } else {
            format!(": {}{why}", word(&came))
        };
        self.say(&format!("{what}{result}"));
        let fits = |expected: &Value| word(expected) == word(&came);
        match &event.expect {
            Some(expected) if !fits(expected) => self.problems.push(format!(
                "{what} at {}: {}{why}; expected {}",
                self.now,
                word(&came),
                word(expected)
            )),
            Some(_) => {}
            // what does not count is a mistake in the scenario, unless it says so
            None => match came.as_str() {
                Some("Counted" | "Replaced" | "Resolved" | "Succeeded" | "Failed" | "Queued") | None
                    if came.as_i64().is_none_or(|code| code < 300) => {}
                _ => self
                    .problems
                    .push(format!("{what} at {}: {}{why}", self.now, word(&came))),
            },
        }
    }

    /// Lets a person decide on the newest question of a step; gives the reason of what comes of it.
    fn decide(&mut self, step: &str, item: Option<i64>, decide: &Decide) -> Result<(Value, String), String> {
        let of_step = |question: &Question| {
            question.step == step && (item.is_none() || question.spec.subject.item == item)
        };
        let index = self
            .questions
            .iter()
            .rposition(of_step)
            .ok_or_else(|| format!("no question of step {} has been asked", of_item(step, item)))?;
        let question = &mut self.questions[index];
        let number = question.decisions.len() + 1;
        let approval: ObjectName = question
            .name
            .parse()
            .map_err(|_| "its name is no name".to_owned())?;
        question.decisions.push(DecisionFact {
            name: format!("{}-{number:03}", question.name),
            uid: format!("{number:03}"),
            created_at: self.now,
            spec: DecisionSpec {
                approval,
                digest: question.spec.digest.clone(),
                verdict: decide.verdict,
                comment: decide.comment.clone(),
                values: decide.values.clone(),
                shown: decide.shown.clone(),
                to: decide.to.clone(),
                by: Some(decide.by.clone()),
                groups: Some(decide.groups.clone()),
                via: None,
            },
            judged: None,
            acts_as: ActsAs::Nobody,
        });
        self.judge(index);
        let judged = self.questions[index]
            .decisions
            .last()
            .and_then(|decision| decision.judged.clone());
        let judged = judged.ok_or("nothing is said of the decision")?;
        Ok((json!(judged.reason), judged.message.unwrap_or_default()))
    }

    pub(super) fn judge(&mut self, index: usize) {
        let now = self.now;
        let question = &mut self.questions[index];
        question.judge(Some(now));
        let (run, key, fact) = (question.run, ObjectKey::approval(&question.name), fact(question));
        self.runs[run].facts.objects.insert(key, fact);
    }

    /// Finds the wait whose callback an event is about, as the newest address names it.
    fn called(&self, step: &str, item: Option<i64>) -> Result<Called, String> {
        let (prefix, step) = flows::split(step);
        let index = self.runs.iter().rposition(|run| run.prefix == prefix);
        let index = index.ok_or_else(|| format!("no run that has the step {step} was started"))?;
        let run = &self.runs[index];
        let wait = run.definition.all_steps().find(|known| known.name == step);
        let has_items = wait.is_some_and(|known| known.for_each.is_some());
        let wait = wait
            .and_then(|known| known.kind.as_kind().callback())
            .ok_or_else(|| format!("step {step} waits for no callback"))?;
        if has_items != item.is_some() {
            return Err(if has_items {
                format!("step {step} has items; say which `item`")
            } else {
                format!("step {step} has no items")
            });
        }
        let mut entries = run.state.steps.iter();
        let newest = entries.rfind(|entry| entry.name == step && entry.item.is_none());
        let iteration = newest.map_or(1, |entry| match entry.repeated {
            // between two passes, the address is that of the next one
            Some(true) => entry.iteration.saturating_add(1),
            Some(false) | None => entry.iteration,
        });
        let facts = &run.facts.run;
        let address = CallbackAddress {
            namespace: facts.namespace.clone(),
            run: facts.name.clone(),
            uid: facts.uid.clone(),
            step: step.to_owned(),
            iteration,
            item,
        };
        Ok(Called {
            run: index,
            wait: wait.clone(),
            address,
        })
    }

    /// Takes the answer to a callback that never came.
    fn resolved(
        &mut self,
        step: &str,
        item: Option<i64>,
        resolve: &Resolve,
    ) -> Result<(Value, String), String> {
        let Called { run, address, .. } = self.called(step, item)?;
        let (run, key) = (&mut self.runs[run], address.record_key());
        if let Err(why) = resolution::check(&run.plan, &run.state, &key, &resolve.body) {
            return Ok((json!("Refused"), why));
        }
        let resolution = Resolution {
            body: resolve.body.clone().into(),
            message: resolve.message.clone(),
            by: Some(resolve.by.clone()),
        };
        run.facts.run.resolutions.insert(key, resolution);
        Ok((json!("Resolved"), String::new()))
    }

    /// Takes a heartbeat as the gateway does; gives the status of its answer.
    fn heard_from(&mut self, step: &str, item: Option<i64>) -> Result<(Value, String), String> {
        let Called { run, wait, address } = self.called(step, item)?;
        let (now, key) = (self.now, address.record_key());
        let state = &mut self.runs[run].state;
        let Some(heartbeat) = &wait.heartbeat else {
            return Ok((json!(409), "this wait has no heartbeat".to_owned()));
        };
        let was_called = state.callbacks.contains_key(&key);
        if was_called || is_over(state, &address) || state.phase.is_finished() {
            return Ok((json!(410), NOTHING_WAITS.to_owned()));
        }
        let wait = (&*address.step, address.iteration, address.item);
        match renew(state, wait, heartbeat.duration(), now) {
            Renewal::Written(_) => {
                let received_at = MicroTime(now);
                state.heartbeats.insert(key, HeartbeatRecord { received_at });
            }
            Renewal::Unwritten(_) | Renewal::NotBegun => {}
        }
        Ok((json!(202), String::new()))
    }

    /// Gives an event to the wait that began first of those that want it, or keeps it for a later one, as the gateway does;
    /// gives the status of its answer.
    fn offered(&mut self, came: &TriggerEvent) -> Result<(Value, String), String> {
        let first = self.runs.first().ok_or("no run was started")?;
        let release = &first.facts.release;
        let starts_if_untaken = first.plan.triggers().iter().any(|trigger| {
            let is_it = trigger.name.as_str() == came.trigger;
            is_it && trigger.source.event_start() == Some(EventStart::Unmatched)
        });
        let headers: BTreeMap<String, String> = came
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        let mut offered = Vec::new();
        for event in trigger::events(came, &first.plan, release, self.now)? {
            let Some(key) = &event.key else { continue };
            offered.push(KeptEvent {
                at: self.now,
                hash: names::event_key(&release.flow, &came.trigger, key),
                name: names::triggered_run_name(&release.flow, &came.trigger, &event.id),
                of: (release.flow.clone(), came.trigger.clone()),
                headers: headers.clone(),
                body: event.payload().clone(),
            });
        }
        let (mut is_taken, mut is_kept) = (false, false);
        for event in offered {
            if self.give(&event) {
                is_taken = true;
            } else if !starts_if_untaken && self.may_be_awaited(&event) {
                is_kept = true;
                self.kept.push(event);
            }
        }
        Ok(match (is_taken, is_kept) {
            (true, _) => (json!(202), String::new()),
            (false, true) => (json!(202), "the event is kept for a later wait".to_owned()),
            (false, false) => (json!(200), "no run waits for the event".to_owned()),
        })
    }

    /// Gives events that are kept to waits that have begun. Whether there were some.
    pub(super) fn give_kept(&mut self) -> bool {
        let kept = std::mem::take(&mut self.kept);
        let before = kept.len();
        for event in kept {
            if !self.give(&event) && self.may_be_awaited(&event) {
                self.kept.push(event);
            }
        }
        self.kept.len() < before
    }

    /// Gives an event to the wait that began first of those that want it. Whether there is one.
    fn give(&mut self, event: &KeptEvent) -> bool {
        let Some((run, key)) = self.choose(event) else {
            return false;
        };
        let record = EventRecord {
            received_at: MicroTime(event.at),
            name: event.name.clone(),
            body: Some(Json(event.body.clone())),
        };
        self.runs[run].state.events.insert(key, record);
        true
    }

    fn may_be_awaited(&self, event: &KeptEvent) -> bool {
        let (flow, trigger) = &event.of;
        self.runs.iter().any(|run| {
            let plan = (&run.plan, run.facts.release.flow.as_str());
            may_await(plan, &run.state, (flow, trigger))
        })
    }

    /// The wait that takes an event: its run and its key.
    fn choose(&self, event: &KeptEvent) -> Option<(usize, String)> {
        let runs = self.runs.iter().enumerate();
        let hashes = BTreeSet::from([event.hash.clone()]);
        let open = runs.flat_map(|(at, run)| {
            let open = open(&run.state, &hashes).into_iter();
            open.map(move |(_, wait)| (wait, at))
        });
        let mut open: Vec<(OpenWait, usize)> = open.collect();
        open.sort();
        let wants = |(wait, at): &(OpenWait, usize)| {
            let definition = &self.runs[*at].definition;
            let step = definition.all_steps().find(|step| step.name == wait.step);
            let wanted = step.and_then(|step| step.kind.as_kind().event());
            wanted.is_some_and(|wanted| accepts(definition, wanted, &event.headers, &event.body) == Ok(true))
        };
        open.into_iter().find(wants).map(|(wait, at)| (at, wait.key))
    }

    /// Takes a callback as the gateway does; gives the status of its answer.
    fn called_back(
        &mut self,
        step: &str,
        item: Option<i64>,
        callback: &Callback,
    ) -> Result<(Value, String), String> {
        let Called { run, wait, address } = self.called(step, item)?;
        let run = &mut self.runs[run];
        let size = callback.body.to_string().len();
        if size > bounds::MAX_CALLBACK {
            return Ok((
                json!(413),
                format!("a callback has at most {} bytes", bounds::MAX_CALLBACK),
            ));
        }
        let key = address.record_key();
        let sha256 = canonical::digest_of_value(&callback.body);
        let headers: BTreeMap<String, String> = callback
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        let webhook_id = headers.get("webhook-id").cloned();
        if let Some(known) = run.state.callbacks.get(&key) {
            let is_same_delivery = webhook_id.is_some() && known.webhook_id == webhook_id;
            return Ok(if known.sha256 == sha256 || is_same_delivery {
                (json!(200), String::new())
            } else {
                (json!(409), "another body came first".to_owned())
            });
        }
        if is_over(&run.state, &address) || run.state.phase.is_finished() {
            return Ok((json!(410), NOTHING_WAITS.to_owned()));
        }
        if let Err(why) = writable(&callback.body) {
            return Ok((json!(422), why));
        }
        if let Err(why) = callback_body::check(&wait, &headers, &callback.body) {
            return Ok((json!(422), why));
        }
        let record = CallbackRecord {
            received_at: MicroTime(self.now),
            sha256,
            webhook_id,
            body: Json(callback.body.clone()),
        };
        run.state.callbacks.insert(key, record);
        Ok((json!(202), String::new()))
    }
}

impl Question {
    /// Judges the decisions on it as the operator does. Nothing expires without the time.
    pub(in crate::simulation) fn judge(&mut self, now: Option<Timestamp>) {
        let proven = Proof::Proven {
            since: None,
            written: None,
        };
        let judged = judge(
            &self.spec,
            self.asked_at,
            &self.status,
            &self.decisions,
            now,
            proven,
        );
        for (name, status) in judged.decisions {
            let mut decisions = self.decisions.iter_mut();
            if let Some(decision) = decisions.find(|decision| decision.name == name) {
                decision.judged = Some(status);
            }
        }
        self.status = judged.status;
    }
}

/// A wait that is called.
struct Called {
    run: usize,
    wait: CallbackWait,
    address: CallbackAddress,
}

/// Whether a callback may have this body.
fn writable(body: &Value) -> Result<(), String> {
    bounds::nesting(body, bounds::MAX_NESTING).map_err(|error| error.to_string())?;
    if has_long_integer(body) {
        return Err("an integer is beyond 64 bits".to_owned());
    }
    Ok(())
}
