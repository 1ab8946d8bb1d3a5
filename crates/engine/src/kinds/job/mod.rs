//! `job` steps: a container in the cluster.

mod difference;
mod pod;
mod template;

use std::{any::Any, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use signoff_expression::{Declarations, StaticType};

use super::{Done, Failure, Kind, KindPlan, Next, Own, Wait};
use crate::{
    difference::{Field, Loosened},
    expression::Template,
    facts::{JobFact, JobState, JobTrouble},
    heartbeat::later,
    job,
    object::{ObjectKey, OwnedObject},
    plan::{Place, check},
    schema::Schema,
    turn::{Owned, StepView},
};
use signoff_api::{name::ObjectName, names, reason::StepReason, run::StepOutcome, step::JobStep};

/// The container of the step.
pub(crate) const CONTAINER: &str = "step";
/// What the names of variables of ours begin with.
pub(crate) const RESERVED: &str = "SIGNOFF_";
/// The file whose content becomes the output.
const OUTPUT_FILE: &str = "/dev/termination-log";
/// How long a pod may be kept from running by something that waiting may help, such as a registry that does not answer.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long after its time a Job is ended that the cluster has not ended.
const GRACE: Duration = Duration::from_mins(1);

/// A `job` step with its expressions parsed.
#[derive(Debug)]
struct JobPlan {
    image: Template,
    /// What every image of the step begins with.
    repository: String,
    command: Option<Vec<Template>>,
    args: Option<Vec<Template>>,
    env: Vec<(String, Template)>,
    service_account: Option<ObjectName>,
    resources: Option<Value>,
    template: Value,
    schema: Option<Schema>,
    keep_log: bool,
}

impl Kind for JobStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        place.schema("schema", self.schema.as_ref());
        // whoever may read Jobs can read all of it
        let mut place = place.kept();
        let image = place.template("image", &self.image).unwrap_or_default();
        let repository = repository(&image);
        if image.as_literal().is_none() && !names_repository(&repository) {
            place.problem(
                "image",
                "expressions stand only after the last `:` or `@` of an image",
            );
        }
        let command = words(&mut place, "command", self.command.as_ref());
        let args = words(&mut place, "args", self.args.as_ref());
        let mut env = Vec::new();
        for (name, value) in self.env.iter().flatten() {
            let field = format!("env.{name}");
            if let Some(problem) = unusable(name) {
                place.problem(&field, problem);
            }
            env.extend(place.template(&field, value).map(|value| (name.clone(), value)));
        }
        Arc::new(JobPlan {
            image,
            repository,
            command,
            args,
            env,
            service_account: self.service_account.clone(),
            resources: self.resources.as_ref().map(|resources| json!(resources)),
            template: pod_template(self, &mut place),
            keep_log: self.keeps_log(),
            schema: self
                .schema
                .as_ref()
                .and_then(|schema| Schema::compile(schema.as_value()).ok()),
        })
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = match &self.schema {
            Some(schema) => check::type_of(schema.as_value(), check::Defaults::Ignored),
            None => StaticType::Dyn,
        };
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }

    fn loosened(&self, before: &dyn Any) -> Vec<Loosened> {
        let before = before.downcast_ref();
        before.map_or_else(Vec::new, |before| difference::loosened(before, self))
    }
}

impl KindPlan for JobPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        let wanted = match self.wanted(step) {
            Ok(wanted) => wanted,
            Err(failure) => return Next::Fail(failure),
        };
        let unopened = step.run.facts.unopened.get(&ObjectKey::job(&wanted.name));
        let waiting_on = match unopened {
            Some(why) => format!("job {}, which cannot be created: {why}", wanted.name),
            None => format!("job {}", wanted.name),
        };
        Next::Own(Box::new(Own {
            object: OwnedObject::Job(Box::new(wanted)),
            deadline: None,
            connections: vec![],
            requests: vec![],
            waiting_on,
        }))
    }

    fn go_on(&self, step: &StepView<'_>) -> Next {
        match step.object() {
            Owned::Nothing => Next::Stay,
            Owned::Refused(why) => {
                let message = format!("the job cannot be created: {why}");
                Next::Fail(Failure::new(StepReason::JobRefused, message))
            }
            // the state names it only once it was there
            Owned::Absent => Next::AttemptFailed(job::deleted()),
            Owned::There(fact) => fact
                .as_job()
                .map_or(Next::Stay, |fact| self.looked_at(step, fact)),
        }
    }

    fn due_at(&self, step: &StepView<'_>) -> Option<Timestamp> {
        let Owned::There(fact) = step.object() else {
            return None;
        };
        let fact = fact.as_job()?;
        let JobState::Open(trouble) = &fact.state else {
            return None;
        };
        let gives_up = trouble.as_ref().and_then(gives_up_at);
        gives_up.into_iter().chain(ends_at(step, fact)).min()
    }

    fn job_name(&self, step: &StepView<'_>) -> Option<String> {
        Some(step.job_name())
    }
}

impl JobPlan {
    fn looked_at(&self, step: &StepView<'_>, fact: &JobFact) -> Next {
        let trouble = match &fact.state {
            JobState::Succeeded { output } => return self.succeeded(output.as_deref()),
            JobState::Failed(error) => return Next::AttemptFailed(error.clone()),
            JobState::Open(trouble) => trouble.as_ref(),
        };
        let is_past = |at: Option<Timestamp>| at.is_some_and(|at| at <= step.run.now);
        if is_past(ends_at(step, fact)) {
            let message = job::took_too_long(step.planned.timeout);
            return Next::AttemptFailed(job::error(StepReason::AttemptTimedOut, message));
        }
        let name = step.status.job.as_deref().unwrap_or_default();
        let waiting_on = match trouble {
            None => format!("job {name}"),
            Some(trouble) => match trouble.reason {
                Some(reason) if is_past(gives_up_at(trouble)) => {
                    return Next::AttemptFailed(job::error(reason, trouble.message.clone()));
                }
                Some(_) | None => format!("job {name}: {}", trouble.message),
            },
        };
        Next::Wait(Wait {
            wake_at: None,
            deadline: None,
            event_keys: vec![],
            waiting_on,
        })
    }

    fn succeeded(&self, output: Option<&str>) -> Next {
        let output = job::output(output);
        let misfits = self.schema.as_ref().map(|schema| {
            let value = output.as_ref().unwrap_or(&Value::Null);
            schema.misfits(value)
        });
        if let Some(misfit) = misfits.into_iter().flatten().next() {
            let message = format!(
                "the output does not match the schema: {}: {}",
                misfit.pointer, misfit.message
            );
            return Next::AttemptFailed(job::error(StepReason::InvalidResponse, message));
        }
        let done = Done::new(StepOutcome::Succeeded);
        Next::Done(match output {
            Some(output) => done.with_output(output),
            None => done,
        })
    }
}

/// When a Job is ended here that the cluster has not ended in time.
fn ends_at(step: &StepView<'_>, fact: &JobFact) -> Option<Timestamp> {
    let longest = step.planned.timeout.saturating_add(GRACE);
    fact.started_at.map(|at| later(at, longest))
}

/// When a Job is given up whose pod cannot run.
fn gives_up_at(trouble: &JobTrouble) -> Option<Timestamp> {
    let patience = if trouble.is_final {
        Duration::ZERO
    } else {
        PATIENCE
    };
    trouble.reason.map(|_| later(trouble.since, patience))
}

/// The literal text with which an image begins.
fn repository(image: &Template) -> String {
    match (image.as_literal(), image.prefix()) {
        (Some(whole), _) => whole.to_owned(),
        (None, prefix) => prefix.to_owned(),
    }
}

/// Whether a text names a repository whole, so that only a tag or a digest can follow.
fn names_repository(prefix: &str) -> bool {
    let name = prefix.rsplit('/').next().unwrap_or_default();
    let at = name.find([':', '@']);
    at.is_some_and(|at| at > 0)
}

fn words(place: &mut Place<'_, '_>, field: &str, words: Option<&Vec<String>>) -> Option<Vec<Template>> {
    let words = words?.iter().enumerate();
    let words = words.filter_map(|(i, word)| place.template(&format!("{field}[{i}]"), word));
    Some(words.collect())
}

/// Why a variable cannot have this name.
fn unusable(name: &str) -> Option<&'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if template::is_reserved(name) {
        Some("names that start with SIGNOFF_ are reserved")
    } else if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name)
    {
        Some("a variable has letters, digits, `_`, `-` and `.` in its name, and begins with no digit")
    } else {
        None
    }
}

/// The template of the pod, which is literal.
fn pod_template(step: &JobStep, place: &mut Place<'_, '_>) -> Value {
    let Some(said) = &step.template else {
        return json!({});
    };
    let Some(parsed) = place.json("template", &said.to_value(), &[]) else {
        return json!({});
    };
    let Some(literal) = parsed.as_literal() else {
        place.problem(
            "template",
            "a template is literal: write `$${` for the characters `${`",
        );
        return json!({});
    };
    if let Some(problem) = template::problem(&literal, step.service_account.is_some()) {
        place.problem("template", problem);
    }
    literal
}

impl StepView<'_> {
    /// The name of the Job of this attempt.
    fn job_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        let (step, pass, attempt) = (&status.name, status.iteration, status.attempt);
        names::job_name(&run.name, &run.uid, step, pass, status.item, attempt)
    }
}
