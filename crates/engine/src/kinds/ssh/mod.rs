//! `ssh` steps: a command on another machine, and what comes of it.

mod output;
mod request;
mod shown;

use std::sync::Arc;

use serde_json::json;
use signoff_expression::Declarations;

pub(super) use self::shown::{described, shown};
use super::{Done, Kind, KindPlan, Next};
use crate::{
    difference::Field,
    effect::Request,
    expression::{JsonTemplate, Template},
    facts::{EffectError, Response, SshResponse},
    plan::{Place, check},
    turn::StepView,
};
use signoff_api::{name::ObjectName, reason::StepReason, run::StepOutcome, step::SshStep};

/// An `ssh` step with its expressions parsed.
#[derive(Debug)]
struct SshPlan {
    connection: ObjectName,
    host: Option<Template>,
    command: String,
    args: Option<JsonTemplate>,
    env: Vec<(String, Template)>,
    stdin: Option<Template>,
    /// The step that it is tied to, and the address of its callback.
    callback: Option<(String, Option<Template>)>,
    wait: bool,
    exit_codes: Vec<i64>,
}

impl Kind for SshStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        Arc::new(request::compile(self, place))
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        let output = if self.waits() {
            check::ended_process()
        } else {
            check::started_process()
        };
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(output)]
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            connection,
            host,
            command,
            args,
            env,
            stdin,
            callback,
            wait,
            exit_codes,
        } = self;
        vec![
            Field::required("ssh.connection", connection),
            Field::new("ssh.host", host.as_ref()).default("the host of the Connection"),
            Field::required("ssh.command", command),
            Field::new("ssh.args", args.as_ref()),
            Field::new("ssh.env", env.as_ref()),
            Field::new("ssh.stdin", stdin.as_ref()),
            Field::new("ssh.callback", callback.as_ref()),
            Field::new("ssh.wait", wait.as_ref()).default("false"),
            Field::new("ssh.exitCodes", exit_codes.as_ref()).default("[0]"),
        ]
    }
}

impl KindPlan for SshPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Ssh(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, _: &StepView<'_>, response: &Response) -> Next {
        let done = Done::new(StepOutcome::Succeeded);
        match response.as_ssh() {
            None => Next::Stay,
            Some(SshResponse::Started { host, pid }) => {
                Next::Done(done.with_output(json!({ "host": host, "pid": pid })))
            }
            Some(SshResponse::Ended {
                exit_code,
                stdout,
                stderr,
            }) if self.exit_codes.contains(exit_code) => {
                Next::Done(done.with_output(output::fitting(*exit_code, stdout, stderr)))
            }
            Some(SshResponse::Ended {
                exit_code, stderr, ..
            }) => Next::AttemptFailed(failed(*exit_code, stderr)),
        }
    }

    fn connection(&self) -> Option<&ObjectName> {
        Some(&self.connection)
    }

    fn tied_wait(&self) -> Option<&str> {
        self.callback.as_ref().map(|(wait, _)| wait.as_str())
    }
}

/// A command that ended badly. It has ended, so nobody has to be asked what happened.
fn failed(exit_code: i64, stderr: &str) -> EffectError {
    let said = stderr.trim();
    let begins = said.ceil_char_boundary(said.len().saturating_sub(200));
    let said = match &said[begins..] {
        "" => String::new(),
        said => format!(": {said}"),
    };
    EffectError {
        reason: StepReason::UnexpectedExitCode,
        message: format!("the command ended with exit code {exit_code}{said}"),
        retryable: false,
        may_have_happened: false,
        retry_after: None,
        status: u16::try_from(exit_code).ok(),
    }
}
