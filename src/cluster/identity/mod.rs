//! Whether the API server proves who decides: its admission policies must refuse a forged decision.
//!
//! A dry run of a forgery is sent at the start, when the policies change, and again from time to time. Until it is refused, nothing counts.

mod policies;
mod rules;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use kube::api::{ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

pub use self::{policies::Policies, rules::RenderedError};

use self::policies::{Installation, PolicyState};
use super::{context::Context, error_chain};
use signoff_api::{Decision, DecisionSpec, Digest, Verdict, names};
use signoff_engine::judge::Proof;

/// Pause before asking again while the API server could not be asked.
const WHILE_UNKNOWN: Duration = Duration::from_secs(1);
/// Pause before asking again while it does not prove who decides.
const WHILE_REFUTED: Duration = Duration::from_secs(15);
/// Pause before asking again while it does. A dry run writes nothing.
const WHILE_PROVEN: Duration = Duration::from_secs(60);
/// Pauses after a change of the policies, which each API server takes in when it sees it.
const AFTER_CHANGE: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];
/// Proven, and it is not known since when.
const UNDATED: Proof = Proof::Proven {
    since: None,
    written: None,
};
/// Which field the policy's refusal names.
const REFUSED_FIELD: &str = "spec.via";

/// Whether the API server proves who decides.
#[derive(Debug)]
pub struct Identity {
    /// Whether a forgery was refused; nothing while it is not known.
    proven: Mutex<Option<bool>>,
    waived: bool,
    /// The policies that the proof rests on, where they are watched.
    installation: Option<Installation>,
}

/// What a forgery was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// A policy refused it.
    Refused,
    /// It would have been taken.
    Taken,
    /// Neither is known.
    Unclear,
}

impl Identity {
    /// Not known yet. With `waived` decisions count all the same, as the option's name on the command line warns. `policies` are those to watch.
    pub fn new(waived: bool, policies: Option<Policies>) -> Self {
        Self {
            proven: Mutex::new(None),
            waived,
            installation: policies.map(Installation::of),
        }
    }

    /// What decisions are judged by.
    pub fn proof(&self) -> Proof {
        let Some(refused) = *self.lock() else {
            return if self.waived { UNDATED } else { Proof::Unknown };
        };
        let standing = self
            .installation
            .as_ref()
            .map_or(PolicyState::Unseen, Installation::standing);
        match (refused, standing) {
            _ if self.waived => UNDATED,
            (_, PolicyState::Unknown) => Proof::Unknown,
            (true, PolicyState::Unseen) => UNDATED,
            (false, PolicyState::Unseen) => Proof::Refuted,
            (true, PolicyState::Since { since, written }) => Proof::Proven {
                since: Some(since),
                written: Some(written),
            },
            // those that are there say since when, once all are
            (false, PolicyState::Since { .. }) | (_, PolicyState::Broken(_)) => Proof::Interrupted,
        }
    }

    /// Asks once.
    pub async fn prove(&self, context: &Context, namespace: &str) {
        let now = match forge(context, namespace).await {
            Answer::Refused => true,
            Answer::Taken => false,
            // a server that cannot answer now has not changed its policies
            Answer::Unclear => return,
        };
        let before = self.lock().replace(now);
        if before == Some(now) {
            return;
        }
        if now {
            tracing::info!(namespace, "the API server proves who decides");
        } else {
            tracing::error!(
                namespace,
                "the API server does not prove who decides: its admission policies are missing or not in force; \
                 install those of the chart"
            );
        }
    }

    /// Asks again from time to time, and when the policies change, until `shutdown`; `changed` is called when decisions are to be judged by
    /// something else than before.
    pub async fn keep_proving(
        &self,
        context: &Context,
        namespace: &str,
        changed: impl Fn(),
        shutdown: CancellationToken,
    ) {
        let watched = self
            .installation
            .as_ref()
            .map(|installation| installation.changes(context.client()));
        let mut changes = std::pin::pin!(stream::iter(watched).flatten());
        let mut settling = [].iter();
        let mut before = self.proof();
        loop {
            let pause = settling.next().copied().unwrap_or(match before {
                Proof::Unknown => WHILE_UNKNOWN,
                Proof::Refuted | Proof::Interrupted => WHILE_REFUTED,
                Proof::Proven { .. } => WHILE_PROVEN,
            });
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(()) = changes.next() => settling = AFTER_CHANGE.iter(),
                () = tokio::time::sleep(pause) => {}
            }
            self.prove(context, namespace).await;
            let now = self.proof();
            if now != before {
                self.tell_what_is_broken();
                before = now;
                changed();
            }
        }
    }

    fn tell_what_is_broken(&self) {
        if let Some(PolicyState::Broken(broken)) = self.installation.as_ref().map(Installation::standing) {
            let broken = broken.join(", ");
            tracing::error!(%broken, "admission policies are not in force, so nothing that is decided counts; install those of the chart");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<bool>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries to decide in somebody's name without saying how the decision came in, which the policies refuse even to the operator.
async fn forge(context: &Context, namespace: &str) -> Answer {
    let Ok(approval) = "signoff-forgery-probe".parse() else {
        return Answer::Unclear;
    };
    let spec = DecisionSpec {
        approval,
        digest: Digest::of(b"signoff forgery probe"),
        verdict: Verdict::Reject,
        comment: None,
        values: None,
        shown: None,
        to: None,
        by: Some("signoff:forgery-probe".to_owned()),
        groups: None,
        via: None,
    };
    let metadata = ObjectMeta {
        generate_name: Some("signoff-forgery-probe-".to_owned()),
        ..ObjectMeta::default()
    };
    let params = PostParams {
        dry_run: true,
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
    };
    let sent = context
        .namespaced::<Decision>(namespace)
        .create(
            &params,
            &Decision {
                metadata,
                spec,
                status: None,
            },
        )
        .await;
    if let Err(error) = &sent {
        tracing::debug!(error = %error_chain(error), "a forged decision was answered");
    }
    answer(sent.as_ref().err())
}

fn answer(error: Option<&kube::Error>) -> Answer {
    match error {
        None => Answer::Taken,
        Some(kube::Error::Api(status)) if status.code == 403 && status.message.contains(REFUSED_FIELD) => {
            Answer::Refused
        }
        Some(_) => Answer::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        }))
    }

    #[test]
    fn only_the_policys_own_refusal_is_a_proof() {
        assert_eq!(answer(None), Answer::Taken);
        let policy = refusal(
            403,
            "denied request: spec.by must name that person and spec.via how the decision came in",
        );
        assert_eq!(answer(Some(&policy)), Answer::Refused);
        let rbac = refusal(
            403,
            "decisions.signoff.dev is forbidden: User \"x\" cannot create resource",
        );
        assert_eq!(answer(Some(&rbac)), Answer::Unclear);
        assert_eq!(answer(Some(&refusal(500, "spec.via"))), Answer::Unclear);
    }
}
