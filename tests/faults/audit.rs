//! What the audit log proves: who led when, who wrote upon what, and what was counted.
//!
//! The store counts all writes in one order, and an answer says which version its write made. So nothing here goes by a clock.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use signoff::operator::LEASE;

use crate::{
    controlplane::audit::{is_write, refused},
    support::real::ACCOUNTS,
};

/// An accepted write that changed something.
struct Write<'a> {
    /// The controllers that made it, by the name that their process has in the lease.
    by: Option<&'a str>,
    verb: &'a str,
    kind: &'a str,
    is_status: bool,
    /// The version that it made.
    version: u64,
    /// What it names as what it builds upon.
    tested: Option<Tested>,
    /// What the API server answered.
    object: &'a Value,
    event: &'a Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tested {
    Version(u64),
    Revision(i64),
}

/// What is known of an object: its newest version, and which one made which revision of its status.
#[derive(Default)]
struct Known {
    version: u64,
    revisions: BTreeMap<i64, u64>,
}

impl Known {
    fn take_in(&mut self, write: &Write<'_>) {
        self.version = write.version;
        if let Some(revision) = write.object["status"]["revision"].as_i64() {
            self.revisions.entry(revision).or_insert(write.version);
        }
    }

    /// The version that a write builds upon.
    fn base(&self, write: &Write<'_>) -> Option<u64> {
        match write.tested? {
            Tested::Version(version) => Some(version),
            Tested::Revision(revision) => self.revisions.get(&revision).copied(),
        }
    }

    /// Whether it names what it builds upon, and nothing older than the newest that is known. A callback that came meanwhile does no harm, and
    /// an API server that is killed takes with it what it would have logged.
    fn is_newest(&self, write: &Write<'_>) -> bool {
        match write.tested {
            None => false,
            Some(Tested::Version(version)) => version >= self.version,
            Some(Tested::Revision(revision)) => {
                let newest = self.revisions.last_key_value();
                newest.is_none_or(|(newest, _)| revision >= *newest)
            }
        }
    }
}

/// Whoever leads or believes it does: each write of a status names what it builds upon, and that was the newest. So no two build upon the same,
/// and nobody overwrites what they have not seen. And each decision was judged once, and counted once at most.
pub fn nothing_is_overwritten_and_nothing_counted_twice(log: &[Value]) {
    let mut objects: BTreeMap<&str, Known> = BTreeMap::new();
    let mut checked = 0;
    let writes = accepted(log);
    for write in &writes {
        let known = objects.entry(write.uid()).or_default();
        if write.by.is_some() && write.is_status {
            assert!(
                known.is_newest(write),
                "upon {:?} when the newest was {}: {}",
                write.tested,
                known.version,
                write.event
            );
            checked += 1;
        }
        known.take_in(write);
    }
    assert!(checked > 0, "nobody wrote anything");
    each_decision_is_judged_once(&writes);
}

fn each_decision_is_judged_once(writes: &[Write<'_>]) {
    let mut judged: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut counted: BTreeMap<&str, &str> = BTreeMap::new();
    let mut answers: BTreeMap<&str, &Value> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.is_status) {
        let status = &write.object["status"];
        if write.kind == "decisions" && !status["counted"].is_null() {
            let first = *judged.entry(write.uid()).or_insert(&status["counted"]);
            assert_eq!(first, &status["counted"], "judged twice: {}", write.event);
        }
        if write.kind != "approvals" {
            continue;
        }
        let names: Vec<_> = status["counted"].as_array().into_iter().flatten().collect();
        let names: Vec<_> = names.iter().filter_map(|one| one["decision"].as_str()).collect();
        let apart: BTreeSet<_> = names.iter().collect();
        assert_eq!(apart.len(), names.len(), "counted twice: {}", write.event);
        for name in names {
            let on = *counted.entry(name).or_insert(write.uid());
            assert_eq!(on, write.uid(), "counted elsewhere too: {}", write.event);
        }
        let outcome = &status["phase"];
        if !outcome.is_null() && outcome != "Pending" {
            let first = *answers.entry(write.uid()).or_insert(outcome);
            assert_eq!(first, outcome, "answered twice: {}", write.event);
        }
    }
    assert!(!judged.is_empty() && !counted.is_empty(), "nothing was decided");
}

/// Once a process has lost the lease, nothing of it is accepted that it could have thought of later. What had passed the question who leads and
/// not yet left the process, or not yet reached the API server, may still come, since no server asks again; it builds upon a version from
/// before the loss, so it is the first to write the object since, and there is one of them for each object at most. A create builds upon its
/// owner as it was before the loss; only Events, which say nothing that anybody goes by, have none. What says to which approval a decision
/// belongs is the same whoever writes it, and builds upon the decision as it was.
pub fn nobody_writes_after_another_leads(log: &[Value]) {
    let mut objects: BTreeMap<&str, Known> = BTreeMap::new();
    let mut leader = None;
    // when each process lost the lease
    let mut losses: BTreeMap<&str, u64> = BTreeMap::new();
    let mut checked = 0;
    for write in accepted(log) {
        if write.kind == "leases" {
            // API servers have leases too
            if write.object["metadata"]["name"] != LEASE {
                continue;
            }
            let holder = write.object["spec"]["holderIdentity"].as_str();
            let holder = holder.filter(|holder| !holder.is_empty());
            if let Some(before) = leader
                && holder != leader
            {
                losses.insert(before, write.version);
            }
            leader = holder;
            continue;
        }
        if let Some(by) = write.by {
            checked += 1;
            let loss = losses.get(by).copied().unwrap_or_default();
            let base = match write.verb {
                "create" if write.kind == "events" => Some(0),
                "create" => write
                    .owner()
                    .map(|owner| objects.get(owner).map_or(0, |owner| owner.version)),
                "patch" if write.ties() => objects.get(write.uid()).map(|known| known.version),
                _ if write.is_status => objects.get(write.uid()).and_then(|known| known.base(&write)),
                _ => None,
            };
            let was_under_way = base.is_some_and(|base| base < loss);
            assert!(
                leader == Some(by) || was_under_way,
                "{by} wrote, but {leader:?} led, since {loss} at least: {}",
                write.event
            );
        }
        objects.entry(write.uid()).or_default().take_in(&write);
    }
    assert!(checked > 0, "nobody wrote anything");
}

/// The chart gives every right that it took.
pub fn nothing_was_refused(log: &[Value]) {
    let refused = refused(log, &ACCOUNTS);
    assert!(refused.is_empty(), "the chart lacks a right: {refused:#?}");
}

impl<'a> Write<'a> {
    fn uid(&self) -> &'a str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    fn owner(&self) -> Option<&'a str> {
        self.object["metadata"]["ownerReferences"][0]["uid"].as_str()
    }

    /// Whether it writes to which approval a decision belongs, and no more.
    fn ties(&self) -> bool {
        let patch = self.event["requestObject"].as_object();
        let metadata = self.event["requestObject"]["metadata"].as_object();
        let mut names = metadata.into_iter().flat_map(serde_json::Map::keys);
        self.kind == "decisions"
            && patch.is_some_and(|patch| patch.len() == 1)
            && names.all(|name| name == "uid" || name == "ownerReferences")
    }
}

/// The writes that the log has in full, in the order in which the store took them.
fn accepted(log: &[Value]) -> Vec<Write<'_>> {
    let mut writes: Vec<_> = log.iter().filter_map(write).collect();
    writes.sort_by_key(|write| (write.version, write.event["stageTimestamp"].as_str()));
    // what changes nothing is answered with the version that was there
    writes.dedup_by_key(|write| write.version);
    writes.retain(|write| write.tested != Some(Tested::Version(write.version)));
    writes
}

fn write(event: &Value) -> Option<Write<'_>> {
    let answered = event["responseStatus"]["code"].as_u64()?;
    let object = &event["responseObject"];
    if !is_write(event) || answered >= 300 {
        return None;
    }
    Some(Write {
        by: controllers(event),
        verb: event["verb"].as_str()?,
        kind: event["objectRef"]["resource"].as_str()?,
        is_status: event["objectRef"]["subresource"] == "status",
        version: object["metadata"]["resourceVersion"].as_str()?.parse().ok()?,
        tested: tested(&event["requestObject"]),
        object,
        event,
    })
}

/// The name that is in the lease; what a gateway writes, in the same process or another one, is no leader's.
fn controllers(event: &Value) -> Option<&str> {
    let agent = event["userAgent"].as_str()?.strip_prefix("signoff/")?;
    let is_gateways = event["requestURI"]
        .as_str()?
        .contains("fieldManager=signoff-gateway");
    let (_, name) = agent.trim_end_matches(')').rsplit_once('(')?;
    (!is_gateways).then_some(name)
}

fn tested(patch: &Value) -> Option<Tested> {
    let tests = patch
        .as_array()?
        .iter()
        .filter(|operation| operation["op"] == "test");
    let mut named = tests.filter_map(|test| match test["path"].as_str()? {
        "/metadata/resourceVersion" => Some(Tested::Version(test["value"].as_str()?.parse().ok()?)),
        "/status/revision" => Some(Tested::Revision(test["value"].as_i64()?)),
        _ => None,
    });
    named.next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(by: &str, what: [&str; 3], patch: &Value, object: &Value) -> Value {
        let [verb, resource, subresource] = what;
        json!({"verb": verb, "objectRef": {"resource": resource, "subresource": subresource}, "requestURI": "/",
            "userAgent": format!("signoff/0.1.0 ({by})"), "stageTimestamp": "", "responseStatus": {"code": 200},
            "requestObject": patch, "responseObject": object})
    }

    fn held(by: &str, version: u64) -> Value {
        let metadata = json!({"uid": "lease", "name": LEASE, "resourceVersion": version.to_string()});
        let lease = json!({"metadata": metadata, "spec": {"holderIdentity": by}});
        event(by, ["update", "leases", ""], &json!(null), &lease)
    }

    fn written(by: &str, kind: &str, upon: u64, version: u64, status: &Value) -> Value {
        let patch = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": upon.to_string()}]);
        let metadata = json!({"uid": "it", "resourceVersion": version.to_string()});
        let object = json!({"metadata": metadata, "status": status});
        event(by, ["patch", kind, "status"], &patch, &object)
    }

    fn run(by: &str, upon: u64, version: u64) -> Value {
        written(by, "runs", upon, version, &json!({}))
    }

    #[test]
    fn what_was_under_way_when_the_lead_was_lost_may_come() {
        nobody_writes_after_another_leads(&[held("a", 1), run("a", 0, 2), held("b", 3), run("a", 2, 4)]);
    }

    #[test]
    #[should_panic(expected = "a wrote, but")]
    fn what_builds_upon_something_newer_than_the_loss_is_found() {
        let log = [
            held("a", 1),
            run("a", 0, 2),
            held("b", 3),
            run("b", 2, 4),
            run("a", 4, 5),
        ];
        nobody_writes_after_another_leads(&log);
    }

    /// An Approval of the run.
    fn asked(by: &str, version: u64) -> Value {
        let owners = json!([{"kind": "Run", "uid": "it"}]);
        let metadata =
            json!({"uid": "question", "resourceVersion": version.to_string(), "ownerReferences": owners});
        event(
            by,
            ["create", "approvals", ""],
            &json!(null),
            &json!({"metadata": metadata}),
        )
    }

    #[test]
    fn a_question_that_was_under_way_when_the_lead_was_lost_may_come() {
        nobody_writes_after_another_leads(&[held("a", 1), run("a", 0, 2), held("b", 3), asked("a", 4)]);
    }

    #[test]
    #[should_panic(expected = "a wrote, but")]
    fn a_question_that_follows_from_something_newer_than_the_loss_is_found() {
        let log = [
            held("a", 1),
            run("a", 0, 2),
            held("b", 3),
            run("b", 2, 4),
            asked("a", 5),
        ];
        nobody_writes_after_another_leads(&log);
    }

    /// A decision that is tied to its approval.
    fn tied(by: &str, version: u64) -> Value {
        let owners = json!([{"kind": "Approval", "uid": "question"}]);
        let patch = json!({"metadata": {"uid": "it", "ownerReferences": owners}});
        let metadata =
            json!({"uid": "it", "resourceVersion": version.to_string(), "ownerReferences": owners});
        event(
            by,
            ["patch", "decisions", ""],
            &patch,
            &json!({"metadata": metadata}),
        )
    }

    #[test]
    fn a_decision_that_was_being_tied_when_the_lead_was_lost_may_be() {
        let mut decided = written("alice", "decisions", 0, 1, &json!({}));
        decided["userAgent"] = json!("kubectl");
        nobody_writes_after_another_leads(&[decided, held("a", 2), held("b", 3), tied("a", 4)]);
    }

    #[test]
    #[should_panic(expected = "a wrote, but")]
    fn a_decision_that_is_tied_after_another_one_has_judged_it_is_found() {
        let judged = written("b", "decisions", 1, 4, &json!({"counted": true}));
        nobody_writes_after_another_leads(&[held("a", 2), held("b", 3), judged, tied("a", 5)]);
    }

    #[test]
    #[should_panic(expected = "b wrote, but")]
    fn who_never_led_is_found() {
        nobody_writes_after_another_leads(&[held("a", 1), run("b", 0, 2)]);
    }

    #[test]
    #[should_panic(expected = "when the newest was 2")]
    fn two_writes_upon_the_same_version_are_found() {
        let log = [run("a", 0, 1), run("a", 1, 2), run("b", 1, 3)];
        nothing_is_overwritten_and_nothing_counted_twice(&log);
    }

    #[test]
    #[should_panic(expected = "counted twice")]
    fn a_decision_that_is_counted_twice_is_found() {
        let twice = json!({"counted": [{"decision": "d"}, {"decision": "d"}]});
        nothing_is_overwritten_and_nothing_counted_twice(&[written("a", "approvals", 0, 1, &twice)]);
    }
}
