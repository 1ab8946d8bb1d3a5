//! The run is gone while calls of it are under way.

use super::{Actor, Performed};
use crate::runs::transitions;
use signoff_engine::facts::{EffectError, Response, SshResponse, StoreResponse};

impl Actor {
    /// Breaks off what may be repeated. A call that must not be is not broken off: what comes of it is told by an Event, for there is no run
    /// any more to write it down in.
    pub(super) async fn leave(&mut self) {
        // what waits for a permit is not sent any more
        self.ending.cancel();
        for call in self.in_flight.values().filter(|call| !call.fenced) {
            call.task.abort();
        }
        let fenced = |performed: &Performed| self.in_flight.get(&performed.0).is_some_and(|call| call.fenced);
        let mut settled = Vec::new();
        while let Some(performed) = self.effects.join_next().await {
            settled.extend(performed.ok().filter(fenced));
        }
        // those that came, but that no state could be written with any more
        let heard = std::mem::take(&mut self.outcomes);
        let heard = heard
            .into_iter()
            .map(|outcome| (outcome.key, outcome.at, outcome.result));
        for (key, _, result) in heard.chain(settled) {
            let note = format!(
                "the run was deleted while step {} was under way: {}",
                key.step,
                outcome(&result)
            );
            tracing::warn!(run = %self.key, "{note}");
            if let Some(run) = &self.run {
                let told = transitions::warning("DeletedUnderWay", note);
                self.deps
                    .context
                    .event(&**run, told.type_, told.reason, &told.note)
                    .await;
            }
        }
        // people are told of what happened before
        while self.approval_tasks.join_next().await.is_some() {}
    }
}

fn outcome(result: &Result<Response, EffectError>) -> String {
    match result {
        Ok(Response::Http(response)) => format!("the call was answered with status {}", response.status),
        Ok(Response::Ssh(SshResponse::Started { host, pid })) => {
            format!("process {pid} was started on {host} and is still there")
        }
        Ok(Response::Ssh(SshResponse::Ended { exit_code, .. })) => {
            format!("the command ended with exit code {exit_code}")
        }
        Ok(Response::Llm(response)) => match &response.answer {
            Ok(_) => "the model answered".to_owned(),
            Err(error) => format!("the model gave no answer ({})", error.message),
        },
        Ok(Response::Email(sent)) => format!("the mail {} was sent", sent.message_id),
        Ok(Response::Git(response)) if response.changed => {
            let (commit, branch) = (&response.commit, &response.branch);
            format!("the commit {commit} is on the branch {branch}")
        }
        Ok(Response::Git(_)) => "nothing was committed".to_owned(),
        Ok(Response::Store(StoreResponse::Nothing)) => "there was no such value".to_owned(),
        Ok(Response::Store(StoreResponse::Found { version, .. })) => {
            format!("the value has version {version}")
        }
        Ok(Response::Recorded(_)) => "the call was answered".to_owned(),
        Err(error) if error.may_have_happened => {
            format!("it is unknown whether it happened ({})", error.message)
        }
        Err(error) => format!("it did not happen ({})", error.message),
    }
}
