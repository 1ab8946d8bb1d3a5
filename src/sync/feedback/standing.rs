//! The condition `ForgeReady` of a Repository: whether its forge can be told. The other conditions are the Repository controller's.

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;

use super::{Feedback, FeedbackError};
use crate::cluster::{
    error_chain,
    status::{is_missing, is_stale, patch_status},
};
use signoff_api::{
    Repository, RepositoryStatus,
    condition::{self, ConditionStatus},
    reason::{Classified as _, ErrorClass},
};

/// What the condition is called.
const FORGE_READY: &str = "ForgeReady";

/// How the forge of a Repository stands.
#[derive(Debug)]
pub(super) enum ForgeState<'a> {
    /// It has none.
    None,
    /// It was told everything.
    Told,
    /// It could not be told.
    Failed(&'a FeedbackError),
}

impl Feedback {
    /// Writes the condition if it is news. What somebody else wrote meanwhile is not overwritten; the watch brings it, and with it another try.
    pub(super) async fn stands(
        &self,
        repository: &Repository,
        standing: ForgeState<'_>,
    ) -> Result<(), FeedbackError> {
        let Some(next) = next(repository, &standing, self.context.now()) else {
            return Ok(());
        };
        match patch_status(&self.context, repository, &next).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) if is_stale(&error) => {
                self.context.metrics().api_conflict("repositories");
                return Ok(());
            }
            Err(error) => return Err(FeedbackError::Api("write the repository's status", error)),
        }
        if let ForgeState::Failed(error) = standing {
            let note = format!("the forge cannot be told: {}", error_chain(error));
            self.context
                .event(repository, EventType::Warning, error.reason(), &note)
                .await;
        }
        Ok(())
    }
}

/// The status with the condition as it has to be, if that is not how it is. What passes by itself does not change it.
fn next(repository: &Repository, standing: &ForgeState<'_>, now: Timestamp) -> Option<RepositoryStatus> {
    let before = repository.status.as_ref()?;
    let mut next = before.clone();
    let mut set = |truth, reason: &str, message: &str| {
        let generation = repository.metadata.generation;
        condition::set(
            &mut next.conditions,
            FORGE_READY,
            truth,
            reason,
            message,
            generation,
            now,
        );
    };
    match standing {
        ForgeState::None => condition::clear(&mut next.conditions, FORGE_READY),
        ForgeState::Told => set(
            ConditionStatus::True,
            "Told",
            "commits and pull requests say what came of them",
        ),
        ForgeState::Failed(error) if error.class() == ErrorClass::Invalid => {
            set(ConditionStatus::False, error.reason(), &error_chain(*error));
        }
        ForgeState::Failed(_) => return None,
    }
    (next != *before).then_some(next)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::forge::ForgeError;

    fn repository(conditions: &serde_json::Value) -> Repository {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": {"name": "flows", "generation": 3},
            "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": "main"}},
            "status": {"conditions": conditions}}))
        .unwrap()
    }

    /// `type=status reason` of each condition, if they change.
    fn told(repository: &Repository, standing: &ForgeState<'_>) -> Option<Vec<String>> {
        let next = next(repository, standing, Timestamp::UNIX_EPOCH)?;
        let conditions = next.conditions.iter();
        Some(
            conditions
                .map(|c| format!("{}={} {}", c.type_, c.status, c.reason))
                .collect(),
        )
    }

    #[test]
    fn only_its_own_condition_is_written_and_only_when_it_is_news() {
        let at = "1970-01-01T00:00:00Z";
        let ready = json!({"type": "Ready", "status": "True", "reason": "Synced", "message": "", "lastTransitionTime": at});
        let host = || "forge.example.com".to_owned();
        let refused: FeedbackError = ForgeError::Forbidden {
            host: host(),
            doing: "comment",
            message: "no".to_owned(),
        }
        .into();
        let limited: FeedbackError = ForgeError::RateLimited {
            host: host(),
            retry_after: Duration::from_secs(1),
        }
        .into();
        let fresh = repository(&json!([ready]));
        assert_eq!(told(&fresh, &ForgeState::None), None);
        assert_eq!(told(&fresh, &ForgeState::Failed(&limited)), None);
        let bad = ["Ready=True Synced", "ForgeReady=False ForgeForbidden"];
        assert_eq!(told(&fresh, &ForgeState::Failed(&refused)).unwrap(), bad);
        let mut after = fresh;
        after.status = next(&after, &ForgeState::Failed(&refused), Timestamp::UNIX_EPOCH);
        assert_eq!(told(&after, &ForgeState::Failed(&refused)), None);
        assert_eq!(told(&after, &ForgeState::Failed(&limited)), None);
        assert_eq!(
            told(&after, &ForgeState::Told).unwrap()[1],
            "ForgeReady=True Told"
        );
        assert_eq!(told(&after, &ForgeState::None).unwrap(), ["Ready=True Synced"]);
    }
}
