//! `flow` steps: a run of another flow.

mod inputs;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use signoff_expression::{Declarations, StaticType};

use super::{Done, Failure, Kind, KindPlan, Next, Own};
use crate::{
    difference::Field,
    expression::{JsonTemplate, Template},
    facts::RunFact,
    object::{ObjectKey, OwnedObject, StartRun},
    plan::{Place, check},
    turn::{Owned, StepView},
};
use signoff_api::{
    RunPhase,
    json::JsonObject,
    name::FlowName,
    names,
    reason::StepReason,
    retry::EarlierChild,
    run::{EndingOutcome, ParentRun, RunParent, StepOutcome, StepStatus},
    step::FlowStep,
};

/// A `flow` step with its expressions parsed.
#[derive(Debug)]
struct FlowPlan {
    flow: FlowName,
    inputs: JsonTemplate,
    is_detached: bool,
    key: Option<Template>,
}

impl Kind for FlowStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let given = self.inputs.iter().flatten();
        let given: Map<String, Value> = given
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect();
        let template = place.json("inputs", &Value::Object(given), &[]);
        if let Some(template) = &template {
            inputs::check(&self.name, template, place);
        }
        if self.key.is_some() && !self.is_detached() {
            place.problem("key", "only a detached run has a key");
        }
        Arc::new(FlowPlan {
            flow: self.name.clone(),
            inputs: template.unwrap_or(JsonTemplate::Literal(Value::Null)),
            is_detached: self.is_detached(),
            key: self.key.as_ref().and_then(|key| place.template("key", key)),
        })
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = if self.is_detached() {
            check::detached_run()
        } else {
            StaticType::Dyn
        };
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            name,
            inputs,
            detached,
            key,
        } = self;
        vec![
            Field::required("flow.name", name),
            Field::new("flow.inputs", inputs.as_ref()),
            Field::new("flow.detached", detached.as_ref()).default("false"),
            Field::new("flow.key", key.as_ref()),
        ]
    }
}

impl KindPlan for FlowPlan {
    fn is_idempotent(&self) -> bool {
        self.key.is_some()
    }

    fn start(&self, step: &StepView<'_>) -> Next {
        self.own(step).unwrap_or_else(Next::Fail)
    }

    fn go_on(&self, step: &StepView<'_>) -> Next {
        match step.object() {
            // it could not be created so far
            Owned::Nothing => self.start(step),
            Owned::Refused(why) => {
                let message = format!("the API server refuses the run of flow {}: {why}", self.flow);
                Next::Fail(Failure::new(StepReason::RunRefused, message))
            }
            // the state names it only once it was there
            Owned::Absent => {
                let name = step.status.run.as_deref().unwrap_or_default();
                let message = format!("somebody deleted run {name} of flow {}", self.flow);
                Next::Fail(Failure::new(StepReason::RunDeleted, message))
            }
            Owned::There(fact) => fact
                .as_run()
                .map_or(Next::Stay, |fact| self.looked_at(step, fact)),
        }
    }

    fn starts_child(&self) -> bool {
        !self.is_detached
    }
}

impl FlowPlan {
    fn own(&self, step: &StepView<'_>) -> Result<Next, Failure> {
        let wanted = self.wanted(step)?;
        let unopened = step.run.facts.unopened.get(&ObjectKey::run(&wanted.name));
        let waiting_on = match unopened {
            Some(why) => format!("run {}, which cannot be created: {why}", wanted.name),
            None => format!("run {} of flow {}", wanted.name, self.flow),
        };
        Ok(Next::Own(Box::new(Own {
            object: OwnedObject::Run(Box::new(wanted)),
            deadline: None,
            connections: vec![],
            requests: vec![],
            waiting_on,
        })))
    }

    fn wanted(&self, view: &StepView<'_>) -> Result<StartRun, Failure> {
        let (facts, status) = (view.run.facts, view.status);
        let mut pinned = facts.release.dependencies.iter();
        let pinned = pinned
            .find(|dependency| dependency.flow == self.flow.as_str())
            .ok_or_else(|| {
                let message = format!("the release pins no release of flow {}", self.flow);
                Failure::new(StepReason::RunRefused, message)
            })?;
        let scope = view.scope();
        let inputs = match self.inputs.value(&scope)? {
            Value::Object(inputs) => JsonObject(inputs),
            _ => JsonObject::default(),
        };
        let name = match &self.key {
            None => view.child_name(),
            Some(key) => match key.present_text(&scope)? {
                Some(key) => names::keyed_run_name(&facts.release.flow, &self.flow, &key),
                None => view.child_name(),
            },
        };
        let this = ParentRun {
            run: facts.run.name.clone(),
            flow: facts.release.flow.clone(),
            requested_by: facts.run.requested_by.clone(),
            author: facts.release.author.clone(),
        };
        Ok(StartRun {
            name,
            flow: self.flow.clone(),
            release: pinned.release.clone(),
            inputs,
            requested_by: facts.run.requested_by.clone(),
            earlier_requesters: view.run.earlier_requesters(),
            is_keyed: self.key.is_some(),
            parent: RunParent {
                uid: facts.run.uid.clone(),
                step: status.name.clone(),
                iteration: status.iteration,
                item: status.item,
                digest: pinned.digest.clone(),
                detached: self.is_detached.then_some(true),
                depth: facts.run.depth,
                chain: [this]
                    .into_iter()
                    .chain(facts.run.parents.iter().cloned())
                    .collect(),
            },
            retry_of: self.retried(view),
        })
    }

    /// The run of the same step on which the new one goes on, if this run retries another.
    fn retried(&self, view: &StepView<'_>) -> Option<String> {
        let retry = view.run.state.retry.as_ref().filter(|_| !self.is_detached)?;
        let mut known = retry.children.iter();
        let StepStatus {
            name,
            iteration,
            item,
            ..
        } = view.status;
        let is_same = |child: &&EarlierChild| {
            child.step == *name && child.iteration == *iteration && child.is_of(*item)
        };
        known.find(is_same).map(|child| child.name(*item))
    }

    fn looked_at(&self, step: &StepView<'_>, run: &RunFact) -> Next {
        let name = step.status.run.as_deref().unwrap_or_default();
        if self.is_detached {
            return Next::Done(Done::new(StepOutcome::Succeeded).with_output(json!({ "run": name })));
        }
        let (outcome, ending) = match run.phase {
            RunPhase::Pending | RunPhase::Queued | RunPhase::Running | RunPhase::Waiting => {
                return Next::Stay;
            }
            RunPhase::Succeeded => {
                let done = Done::new(StepOutcome::Succeeded);
                let output = run.output.clone();
                return Next::Done(match output {
                    Some(output) => done.with_output(output.0),
                    None => done,
                });
            }
            RunPhase::Failed => (StepOutcome::Failed, EndingOutcome::Failed),
            RunPhase::Rejected => (StepOutcome::Rejected, EndingOutcome::Rejected),
            RunPhase::TimedOut => (StepOutcome::TimedOut, EndingOutcome::TimedOut),
            RunPhase::Cancelled => (StepOutcome::Cancelled, EndingOutcome::Cancelled),
        };
        let why = run.error.as_ref().map(|error| format!(": {}", error.message));
        let message = format!(
            "run {name} of flow {} ended {}{}",
            self.flow,
            run.phase,
            why.unwrap_or_default()
        );
        Next::Fail(Failure {
            outcome,
            ending,
            ..Failure::new(StepReason::RunNotSucceeded, message)
        })
    }
}
