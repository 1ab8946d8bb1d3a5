//! Starts the run of an event, or finds the one that was started for it.

use std::sync::Arc;

use kube::ResourceExt as _;

use crate::cluster::{
    context::Context,
    create::{Adopted, create_or_adopt},
    releases::LoadedRelease,
    status::is_invalid,
};
use signoff_api::{Flow, Run, trigger::TriggerReason};
use signoff_engine::trigger::{Event, TriggerPlan};

/// What became of an event.
pub(super) enum Started {
    /// Its run is there.
    Run(String),
    /// There is no run of it now. Another try may help.
    NotNow(kube::Error),
    /// There will be no run of it.
    Never(TriggerReason, String),
}

/// Starts runs for a trigger of a live release.
pub(super) struct Starter<'a> {
    pub(super) context: &'a Context,
    pub(super) flow: &'a Flow,
    pub(super) release: &'a Arc<LoadedRelease>,
    pub(super) trigger: &'a TriggerPlan,
}

impl Starter<'_> {
    /// What the trigger is called where triggers of all flows are told apart.
    pub(super) fn full_name(&self) -> String {
        let namespace = self.flow.namespace().unwrap_or_default();
        format!("{namespace}/{}/{}", self.flow.name_any(), self.trigger.name)
    }

    /// Starts the run of an event.
    pub(super) async fn start(&self, event: Event) -> Started {
        let namespace = self.flow.namespace().unwrap_or_default();
        let (release, trigger) = (Arc::clone(self.release), self.trigger.clone());
        // how long it takes to tell its inputs, the definition says
        let told = move || trigger.start(&release.definition, &release.facts, &event);
        let new = match self.context.evaluate(&namespace, told).await {
            Ok(new) => new,
            Err(why) => return Started::Never(why.reason(), why.message()),
        };
        let api = self.context.namespaced::<Run>(&namespace);
        match create_or_adopt(&api, &new.object(), |there| new.is(there)).await {
            Ok(Adopted::Ours(run)) => Started::Run(run.name_any()),
            Ok(Adopted::Others(run)) => Started::Never(
                TriggerReason::RunNameTaken,
                format!("there is another run {}", run.name_any()),
            ),
            Err(error) if is_invalid(&error) => {
                Started::Never(TriggerReason::RunRefused, crate::cluster::error_chain(&error))
            }
            Err(error) => Started::NotNow(error),
        }
    }
}
