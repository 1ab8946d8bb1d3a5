//! How an `approval` step is compiled.

use std::{collections::BTreeSet, time::Duration};

use super::{ApprovalPlan, ChangesPlan, EscalationPlan, form::FormPlan, shown::ShownPlan};
use crate::plan::{ApproversPlan, AtLeast, DurationPlan, Place, QuorumPlan, people};
use signoff_api::{
    OrExpression, Quorum,
    run::StepOutcome,
    step::{
        ApprovalStep, ApprovalTimeoutOutcome, Approvers, ApproversTemplate, Changes, EscalationTemplate,
        OfferedVerdict, ShowItem,
    },
};

const DEFAULT_CHANGES: i64 = 3;
/// People are reminded no more often than this.
const REMIND_EVERY: Duration = Duration::from_secs(5 * 60);
/// Data does not leave people less time to answer than this.
const RESPOND_WITHIN: AtLeast = AtLeast {
    literal: Duration::ZERO,
    computed: Duration::from_secs(60),
};

pub(super) fn compile(step: &ApprovalStep, place: &mut Place<'_, '_>) -> ApprovalPlan {
    compile_after(&[], step, place)
}

/// The same of a question that shows these items before its own.
pub(in crate::kinds) fn compile_after(
    items: &[ShowItem],
    step: &ApprovalStep,
    place: &mut Place<'_, '_>,
) -> ApprovalPlan {
    let title = place.template("title", &step.title).unwrap_or_default();
    let mut show = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        seen.insert(&item.name);
        show.extend(ShownPlan::compile(place, &item.name, item));
    }
    for (n, item) in step.show.iter().flatten().enumerate() {
        if !seen.insert(&item.name) {
            place.problem(
                &format!("show[{n}].name"),
                format!("{} is shown already", item.name),
            );
        }
        show.extend(ShownPlan::compile(place, &format!("show[{n}]"), item));
    }
    let form = step.form.as_ref().map(|form| FormPlan::compile(place, form));
    let changes = step.changes.as_ref().and_then(|wanted| changes(place, wanted));
    let on_timeout = step
        .on_timeout
        .as_ref()
        .map_or(ApprovalTimeoutOutcome::Fail, |then| then.outcome);
    let approvers = step.approvers.as_ref();
    let respond_within = step.respond_within.as_ref().and_then(|within| {
        let field = "respondWithin";
        DurationPlan::compile(place, field, field, within, RESPOND_WITHIN)
    });
    let remind_every = step.remind_every.as_ref().and_then(|every| {
        let field = "remindEvery";
        DurationPlan::compile(place, field, field, every, AtLeast::both(REMIND_EVERY))
    });
    verdicts(place, step);
    let quorum = QuorumPlan::compile(place, step.quorum.as_ref());
    unreachable_quorum(place, step);
    ApprovalPlan {
        step: step.clone(),
        title,
        show,
        form,
        approvers: approvers.and_then(|approvers| ApproversPlan::compile(place, "approvers", approvers)),
        quorum: quorum.unwrap_or_default(),
        respond_within,
        remind_every,
        escalate: escalations(place, step.escalate.as_deref().unwrap_or_default()),
        on_timeout,
        continue_on_reject: step.continuing().contains(&StepOutcome::Rejected),
        changes,
    }
}

/// There is always a "yes"; a "no" may be left out.
fn verdicts(place: &mut Place<'_, '_>, step: &ApprovalStep) {
    use OfferedVerdict::{Approve, Reject};
    match step.verdicts.as_deref() {
        None | Some([Approve] | [Approve, Reject]) => {}
        Some(_) => place.problem("verdicts", "they are [Approve], or [Approve, Reject]"),
    }
    if step.on_reject.is_some() && !step.offers_rejection() {
        place.problem("onReject", "people cannot reject: verdicts has no Reject");
    }
}

fn escalations(place: &mut Place<'_, '_>, escalations: &[EscalationTemplate]) -> Vec<EscalationPlan> {
    let mut plans = Vec::with_capacity(escalations.len());
    for (n, EscalationTemplate { after, to }) in escalations.iter().enumerate() {
        let at = format!("escalate[{n}].after");
        let after = DurationPlan::compile(place, "escalate.after", &at, after, AtLeast::ANY);
        let to = ApproversPlan::compile(place, &format!("escalate[{n}].to"), to);
        plans.extend(after.zip(to).map(|(after, to)| EscalationPlan { after, to }));
    }
    plans
}

/// A quorum that the people whom the definition names cannot reach, however they decide.
fn unreachable_quorum(place: &mut Place<'_, '_>, step: &ApprovalStep) {
    let quorum = match &step.quorum {
        None => Quorum::ONE,
        Some(OrExpression::Literal(quorum)) => *quorum,
        Some(OrExpression::Expression(_)) => return,
    };
    let Some(approvers) = &step.approvers else { return };
    let escalated = step.escalate.iter().flatten().map(|escalation| &escalation.to);
    let lists: Option<Vec<Approvers>> = [approvers]
        .into_iter()
        .chain(escalated)
        .map(written_down)
        .collect();
    let Some(lists) = lists else { return };
    let lists: Vec<&Approvers> = lists.iter().collect();
    let Some(people) = people(&lists) else { return };
    if i64::try_from(people).is_ok_and(|people| people < quorum.get()) {
        let message = format!("{quorum} people must approve, and the approvers are {people}");
        place.mistyped("quorum", 0, message);
    }
}

/// A list of approvers without expressions.
fn written_down(template: &ApproversTemplate) -> Option<Approvers> {
    let ApproversTemplate {
        users,
        groups,
        exclude,
        service_accounts,
    } = template.clone();
    let lists = [&users, &groups, &exclude];
    let is_computed = lists
        .iter()
        .any(|list| list.iter().any(|name| name.contains("${")));
    (!is_computed).then_some(Approvers {
        users,
        groups,
        exclude,
        service_accounts,
    })
}

fn changes(place: &mut Place<'_, '_>, changes: &Changes) -> Option<ChangesPlan> {
    let Some(back_to) = place.step_named(&changes.back_to) else {
        if place.knows_all_names() {
            place.problem("changes.backTo", format!("there is no step {}", changes.back_to));
        }
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
