//! How two versions of an `agent` step differ.

use super::compile::as_question;
use crate::{
    difference::{Field, Loosened, LooseningKind, Terms, loosened_terms},
    kinds::approval,
};
use signoff_api::step::{AgentStep, AgentTool, ApprovalStep, Delivery, ToolApproval};

pub(super) fn fields(step: &AgentStep) -> Vec<Field> {
    let AgentStep {
        connection,
        model,
        system,
        prompt,
        messages,
        images,
        schema,
        max_tokens,
        options,
        max_turns,
        token_budget,
        time_budget,
        tools,
    } = step;
    vec![
        Field::required("agent.connection", connection),
        Field::required("agent.model", model),
        Field::new("agent.system", system.as_ref()),
        Field::new("agent.prompt", prompt.as_ref()),
        Field::new("agent.messages", messages.as_ref()),
        Field::new("agent.images", images.as_ref()),
        Field::new("agent.schema", schema.as_ref()),
        Field::new("agent.maxTokens", max_tokens.as_ref()).default("4096"),
        Field::new("agent.options", options.as_ref()),
        Field::new("agent.maxTurns", max_turns.as_ref()).default("20"),
        Field::new("agent.tokenBudget", token_budget.as_ref()).default("500000"),
        Field::new("agent.timeBudget", time_budget.as_ref()).default("1h"),
        Field::required("agent.tools", tools),
    ]
}

pub(super) fn loosened(old: &AgentStep, new: &AgentStep) -> Vec<Loosened> {
    let mut found = Vec::new();
    if old.connection != new.connection || old.model != new.model {
        let named = |step: &AgentStep| format!("{} through {}", step.model, step.connection);
        found.push(Loosened {
            kind: LooseningKind::ModelChanged,
            before: Some(named(old)),
            after: Some(named(new)),
        });
    }
    for tool in &new.tools {
        match old.tools.iter().find(|known| known.name == tool.name) {
            None => found.push(Loosened {
                kind: LooseningKind::ToolAdded,
                before: None,
                after: Some(format!("tool {}", tool.name)),
            }),
            Some(known) => found.extend(loosened_tool(known, tool)),
        }
    }
    found
}

fn loosened_tool(old: &AgentTool, new: &AgentTool) -> Vec<Loosened> {
    let name = Some(format!("tool {}", new.name));
    let of = |kind| Loosened {
        kind,
        before: name.clone(),
        after: name.clone(),
    };
    let mut found = Vec::new();
    if old.delivery == Some(Delivery::AtMostOnce) && new.delivery != old.delivery {
        found.push(of(LooseningKind::RepeatsAllowed));
    }
    if old.kind != new.kind || old.schema != new.schema {
        found.push(of(LooseningKind::ToolChanged));
    }
    match (&old.approval, &new.approval) {
        (None, _) => {}
        (Some(_), None) => found.push(of(LooseningKind::GateRemoved)),
        (Some(before), Some(after)) => {
            if before.when != after.when && after.when.is_some() {
                found.push(Loosened {
                    kind: LooseningKind::ConditionChanged,
                    before: before.when.clone(),
                    after: after.when.clone(),
                });
            }
            let question = |asked: &ToolApproval| as_question(asked, asked.show.clone().unwrap_or_default());
            let (before, after) = (question(before), question(after));
            found.extend(approval::loosened(&before, &after));
            // whatever an answer or none does, the call is made only after people approved it
            let terms = |step: &ApprovalStep| Terms {
                on_timeout: None,
                ..approval::terms(step, None)
            };
            found.extend(loosened_terms(terms(&before), terms(&after)));
        }
    }
    found
}
