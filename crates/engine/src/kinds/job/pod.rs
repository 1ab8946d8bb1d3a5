//! The Job that an attempt of a `job` step creates.

use serde_json::{Value, json};

use super::{CONTAINER, JobPlan, OUTPUT_FILE, template::merged};
use crate::{
    expression::{Scope, Template},
    kinds::Failure,
    object::OpenJob,
    turn::StepView,
};
use signoff_api::{names, reason::StepReason};

impl JobPlan {
    /// The Job of this attempt.
    pub(super) fn wanted(&self, view: &StepView<'_>) -> Result<OpenJob, Failure> {
        let (facts, status, scope) = (view.run.facts, view.status, view.scope());
        let mut container = json!({
            "name": CONTAINER,
            "image": self.image(&scope)?,
            "env": self.env(view, &scope)?,
            "terminationMessagePath": OUTPUT_FILE,
            "terminationMessagePolicy": "FallbackToLogsOnError",
        });
        for (field, words) in [("command", &self.command), ("args", &self.args)] {
            if let Some(words) = words {
                container[field] = Value::Array(rendered(words, &scope)?);
            }
        }
        if let Some(resources) = &self.resources {
            container["resources"] = resources.clone();
        }
        let mut pod = json!({ "restartPolicy": "Never", "containers": [container] });
        match &self.service_account {
            Some(account) => pod["serviceAccountName"] = json!(account),
            None => pod["automountServiceAccountToken"] = json!(false),
        }
        let labels = json!({
            (names::MANAGED_BY): names::MANAGED_BY_VALUE,
            (names::FLOW): facts.release.flow,
            (names::RUN): facts.run.name,
            (names::STEP): status.name,
        });
        let ours = json!({ "metadata": { "labels": labels }, "spec": pod });
        Ok(OpenJob {
            name: view.job_name(),
            step: status.name.clone(),
            iteration: status.iteration,
            item: status.item,
            attempt: status.attempt,
            // the entry of an item goes when it has ended
            keep_log: self.keep_log && status.item.is_none(),
            spec: json!({
                "backoffLimit": 0,
                "activeDeadlineSeconds": view.planned.timeout.as_secs().max(1),
                // a pod that has to leave its node has another one in its place
                "podFailurePolicy": { "rules": [
                    { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
                ] },
                "template": merged(&self.template, &ours),
            }),
        })
    }

    /// The image. What comes from data names no other repository.
    fn image(&self, scope: &Scope) -> Result<String, Failure> {
        let image = self.image.text(scope)?;
        let of_data = image.strip_prefix(&self.repository);
        let is_tag = |rest: &str| {
            let mut characters = rest.chars();
            characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@'))
        };
        let is_whole = image.len() <= MAX_IMAGE && !image.ends_with([':', '@']);
        if of_data.is_some_and(is_tag) && is_whole {
            return Ok(image);
        }
        let message = format!("image: {image:?} is no image of the repository that the step names");
        Err(Failure::new(StepReason::InvalidRequest, message))
    }

    fn env(&self, view: &StepView<'_>, scope: &Scope) -> Result<Vec<Value>, Failure> {
        let mut env = Vec::new();
        for (name, value) in &self.env {
            let is_left_out = value.as_expression().is_some() && value.present_text(scope)?.is_none();
            if !is_left_out {
                env.push(json!({ "name": name, "value": value.text_with(scope, |text| literal(&text))? }));
            }
        }
        let (run, status) = (&view.run.facts.run, view.status);
        for (name, value) in [
            ("SIGNOFF_RUN", run.name.clone()),
            ("SIGNOFF_STEP", status.name.clone()),
            ("SIGNOFF_ATTEMPT", status.attempt.to_string()),
            ("SIGNOFF_OUTPUT_FILE", OUTPUT_FILE.to_owned()),
        ] {
            env.push(json!({ "name": name, "value": value }));
        }
        Ok(env)
    }
}

/// Longest image.
const MAX_IMAGE: usize = 512;
/// Most words of a command or of its arguments.
const MAX_WORDS: usize = 1024;

/// The words of a command. One that is an expression and gives a list is several words.
fn rendered(words: &[Template], scope: &Scope) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for word in words {
        if word.as_expression().is_none() {
            all.push(Value::String(word.text_with(scope, |text| literal(&text))?));
            continue;
        }
        match word.value(scope)? {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    all.push(Value::String(literal(&plain(item)?)));
                }
            }
            other => all.push(Value::String(literal(&plain(other)?))),
        }
    }
    if all.len() > MAX_WORDS {
        let message = format!("the command has {} words; at most {MAX_WORDS} may be", all.len());
        return Err(Failure::new(StepReason::InvalidRequest, message));
    }
    Ok(all)
}

fn plain(value: Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let message = "a word of a command is a text, a number, a boolean, or a list of them";
            Err(Failure::new(StepReason::InvalidRequest, message))
        }
    }
}

/// A value from data, in which Kubernetes expands no `$(VARIABLE)`.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}
