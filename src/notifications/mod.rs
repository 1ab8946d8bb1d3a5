//! Sends the messages that `notifications` of flows ask for. What is to be sent is in the status of each run, where the
//! engine has put it together with what it is about; here it is rendered, collected, sent, and taken out of the status.
//! Nothing of it holds up or fails a run.
//!
//! A message is taken out after it was sent. So a crash loses none, and may repeat one that was just sent, under the same
//! id.

mod groups;
mod make;
mod outbox;
mod send;
mod settle;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::runtime::{reflector::Store, watcher};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{groups::Groups, outbox::Outbox};
use crate::{
    cluster::{
        context::Context, fairness::Permits, leadership::Leadership, objects::watch, parts::rethrow,
        releases::Releases,
    },
    perform::{CallTurns, Executors},
};
use signoff_api::{Connection, Run};

/// The runs with messages that are still to be sent.
const WITH_MESSAGES: &str = "status.hasNotifications=true";
/// How many messages are made at the same time.
const MAKING: usize = 16;
/// How many are sent at the same time.
const SENDING: usize = 16;
/// How long those under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(4);
/// Timers wait in pieces: the clock may be set, and the machine may sleep.
const PIECE: Duration = Duration::from_mins(1);

/// What the sender needs.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client, clock, events.
    pub context: Arc<Context>,
    /// Releases, compiled.
    pub releases: Arc<Releases>,
    /// Performs the calls.
    pub executors: Executors,
    /// Connections as the watch shows them, for their limits.
    pub connections: Store<Connection>,
    /// Turns of calls through Connections with limits.
    pub turns: CallTurns,
    /// Whether messages may be sent.
    pub leadership: Leadership,
    /// Address of the page for people, if there is one.
    pub pages: Option<String>,
}

/// What all messages share.
#[derive(Debug)]
struct Work {
    deps: Deps,
    making: Permits,
    sending: Permits,
}

/// Sends messages until `shutdown`. What is not sent by then is sent by the next process.
pub async fn run(deps: Deps, shutdown: CancellationToken) {
    let work = Arc::new(Work {
        deps,
        making: Permits::that_leave_some(MAKING),
        sending: Permits::that_leave_some(SENDING),
    });
    let context = &work.deps.context;
    let selection = watcher::Config::default().fields(WITH_MESSAGES);
    let mut events = watch::<Run>(context, selection).boxed();
    let (mut outbox, mut groups) = (Outbox::default(), Groups::default());
    let (mut making, mut sending) = (JoinSet::new(), JoinSet::new());
    loop {
        let due = groups.due().map(|due| due.duration_since(context.now()));
        let left = due.map(|left| Duration::try_from(left).unwrap_or_default().min(PIECE));
        let wait = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(event) = events.next() => {
                let Ok(event) = event else { continue };
                let news = outbox.take(event);
                for item in news.items {
                    making.spawn(make::make(Arc::clone(&work), item));
                }
                for run in news.emptied {
                    let work = Arc::clone(&work);
                    sending.spawn(async move { settle::settle(&work.deps, &run, &[]).await });
                }
            }
            Some(made) = making.join_next() => match made {
                Ok(Some(message)) => groups.add(message, context.now()),
                Ok(None) => {}
                Err(broken) => rethrow(broken),
            },
            Some(sent) = sending.join_next() => if let Err(broken) = sent {
                rethrow(broken);
            },
            () = wait => {}
        }
        for group in groups.take_due(context.now()) {
            sending.spawn(send::send(Arc::clone(&work), group));
        }
    }
    let ended = async { while sending.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::info!("messages were still under way at the end; the next process sends them");
    }
}
