//! Background work: dependents whose owner is gone, namespaces on their way out, old events. It sleeps until
//! the writer tells of something.

mod namespaces;
mod owners;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::plane::Plane;
use super::status::ApiError;
use super::store::Note;

/// Time between looks for events that are too old.
const SWEEP: Duration = Duration::from_mins(5);

/// Runs until the control plane stops.
pub(super) async fn run(plane: Arc<Plane>, mut notes: UnboundedReceiver<Note>) {
    resume(&plane).await;
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = plane.stop.cancelled() => return,
            _ = sweep.tick() => tell(retention::sweep(&plane).await),
            note = notes.recv() => match note {
                Some(note) => tell(handle(&plane, note).await),
                None => return,
            },
        }
    }
}

/// Does what was left undone when the process ended.
async fn resume(plane: &Arc<Plane>) {
    for note in plane.store.unfinished() {
        tell(handle(plane, note).await);
    }
}

async fn handle(plane: &Arc<Plane>, note: Note) -> Result<(), ApiError> {
    match note {
        Note::Gone { uid, owners } => owners::gone(plane, &uid, &owners).await,
        Note::Owned(key) => owners::check(plane, &key).await,
        Note::Deleting(key) => owners::finish(plane, &key).await,
        Note::Left { namespace } => namespaces::finish(plane, &namespace).await,
        Note::Terminating { namespace } => namespaces::empty(plane, &namespace).await,
    }
}

fn tell(outcome: Result<(), ApiError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "background work failed");
    }
}
