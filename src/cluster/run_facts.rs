//! What the engine is told about a run itself.

use kube::ResourceExt as _;

use signoff_api::{Run, run::ParentRun};
use signoff_engine::facts::RunFacts;

/// What a run says.
pub fn run_facts(run: &Run) -> RunFacts {
    RunFacts {
        namespace: run.namespace().unwrap_or_default(),
        name: run.name_any(),
        uid: run.uid().unwrap_or_default(),
        generation: run.metadata.generation,
        requested_by: run.spec.requested_by.clone(),
        earlier_requesters: run.spec.earlier_requesters.clone(),
        parents: parents(run),
        depth: run.spec.depth(),
        trigger: run.spec.trigger.clone(),
        inputs: run.inputs().cloned().unwrap_or_default(),
        cancel: run.spec.cancel.unwrap_or_default(),
        terminate: run.spec.terminate.unwrap_or_default(),
        stopped_by: run.spec.stopped_by.clone(),
        stop_message: run.spec.stop_message.clone(),
        resolutions: run.spec.resolutions.clone(),
        // the last steps of a run that is cancelled are not held back
        suspend: run.spec.suspend.unwrap_or_default() && !run.spec.cancel.unwrap_or_default(),
        channel: run.spec.channel.unwrap_or_default(),
    }
}

fn parents(run: &Run) -> Vec<ParentRun> {
    let parent = run.spec.parent.as_ref();
    parent.map(|parent| parent.chain.clone()).unwrap_or_default()
}
