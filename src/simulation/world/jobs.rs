//! Jobs that steps create, and how the stubs say that they end.

use super::{Call, World, of_item};
use crate::simulation::{
    scenario::Crash,
    stubs::{Fate, fate},
};
use signoff_engine::{
    effect::{CallPart, EffectKey},
    facts::{EffectError, HttpResponse, JobFact, JobState, Response},
    job,
    object::{ObjectFact, ObjectKey, OpenJob},
};

impl World<'_> {
    /// Creates a Job, unless it is there. Whether there is something to decide because of it.
    pub(super) fn create(&mut self, open: OpenJob) -> bool {
        let key = ObjectKey::job(&open.name);
        if self.run().facts.objects.contains_key(&key) {
            return false;
        }
        let addressed = EffectKey {
            step: format!("{}{}", self.run().prefix, open.step),
            iteration: open.iteration,
            item: open.item,
            attempt: open.attempt,
        };
        let request = job::described(&open);
        let image = request["image"].as_str().unwrap_or_default();
        let line = format!("{} creates a job of {image}", of_item(&open.step, open.item));
        let sent = Call {
            step: addressed.step.clone(),
            pass: open.iteration,
            item: open.item,
            attempt: open.attempt,
            request,
        };
        // one that is there is adopted
        let is_new = !self.jobs.contains(&open.name);
        match fate(
            &self.scenario.spec.stubs,
            &addressed,
            &CallPart::Whole,
            &mut self.used,
        ) {
            None => {
                self.sends(&line, sent, is_new);
                self.problems.push(format!(
                    "NotStubbed: step {} (pass {}, attempt {}) creates a job, and no stub says how it ends",
                    of_item(&addressed.step, open.item),
                    open.iteration,
                    open.attempt
                ));
                self.know(key, &open, JobState::Open(None));
                true
            }
            Some(Fate::Ends(result)) => {
                self.sends(&line, sent, is_new);
                self.know(key, &open, ended(result));
                true
            }
            Some(Fate::Crash(crash)) => {
                if crash == Crash::AfterSend {
                    self.sends(&line, sent, is_new);
                    self.jobs.insert(open.name);
                }
                self.kill();
                false
            }
        }
    }

    fn sends(&mut self, line: &str, sent: Call, is_new: bool) {
        if is_new {
            self.say(line);
            self.calls.push(sent);
        }
    }

    fn know(&mut self, key: ObjectKey, open: &OpenJob, state: JobState) {
        let fact = JobFact {
            step: open.step.clone(),
            iteration: open.iteration,
            item: open.item,
            attempt: open.attempt,
            started_at: Some(self.now),
            state,
            log: None,
        };
        let objects = &mut self.run_mut().facts.objects;
        objects.insert(key, ObjectFact::Job(Box::new(fact)));
    }
}

fn ended(result: Result<Response, EffectError>) -> JobState {
    match result {
        Err(error) => JobState::Failed(error),
        Ok(Response::Http(HttpResponse { body, .. })) if body.is_null() => {
            JobState::Succeeded { output: None }
        }
        Ok(Response::Http(HttpResponse { body, .. })) => JobState::Succeeded {
            output: Some(body.to_string()),
        },
        Ok(
            Response::Ssh(_)
            | Response::Git(_)
            | Response::Llm(_)
            | Response::Email(_)
            | Response::Store(_)
            | Response::Recorded(_),
        ) => JobState::Succeeded { output: None },
    }
}
