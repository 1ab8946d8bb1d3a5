//! Labels, annotations, finalizers, field managers and the names of generated objects.

use serde_json::{Value, json};

use super::{Digest, canonical};

/// What the names of Leases begin with that say which wait takes an event.
const EVENT_CLAIMS: &str = "signoff-event-";
/// Label on every object Signoff creates.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "signoff";
/// Label: the flow an object belongs to.
pub const FLOW: &str = "signoff.dev/flow";
/// Label: the release an object belongs to.
pub const RELEASE: &str = "signoff.dev/release";
/// Label: the run an object belongs to.
pub const RUN: &str = "signoff.dev/run";
/// Label: the step an object belongs to.
pub const STEP: &str = "signoff.dev/step";
/// Annotation on a Job: the pass of its step.
pub const ITERATION: &str = "signoff.dev/iteration";
/// Annotation on a Job: the item of its step.
pub const ITEM: &str = "signoff.dev/item";
/// Annotation on a Job: the attempt of its step.
pub const ATTEMPT: &str = "signoff.dev/attempt";
/// Annotation on a Job: digest of its spec as the operator wrote it.
pub const JOB_DIGEST: &str = "signoff.dev/spec-digest";
/// Annotation on a Job: `false` if the end of its log is not kept.
pub const KEEP_LOG: &str = "signoff.dev/keep-log";
/// Label: the queue of a WorkItem.
pub const QUEUE: &str = "signoff.dev/queue";
/// Label: the Repository that applied a flow, or that the flow came from which a question is about.
pub const REPOSITORY: &str = "signoff.dev/repository";
/// Annotation: the uid of the Repository that a flow belongs to. A flow that stays when its Repository goes has no owner
/// reference, because the garbage collector deletes all dependents of an owner that is deleted in the foreground.
pub const REPOSITORY_UID: &str = "signoff.dev/repository-uid";
/// Label on the admission policies of an installation, and their bindings; its value is what their names begin with.
pub const POLICIES: &str = "signoff.dev/policies";
/// Annotation on a Repository: a change of its value asks for a sync at once.
pub const REQUESTED_AT: &str = "signoff.dev/requestedAt";
/// Annotation on a Flow that a Repository applied: where its draft came from, as JSON of
/// [`super::release::ReleaseSource`].
pub const SOURCE: &str = "signoff.dev/source";
/// Annotation beside [`SOURCE`]: digest of the definition that it speaks of, so that an edited flow does not claim to be a commit's.
pub const SOURCE_DIGEST: &str = "signoff.dev/source-digest";
/// Annotation on a Flow that a Repository applied: commit of the live ref that named what `spec.live` wants. Only for people to read; it
/// proves nothing.
pub const LIVE_COMMIT: &str = "signoff.dev/live-commit";
/// Annotation on a Flow: the user who last changed anything in its spec but `live`. The API server keeps it; nobody writes another's name.
pub const CHANGED_BY: &str = "signoff.dev/changed-by";
/// Annotation on a Flow: the user who last changed `spec.live`, kept in the same way.
pub const PROMOTED_BY: &str = "signoff.dev/promoted-by";
/// Label on a Lease with an event that is kept: the hash by which waits name it.
pub const EVENT: &str = "signoff.dev/event";
/// Label on the same Lease: the hash of its trigger.
pub const EVENT_TRIGGER: &str = "signoff.dev/event-trigger";
/// Annotation on the same Lease: the event, as JSON.
pub const KEPT_EVENT: &str = "signoff.dev/kept-event";
/// Annotation on the same Lease: digest of what came, to tell the same event from another one of the same id.
pub const EVENT_DIGEST: &str = "signoff.dev/event-digest";
/// Finalizer on a Release that a run uses, and on a Run whose work has to be stopped before it goes.
pub const FINALIZER: &str = "signoff.dev/in-use";
/// Field manager of the controllers.
pub const FIELD_MANAGER: &str = "signoff";
/// Field manager under which a Repository sync applies flows.
pub const FIELD_MANAGER_REPOSITORY: &str = "signoff-repository";
/// Field manager of the gateway.
pub const FIELD_MANAGER_GATEWAY: &str = "signoff-gateway";

/// Prefix of the user names on whose behalf triggers start runs.
pub const TRIGGER_USERS: &str = "system:signoff:trigger:";

/// Longest name of a Flow or a Run: it must fit a label value together with what is appended to it.
pub const MAX_NAME: usize = 52;
/// Longest name of a Run, which is also the value of a label.
const MAX_RUN: usize = 63;
/// Longest name of any object.
const MAX_OBJECT_NAME: usize = 253;

/// `<flow>-<first 10 hex digits of the digest>`.
pub fn release_name(flow: &str, digest: &Digest) -> String {
    format!("{flow}-{}", digest.short())
}

/// Name of the approval a step opens, and of one that asks whether its effect happened (`attempt`).
///
/// The hash is over the run's uid, so that neither another run nor a step with dashes in its name can come to the same name, and nobody can take it
/// before the run is there.
pub fn approval_name(run: &str, uid: &str, step: &str, iteration: i64, attempt: Option<i64>) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "attempt": attempt });
    let what = attempt.map_or("", |_| "-outcome");
    owned(&format!("{run}-{step}{what}"), &of)
}

/// Name of the folder on a host that marks the process that a step starts there. It is a DNS label.
pub fn process_name(run: &str, uid: &str, step: &str, iteration: i64, item: Option<i64>) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "item": item, "kind": "Process" });
    cut_to(MAX_RUN, &format!("{}-{step}", run.replace('.', "-")), &of)
}

/// Name of the WorkItem that a step opens, or one of its items.
pub fn work_item_name(run: &str, uid: &str, step: &str, iteration: i64, item: Option<i64>) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "item": item, "kind": "WorkItem" });
    let item = item.map(|item| format!("-{item}")).unwrap_or_default();
    owned(&format!("{run}-{step}{item}"), &of)
}

/// Name of the Job that an attempt of a step creates, or of one of its items. It is a DNS label, because pods have it as a
/// label and in their name.
pub fn job_name(run: &str, uid: &str, step: &str, iteration: i64, item: Option<i64>, attempt: i64) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "item": item, "attempt": attempt, "kind": "Job" });
    let item = item.map(|item| format!("-{item}")).unwrap_or_default();
    cut_to(MAX_RUN, &format!("{}-{step}{item}", run.replace('.', "-")), &of)
}

/// Name of the Run that a step starts.
pub fn child_run_name(run: &str, uid: &str, step: &str, iteration: i64) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "kind": "Run" });
    cut_to(MAX_RUN, &format!("{run}-{step}"), &of)
}

/// Name of the Run that a step starts for one of its items.
pub fn item_child_run_name(run: &str, uid: &str, step: &str, iteration: i64, item: i64) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "item": item, "kind": "Run" });
    cut_to(MAX_RUN, &format!("{run}-{step}-{item}"), &of)
}

/// Name of the detached Run that steps of a flow start together under a key.
pub fn keyed_run_name(flow: &str, child: &str, key: &str) -> String {
    let of = json!({ "flow": flow, "child": child, "key": key });
    cut_to(MAX_RUN, child, &of)
}

/// Name of the run that a start with this idempotency key is: the same for the same flow and key.
pub fn idempotent_run_name(flow: &str, key: &str) -> String {
    let of = json!({ "flow": flow, "idempotencyKey": key });
    let digest = canonical::digest_of_value(&of);
    // longer than in other names, because keys come from outside and are many
    let hash = &digest.hex()[..16];
    let cut: String = flow.chars().take(MAX_RUN - 1 - hash.len()).collect();
    format!("{}-{hash}", cut.trim_end_matches(['-', '.']))
}

/// Name of the approval that a step opens for one of its items. `round` counts how often people were asked anew.
pub fn item_approval_name(run: &str, uid: &str, step: &str, iteration: i64, item: i64, round: i64) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "item": item, "round": round });
    owned(&format!("{run}-{step}-{item}"), &of)
}

/// Name of the approval that an `agent` step opens for a call of a tool. `round` counts how often people were asked anew.
pub fn tool_approval_name(
    run: &str,
    uid: &str,
    step: &str,
    iteration: i64,
    item: Option<i64>,
    call: i64,
    round: i64,
) -> String {
    let of = json!({ "run": uid, "step": step, "iteration": iteration, "item": item, "call": call, "round": round });
    owned(&format!("{run}-{step}-call-{call}"), &of)
}

/// Name of the approval that gates the promotion of a release; `round` counts promotions of that release, from 1, and `gate` tells two gates apart.
pub fn promotion_approval_name(release: &str, round: i64, gate: &str) -> String {
    let of = json!({ "promotion": release, "round": round, "gate": gate });
    owned(&format!("{release}-promotion"), &of)
}

/// Name of the run that an event of a trigger starts: the same for the same event.
pub fn triggered_run_name(flow: &str, trigger: &str, event: &str) -> String {
    let of = json!({ "flow": flow, "trigger": trigger, "event": event });
    format!("{flow}-{}", canonical::digest_of_value(&of).short())
}

/// Hash by which runs that wait for an event are found: of the trigger and the key of the event.
pub fn event_key(flow: &str, trigger: &str, key: &str) -> String {
    let of = json!({ "flow": flow, "trigger": trigger, "key": key });
    canonical::digest_of_value(&of).hex()[..16].to_owned()
}

/// Hash of a trigger, for the events of it that are kept. No event has its key, which is empty.
pub fn event_trigger(flow: &str, trigger: &str) -> String {
    event_key(flow, trigger, "")
}

/// Name of the Lease that says which wait takes an event, by the name of the event.
pub fn event_claim_name(event: &str) -> String {
    format!("{EVENT_CLAIMS}{event}")
}

/// The user on whose behalf a trigger starts runs. Nobody else may have a name that begins so.
pub fn trigger_user(flow: &str, trigger: &str) -> String {
    format!("{TRIGGER_USERS}{flow}/{trigger}")
}

/// Whether a user is one of those for whom triggers start runs.
pub fn is_trigger_user(user: &str) -> bool {
    user.starts_with(TRIGGER_USERS)
}

/// A name for people, made unique by ten digits of the hash of what it stands for. What is for people is cut where it is too long for a name.
fn owned(readable: &str, of: &Value) -> String {
    cut_to(MAX_OBJECT_NAME, readable, of)
}

fn cut_to(longest: usize, readable: &str, of: &Value) -> String {
    let digest = canonical::digest_of_value(of);
    let cut: String = readable
        .chars()
        .take(longest - 1 - digest.short().len())
        .collect();
    format!("{}-{}", cut.trim_end_matches(['-', '.']), digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectName;

    #[test]
    fn two_runs_whose_names_and_steps_read_the_same_have_two_approvals() {
        let one = approval_name("deploy", "uid-1", "prod-check", 1, None);
        let other = approval_name("deploy-prod", "uid-2", "check", 1, None);
        assert_ne!(one, other);
        assert!(one.starts_with("deploy-prod-check-") && other.starts_with("deploy-prod-check-"));
        assert_ne!(approval_name("deploy", "uid-1", "prod-check", 2, None), one);
        assert_ne!(
            one,
            approval_name("deploy", "uid-3", "prod-check", 1, None),
            "a later run of the same name"
        );
    }

    #[test]
    fn steps_that_are_called_like_other_questions_are_not_taken_for_them() {
        let all = [
            approval_name("r", "u", "pay", 1, Some(1)),
            approval_name("r", "u", "pay-outcome", 1, None),
            approval_name("r", "u", "pay", 1, Some(2)),
            approval_name("r-promotion", "u", "pay", 1, None),
            promotion_approval_name("r", 1, "release"),
            promotion_approval_name("r", 2, "release"),
            promotion_approval_name("r", 1, "repository"),
            approval_name("r", "u", "promotion", 1, None),
            item_approval_name("r", "u", "pay", 1, 1, 0),
            item_approval_name("r", "u", "pay", 1, 1, 1),
            item_approval_name("r", "u", "pay", 1, 2, 0),
            item_approval_name("r", "u", "pay", 2, 1, 0),
            approval_name("r", "u", "pay-1", 1, None),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }

    #[test]
    fn runs_that_steps_start_have_names_of_their_own_that_fit_a_label() {
        let parts = [
            "a",
            "a-b",
            "b",
            "a.b",
            &"x".repeat(51),
            &"x-".repeat(26)[..51],
            &"a.".repeat(31),
        ];
        let mut names = std::collections::BTreeSet::new();
        let mut count = 0;
        for (n, run) in parts.iter().enumerate() {
            for step in ["a", "b", "a-b", &"s".repeat(63)] {
                for iteration in [1, 2] {
                    names.insert(child_run_name(run, &format!("uid-{n}"), step, iteration));
                    count += 1;
                    for item in [0, 1, 499] {
                        let uid = format!("uid-{n}");
                        names.insert(item_child_run_name(run, &uid, step, iteration, item));
                        count += 1;
                    }
                }
            }
            for key in ["", "a", "a-b", &"k".repeat(1_024)] {
                names.insert(keyed_run_name("flow", run.trim_end_matches('.'), key));
                count += 1;
            }
        }
        assert_eq!(names.len(), count);
        for name in &names {
            assert!(name.len() <= 63 && name.parse::<ObjectName>().is_ok(), "{name}");
        }
        assert_eq!(keyed_run_name("f", "c", "k"), keyed_run_name("f", "c", "k"));
        assert_ne!(keyed_run_name("f", "c", "k"), keyed_run_name("g", "c", "k"));
    }

    #[test]
    fn a_key_names_a_run_of_its_flow() {
        let long = "a.".repeat(25) + "a";
        for (flow, key) in [
            ("f", "k"),
            (&long, ""),
            ("f", &"k".repeat(1_024)),
            (&"x-".repeat(26)[..51], "k"),
        ] {
            let name = idempotent_run_name(flow, key);
            assert!(
                name.len() <= MAX_RUN && name.parse::<ObjectName>().is_ok(),
                "{name}"
            );
            assert_eq!(name, idempotent_run_name(flow, key));
        }
        assert_ne!(idempotent_run_name("f", "k"), idempotent_run_name("g", "k"));
        assert_ne!(idempotent_run_name("f", "k"), idempotent_run_name("f", "l"));
    }

    #[test]
    fn every_name_is_one_however_long_what_it_is_made_of() {
        let long = "a.".repeat(31) + "a";
        for name in [
            approval_name(&long, "u", &"b".repeat(63), 1, Some(1)),
            promotion_approval_name(&long, 1, "repository"),
            owned(&"a-".repeat(300), &json!({})),
            owned(&"a.".repeat(300), &json!({})),
        ] {
            assert!(name.parse::<ObjectName>().is_ok(), "{name}");
        }
    }
}
