//! What a gate may not hold.

use crate::plan::people;
use signoff_api::{flow::Promotion, step::Approvers};

/// What is told of an expression in a gate.
pub const NO_EXPRESSIONS: &str = "a promotion gate has no expressions: who may promote never comes from data";

/// Why the people whom a gate names cannot promote anything, however they decide, if it is so.
pub fn unreachable_quorum(gate: &Promotion) -> Option<String> {
    let quorum = gate.approval.quorum.unwrap_or(1);
    let approvers = gate.approval.approvers.as_ref()?;
    let escalated = gate.approval.escalate.iter().flatten();
    let lists: Vec<&Approvers> = [approvers]
        .into_iter()
        .chain(escalated.map(|escalation| &escalation.to))
        .collect();
    let people = people(&lists)?;
    let is_short = i64::try_from(people).is_ok_and(|people| people < quorum);
    is_short.then(|| format!("{quorum} people must approve, and the approvers are {people}"))
}

/// The fields of a gate that hold `${`, below it. Who may promote is written down, and never computed.
pub fn expressions(gate: &Promotion) -> Vec<String> {
    let escalated = gate.approval.escalate.iter().flatten().enumerate();
    let escalated = escalated.map(|(n, escalation)| (format!("escalate[{n}].to"), &escalation.to));
    let approvers = gate.approval.approvers.iter();
    let lists = approvers
        .map(|list| ("approvers".to_owned(), list))
        .chain(escalated);
    let names = lists.flat_map(|(at, list)| {
        let Approvers {
            users,
            groups,
            exclude,
            service_accounts,
        } = list;
        let lists = [
            ("users", users),
            ("groups", groups),
            ("exclude", exclude),
            ("serviceAccounts", service_accounts),
        ];
        lists.into_iter().flat_map(move |(name, names)| {
            let at = format!("approval.{at}.{name}");
            let found = names.iter().enumerate().filter(|(_, name)| name.contains("${"));
            found.map(|(i, _)| format!("{at}[{i}]")).collect::<Vec<_>>()
        })
    });
    names.collect()
}
