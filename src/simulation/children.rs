//! Runs that steps start: for real if the files have the flow, or as a stub says.

use super::{
    flows::{self, is_meant},
    scenario::Stub,
    world::{Execution, World, connections},
};
use signoff_api::{
    Json, RunPhase, RunStatus, names, reason::StepReason, release::content_digest, run::StepError,
};
use signoff_engine::{
    concurrency::Place,
    facts::{Facts, ReleaseFacts, RunFact, RunFacts},
    inputs,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, StartRun},
};

impl<'a> World<'a> {
    /// Starts a run, unless it is there. Whether there is something to decide because of it.
    pub(super) fn start(&mut self, wanted: &StartRun) -> bool {
        let key = ObjectKey::run(&wanted.name);
        if self.run().facts.objects.contains_key(&key) {
            return false;
        }
        let step = match wanted.parent.item {
            None => wanted.parent.step.clone(),
            Some(item) => format!("{}[{item}]", wanted.parent.step),
        };
        let address = format!("{}{step}", self.run().prefix);
        self.say(&format!("{step} starts a run of flow {}", wanted.flow));
        if let Some(fact) = stubbed(&self.scenario.spec.stubs, &address, wanted) {
            self.run_mut().facts.objects.insert(key, ObjectFact::Run(fact));
            return true;
        }
        // the same key is the same run
        if let Some(known) = self.runs.iter().find(|run| run.key == key) {
            let fact = ObjectFact::Run(fact(known, wanted));
            self.run_mut().facts.objects.insert(key, fact);
            return true;
        }
        match self.execution(wanted, &address) {
            Ok(Ok(run)) => {
                self.runs.push(run);
                self.tell_parent(self.runs.len() - 1)
            }
            Ok(Err(why)) => {
                let refused = ended(wanted, RunPhase::Failed, None, Some(why));
                self.run_mut().facts.objects.insert(key, ObjectFact::Run(refused));
                true
            }
            Err(problems) => {
                let problems = problems.into_iter();
                self.problems
                    .extend(problems.map(|problem| format!("step {address}: {problem}")));
                false
            }
        }
    }

    /// A run that begins, or why it cannot: its inputs do not fit, or it has no key.
    fn execution(
        &self,
        wanted: &StartRun,
        address: &str,
    ) -> Result<Result<Execution<'a>, (StepReason, String)>, Vec<String>> {
        let objects = self.objects;
        let definition = objects.flows.get(&wanted.flow).ok_or_else(|| {
            let message = format!(
                "NotStubbed: it runs flow {}, which is not in the files, and no stub says how that ends",
                wanted.flow
            );
            vec![message]
        })?;
        let plan = flows::compile(objects, &wanted.flow, definition)?;
        let inputs = match inputs::complete(definition, &wanted.inputs) {
            Ok(inputs) => inputs,
            Err(message) => return Ok(Err((StepReason::InvalidInputs, message))),
        };
        let dependencies = flows::dependencies(objects, definition);
        let digest = content_digest(definition, &dependencies).map_err(|error| vec![error.to_string()])?;
        let above = &self.run().facts;
        let facts = Facts {
            run: RunFacts {
                name: wanted.name.clone(),
                uid: wanted.name.clone(),
                requested_by: wanted.requested_by.clone(),
                earlier_requesters: wanted.earlier_requesters.clone(),
                parents: wanted.parent.chain.clone(),
                trigger: None,
                inputs,
                cancel: false,
                terminate: false,
                stopped_by: None,
                stop_message: None,
                suspend: false,
                channel: signoff_api::run::Channel::Live,
                resolutions: std::collections::BTreeMap::new(),
                ..above.run.clone()
            },
            release: ReleaseFacts {
                name: names::release_name(&wanted.flow, &digest),
                flow: wanted.flow.to_string(),
                digest,
                dependencies,
                ..above.release.clone()
            },
            place: Place::default(),
            objects: std::collections::BTreeMap::new(),
            refused: std::collections::BTreeMap::new(),
            unopened: std::collections::BTreeMap::new(),
            outcomes: vec![],
            in_flight: std::collections::BTreeSet::new(),
            waiting_calls: std::collections::BTreeMap::new(),
            connections: connections(objects, &plan)?,
            callbacks: above.callbacks.clone(),
            contents: above.contents.clone(),
        };
        if let Err(why) = plan.concurrency_of(&facts) {
            return Ok(Err(why));
        }
        Ok(Ok(Execution {
            prefix: format!("{address}/"),
            parent: Some((self.at, wanted.clone())),
            key: ObjectKey::run(&wanted.name),
            definition,
            plan,
            state: RunStatus::default(),
            facts,
            wake_at: None,
        }))
    }

    /// Tells the run that started this one how it stands. Whether that is news.
    pub(super) fn tell_parent(&mut self, child: usize) -> bool {
        let run = &self.runs[child];
        let Some((parent, wanted)) = &run.parent else {
            return false;
        };
        let (parent, key, fact) = (*parent, run.key.clone(), fact(run, wanted));
        let objects = &mut self.runs[parent].facts.objects;
        let is_news = objects.get(&key).and_then(ObjectFact::as_run) != Some(&fact);
        objects.insert(key, ObjectFact::Run(fact));
        is_news
    }

    /// Stops a run that another one started. Whether that is news.
    pub(super) fn stop(&mut self, wanted: &CloseObject) -> bool {
        let Some(child) = self.runs.iter().position(|run| run.key == wanted.key) else {
            return false;
        };
        let run = &mut self.runs[child].facts.run;
        match wanted.closing {
            Closing::Terminated => run.terminate = true,
            Closing::Cancelled | Closing::Superseded => run.cancel = true,
        }
        self.tell_parent(child)
    }
}

fn fact(run: &Execution<'_>, wanted: &StartRun) -> RunFact {
    RunFact {
        step: wanted.parent.step.clone(),
        iteration: wanted.parent.iteration,
        item: wanted.parent.item,
        phase: run.state.phase,
        output: run.state.output.clone(),
        error: run.state.error.clone(),
        cancel: run.facts.run.cancel,
        terminate: run.facts.run.terminate,
    }
}

fn ended(
    wanted: &StartRun,
    phase: RunPhase,
    output: Option<Json>,
    error: Option<(StepReason, String)>,
) -> RunFact {
    RunFact {
        step: wanted.parent.step.clone(),
        iteration: wanted.parent.iteration,
        item: wanted.parent.item,
        phase,
        output,
        error: error.map(|(reason, message)| StepError { reason, message }),
        cancel: false,
        terminate: false,
    }
}

/// How a run ends by the stub of the step that starts it: the stub that names most, and of two the later one.
fn stubbed(stubs: &[Stub], address: &str, wanted: &StartRun) -> Option<RunFact> {
    let parent = &wanted.parent;
    let fits = |stub: &&Stub| {
        is_meant(&stub.step, address)
            && stub.pass.is_none_or(|pass| pass == parent.iteration)
            && (stub.item.is_none() || stub.item == parent.item)
    };
    let specific = |stub: &&Stub| {
        let named = [stub.pass, stub.item];
        named.iter().flatten().count() + usize::from(stub.step == address)
    };
    let stub = stubs.iter().filter(fits).max_by_key(specific)?;
    Some(match &stub.error {
        Some(error) => {
            let why = (error.reason, error.message.clone());
            ended(wanted, RunPhase::Failed, None, Some(why))
        }
        None => ended(wanted, RunPhase::Succeeded, stub.output.clone().map(Json), None),
    })
}
