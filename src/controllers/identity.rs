//! Whether the API server proves who decides: its admission policies must refuse a forged decision.
//!
//! A dry run of a forgery is sent at the start and again from time to time. Until it is refused, nothing counts.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kube::api::{ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

use super::{context::Context, error_chain};
use crate::api::{Decision, DecisionSpec, Digest, Verdict, names};

/// Pause before asking again while it is not proven.
const WHILE_UNPROVEN: Duration = Duration::from_secs(15);
/// Pause before asking again while it is.
const WHILE_PROVEN: Duration = Duration::from_secs(600);
/// Which field the policy's refusal names.
const REFUSED_FIELD: &str = "spec.via";

/// Whether the API server proves who decides.
#[derive(Debug)]
pub struct Identity {
    proven: AtomicBool,
    waived: bool,
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
    /// Not proven yet. With `waived` decisions count all the same, as the option's name on the command line warns.
    pub fn new(waived: bool) -> Self {
        Self {
            proven: AtomicBool::new(false),
            waived,
        }
    }

    /// Whether decisions may count.
    pub fn is_proven(&self) -> bool {
        self.waived || self.proven.load(Ordering::Acquire)
    }

    /// Asks once. Says whether what is known has changed.
    pub async fn prove(&self, context: &Context, namespace: &str) -> bool {
        let before = self.proven.load(Ordering::Acquire);
        let now = match forge(context, namespace).await {
            Answer::Refused => true,
            Answer::Taken => {
                tracing::error!(
                    "the API server does not prove who decides: its admission policies are missing or not in force; \
                     install those of the chart"
                );
                false
            }
            // a server that cannot answer now has not changed its policies
            Answer::Unclear => before,
        };
        self.proven.store(now, Ordering::Release);
        if now && !before {
            tracing::info!("the API server proves who decides");
        }
        before != now
    }

    /// Asks again from time to time until `shutdown`; `changed` is called when the answer is another one.
    pub async fn keep_proving(
        &self,
        context: &Context,
        namespace: &str,
        changed: impl Fn(),
        shutdown: CancellationToken,
    ) {
        loop {
            let pause = if self.proven.load(Ordering::Acquire) {
                WHILE_PROVEN
            } else {
                WHILE_UNPROVEN
            };
            if shutdown
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return;
            }
            if self.prove(context, namespace).await {
                changed();
            }
        }
    }
}

/// Tries to decide in somebody's name without saying how the decision came in, which the policies refuse even to the operator.
async fn forge(context: &Context, namespace: &str) -> Answer {
    let spec = DecisionSpec {
        approval: "signoff-forgery-probe".to_owned(),
        digest: Digest::of(b"signoff forgery probe"),
        verdict: Verdict::Reject,
        comment: None,
        values: None,
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
