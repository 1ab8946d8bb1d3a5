//! `store` steps: a value of the flow that outlives its runs, read or written.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use signoff_expression::{Declarations, StaticType};

use super::{Done, Failure, Kind, KindPlan, Next, http::hidden};
use crate::{
    difference::Field,
    effect::{Request, StorePut, StoreRequest},
    expression::{JsonTemplate, Template},
    facts::{Response, StoreResponse},
    plan::{Place, check},
    question::item,
    turn::StepView,
};
use signoff_api::{
    approval::ShownItem, bounds::MAX_VALUE, name::DnsLabel, reason::StepReason, run::StepOutcome,
    step::StoreStep,
};

/// A `store` step with its expressions parsed.
#[derive(Debug)]
enum StorePlan {
    Get(DnsLabel),
    Put {
        name: DnsLabel,
        value: JsonTemplate,
        if_version: Option<Template>,
    },
    /// It is no such step, as the problems say.
    Wrong,
}

impl Kind for StoreStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        // what is stored can be read by many
        let mut place = place.kept();
        let plan = match (&self.get, &self.put) {
            (Some(name), None) => {
                for (field, is_there) in [
                    ("value", self.value.is_some()),
                    ("ifVersion", self.if_version.is_some()),
                ] {
                    if is_there {
                        place.problem(field, format!("{field} needs put"));
                    }
                }
                StorePlan::Get(name.clone())
            }
            (None, Some(name)) => put(self, name, &mut place),
            (None, None) | (Some(_), Some(_)) => {
                place.problem("", "a store step has either get or put");
                StorePlan::Wrong
            }
        };
        Arc::new(plan)
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = if self.put.is_some() {
            check::stored(None)
        } else {
            check::stored(Some(StaticType::Dyn))
        };
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            get,
            put,
            value,
            if_version,
        } = self;
        vec![
            Field::new("store.get", get.as_ref()),
            Field::new("store.put", put.as_ref()),
            Field::new("store.value", value.as_ref()),
            Field::new("store.ifVersion", if_version.as_ref()).default("any"),
        ]
    }
}

fn put(step: &StoreStep, name: &DnsLabel, place: &mut Place<'_, '_>) -> StorePlan {
    let Some(value) = &step.value else {
        place.problem("value", "put needs a value");
        return StorePlan::Wrong;
    };
    let value = place.json("value", value.as_value(), &[]);
    let if_version = step.if_version.as_ref().and_then(|text| {
        let template = place.template("ifVersion", text)?;
        if let Some(literal) = template.as_literal()
            && let Err(why) = version(literal)
        {
            place.problem("ifVersion", why);
        }
        Some(template)
    });
    match value {
        Some(value) => StorePlan::Put {
            name: name.clone(),
            value,
            if_version,
        },
        None => StorePlan::Wrong,
    }
}

/// A version as texts say it.
fn version(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| "a version is a whole number, as the output of a store step has it".to_owned())
}

impl StorePlan {
    fn request(&self, step: &StepView<'_>) -> Result<StoreRequest, Failure> {
        let invalid = |message: String| Failure::new(StepReason::InvalidRequest, message);
        let (name, put) = match self {
            Self::Wrong => return Err(invalid("there is no value to read or write".to_owned())),
            Self::Get(name) => (name, None),
            Self::Put {
                name,
                value,
                if_version,
            } => {
                let scope = step.scope();
                let value = value.value(&scope)?;
                let size = value.to_string().len();
                if size > MAX_VALUE {
                    let message = format!("value: it has {size} bytes; at most {MAX_VALUE} are stored");
                    return Err(Failure::new(StepReason::StoreFull, message));
                }
                let if_version = match if_version {
                    None => None,
                    Some(template) => {
                        let text = template.text(&scope)?;
                        Some(version(&text).map_err(|why| invalid(format!("ifVersion: {why}")))?)
                    }
                };
                (name, Some(StorePut { value, if_version }))
            }
        };
        let flow = &step.run.facts.release.flow;
        Ok(StoreRequest {
            flow: flow
                .parse()
                .map_err(|_| invalid(format!("{flow} is no name of a flow")))?,
            name: name.clone(),
            put,
        })
    }
}

impl KindPlan for StorePlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Store(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, _: &StepView<'_>, response: &Response) -> Next {
        let output = match response.as_store() {
            None => return Next::Stay,
            Some(StoreResponse::Nothing) => json!({}),
            Some(StoreResponse::Found {
                value,
                version,
                updated_at,
                run,
            }) => {
                let mut output = BTreeMap::from([
                    ("version", json!(version.to_string())),
                    ("updatedAt", json!(updated_at)),
                ]);
                output.extend(value.as_ref().map(|value| ("value", value.clone())));
                output.extend(run.as_ref().map(|run| ("run", json!(run))));
                json!(output)
            }
        };
        Next::Done(Done::new(StepOutcome::Succeeded).with_output(output))
    }
}

/// A value for people: what is read or written.
pub(super) fn shown(request: &StoreRequest, hide: &dyn Fn(String) -> String) -> Vec<ShownItem> {
    let described = described(request, hide);
    vec![item("value", "application/json", format!("{described:#}"))]
}

/// What is read or written as a document.
pub(super) fn described(request: &StoreRequest, hide: &dyn Fn(String) -> String) -> Value {
    let StoreRequest { flow, name, put } = request;
    let Some(StorePut { value, if_version }) = put else {
        return json!({ "flow": flow, "get": name });
    };
    let mut document = json!({ "flow": flow, "put": name, "value": hidden(value.clone(), hide) });
    if let Some(version) = if_version {
        document["ifVersion"] = json!(version.to_string());
    }
    document
}
