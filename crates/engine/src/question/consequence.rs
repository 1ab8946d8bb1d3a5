//! What an answer does once it decides the question, in words.

use serde_json::Value;

use super::ENDING_ITEM;
use signoff_api::{
    ApprovalSpec, Definition, Step, StepKind, Verdict,
    approval::ApprovalPurpose,
    json::JsonObject,
    run::StepOutcome,
    step::{AgentStep, ApprovalStep, ForEach, Need, ToolRejectionOutcome},
};

/// What happens when this answer closes the question. Without the definition of the release, the steps are not named.
pub fn consequence(
    spec: &ApprovalSpec,
    definition: Option<&Definition>,
    verdict: Verdict,
    values: Option<&JsonObject>,
) -> String {
    let step = spec.subject.step.as_deref().unwrap_or("?");
    let goes_on = |outcome| goes_on(definition, step, outcome);
    let named = definition.and_then(|all| all.all_steps().find(|other| other.name == step));
    let is_last = definition.is_some_and(|all| all.finally.iter().flatten().any(|last| last.name == step));
    let mut shown = spec.show.iter();
    let ending = shown.find(|item| spec.purpose == ApprovalPurpose::Outcome && item.name == ENDING_ITEM);
    if let Some((step, StepKind::Agent(agent))) = named.map(|step| (step, &step.kind))
        && let Some(told) = of_call(spec, (step, agent), verdict, values, ending.is_some())
    {
        return told;
    }
    match (spec.purpose, verdict) {
        (_, Verdict::Delegate) => "the one you name decides in your place".to_owned(),
        (_, Verdict::Withdraw) => "your earlier answer no longer counts".to_owned(),
        (ApprovalPurpose::Promotion, Verdict::Approve) => {
            let release = spec.subject.release.as_deref().unwrap_or("?");
            format!("release {release} becomes live, unless another gate is still open")
        }
        (ApprovalPurpose::Promotion, Verdict::Reject | Verdict::RequestChanges) => {
            let release = spec.subject.release.as_deref().unwrap_or("?");
            format!("release {release} does not become live")
        }
        (ApprovalPurpose::Outcome, Verdict::Approve) if named.is_some_and(|step| step.for_each.is_some()) => {
            match ending {
                None => format!(
                    "each item of step {step} counts as done or is performed again, as its field says"
                ),
                Some(ending) => format!("no item of step {step} is performed again, and {}", ending.inline),
            }
        }
        (ApprovalPurpose::Outcome, Verdict::Approve) => {
            let happened = values.and_then(|values| values.0.get("happened"));
            match (happened, ending) {
                (Some(Value::Bool(true)), None) => format!(
                    "step {step} counts as done, and {}",
                    goes_on(StepOutcome::Succeeded)
                ),
                (Some(Value::Bool(true)), Some(ending)) => {
                    format!("step {step} counts as done, and {}", ending.inline)
                }
                (Some(Value::Bool(false)), None) => format!("step {step} is performed again"),
                (_, None) => format!("step {step} counts as done or is performed again, as `happened` says"),
                (_, Some(ending)) => format!("step {step} is not performed again, and {}", ending.inline),
            }
        }
        (ApprovalPurpose::Outcome, Verdict::Reject | Verdict::RequestChanges) => match ending {
            None if named.is_some_and(Step::continues_after_failure) => format!(
                "step {step} fails, since its outcome is unknown, and {}",
                goes_on(StepOutcome::Failed)
            ),
            None if is_last => format!("step {step} fails, since its outcome is unknown"),
            None => format!("step {step} fails, since its outcome is unknown, and the run with it"),
            Some(ending) => format!("the outcome of step {step} stays unknown, and {}", ending.inline),
        },
        (ApprovalPurpose::Step, Verdict::Approve) => match spec.subject.item {
            None => goes_on(StepOutcome::Approved),
            Some(item) => format!(
                "item {item} of step {step} is Approved; once all items are, {}",
                goes_on(StepOutcome::Approved)
            ),
        },
        (ApprovalPurpose::Step, Verdict::Reject) if named.is_some_and(goes_on_with_items) => {
            let item = spec.subject.item.unwrap_or(0);
            format!(
                "item {item} of step {step} is Rejected, the other items go on, and after them {}",
                goes_on(StepOutcome::Rejected)
            )
        }
        (ApprovalPurpose::Step, Verdict::Reject) => {
            let question = named.and_then(|step| step.kind.as_kind().question());
            let continuing = question.map(ApprovalStep::continuing).unwrap_or_default();
            if continuing.contains(&StepOutcome::Rejected) {
                format!("step {step} is Rejected, and {}", goes_on(StepOutcome::Rejected))
            } else {
                "the run ends Rejected".to_owned()
            }
        }
        (ApprovalPurpose::Step, Verdict::RequestChanges) => match back_to(definition, step) {
            Some(back_to) => format!("the run goes back to step {back_to}"),
            None => "the run goes back to an earlier step".to_owned(),
        },
    }
}

/// The same of a call of a tool, where it is not the same as of a step.
fn of_call(
    spec: &ApprovalSpec,
    (step, agent): (&Step, &AgentStep),
    verdict: Verdict,
    values: Option<&JsonObject>,
    is_ending: bool,
) -> Option<String> {
    let shown = spec.show.iter().find(|item| item.name == "tool")?;
    let shown: Value = serde_json::from_str(&shown.inline).ok()?;
    let tool = agent.tools.iter().find(|tool| shown["name"] == *tool.name)?;
    let (step, ends) = (&step.name, !step.continues_after_failure());
    let approval = tool.approval.as_ref();
    let rejection = approval.and_then(|approval| approval.on_reject.as_ref());
    let rejects = rejection.is_some_and(|then| then.outcome == ToolRejectionOutcome::Reject);
    let happened = values.and_then(|values| values.0.get("happened"));
    match (spec.purpose, verdict) {
        (ApprovalPurpose::Step, Verdict::Approve) => {
            Some(format!("the tool {} is used with these arguments", tool.name))
        }
        (ApprovalPurpose::Step, Verdict::Reject) if rejects && ends => {
            Some(format!("step {step} is Rejected, and the run with it"))
        }
        (ApprovalPurpose::Step, Verdict::Reject) if rejects => {
            Some(format!("step {step} is Rejected, and the run goes on"))
        }
        (ApprovalPurpose::Step, Verdict::Reject | Verdict::RequestChanges) => Some(format!(
            "the tool {} is not used, and the model is told your comment",
            tool.name
        )),
        (ApprovalPurpose::Outcome, Verdict::Approve) if !is_ending => Some(match happened {
            Some(Value::Bool(true)) => format!("the call counts as made, and step {step} goes on"),
            Some(Value::Bool(false)) => "the call is made again".to_owned(),
            Some(_) | None => "the call counts as made or is made again, as `happened` says".to_owned(),
        }),
        (ApprovalPurpose::Outcome | ApprovalPurpose::Promotion, _)
        | (ApprovalPurpose::Step, Verdict::Delegate | Verdict::Withdraw) => None,
    }
}

/// Whether the other items of a step go on when one fails.
fn goes_on_with_items(step: &Step) -> bool {
    step.for_each.as_ref().is_some_and(ForEach::continues)
}

/// With what the run goes on after a step has this outcome: the steps that need it, or the one after it.
fn goes_on(definition: Option<&Definition>, step: &str, outcome: StepOutcome) -> String {
    let Some(definition) = definition else {
        return "the run goes on".to_owned();
    };
    let steps = &definition.steps;
    let is_graph = steps.iter().any(|step| step.needs.is_some());
    let next: Vec<&str> = if is_graph {
        let takes = |text: &String| {
            let need = Need::parse(text).ok().filter(|need| need.step == step);
            need.is_some_and(|need| need.outcomes.is_none_or(|outcomes| outcomes.contains(&outcome)))
        };
        let after = steps
            .iter()
            .filter(|other| other.needs.iter().flatten().any(takes));
        after.map(|other| other.name.as_str()).collect()
    } else {
        let after = steps.iter().skip_while(|other| other.name != step).nth(1);
        after.map(|other| other.name.as_str()).into_iter().collect()
    };
    let conditional = |name: &str| {
        let of_name = steps.iter().find(|other| other.name == name);
        of_name.is_some_and(|other| other.when.is_some())
    };
    let named: Vec<String> = next
        .iter()
        .map(|name| {
            if conditional(name) {
                format!("{name} (if its `when` holds)")
            } else {
                (*name).to_owned()
            }
        })
        .collect();
    match named.as_slice() {
        [] => format!("the run goes on; no step comes after {step}"),
        [one] => format!("the run goes on with step {one}"),
        many => format!("the run goes on with the steps {}", many.join(", ")),
    }
}

fn back_to<'a>(definition: Option<&'a Definition>, step: &str) -> Option<&'a str> {
    let steps = &definition?.steps;
    let step = steps.iter().find(|other| other.name == step)?;
    let changes = step.kind.as_kind().question()?.changes.as_ref()?;
    Some(&changes.back_to)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use signoff_api::Digest;

    fn definition(steps: &Value) -> Definition {
        serde_json::from_value(json!({ "steps": steps })).unwrap()
    }

    fn said(purpose: &str, definition: Option<&Definition>, verdict: Verdict, values: &Value) -> String {
        let spec: ApprovalSpec = serde_json::from_value(json!({
            "subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": purpose, "digest": Digest::of(b""),
            "title": "go?", "quorum": 1, "selfApproval": false, "verdicts": ["Approve"],
        }))
        .unwrap();
        let values = values.as_object().cloned().map(JsonObject);
        consequence(&spec, definition, verdict, values.as_ref())
    }

    #[test]
    fn an_answer_about_a_call_of_a_tool_says_what_becomes_of_the_call() {
        let tool = |name: &str, approval: Value| json!({"name": name, "description": "d", "schema": {"type": "object"}, "http": {"url": "http://x/"}, "approval": approval});
        let flow = definition(
            &json!([{"name": "help", "agent": {"connection": "m", "model": "m", "prompt": "p", "tools": [
                tool("pay", json!({})), tool("drop", json!({"onReject": {"outcome": "Reject"}})),
            ]}}]),
        );
        let said = |purpose: &str, tool: &str, verdict: Verdict, values: &Value| {
            let spec: ApprovalSpec = serde_json::from_value(json!({
                "subject": {"run": "r", "step": "help", "iteration": 1}, "purpose": purpose, "digest": Digest::of(b""),
                "title": "go?", "quorum": 1, "selfApproval": false, "verdicts": ["Approve"],
                "show": [{"name": "tool", "mediaType": "application/json", "inline": json!({"name": tool, "call": 1}).to_string()}],
            }))
            .unwrap();
            let values = values.as_object().cloned().map(JsonObject);
            consequence(&spec, Some(&flow), verdict, values.as_ref())
        };
        let none = json!(null);
        let told = "the tool pay is not used, and the model is told your comment";
        for (purpose, tool, verdict, values, expected) in [
            (
                "Step",
                "pay",
                Verdict::Approve,
                &none,
                "the tool pay is used with these arguments",
            ),
            ("Step", "pay", Verdict::Reject, &none, told),
            ("Step", "pay", Verdict::RequestChanges, &none, told),
            (
                "Step",
                "drop",
                Verdict::Reject,
                &none,
                "step help is Rejected, and the run with it",
            ),
            (
                "Outcome",
                "pay",
                Verdict::Approve,
                &json!({"happened": true}),
                "the call counts as made, and step help goes on",
            ),
            (
                "Outcome",
                "pay",
                Verdict::Approve,
                &json!({"happened": false}),
                "the call is made again",
            ),
            (
                "Outcome",
                "pay",
                Verdict::Reject,
                &none,
                "step help fails, since its outcome is unknown, and the run with it",
            ),
        ] {
            assert_eq!(said(purpose, tool, verdict, values), expected);
        }
    }

    #[test]
    fn an_answer_says_what_comes_after_it() {
        let approval = json!({"title": "go?", "changes": {"backTo": "draft"}});
        let chain = definition(&json!([
            {"name": "draft", "set": {"x": 1}}, {"name": "review", "approval": approval},
            {"name": "pay", "when": "${true}", "set": {"x": 1}},
        ]));
        let none = json!(null);
        assert_eq!(
            said("Step", Some(&chain), Verdict::Approve, &none),
            "the run goes on with step pay (if its `when` holds)"
        );
        assert_eq!(
            said("Step", Some(&chain), Verdict::Reject, &none),
            "the run ends Rejected"
        );
        assert_eq!(
            said("Step", Some(&chain), Verdict::RequestChanges, &none),
            "the run goes back to step draft"
        );
        assert_eq!(said("Step", None, Verdict::Approve, &none), "the run goes on");
        let graph = definition(&json!([
            {"name": "review", "needs": [], "approval": {"title": "go?"}}, {"name": "a", "needs": ["review"], "set": {"x": 1}},
            {"name": "b", "needs": ["review"], "set": {"x": 1}}, {"name": "c", "needs": ["a"], "set": {"x": 1}},
        ]));
        assert_eq!(
            said("Step", Some(&graph), Verdict::Approve, &none),
            "the run goes on with the steps a, b"
        );
        let ends = |verdict: Verdict, values: &Value| {
            let spec: ApprovalSpec = serde_json::from_value(json!({
                "subject": {"run": "r", "step": "pay", "iteration": 1}, "purpose": "Outcome", "digest": Digest::of(b""),
                "title": "did it?", "quorum": 1, "selfApproval": false, "verdicts": ["Approve", "Reject"],
                "show": [{"name": ENDING_ITEM, "mediaType": "text/plain", "inline": "the run ends Cancelled"}],
            }))
            .unwrap();
            let values = values.as_object().cloned().map(JsonObject);
            consequence(&spec, Some(&chain), verdict, values.as_ref())
        };
        assert_eq!(
            ends(Verdict::Approve, &json!({"happened": true})),
            "step pay counts as done, and the run ends Cancelled"
        );
        assert_eq!(
            ends(Verdict::Approve, &json!({"happened": false})),
            "step pay is not performed again, and the run ends Cancelled"
        );
        assert_eq!(
            ends(Verdict::Reject, &none),
            "the outcome of step pay stays unknown, and the run ends Cancelled"
        );
        for (happened, effect) in [
            (true, "step review counts as done, and the run goes on"),
            (false, "step review is performed again"),
        ] {
            assert_eq!(
                said(
                    "Outcome",
                    None,
                    Verdict::Approve,
                    &json!({ "happened": happened })
                ),
                effect
            );
        }
    }
}
