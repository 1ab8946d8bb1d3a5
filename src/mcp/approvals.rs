//! Questions to people, which agents read and do not answer.

use kube::{Api, ResourceExt as _, api::ListParams};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ToolError,
    list::{self, Page},
    server::{Place, ToolServer},
};
use crate::cluster::objects::{self, Decoded};
use signoff_api::{Approval, ApprovalPhase, Decision, name::ObjectName};
use signoff_engine::judge::Tally;

/// Most decisions that are shown of a question.
const MAX_DECISIONS: u32 = 100;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListApprovals {
    #[serde(flatten)]
    place: Place,
    /// Only questions in this phase. Defaults to `Pending`, which are those that wait for people.
    #[serde(default)]
    phase: Option<Phase>,
    #[serde(flatten)]
    page: Page,
}

/// Phase of a question; `Any` for all of them.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
enum Phase {
    Pending,
    Approved,
    Rejected,
    ChangesRequested,
    Expired,
    Cancelled,
    Superseded,
    Any,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GetApproval {
    #[serde(flatten)]
    place: Place,
    /// Name of the approval.
    approval: ObjectName,
}

pub(super) async fn list(server: &ToolServer, args: ListApprovals) -> Result<Value, ToolError> {
    let phase = args.phase.unwrap_or(Phase::Pending);
    let fields = match phase {
        Phase::Any => vec![],
        // one that is not looked at yet has no status
        Phase::Pending => ApprovalPhase::CLOSED
            .map(|closed| format!("status.phase!={closed}"))
            .to_vec(),
        Phase::Approved
        | Phase::Rejected
        | Phase::ChangesRequested
        | Phase::Expired
        | Phase::Cancelled
        | Phase::Superseded => vec![format!("status.phase={phase:?}")],
    };
    let approvals = server.api(&args.place)?;
    list::page(&approvals, &args.page, &fields, "approvals", summary).await
}

fn summary(approval: &Approval) -> Value {
    let (spec, status) = (&approval.spec, approval.status.clone().unwrap_or_default());
    json!({
        "name": approval.name_any(),
        "title": spec.title,
        "purpose": spec.purpose,
        "subject": spec.subject,
        "phase": status.phase,
        "needs": status.needs,
        "expiresAt": spec.expires_at,
    })
}

pub(super) async fn get(server: &ToolServer, args: GetApproval) -> Result<Value, ToolError> {
    let approval = server
        .api::<Approval>(&args.place)?
        .get(&args.approval)
        .await
        .map_err(|error| ToolError::api(&format!("approval {}", args.approval), &error))?;
    let (spec, status) = (&approval.spec, approval.status.clone().unwrap_or_default());
    let mut shown = summary(&approval);
    shown["namespace"] = json!(approval.namespace());
    shown["digest"] = json!(spec.digest);
    shown["requestedBy"] = json!(spec.requested_by);
    shown["show"] = json!(spec.show);
    shown["form"] = json!(spec.form);
    shown["approvers"] = json!(spec.approvers);
    shown["verdicts"] = json!(spec.verdicts);
    shown["tally"] = json!(Tally::of(spec, &status));
    shown["status"] = json!(status);
    shown["decisions"] = decisions(&server.api(&args.place)?, &args.approval).await;
    shown["next"] = json!(if status.phase.is_closed() {
        "the question is closed"
    } else {
        "only people can answer, with `signoff approve`, in the inbox or on the forge; no tool can"
    });
    Ok(shown)
}

/// What people answered; nothing if the caller may not read it.
async fn decisions(api: &Api<Decoded<Decision>>, approval: &str) -> Value {
    let of_approval = ListParams::default()
        .fields(&format!("spec.approval={approval}"))
        .limit(MAX_DECISIONS);
    let Ok(listed) = objects::list(api, &of_approval).await else {
        return Value::Null;
    };
    let shown = listed.items.iter().map(|decision| {
        let (spec, status) = (&decision.spec, decision.status.as_ref());
        json!({
            "name": decision.name_any(),
            "by": spec.by,
            "verdict": spec.verdict,
            "comment": spec.comment,
            "values": spec.values,
            "at": decision.creation_timestamp(),
            "counted": status.and_then(|status| status.counted),
            "reason": status.and_then(|status| status.reason),
        })
    });
    shown.collect()
}
