//! What came of Jobs, as the record says.

use super::Player;
use signoff_engine::{
    effect::{CallPart, EffectKey},
    facts::{EffectError, JobFact, JobState, RecordedAnswer, Response},
    object::{ObjectFact, ObjectKey, OpenJob},
};

/// How a message begins that says why a Job was refused.
const REFUSED: &str = "the job cannot be created: ";

impl Player<'_> {
    /// Creates a Job, unless the record says that it was refused.
    pub(super) fn create(&mut self, open: &OpenJob) {
        let key = ObjectKey::job(&open.name);
        let entry = self.index.entry(&open.step, open.iteration, None);
        let error = entry.and_then(|entry| entry.error.as_ref());
        if let Some(why) = error.and_then(|error| error.message.strip_prefix(REFUSED)) {
            self.facts.refused.insert(key, why.to_owned());
            return;
        }
        if self.facts.objects.contains_key(&key) {
            return;
        }
        let of_step = (open.step.clone(), open.iteration, None);
        self.note(of_step, "what came of the job is taken from the record");
        let fact = JobFact {
            step: open.step.clone(),
            iteration: open.iteration,
            item: open.item,
            attempt: open.attempt,
            started_at: None,
            state: JobState::Open(None),
            log: None,
        };
        self.facts.objects.insert(key, ObjectFact::Job(Box::new(fact)));
    }

    /// Ends the Jobs that had ended by now. Whether there is news.
    pub(super) fn jobs_end(&mut self) -> bool {
        let mut ended = Vec::new();
        for (key, fact) in &self.facts.objects {
            let Some(job) = fact.as_job().filter(|_| !fact.is_closed()) else {
                continue;
            };
            let attempt = EffectKey {
                step: job.step.clone(),
                iteration: job.iteration,
                item: job.item,
                attempt: job.attempt,
            };
            if let Some(result) = self.answered(&attempt, &CallPart::Whole) {
                let log = self.index.entry(&job.step, job.iteration, None);
                let log = log.and_then(|entry| entry.log.clone());
                let fact = JobFact {
                    state: state(result),
                    log,
                    ..job.clone()
                };
                ended.push((key.clone(), ObjectFact::Job(Box::new(fact))));
            }
        }
        let is_news = !ended.is_empty();
        self.facts.objects.extend(ended);
        is_news
    }
}

fn state(result: Result<Response, EffectError>) -> JobState {
    match result {
        Err(error) => JobState::Failed(error),
        Ok(Response::Recorded(RecordedAnswer { output, .. })) => JobState::Succeeded {
            output: output.map(|output| output.to_string()),
        },
        Ok(
            Response::Http(_)
            | Response::Ssh(_)
            | Response::Git(_)
            | Response::Llm(_)
            | Response::Email(_)
            | Response::Store(_),
        ) => JobState::Succeeded { output: None },
    }
}
