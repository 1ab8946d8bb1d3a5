//! What people are told of a question beside its title and what it shows.

use signoff_api::{ApprovalSpec, step::Approvers};

/// What is known of a question, a label and a value each. The values hold text that others wrote.
pub fn facts(spec: &ApprovalSpec) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let subject = &spec.subject;
    if let (Some(run), Some(step)) = (&subject.run, &subject.step) {
        let pass = subject.iteration.filter(|pass| *pass > 1);
        let pass = pass.map(|pass| format!(", pass {pass}")).unwrap_or_default();
        let item = subject.item.map(|item| format!("item {item} of "));
        let item = item.unwrap_or_default();
        facts.push(("about", format!("{item}step {step} of run {run}{pass}")));
    }
    if let Some(release) = &subject.release {
        facts.push(("about", format!("release {release}")));
    }
    let by = spec.requested_by.as_deref().unwrap_or("unknown");
    facts.push(("asked by", by.to_owned()));
    if !spec.earlier_requesters.is_empty() {
        facts.push(("asked before by", spec.earlier_requesters.join(", ")));
    }
    for above in &spec.parents {
        let by = above.requested_by.as_ref();
        let by = by.map(|by| format!(", asked by {by}")).unwrap_or_default();
        facts.push((
            "started by",
            format!("run {} of flow {}{by}", above.run, above.flow),
        ));
    }
    facts.extend(spec.author.as_ref().map(|author| ("written by", author.clone())));
    facts.push(("decided by", deciders(spec.approvers.as_ref())));
    facts
}

/// Who may decide.
fn deciders(approvers: Option<&Approvers>) -> String {
    let everybody = "everybody with the verb approve";
    let Some(approvers) = approvers else {
        return everybody.to_owned();
    };
    let groups = approvers.groups.iter().map(|group| format!("group {group}"));
    let users = approvers.users.iter().cloned();
    let accounts = approvers.service_accounts.iter();
    let accounts = accounts.map(|account| format!("service account {account}"));
    let all: Vec<String> = groups.chain(users).chain(accounts).collect();
    let named = if approvers.is_everybody_else() {
        everybody.to_owned()
    } else if all.is_empty() {
        "nobody".to_owned()
    } else {
        all.join(", ")
    };
    if approvers.exclude.is_empty() {
        named
    } else {
        format!("{named}, but not {}", approvers.exclude.join(", "))
    }
}
