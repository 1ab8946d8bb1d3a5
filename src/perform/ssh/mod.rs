//! Commands on other machines: started, waited for, and ended. What a host is asked is the same however often it is asked, so
//! a start that is repeated finds the process of the first.

mod script;
mod session;
mod target;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kube::Client;

use self::{script::Start, session::Ended, target::Target};
use super::error;
use crate::{
    net::{Network, redact::Secrets},
    store::Owner,
};
use signoff_api::{reason::StepReason, run::ProcessStatus, text::visible};
use signoff_engine::{
    callback_token,
    effect::{Call, SshRequest},
    facts::{EffectError, ProcessFact, SshResponse},
};

/// Longest time that one attempt to end a process may take.
const ENDING: Duration = Duration::from_secs(40);
/// How long a process has to end by itself, in fifths of a second.
const GRACE: u32 = 50;
/// The same, if the run is terminated.
const SHORT_GRACE: u32 = 5;

/// Performs `ssh` steps. Cheap to clone.
#[derive(Clone)]
pub(super) struct SshExecutor {
    kube: Client,
    network: Network,
}

impl std::fmt::Debug for SshExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshExecutor")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl SshExecutor {
    pub(super) fn new(kube: Client, network: Network) -> Self {
        Self { kube, network }
    }

    /// Logs in through a Connection, and does nothing there. Gives the host.
    pub(super) async fn log_in(
        &self,
        namespace: &str,
        name: &signoff_api::name::ObjectName,
    ) -> Result<String, EffectError> {
        let mut secrets = Secrets::default();
        let target = target::find(&self.kube, namespace, (name, None), None, &mut secrets).await?;
        let host = target.host.clone();
        target.connect(&self.network).await?;
        Ok(host)
    }

    /// Starts a command, and waits for its end if that is asked for.
    pub(super) async fn perform(
        &self,
        run: &Owner,
        call: &Call,
        request: &SshRequest,
    ) -> Result<SshResponse, EffectError> {
        let mut secrets = Secrets::default();
        // who may read a run may not call it back
        let asked = serde_json::to_string(request).unwrap_or_default();
        callback_token::tokens_in(&asked).for_each(|token| secrets.add(token));
        let through = (&request.connection, request.bound.as_ref());
        let host = request.host.as_deref();
        let target = target::find(&self.kube, &run.namespace, through, host, &mut secrets).await?;
        let sent = AtomicBool::new(false);
        let host = target.host.clone();
        let starting = self.start(target, request, &secrets, &sent);
        if let Ok(result) = tokio::time::timeout(call.timeout, starting).await {
            return result;
        }
        let was_sent = sent.load(Ordering::Relaxed);
        let late = EffectError {
            may_have_happened: was_sent,
            ..error::timed_out(&host, call.timeout)
        };
        if was_sent && request.wait {
            return Err(self.ended_late(run, request, late).await);
        }
        Err(late)
    }

    async fn start(
        &self,
        target: Target,
        request: &SshRequest,
        secrets: &Secrets,
        sent: &AtomicBool,
    ) -> Result<SshResponse, EffectError> {
        let (host, directory) = (target.host.clone(), target.directory.clone());
        let mark = mark();
        let start = Start {
            name: &request.process,
            mark: &mark,
            directory: directory.as_deref(),
            command: &request.command,
            env: &request.env,
            stdin: request.stdin.as_deref(),
            wait: request.wait,
        };
        let script = script::start(&start);
        let needle = format!("{mark}{}", if request.wait { '\n' } else { ' ' });
        let connected = target.connect(&self.network).await?;
        let channel = connected.channel().await;
        let channel = channel.map_err(|why| target::unreachable(&host, &why.to_string()))?;
        sent.store(true, Ordering::Relaxed);
        let ended = session::run(channel, script, &needle, secrets)
            .await
            .map_err(|why| {
                let message = format!("the connection to {host} broke: {why}");
                EffectError {
                    retryable: true,
                    ..error::unusable(StepReason::Unreachable, message)
                }
            })?;
        answer(host, request.wait, ended)
    }

    /// A command that took too long: its process group is ended, and the failure says whether that worked.
    async fn ended_late(&self, run: &Owner, request: &SshRequest, late: EffectError) -> EffectError {
        let host = request.host.as_deref();
        let place = (&request.connection, host, request.process.as_str());
        let fact = self.end(run, place, SHORT_GRACE, false).await;
        EffectError {
            message: format!("{}; {}", late.message, fact.message),
            ..late
        }
    }

    /// Ends the process group of a process, or sees to it that it never begins.
    pub(super) async fn end_process(
        &self,
        run: &Owner,
        process: &ProcessStatus,
        at_once: bool,
    ) -> ProcessFact {
        let grace = if at_once { SHORT_GRACE } else { GRACE };
        let place = (
            &process.connection,
            process.host.as_deref(),
            process.name.as_str(),
        );
        self.end(run, place, grace, true).await
    }

    async fn end(
        &self,
        run: &Owner,
        (connection, host, name): (&signoff_api::name::ObjectName, Option<&str>, &str),
        grace: u32,
        for_good: bool,
    ) -> ProcessFact {
        let mut secrets = Secrets::default();
        let mark = mark();
        let ending = async {
            let target =
                target::find(&self.kube, &run.namespace, (connection, None), host, &mut secrets).await?;
            let host = target.host.clone();
            let failed = |why: russh::Error| target::unreachable(&host, &why.to_string());
            let connected = target.connect(&self.network).await?;
            let script = script::end(name, &mark, grace, for_good);
            let channel = connected.channel().await.map_err(failed)?;
            let needle = format!("{mark} ");
            session::run(channel, script, &needle, &secrets)
                .await
                .map_err(failed)
        };
        match tokio::time::timeout(ENDING, ending).await {
            Err(_) => left("the host did not answer in time".to_owned()),
            Ok(Err(error)) => left(error.message),
            Ok(Ok(ended)) => match ended.stdout.line() {
                // the folder of a command that was waited for is gone after its end
                "none" if ended.stdout.is_marked => {
                    is_ended("no process of it is left: it has ended, or was not started")
                }
                "gone" if ended.stdout.is_marked => is_ended("its process group had ended"),
                "ended" if ended.stdout.is_marked => is_ended("its process group was ended"),
                "left" if ended.stdout.is_marked => left(
                    "its process group is still there after SIGKILL, or this user may not end it".to_owned(),
                ),
                _ => left(said(&ended)),
            },
        }
    }
}

fn is_ended(message: &str) -> ProcessFact {
    ProcessFact {
        is_ended: true,
        message: message.to_owned(),
    }
}

fn left(message: String) -> ProcessFact {
    ProcessFact {
        is_ended: false,
        message,
    }
}

/// What came of a start.
fn answer(host: String, wait: bool, ended: Ended) -> Result<SshResponse, EffectError> {
    let failed = || {
        let message = format!("{host} could not start the process: {}", said(&ended));
        error::invalid(StepReason::ProcessNotStarted, message)
    };
    if !ended.stdout.is_marked {
        return Err(failed());
    }
    if !wait {
        let pid = ended.stdout.line().parse().map_err(|_| failed())?;
        return Ok(SshResponse::Started { host, pid });
    }
    let Ended {
        exit_code,
        stdout,
        stderr,
    } = ended;
    let Some(exit_code) = exit_code else {
        let message = format!("{host} did not say how the command ended");
        return Err(error::unusable(StepReason::Unreachable, message));
    };
    Ok(SshResponse::Ended {
        exit_code,
        stdout: stdout.text,
        stderr: stderr.text,
    })
}

/// What a host said in place of what it was to say.
fn said(ended: &Ended) -> String {
    let said = ended.stderr.text.trim();
    let begins = said.ceil_char_boundary(said.len().saturating_sub(300));
    match (&said[begins..], ended.exit_code) {
        ("", Some(code)) => format!("the shell ended with exit code {code} and said nothing"),
        ("", None) => "the shell said nothing".to_owned(),
        (said, _) => visible(said).into_owned(),
    }
}

/// Text that nobody writes by chance.
fn mark() -> String {
    format!("signoff-{:032x}", rand::random::<u128>())
}
