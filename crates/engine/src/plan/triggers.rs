//! From triggers to what can fire.

use std::collections::BTreeSet;

use serde_json::Value;
use signoff_expression::StaticType;

use super::{
    check::{Defaults, Environment, Extra, headers, run_that_ended, type_of, with},
    compile::Compiler,
};
use crate::{
    expression::Scope,
    inputs,
    trigger::{SourcePlan, TriggerPlan, flow::FlowPlan, schedule::SchedulePlan, webhook::WebhookPlan},
};
use signoff_api::{
    Definition, Trigger,
    json::JsonObject,
    trigger::{EventStart, MAX_TRIGGERS, TriggerSource, WebhookTrigger},
};

/// Compiles the triggers of a definition. What is wrong with them goes to the compiler.
pub(super) fn compile(compiler: &mut Compiler<'_>, definition: &Definition) -> Vec<TriggerPlan> {
    let triggers = definition.triggers.as_deref().unwrap_or_default();
    if triggers.len() > MAX_TRIGGERS {
        let message = format!(
            "there are {} triggers, at most {MAX_TRIGGERS} may be",
            triggers.len()
        );
        compiler.problem("triggers", message);
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut plans = Vec::new();
    for (i, trigger) in triggers.iter().enumerate() {
        let at = format!("triggers[{i}]");
        if !seen.insert(&trigger.name) {
            let message = format!("there is another trigger {}", trigger.name);
            compiler.problem(format!("{at}.name"), message);
        }
        plans.extend(compile_one(compiler, definition, &at, trigger));
    }
    plans
}

fn compile_one(
    compiler: &mut Compiler<'_>,
    definition: &Definition,
    at: &str,
    trigger: &Trigger,
) -> Option<TriggerPlan> {
    let (source, extra) = compile_source(compiler, at, &trigger.kind);
    let declarations = Environment::declarations_of_trigger(trigger, &extra);
    let given = trigger.inputs.clone().unwrap_or_default().to_value();
    let field = format!("{at}.inputs");
    let inputs = compiler.json(&field, &given, &declarations)?;
    let starts_runs = match &source {
        Some(SourcePlan::Webhook(webhook)) => webhook.start != EventStart::Never,
        Some(SourcePlan::Schedule(_) | SourcePlan::Flow(_)) | None => true,
    };
    if !starts_runs {
        // no run is given them
    } else if inputs.expressions().is_empty() {
        if let Ok(Value::Object(given)) = inputs.value(&Scope::default())
            && let Err(message) = inputs::complete(definition, &JsonObject(given))
        {
            compiler.mistyped(&field, message);
        }
    } else if let Some(message) = inputs::unfit_names(definition, &given) {
        compiler.mistyped(&field, message);
    }
    Some(TriggerPlan {
        name: trigger.name.clone(),
        source: source?,
        is_suspended: trigger.suspend.unwrap_or_default(),
        inputs,
    })
}

/// What starts a run, and what the inputs see of it.
fn compile_source(
    compiler: &mut Compiler<'_>,
    at: &str,
    source: &TriggerSource,
) -> (Option<SourcePlan>, Vec<Extra>) {
    match source {
        TriggerSource::Schedule(schedule) => {
            let parsed = SchedulePlan::parse(schedule).map_err(|problems| {
                for (field, message) in problems {
                    compiler.problem(format!("{at}.schedule.{field}"), message);
                }
            });
            (parsed.ok().map(Box::new).map(SourcePlan::Schedule), Vec::new())
        }
        TriggerSource::Flow(flow) => {
            let plan = FlowPlan::of(flow);
            (Some(SourcePlan::Flow(plan)), vec![("run", run_that_ended())])
        }
        TriggerSource::Webhook(webhook) => compile_webhook(compiler, &format!("{at}.webhook"), webhook),
    }
}

fn compile_webhook(
    compiler: &mut Compiler<'_>,
    at: &str,
    webhook: &WebhookTrigger,
) -> (Option<SourcePlan>, Vec<Extra>) {
    compiler.schema(&format!("{at}.schema"), webhook.schema.as_ref());
    let body = webhook.schema.as_ref().map_or(StaticType::Dyn, |schema| {
        type_of(schema.as_value(), Defaults::Ignored)
    });
    let mut extra = vec![("body", body), ("headers", headers())];
    let of_request = Environment::declarations_of_request(&extra);
    let when = webhook
        .when
        .as_ref()
        .map(|when| compiler.condition(&format!("{at}.when"), when, &of_request));
    let each = webhook
        .each
        .as_ref()
        .map(|each| compiler.list(&format!("{at}.each"), each, &of_request));
    if let Some((_, item)) = each.as_ref().and_then(Option::as_ref) {
        extra.push(("item", item.clone()));
    }
    let of_item = with(&of_request, &extra);
    let dedupe = webhook
        .dedupe
        .as_ref()
        .map(|dedupe| compiler.template(&format!("{at}.dedupe"), dedupe, &of_item));
    let key = webhook
        .key
        .as_ref()
        .map(|key| compiler.template(&format!("{at}.key"), key, &of_item));
    let start = webhook.start.unwrap_or_default();
    if webhook.key.is_none() && start != EventStart::Always {
        let message = "waits take only events with a key: add `key`, or leave `start` out";
        compiler.problem(format!("{at}.start"), message);
    }
    // of what could not be read there is no plan
    let all_read = when.as_ref().is_none_or(Option::is_some)
        && each.as_ref().is_none_or(Option::is_some)
        && key.as_ref().is_none_or(Option::is_some)
        && dedupe.as_ref().is_none_or(Option::is_some);
    let plan = all_read.then(|| {
        SourcePlan::Webhook(Box::new(WebhookPlan {
            auth: webhook.auth.clone(),
            schema: webhook.schema.clone(),
            when: when.flatten(),
            dedupe: dedupe.flatten(),
            each: each.flatten().map(|(each, _)| each),
            key: key.flatten(),
            start,
        }))
    });
    (plan, extra)
}
