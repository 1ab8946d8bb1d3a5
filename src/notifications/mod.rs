//! Sends the notifications of flows. What is to be told is decided by the engine; here it is collected and sent. Nothing of it holds up or
//! fails a run.
//!
//! A state of a run is acknowledged first, then people are told. What was not sent when the operator ends in order is sent before its end;
//! a crash loses it, so that nobody is told twice.

mod groups;
mod make;
mod reminders;
mod send;

use std::sync::Arc;

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{groups::Groups, reminders::Reminders};
use crate::{
    cluster::{context::Context, happenings::RunHappened, inbox::Inbox, releases::Releases},
    perform::Executors,
};

/// How many messages are made at the same time.
const MAKING: usize = 16;

/// What the sender needs.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client, clock, events.
    pub context: Arc<Context>,
    /// Releases, compiled.
    pub releases: Arc<Releases>,
    /// Performs the calls.
    pub executors: Executors,
}

/// Sends notifications until `shutdown`, and then what is left.
pub async fn run(deps: Deps, happenings: Inbox<RunHappened>, shutdown: CancellationToken) {
    let deps = Arc::new(deps);
    let mut inbox = happenings.open().await;
    let (mut making, mut sending) = (JoinSet::new(), JoinSet::new());
    let (mut groups, mut reminders) = (Groups::default(), Reminders::default());
    let turns = send::turns();
    loop {
        let due = [groups.due(), reminders.due()].into_iter().flatten().min();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(news) = inbox.recv(), if making.len() < MAKING => {
                reminders.heard(&news);
                making.spawn(make::make(Arc::clone(&deps), news));
            }
            Some(made) = making.join_next(), if !making.is_empty() => {
                let made: make::Made = made.unwrap_or_default();
                reminders.add(made.remind, deps.context.now());
                groups.add(made.messages, Instant::now());
            }
            Some(_) = sending.join_next(), if !sending.is_empty() => {}
            () = wait => {
                for news in reminders.take_due(deps.context.now()) {
                    making.spawn(make::make(Arc::clone(&deps), news));
                }
            }
        }
        for group in groups.take_due(Instant::now()) {
            sending.spawn(send::send(Arc::clone(&deps), turns.clone(), group));
        }
    }
    while let Ok(news) = inbox.try_recv() {
        making.spawn(make::make(Arc::clone(&deps), news));
    }
    while let Some(made) = making.join_next().await {
        groups.add(made.unwrap_or_default().messages, Instant::now());
    }
    for group in groups.take_all() {
        sending.spawn(send::send(Arc::clone(&deps), turns.clone(), group));
    }
    while sending.join_next().await.is_some() {}
}
