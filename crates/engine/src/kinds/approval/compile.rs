//! How an `approval` step is compiled.

use std::collections::BTreeSet;

use serde_json::json;

use super::{ApprovalPlan, ChangesPlan};
use crate::plan::Place;
use signoff_api::{
    Json,
    run::StepOutcome,
    step::{ApprovalStep, ApprovalTimeoutOutcome, Changes},
};

const DEFAULT_CHANGES: i64 = 3;

pub(super) fn compile(step: &ApprovalStep, place: &mut Place<'_, '_>) -> ApprovalPlan {
    let title = place.template("title", &step.title).unwrap_or_default();
    let mut show = Vec::new();
    let mut seen = BTreeSet::new();
    for (n, item) in step.show.iter().flatten().enumerate() {
        if !seen.insert(&item.name) {
            place.problem(
                &format!("show[{n}].name"),
                format!("{} is shown already", item.name),
            );
        }
        if let Some(template) = place.json(&format!("show[{n}].value"), &item.value.0, &[]) {
            show.push((item.name.clone(), template));
        }
    }
    form(place, step.form.as_ref());
    let changes = step.changes.as_ref().and_then(|wanted| changes(place, wanted));
    let on_timeout = step
        .on_timeout
        .as_ref()
        .map_or(ApprovalTimeoutOutcome::Fail, |then| then.outcome);
    ApprovalPlan {
        step: step.clone(),
        title,
        show,
        on_timeout,
        continue_on_reject: step.continuing().contains(&StepOutcome::Rejected),
        changes,
    }
}

fn changes(place: &mut Place<'_, '_>, changes: &Changes) -> Option<ChangesPlan> {
    let Some(back_to) = place.step_named(&changes.back_to) else {
        place.problem("changes.backTo", format!("there is no step {}", changes.back_to));
        return None;
    };
    if !place.has_begun(back_to) {
        place.problem(
            "changes.backTo",
            format!("step {} does not come before this one", changes.back_to),
        );
        return None;
    }
    Some(ChangesPlan {
        again: place.loop_from(back_to),
        max: changes.max.unwrap_or(DEFAULT_CHANGES),
    })
}

/// A form is flat: an object of scalars, as MCP elicitation has it.
fn form(place: &mut Place<'_, '_>, form: Option<&Json>) {
    let Some(form) = form else { return };
    place.form("form", Some(form));
    if form.0["type"] != json!("object") {
        place.problem("form", "a form is of type object");
    }
    for (name, property) in form.0["properties"].as_object().into_iter().flatten() {
        let scalar = matches!(
            property["type"].as_str(),
            Some("string" | "number" | "integer" | "boolean")
        );
        if !scalar {
            place.problem(
                &format!("form.properties.{name}"),
                "a form's field is a string, number, integer or boolean",
            );
        }
    }
}
