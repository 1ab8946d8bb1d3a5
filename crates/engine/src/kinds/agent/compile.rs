//! How an `agent` step is compiled.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use signoff_expression::{Field, ObjectType, StaticType};

use super::{
    AgentPlan,
    calls::ToolPlan,
    question::{ARGUMENTS, QuestionPlan},
};
use crate::{
    expression::Expression,
    kinds::{Kind as _, KindPlan, approval, llm::Prompt},
    plan::{LONGEST_TIMEOUT, Place, check},
    schema::Schema,
};
use signoff_api::{
    HumanDuration, Json,
    step::{
        AgentStep, AgentTool, ApprovalRejection, ApprovalRejectionOutcome, ApprovalStep, ApprovalTimeout,
        ApprovalTimeoutOutcome, Delivery, Editable, HttpStep, OfferedVerdict, ShowItem, ToolApproval,
        ToolKind, ToolRejectionOutcome, ToolTimeoutOutcome,
    },
};

/// How long one attempt of a call may take, unless the tool says it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most tools.
const MAX_TOOLS: usize = 32;

pub(super) fn compile(step: &AgentStep, place: &mut Place<'_, '_>) -> AgentPlan {
    let prompt = Prompt::compile(&step.as_llm(), "agent", &mut place.kept());
    if step.tools.is_empty() || step.tools.len() > MAX_TOOLS {
        place.problem("tools", format!("there are 1 to {MAX_TOOLS} tools"));
    }
    let mut tools = BTreeMap::new();
    for (n, tool) in step.tools.iter().enumerate() {
        let at = format!("tools[{n}]");
        if tools.contains_key(&tool.name) {
            place.problem(&format!("{at}.name"), format!("{} is a tool already", tool.name));
        }
        let plan = compile_tool(tool, &at, place);
        tools.insert(tool.name.clone(), plan);
    }
    AgentPlan {
        prompt,
        tools,
        max_turns: step.max_turns.unwrap_or(AgentStep::DEFAULT_TURNS),
        token_budget: step.token_budget.unwrap_or(AgentStep::DEFAULT_TOKENS),
        time_budget: step
            .time_budget
            .as_ref()
            .map_or(AgentStep::DEFAULT_TIME, HumanDuration::duration),
    }
}

fn compile_tool(tool: &AgentTool, at: &str, place: &mut Place<'_, '_>) -> ToolPlan {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !(1..=63).contains(&tool.name.len()) || !tool.name.bytes().all(is_name) {
        place.problem(
            &format!("{at}.name"),
            "a name has 1 to 63 letters, digits, `_` and `-`",
        );
    }
    if tool.description.contains("${") {
        place.problem(&format!("{at}.description"), "a description is literal text");
    }
    place.schema(&format!("{at}.schema"), Some(&tool.schema));
    let declared = closed(&tool.schema.0);
    if declared["type"] != "object" {
        place.problem(&format!("{at}.schema"), "arguments are of the type object");
    }
    if tool.delivery == Some(Delivery::AtMostOnce) && place.is_of_items() {
        let message = "with forEach, a tool is not AtMostOnce: let a flow of its own use the tool";
        place.problem(&format!("{at}.delivery"), message);
    }
    if tool
        .timeout
        .as_ref()
        .is_some_and(|timeout| timeout.duration() > LONGEST_TIMEOUT)
    {
        place.problem(&format!("{at}.timeout"), "an attempt takes at most 10m");
    }
    let args = check::type_of(&declared, check::Defaults::Ignored);
    let declarations = place.declarations_with(&[("args", args.clone()), ("tool", type_of_tool(false))]);
    let of_question = place.declarations_with(&[("args", args.clone()), ("tool", type_of_tool(true))]);
    let retry = place.retry_policy(&format!("{at}.retry"), tool.retry.as_ref());
    let kind = match &tool.kind {
        ToolKind::Http(http) => compile_http(http, &mut place.within(&format!("{at}.http"), &declarations)),
    };
    let approval = tool.approval.as_ref().map(|asked| {
        let at = format!("{at}.approval");
        if place.is_of_finally() {
            place.problem(&at, "finally asks nobody");
        }
        let when = asked.when.as_ref();
        let when = when.and_then(|when| place.within(&at, &declarations).condition("when", when, &[]));
        compile_question(&declared, asked, when, &mut place.within(&at, &of_question))
    });
    ToolPlan {
        name: tool.name.clone(),
        description: tool.description.clone(),
        schema: Schema::compile(&declared).ok(),
        args,
        declared,
        kind,
        at_most_once: tool.delivery == Some(Delivery::AtMostOnce),
        retry,
        timeout: tool
            .timeout
            .as_ref()
            .map_or(DEFAULT_TIMEOUT, HumanDuration::duration),
        max_calls: tool.max_calls.unwrap_or(AgentTool::DEFAULT_CALLS),
        approval,
    }
}

fn compile_http(http: &HttpStep, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
    http.compile(&mut place.below("").sending())
}

/// `tool`
fn type_of_tool(is_rendered: bool) -> StaticType {
    let known = [("name", StaticType::STRING), ("call", StaticType::INT)];
    let effect = is_rendered.then_some(("effect", StaticType::Dyn));
    let fields = known.into_iter().chain(effect);
    let fields = fields.map(|(name, type_)| (name.to_owned(), Field::required(type_)));
    ObjectType::new(fields.collect(), None).into()
}

/// A schema of arguments. Unless it says otherwise, it names all there are.
fn closed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(fields) = &mut schema
        && !fields.contains_key("patternProperties")
    {
        fields.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    schema
}

fn compile_question(
    declared: &Value,
    asked: &ToolApproval,
    when: Option<Expression>,
    place: &mut Place<'_, '_>,
) -> QuestionPlan {
    let is_editable = asked.editable == Some(true);
    for (n, item) in asked.show.iter().flatten().enumerate() {
        if item.step.is_some() {
            place.problem(&format!("show[{n}].step"), "here, items have a value");
        }
        if item.editable.is_some() {
            let message = "only the arguments can be changed, with approval.editable";
            place.problem(&format!("show[{n}].editable"), message);
        }
    }
    let editable = (is_editable && Schema::compile(declared).is_ok()).then(|| Editable {
        schema: Json(declared.clone()),
    });
    let ours = about_call(editable);
    let question = as_question(asked, asked.show.clone().unwrap_or_default());
    let mut question = approval::compile_after(&ours, &question, place);
    question.offer_changes();
    QuestionPlan {
        when,
        question,
        is_editable,
        rejects: asked
            .on_reject
            .as_ref()
            .is_some_and(|then| then.outcome == ToolRejectionOutcome::Reject),
        fails_late: asked
            .on_timeout
            .as_ref()
            .is_some_and(|then| then.outcome == ToolTimeoutOutcome::Fail),
    }
}

/// What people see of each call: the tool, its arguments, and what it does.
fn about_call(editable: Option<Editable>) -> [ShowItem; 3] {
    let item = |name: &str, value: Value, editable: Option<Editable>| ShowItem {
        name: name.to_owned(),
        value: Some(Json(value)),
        step: None,
        media_type: None,
        editable,
    };
    [
        item(
            "tool",
            json!({ "name": "${tool.name}", "call": "${tool.call}" }),
            None,
        ),
        item(ARGUMENTS, json!("${args}"), editable),
        item("effect", json!("${tool.effect}"), None),
    ]
}

/// The question as a step would ask it, with these items. What its answers do is for the agent to say.
pub(super) fn as_question(asked: &ToolApproval, show: Vec<ShowItem>) -> ApprovalStep {
    let rejectable = asked
        .verdicts
        .as_ref()
        .is_none_or(|verdicts| verdicts.contains(&OfferedVerdict::Reject));
    ApprovalStep {
        title: asked
            .title
            .clone()
            .unwrap_or_else(|| "Let the agent use ${tool.name}?".to_owned()),
        show: Some(show),
        form: None,
        approvers: asked.approvers.clone(),
        quorum: asked.quorum.clone(),
        self_approval: asked.self_approval,
        verdicts: asked.verdicts.clone(),
        respond_within: asked.respond_within.clone(),
        on_timeout: Some(ApprovalTimeout {
            outcome: ApprovalTimeoutOutcome::Continue,
        }),
        on_reject: rejectable.then_some(ApprovalRejection {
            outcome: ApprovalRejectionOutcome::Continue,
        }),
        remind_every: asked.remind_every.clone(),
        escalate: asked.escalate.clone(),
        delegate: asked.delegate,
        changes: None,
        ask_via: asked.ask_via,
    }
}
