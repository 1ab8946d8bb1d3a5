//! What the audit log proves: who led when, and who wrote when.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::controlplane::ControlPlane;

/// One accepted write of an operator.
struct Write<'a> {
    by: &'a str,
    lease: bool,
    received: Timestamp,
    answered: Timestamp,
    event: &'a Value,
}

/// Most writes that may have passed the question who leads and not yet have left the process when it was stopped. They arrive when it
/// wakes; being written to a status they test its revision, so nothing newer is overwritten.
const ON_THEIR_WAY: usize = 2;

/// Once the lease was taken by one process, no write of another one that came later was accepted, until that one took it back, but for
/// what a process that was stopped had begun to send. The gateway's writes are no leader's.
pub fn nobody_writes_after_another_leads(plane: &ControlPlane) {
    let log = plane.audit();
    let mut writes: Vec<_> = log.iter().filter_map(accepted).collect();
    writes.sort_by_key(|write| write.answered);
    let mut leaders = BTreeSet::new();
    let mut leader: Option<(&str, Timestamp)> = None;
    let (mut checked, mut late) = (0, 0);
    for write in &writes {
        if write.lease {
            if leader.is_none_or(|(name, _)| name != write.by) {
                leader = Some((write.by, write.answered));
                leaders.insert(write.by);
            }
            continue;
        }
        let Some((name, since)) = leader else { continue };
        checked += 1;
        let in_turn = name == write.by || write.received <= since;
        let fenced = write.event["objectRef"]["subresource"] == "status";
        late += usize::from(!in_turn);
        assert!(
            in_turn || fenced && late <= ON_THEIR_WAY,
            "{} wrote at {}, but {name} led since {since}: {}",
            write.by,
            write.received,
            write.event
        );
    }
    assert!(
        !leaders.is_empty() && checked > 20,
        "{} leaders, {checked} writes in the audit log",
        leaders.len()
    );
}

fn accepted(event: &Value) -> Option<Write<'_>> {
    let by = event["userAgent"].as_str()?.strip_prefix("signoff/")?;
    let verb = event["verb"].as_str()?;
    let resource = event["objectRef"]["resource"].as_str()?;
    let uri = event["requestURI"].as_str()?;
    let ok = event["responseStatus"]["code"]
        .as_u64()
        .is_some_and(|code| code < 300);
    let is_write = matches!(verb, "create" | "update" | "patch" | "delete");
    let is_gateways = uri.contains("fieldManager=signoff-gateway");
    // whoever comes first makes the keys, and a forgery that is tried changes nothing
    let is_no_leaders = resource == "secrets" || uri.contains("dryRun=All");
    if !ok || !is_write || is_gateways || is_no_leaders {
        return None;
    }
    Some(Write {
        by,
        lease: resource == "leases",
        received: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
        answered: event["stageTimestamp"].as_str()?.parse().ok()?,
        event,
    })
}
