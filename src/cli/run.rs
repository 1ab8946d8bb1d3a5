//! `signoff run`: starts a run, and waits for it if asked to.

use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::ObjectMeta};
use serde_json::{Map, Value, json};

use super::{
    Global,
    answer::Answer,
    connect::{Connection, post_params},
    error::{CliError, exit},
    named, timeline,
};
use crate::client::{self, InputError, ReleaseChoice, ReleaseError, StartError, Started, Waited};
use signoff_api::{
    Definition, Flow, Release, Run, RunPhase, RunSpec,
    bounds::{self, InexactInteger},
    json::JsonObject,
    name::{FlowName, ReleaseName, RunName},
    names,
    run::Channel,
};
use signoff_engine::inputs::Declared;

/// Start a run of a flow.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff run refund --input order=81 --input amount=250\n  \
signoff run refund --draft --wait --timeout 10m"
)]
pub(super) struct RunArgs {
    /// Name of the flow.
    #[arg(value_parser = named::flow)]
    flow: FlowName,
    /// An input as key=value, read as its declared type, or as key:=JSON; repeatable.
    #[arg(short = 'i', long = "input", value_name = "KEY=VALUE")]
    inputs: Vec<String>,
    /// Inputs from a YAML or JSON file; single inputs override it.
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// Run the newest draft instead of the live release.
    #[arg(long, conflicts_with = "release")]
    draft: bool,
    /// Run this release.
    #[arg(long, value_name = "RELEASE")]
    release: Option<ReleaseName>,
    /// Name of the run. If you started the same run under this name before, nothing is started again.
    #[arg(long, value_name = "NAME", conflicts_with = "idempotency_key")]
    name: Option<RunName>,
    /// Any text that stands for this start. The name of the run follows from it and the flow, so that a second start with
    /// the same text finds the first run.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    idempotency_key: Option<String>,
    /// Wait until the run ends, or until only people or a callback let it go on (exit code 9); at most --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn verb(args: RunArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let mut spec = RunSpec {
        channel: args.draft.then_some(Channel::Draft),
        release: args.release.clone(),
        ..RunSpec::of(args.flow.clone())
    };
    let release = release(&spec, &connection, global).await?;
    let definition = release.as_ref().map(|release| &release.spec.definition);
    let inputs = given(&args, definition)?;
    client::check_inputs(definition, &inputs).map_err(|error| match error {
        InputError::Misfit(problems) => {
            let message = format!("no run was started, since the inputs do not fit: {problems}");
            CliError::new("InvalidInputs", exit::INVALID, message)
        }
        error @ (InputError::TooDeep(..) | InputError::Inexact(..)) => CliError::usage(error.to_string()),
    })?;
    spec.inputs = (!inputs.0.is_empty()).then_some(inputs);
    let name = args.name.map(String::from).or_else(|| {
        let key = args.idempotency_key.as_deref()?;
        Some(names::idempotent_run_name(&spec.flow, key))
    });
    let (run, what) = match name {
        None => (start(&connection, generated(&spec), spec).await?, "created"),
        Some(name) => start_named(&connection, &name, spec).await?,
    };
    started(&connection, run, what, args.wait, global).await
}

/// Starts a run of this name, if it was not started before.
async fn start_named(
    connection: &Connection,
    name: &str,
    spec: RunSpec,
) -> Result<(Run, &'static str), CliError> {
    let Connection { client, namespace } = connection;
    match client::start_once(client, namespace, name, spec, &post_params()).await {
        Ok(Started::Now(run)) => Ok((*run, "created")),
        Ok(Started::Before(run)) => Ok((*run, "was started before")),
        Err(StartError::Api(error)) => Err(CliError::api("the run cannot be started", &error)),
        Err(taken @ StartError::Taken { .. }) => {
            Err(CliError::new("AlreadyExists", exit::CONFLICT, taken.to_string())
                .hint("choose another name or key"))
        }
    }
}

/// A name that the API server makes up.
pub(super) fn generated(spec: &RunSpec) -> ObjectMeta {
    ObjectMeta {
        generate_name: Some(format!("{}-", spec.flow)),
        ..ObjectMeta::default()
    }
}

/// What is answered when a run was created, at once or after waiting for it.
pub(super) async fn started(
    connection: &Connection,
    run: Run,
    what: &str,
    wait: bool,
    global: &Global,
) -> Result<Answer, CliError> {
    let runs: Api<Run> = connection.api();
    let name = run.name_any();
    if !wait {
        return Ok(Answer::text(format!("run/{name} {what}"))
            .with_data(json!(run))
            .with_names([format!("run/{name}")])
            .with_next([global.command(&format!("status {name}"))]));
    }
    let waited = client::until_settled(&runs, &name, global.timeout()).await;
    Ok(after_wait(&watched(waited, &name)?, global))
}

/// What was waited for, if the run could be watched.
pub(super) fn watched(waited: kube::Result<Waited>, name: &str) -> Result<Waited, CliError> {
    let waited = waited.map_err(|error| CliError::api(name, &error))?;
    let Some(error) = &waited.unwatched else {
        return Ok(waited);
    };
    let why = crate::cluster::error_chain(error);
    let message = format!("nothing was waited for, since run {name} cannot be watched: {why}");
    Err(CliError::new("Unwatchable", exit::REFUSED, message)
        .hint("waiting needs the verb watch on runs; `signoff status` shows the run as it is now"))
}

/// Creates a run.
pub(super) async fn start(
    connection: &Connection,
    metadata: ObjectMeta,
    spec: RunSpec,
) -> Result<Run, CliError> {
    let Connection { client, namespace } = connection;
    let created = client::create_run(client, namespace, metadata, spec, &post_params()).await;
    created.map_err(|error| CliError::api("the run cannot be started", &error))
}

pub(super) fn after_wait(waited: &Waited, global: &Global) -> Answer {
    let standing = &waited.standing;
    let (run, approvals) = (&standing.run, &standing.open_approvals);
    let name = run.name_any();
    let phase = run.status.as_ref().map(|status| status.phase).unwrap_or_default();
    let mut text = timeline::render(run);
    if waited.timed_out {
        text.blank();
        text.push(format!("the run has not ended after {}", global.timeout));
    }
    let exit = match (phase.is_finished(), phase) {
        (true, RunPhase::Succeeded) => 0,
        (true, _) => exit::RUN_ENDED_BADLY,
        (false, _) => exit::NOT_YET,
    };
    let mut data = json!(run);
    data["waiting"] = json!(!phase.is_finished());
    let answer = Answer::text(text)
        .with_data(data)
        .with_names([format!("run/{name}")])
        .with_exit(exit);
    if approvals.is_empty() {
        let next = (!phase.is_finished()).then(|| global.command(&format!("status {name}")));
        answer.with_next(next)
    } else {
        let approve = |approval: &String| global.command_for_others(&format!("approve {approval}"));
        answer.with_next(approvals.iter().map(approve)).for_deciders()
    }
}

/// The release that will run. None if it may not be read.
async fn release(
    spec: &RunSpec,
    connection: &Connection,
    global: &Global,
) -> Result<Option<Release>, CliError> {
    let Connection { client, namespace } = connection;
    match client::choose_release(client, namespace, spec).await {
        Ok(ReleaseChoice::Known(release)) => Ok(Some(*release)),
        Ok(ReleaseChoice::Unreadable) => Ok(None),
        Err(ReleaseError::Flow(name, error)) => Err(connection.failed::<Flow>(&name, &error)),
        Err(ReleaseError::Release(name, error)) => Err(connection.failed::<Release>(&name, &error)),
        Err(error @ ReleaseError::NotYet { channel, .. }) => {
            let message = format!("no run was started: {error}");
            let error = CliError::new("NoRelease", exit::NOT_FOUND, message);
            Err(match channel {
                Channel::Live => error.next([
                    global.command(&format!("promote {}", spec.flow)),
                    global.command(&format!("run {} --draft", spec.flow)),
                ]),
                Channel::Draft => error.hint("its conditions say why: kubectl describe flow"),
            })
        }
        Err(error @ ReleaseError::InvalidDraft { .. }) => Err(CliError::new(
            "InvalidDefinition",
            exit::INVALID,
            error.to_string(),
        )),
        Err(error @ ReleaseError::OtherFlow { .. }) => {
            Err(CliError::new("NotFound", exit::NOT_FOUND, error.to_string()))
        }
    }
}

/// The inputs as they were given, read as the definition declares them.
fn given(args: &RunArgs, definition: Option<&Definition>) -> Result<JsonObject, CliError> {
    let mut inputs: Map<String, Value> = match &args.input_file {
        None => Map::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
            serde_yaml::from_str(&text).map_err(|error| {
                CliError::usage(format!("{}: not an object of inputs: {error}", path.display()))
            })?
        }
    };
    for pair in &args.inputs {
        let (key, value) = read_input(pair, definition)?;
        inputs.insert(key, value);
    }
    Ok(JsonObject(inputs))
}

/// An input as it is written on the command line: `key=value`, or `key:=JSON`.
fn read_input(pair: &str, definition: Option<&Definition>) -> Result<(String, Value), CliError> {
    let usage = |why: &str| CliError::usage(format!("--input {pair}: {why}"));
    let (key, text) = pair
        .split_once('=')
        .ok_or_else(|| usage("write KEY=VALUE, or KEY:=JSON"))?;
    if let Some(key) = key.strip_suffix(':') {
        bounds::exact_integers_of_json(text.as_bytes()).map_err(|why| usage(&why.to_string()))?;
        let value = serde_json::from_str(text).map_err(|why| usage(&format!("not JSON: {why}")))?;
        return Ok((key.to_owned(), value));
    }
    let declared = definition.map(|definition| Declared::of(definition, key));
    let value = typed(text, &declared.unwrap_or_default()).map_err(|why| usage(&why.to_string()))?;
    Ok((key.to_owned(), value))
}

/// Text stays text where the schema says so, and a number stays text unless the schema says number. Everything else is JSON
/// if it can be.
fn typed(text: &str, declared: &Declared<'_>) -> Result<Value, InexactInteger> {
    let string = || Ok(Value::String(text.to_owned()));
    if declared.allows("string") {
        return string();
    }
    if declared.allows_numbers() {
        bounds::exact_integers_of_json(text.as_bytes())?;
    }
    match serde_json::from_str(text) {
        Ok(Value::Number(_)) if !declared.allows_numbers() => string(),
        Ok(value) => Ok(value),
        Err(_) => string(),
    }
}

/// The time now, for ages.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_as_they_are_declared() {
        let definition = json!({"steps": [], "inputs": {
            "type": "object",
            "$defs": {"version": {"type": "string"}},
            "properties": {
                "text": {"type": "string"}, "version": {"$ref": "#/$defs/version"}, "any": {},
                "number": {"type": "number"}, "count": {"type": ["integer", "null"]}, "one": {"enum": [1, 2]},
                "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "list": {"type": "array"},
            },
        }});
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let long = "12345678901234567890123";
        for (pair, expected) in [
            ("text=81", json!("81")),
            ("text=true", json!("true")),
            ("version=1.10", json!("1.10")),
            ("either=0644", json!("0644")),
            ("any=1.10", json!("1.10")),
            ("any=true", json!(true)),
            ("any=plain text", json!("plain text")),
            ("unknown=7", json!("7")),
            ("number=81", json!(81)),
            ("number=1.10", json!(1.1)),
            ("count=3", json!(3)),
            ("count=0644", json!("0644")),
            ("one=2", json!(2)),
            ("list=[1, \"a=b\"]", json!([1, "a=b"])),
            ("any:=1.10", json!(1.1)),
            ("text:=\"x\"", json!("x")),
        ] {
            let (_, value) = read_input(pair, Some(&definition)).unwrap();
            assert_eq!(value, expected, "{pair}");
        }
        let read = |pair: &str| read_input(pair, Some(&definition)).map(|(_, value)| value);
        assert_eq!(read(&format!("text={long}")).unwrap(), json!(long));
        assert_eq!(read(&format!("any={long}")).unwrap(), json!(long));
        for wrong in [
            &format!("count={long}"),
            &format!("any:={long}"),
            "any:=x",
            "text",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
