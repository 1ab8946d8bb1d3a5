//! The story itself, scene by scene. Every line told is something that was seen to happen.

use std::{path::Path, time::Instant};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{DemoError, checkout::Checkout, narrator::Narrator, shop::Shop, watching::until_named};
use crate::{
    cli::dev::Instance,
    net::{AddressPolicy, Network},
};
use signoff_api::{
    Approval, ApprovalPhase, Connection, ConnectionKind, Decision, DecisionSpec, Flow, Release, Repository,
    RepositorySpec, Run, RunPhase, RunSpec, Verdict,
    decision::DecisionReason,
    json::JsonObject,
    name::NameError,
    names,
    run::{StepPhase, StepStatus},
};

const NAMESPACE: &str = "default";
const FLOW: &str = "refund";
const MANIFEST: &str = include_str!("../../../examples/refund/flow.yaml");
const CONNECTION: &str = include_str!("../../../examples/refund/connection.yaml");

/// Everything the scenes share.
pub(super) struct Story<'a> {
    instance: &'a Instance,
    narrator: &'a mut Narrator,
    checkout: Checkout,
    shop: Shop,
}

/// A decision and when it was sent.
struct Sent {
    at: Instant,
    decision: Decision,
}

impl<'a> Story<'a> {
    /// Opens the shop, makes the git repository, applies the Connection and the Repository.
    pub(super) async fn set_up(
        instance: &'a Instance,
        dir: &Path,
        narrator: &'a mut Narrator,
        shutdown: CancellationToken,
    ) -> Result<Self, DemoError> {
        narrator.scene(
            "start",
            format!("control plane, operator and gateway are up in this process, with state in {}", dir.display()),
            json!({ "api": format!("https://{}", instance.api()), "gateway": format!("http://{}", instance.gateway()) }),
        );
        let shop = Shop::open(shutdown).await.map_err(DemoError::Io)?;
        let checkout = Checkout::create(dir).await?;
        let dev = instance.client("dev");
        let connections: Api<Connection> = Api::namespaced(dev.clone(), NAMESPACE);
        let connection = connections
            .create(&PostParams::default(), &connection_to(&shop)?)
            .await;
        connection.map_err(api_error("dev cannot create the Connection"))?;
        let repositories: Api<Repository> = Api::namespaced(dev, NAMESPACE);
        let repository = repositories
            .create(&PostParams::default(), &repository_at(&checkout))
            .await;
        repository.map_err(api_error("dev cannot create the Repository"))?;
        narrator.scene(
            "repository",
            format!(
                "dev applies Connection shop and Repository flows ({})",
                checkout.url()
            ),
            json!({ "url": checkout.url(), "shop": shop.base_url() }),
        );
        Ok(Self {
            instance,
            narrator,
            checkout,
            shop,
        })
    }

    /// Plays every scene; the value is the run's timeline.
    pub(super) async fn tell(mut self) -> Result<Value, DemoError> {
        let first = self.push_draft(MANIFEST, "Add the refund flow", None).await?;
        self.promote(&first).await?;
        let run = self.start_run(&first).await?;
        let approval = self.wait_for_question(&run).await?;
        self.second_release(&run, &first).await?;
        self.requester_is_refused(&approval).await?;
        self.agent_is_refused(&approval).await?;
        let sent = self.alice_approves(&approval).await?;
        self.effect_follows(&sent).await?;
        self.call_back(&run).await?;
        self.ending(&run, &sent).await
    }

    async fn push_draft(
        &mut self,
        manifest: &str,
        message: &str,
        before: Option<&str>,
    ) -> Result<Release, DemoError> {
        let commit = self.checkout.commit("refund.yaml", manifest, message).await?;
        self.checkout.push("main").await?;
        self.request_sync().await?;
        let flow = until_named(
            self.api::<Flow>("dev"),
            FLOW,
            "a draft release of the pushed flow",
            |flow| draft_of(flow).is_some_and(|draft| Some(draft) != before),
            describe_flow,
        )
        .await?;
        let name = draft_of(&flow).unwrap_or_default().to_owned();
        let release = self
            .api::<Release>("dev")
            .get(&name)
            .await
            .map_err(api_error("cannot read the release"))?;
        if release.spec.source.commit.as_deref() != Some(commit.as_str()) {
            return Err(DemoError::Unexpected(format!(
                "release {name} is not from commit {commit}"
            )));
        }
        self.narrator.scene(
            "draft",
            format!(
                "dev pushes “{message}” to main (commit {short}): draft Release {name}",
                short = short(&commit)
            ),
            json!({ "commit": commit, "release": name, "digest": release.spec.digest }),
        );
        Ok(release)
    }

    async fn promote(&mut self, release: &Release) -> Result<(), DemoError> {
        self.checkout.push("live").await?;
        self.request_sync().await?;
        let name = release.name_any();
        until_named(
            self.api::<Flow>("dev"),
            FLOW,
            "the promotion of the pushed release",
            |flow| flow.status.as_ref().and_then(|status| status.live_release()) == Some(name.as_str()),
            describe_flow,
        )
        .await?;
        self.narrator.scene(
            "promote",
            format!("dev pushes it to live: Release {name} is live"),
            json!({ "live": name }),
        );
        Ok(())
    }

    async fn start_run(&mut self, release: &Release) -> Result<Run, DemoError> {
        let inputs = json!({ "order": "81", "amount": 250 });
        let spec = RunSpec {
            inputs: inputs.as_object().cloned().map(JsonObject),
            ..RunSpec::of(FLOW.parse().map_err(|error| invalid_name(&error))?)
        };
        let metadata = ObjectMeta {
            generate_name: Some(format!("{FLOW}-")),
            ..ObjectMeta::default()
        };
        let run = Run {
            metadata,
            spec,
            status: None,
        };
        let created = self.api::<Run>("dev").create(&PostParams::default(), &run).await;
        let created = created.map_err(api_error("dev cannot start the run"))?;
        let name = created.name_any();
        let call = self.shop.call_of("/refunds/quote").await;
        let pinned = self
            .run_until(&name, "the run to be pinned", |run| {
                run.status.as_ref().is_some_and(|status| status.release.is_some())
            })
            .await?;
        let pin = pinned.status.as_ref().and_then(|status| status.release.clone());
        if pin.as_ref().map(|pin| &pin.name) != Some(&release.name_any()) {
            return Err(DemoError::Unexpected(format!("run {name} is pinned to {pin:?}")));
        }
        self.narrator.scene(
            "run",
            format!(
                "dev starts Run {name}: refund 250 for order 81, pinned to {release}\n\
                 its first step calls POST {path} of a service on this machine",
                release = release.name_any(),
                path = call.path,
            ),
            json!({ "run": name, "requestedBy": created.spec.requested_by, "release": pin, "inputs": inputs }),
        );
        Ok(pinned)
    }

    async fn wait_for_question(&mut self, run: &Run) -> Result<Approval, DemoError> {
        let name = run.name_any();
        let run = self
            .run_until(&name, "the run to wait for an approval", |run| {
                waiting_step(run, "review").is_some()
            })
            .await?;
        let approval = waiting_step(&run, "review")
            .and_then(|step| step.approval.clone())
            .unwrap_or_default();
        let approval = until_named(
            self.api::<Approval>("dev"),
            &approval,
            "the approval",
            |_| true,
            ResourceExt::name_any,
        )
        .await?;
        let shown: String = approval
            .spec
            .show
            .iter()
            .flat_map(|item| {
                std::iter::once(format!("\n  {}:", item.name))
                    .chain(item.inline.lines().map(|line| format!("\n    {line}")))
            })
            .collect();
        self.narrator.scene(
            "approval",
            format!(
                "the run stops and asks: {title} (Approval {name})\n\
                 shown, and bound to the decision by {digest}:{shown}",
                title = approval.spec.title,
                name = approval.name_any(),
                digest = approval.spec.digest,
            ),
            json!({ "approval": approval.name_any(), "digest": approval.spec.digest, "show": approval.spec.show }),
        );
        Ok(approval)
    }

    async fn second_release(&mut self, run: &Run, first: &Release) -> Result<(), DemoError> {
        let changed = second_version()?;
        let second = self
            .push_draft(&changed, "Word the question better", Some(&first.name_any()))
            .await?;
        self.promote(&second).await?;
        let name = run.name_any();
        let now = self
            .api::<Run>("dev")
            .get(&name)
            .await
            .map_err(api_error("cannot read the run"))?;
        let pinned = now
            .status
            .and_then(|status| status.release)
            .map(|release| release.name);
        if pinned.as_deref() != Some(first.name_any().as_str()) {
            return Err(DemoError::Unexpected(format!("run {name} moved to {pinned:?}")));
        }
        self.narrator.scene(
            "pinned",
            format!("the waiting run stays on its own release, {}", first.name_any()),
            json!({ "run": name, "release": first.name_any(), "live": second.name_any() }),
        );
        Ok(())
    }

    async fn requester_is_refused(&mut self, approval: &Approval) -> Result<(), DemoError> {
        let sent = self
            .decide("dev", approval)
            .await
            .map_err(api_error("dev cannot create a Decision"))?;
        let judged = self.judged(&sent.decision).await?;
        let status = judged.status.unwrap_or_default();
        if status.counted != Some(false) || status.reason != Some(DecisionReason::SelfApproval) {
            return Err(DemoError::Unexpected(format!(
                "dev's own approval was judged {status:?}"
            )));
        }
        let message = status.message.unwrap_or_default();
        self.narrator.scene(
            "requester-refused",
            format!("dev, who asked, tries to approve; it does not count: {message}"),
            json!({ "decision": judged.metadata.name, "reason": status.reason, "message": message }),
        );
        Ok(())
    }

    async fn agent_is_refused(&mut self, approval: &Approval) -> Result<(), DemoError> {
        let Err(kube::Error::Api(refusal)) = self.decide("agent", approval).await else {
            return Err(DemoError::Unexpected(
                "the agent's decision was not refused".to_owned(),
            ));
        };
        if refusal.code != 403 {
            return Err(DemoError::Unexpected(format!(
                "the agent was answered {}: {}",
                refusal.code, refusal.message
            )));
        }
        self.narrator.scene(
            "agent-refused",
            format!("agent tries to approve and is refused: {}", refusal.message),
            json!({ "code": refusal.code, "reason": refusal.reason, "message": refusal.message }),
        );
        Ok(())
    }

    async fn alice_approves(&mut self, approval: &Approval) -> Result<Sent, DemoError> {
        let sent = self
            .decide("alice", approval)
            .await
            .map_err(api_error("alice cannot create a Decision"))?;
        let judged = self.judged(&sent.decision).await?;
        let status = judged.status.clone().unwrap_or_default();
        if status.counted != Some(true) {
            return Err(DemoError::Unexpected(format!(
                "alice's approval was judged {status:?}"
            )));
        }
        let decided = until_named(
            self.api::<Approval>("dev"),
            &approval.name_any(),
            "the approval to be approved",
            |approval| {
                approval
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == ApprovalPhase::Approved)
            },
            |approval| format!("{:?}", approval.status),
        )
        .await?;
        self.narrator.scene(
            "approved",
            format!(
                "alice of finance approves (Decision {}); the API server stamped who and when",
                judged.name_any()
            ),
            json!({ "decision": judged.name_any(), "by": judged.spec.by, "approval": decided.status }),
        );
        Ok(Sent {
            at: sent.at,
            decision: judged,
        })
    }

    async fn effect_follows(&mut self, sent: &Sent) -> Result<(), DemoError> {
        let call = self.shop.call_of("/refunds").await;
        let elapsed = call.at.saturating_duration_since(sent.at);
        self.narrator.scene(
            "effect",
            format!(
                "the run goes on: POST /refunds arrives {:.1} ms after the decision was sent, \
                 with Idempotency-Key {}",
                elapsed.as_secs_f64() * 1_000.0,
                call.idempotency_key.as_deref().unwrap_or("missing"),
            ),
            json!({ "decisionToEffectMs": elapsed.as_secs_f64() * 1_000.0, "idempotencyKey": call.idempotency_key }),
        );
        Ok(())
    }

    async fn call_back(&mut self, run: &Run) -> Result<(), DemoError> {
        let name = run.name_any();
        self.run_until(&name, "the run to wait for its callback", |run| {
            waiting_step(run, "settled").is_some()
        })
        .await?;
        let call = self.shop.call_of("/refunds").await;
        let url = call.body["callback"].as_str().unwrap_or_default().to_owned();
        let client = Network::new(AddressPolicy::local()).client().build();
        let client =
            client.map_err(|error| DemoError::Unexpected(format!("no client could be made: {error}")))?;
        let response = client
            .post(&url)
            .json(&json!({ "receipt": "R-2026-81" }))
            .send()
            .await
            .map_err(|error| DemoError::Unexpected(format!("the callback could not be sent: {error}")))?;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        if status.as_u16() != 202 {
            return Err(DemoError::Unexpected(format!(
                "the callback was answered {status}: {answer}"
            )));
        }
        self.narrator.scene(
            "callback",
            "the run waits for the shop, at no cost; the shop calls back with a receipt (202 Accepted)"
                .to_owned(),
            json!({ "status": status.as_u16(), "answer": answer }),
        );
        Ok(())
    }

    async fn ending(&mut self, run: &Run, sent: &Sent) -> Result<Value, DemoError> {
        let name = run.name_any();
        let ended = self
            .run_until(&name, "the run to succeed", |run| {
                run.status
                    .as_ref()
                    .is_some_and(|status| status.phase.is_finished())
            })
            .await?;
        let status = ended.status.clone().unwrap_or_default();
        let payments = self
            .shop
            .calls()
            .iter()
            .filter(|call| call.path == "/refunds")
            .count();
        if status.phase != RunPhase::Succeeded || payments != 1 {
            return Err(DemoError::Unexpected(format!(
                "run {name} ended {} with {payments} payments: {:?}",
                status.phase, status.error
            )));
        }
        let output = status
            .output
            .as_ref()
            .map(|output| output.0.clone())
            .unwrap_or_default();
        self.narrator.scene(
            "succeeded",
            format!("Run {name} Succeeded with {output}; one payment was made\n"),
            json!({ "run": name, "output": output, "payments": payments }),
        );
        self.narrator
            .say(crate::cli::timeline::render(&ended).render(None).trim_end());
        Ok(json!({
            "run": name,
            "release": status.release,
            "approvedBy": sent.decision.spec.by,
            "approvedDigest": sent.decision.spec.digest,
            "steps": status.steps,
        }))
    }

    /// Sends an approval in a user's name, saying only what was shown; who it is, the API server knows.
    async fn decide(&self, user: &str, approval: &Approval) -> Result<Sent, kube::Error> {
        let name = approval.name_any();
        let Ok(approval_name) = name.parse() else {
            return Err(kube::Error::Service("an approval has a name".into()));
        };
        let spec = DecisionSpec {
            approval: approval_name,
            digest: approval.spec.digest.clone(),
            verdict: Verdict::Approve,
            comment: Some("checked the quote".to_owned()),
            values: None,
            shown: None,
            to: None,
            by: None,
            groups: None,
            via: None,
        };
        let metadata = ObjectMeta {
            generate_name: Some(format!("{name}-")),
            ..ObjectMeta::default()
        };
        let decision = Decision {
            metadata,
            spec,
            status: None,
        };
        let at = Instant::now();
        let decision = self
            .api::<Decision>(user)
            .create(&PostParams::default(), &decision)
            .await?;
        Ok(Sent { at, decision })
    }

    async fn judged(&self, decision: &Decision) -> Result<Decision, DemoError> {
        until_named(
            self.api::<Decision>("dev"),
            &decision.name_any(),
            "the decision to be judged",
            |decision| {
                decision
                    .status
                    .as_ref()
                    .is_some_and(|status| status.counted.is_some())
            },
            |decision| format!("{:?}", decision.status),
        )
        .await
    }

    async fn run_until(
        &self,
        name: &str,
        what: &str,
        passes: impl Fn(&Run) -> bool,
    ) -> Result<Run, DemoError> {
        let describe = |run: &Run| match &run.status {
            Some(status) => {
                let waiting = status.waiting_on.as_deref().unwrap_or("nothing");
                format!("{}, waiting on {waiting}, error {:?}", status.phase, status.error)
            }
            None => "no status".to_owned(),
        };
        until_named(self.api::<Run>("dev"), name, what, passes, describe).await
    }

    /// Asks for a sync at once, as a forge's push webhook would.
    async fn request_sync(&self) -> Result<(), DemoError> {
        let now = Timestamp::now().to_string();
        let patch = json!({ "metadata": { "annotations": { names::REQUESTED_AT: now } } });
        let patch = kube::api::Patch::Merge(&patch);
        let repositories = self.api::<Repository>("dev");
        let patched = repositories
            .patch("flows", &kube::api::PatchParams::default(), &patch)
            .await;
        patched.map(drop).map_err(api_error("dev cannot ask for a sync"))
    }

    fn api<K>(&self, user: &str) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        let client: Client = self.instance.client(user);
        Api::namespaced(client, NAMESPACE)
    }
}

fn connection_to(shop: &Shop) -> Result<Connection, DemoError> {
    let mut connection: Connection =
        serde_yaml::from_str(CONNECTION).map_err(|error| DemoError::Example(error.to_string()))?;
    let ConnectionKind::Http(http) = &mut connection.spec.kind else {
        return Err(DemoError::Example(
            "connection.yaml is not an http Connection".to_owned(),
        ));
    };
    http.base_url = shop.base_url();
    http.auth = None;
    Ok(connection)
}

fn repository_at(checkout: &Checkout) -> Repository {
    Repository::new("flows", RepositorySpec::following(checkout.url(), "main", "live"))
}

/// The example with another question, so that it is another release.
fn second_version() -> Result<String, DemoError> {
    let changed = MANIFEST.replace("Refund ${inputs.amount}", "Pay back ${inputs.amount}");
    if changed == MANIFEST {
        return Err(DemoError::Example(
            "flow.yaml does not ask “Refund ${inputs.amount} …”".to_owned(),
        ));
    }
    Ok(changed)
}

fn draft_of(flow: &Flow) -> Option<&str> {
    Some(flow.status.as_ref()?.draft.as_ref()?.release.as_str())
}

fn describe_flow(flow: &Flow) -> String {
    flow.status.as_ref().map_or_else(
        || "no status".to_owned(),
        |status| {
            format!(
                "draft {:?}, live {:?}, problems {:?}",
                status.draft, status.live, status.problems
            )
        },
    )
}

fn waiting_step<'r>(run: &'r Run, name: &str) -> Option<&'r StepStatus> {
    let steps = &run.status.as_ref()?.steps;
    steps
        .iter()
        .rev()
        .find(|step| step.name == name && step.phase == StepPhase::Waiting)
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

fn invalid_name(error: &NameError) -> DemoError {
    DemoError::Unexpected(error.to_string())
}

fn api_error(what: &'static str) -> impl FnOnce(kube::Error) -> DemoError {
    move |error| DemoError::Api(what.to_owned(), Box::new(error))
}
