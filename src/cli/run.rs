//! `signoff run`: starts a run, and waits for it if asked to.

use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::ObjectMeta, runtime::wait::await_condition};
use serde_json::{Map, Value, json};

use super::{
    Global,
    answer::Answer,
    connect::{Connection, post_params},
    error::{CliError, exit},
    lines::{self, Lines},
    timeline,
};
use signoff_api::{
    Definition, Flow, FlowStatus, Release, Run, RunPhase, RunSpec,
    bounds::{self, InexactInteger},
    condition,
    json::JsonObject,
    name::{FlowName, ReleaseName},
    run::{Channel, StepPhase},
};
use signoff_engine::inputs::{self, Declared};

/// Start a run of a flow.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff run refund --input order=81 --input amount=250\n  \
signoff run refund --draft --wait --timeout 10m"
)]
pub(super) struct RunArgs {
    /// Name of the flow.
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
    /// Wait until the run ends, or until only people or a callback let it go on (exit code 9); at most --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn verb(args: RunArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let release = release(&args, &connection).await?;
    let definition = release.as_ref().map(|release| &release.spec.definition);
    let inputs = given(&args, definition)?;
    if let Some(definition) = definition {
        inputs::complete(definition, &inputs).map_err(|problems| {
            let message = format!("no run was started, since the inputs do not fit: {problems}");
            CliError::new("InvalidInputs", exit::INVALID, message)
        })?;
    }
    let spec = RunSpec {
        channel: args.draft.then_some(Channel::Draft),
        release: args.release.clone(),
        inputs: (!inputs.0.is_empty()).then_some(inputs),
        ..RunSpec::of(args.flow.clone())
    };
    let run = start(&connection, generated(&spec), spec).await?;
    started(&connection, run, "created", args.wait, global).await
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
    let settled = await_condition(runs.clone(), &name, |run: Option<&Run>| {
        run.is_none_or(is_settled)
    });
    let waited = tokio::time::timeout(global.timeout(), settled).await;
    let run = runs
        .get(&name)
        .await
        .map_err(|error| CliError::api(&name, &error))?;
    Ok(after_wait(&run, waited.is_err(), global))
}

/// Creates a run.
pub(super) async fn start(
    connection: &Connection,
    metadata: ObjectMeta,
    spec: RunSpec,
) -> Result<Run, CliError> {
    let mut run = Run {
        metadata,
        spec,
        status: None,
    };
    let runs: Api<Run> = connection.api();
    let mut created = runs.create(&post_params(), &run).await;
    // a server without a mutating policy asks the requester to say who they are, and checks it
    if let Err(kube::Error::Api(refusal)) = &created
        && refusal.message.contains("spec.requestedBy")
    {
        run.spec.requested_by = Some(connection.whoami().await?.0);
        created = runs.create(&post_params(), &run).await;
    }
    created.map_err(|error| CliError::api("the run cannot be started", &error))
}

/// It has ended, or nothing but people or a callback lets it go on. A retry and a timer come by themselves.
fn is_settled(run: &Run) -> bool {
    let Some(status) = &run.status else {
        return false;
    };
    let needs_others = status
        .steps
        .iter()
        .any(|step| step.phase == StepPhase::Waiting && (step.approval.is_some() || step.wake_at.is_none()));
    status.phase.is_finished() || (status.phase == RunPhase::Waiting && needs_others)
}

pub(super) fn after_wait(run: &Run, timed_out: bool, global: &Global) -> Answer {
    let name = run.name_any();
    let phase = run.status.as_ref().map(|status| status.phase).unwrap_or_default();
    let approvals: Vec<String> = super::status::open_approvals(run);
    let mut text = timeline::render(run);
    if timed_out {
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

/// Why the newest draft cannot run, if that is known.
pub(super) fn invalid(status: &FlowStatus, generation: Option<i64>) -> Option<String> {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|known| known.type_ == condition::READY && known.status == "False")?;
    let is_current = ready.observed_generation == generation;
    (is_current && ready.reason == "InvalidDefinition").then(|| ready.message.clone())
}

/// The release that will run. None if nothing is live or drafted yet, of which a warning is said, or if it may not be read: the API server and
/// the operator have the last word anyway.
async fn release(args: &RunArgs, connection: &Connection) -> Result<Option<Release>, CliError> {
    let name = if let Some(release) = &args.release {
        release.to_string()
    } else {
        let Some(flow) = connection.named::<Flow>(&args.flow).await? else {
            return Ok(None);
        };
        let status = flow.status.unwrap_or_default();
        if args.draft
            && let Some(why) = invalid(&status, flow.metadata.generation)
        {
            let message = format!("flow {} has no valid draft: {why}", args.flow);
            return Err(CliError::new("InvalidDefinition", exit::INVALID, message));
        }
        let (wanted, what) = if args.draft {
            (status.draft, "draft")
        } else {
            (status.live, "live")
        };
        let Some(name) = wanted.map(|wanted| wanted.release) else {
            let message = format!(
                "warning: flow {} has no {what} release yet; the run begins when it has one",
                args.flow
            );
            lines::say(&Lines::from(message));
            return Ok(None);
        };
        name
    };
    let release = connection.named::<Release>(&name).await?;
    if let Some(release) = release.as_ref().filter(|release| args.flow != *release.spec.flow) {
        let message = format!(
            "release {name} is of flow {}, not of {}",
            release.spec.flow, args.flow
        );
        return Err(CliError::new("NotFound", exit::NOT_FOUND, message));
    }
    Ok(release)
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
    for (name, value) in &inputs {
        // the object of all inputs is the first level
        bounds::nesting(value, bounds::MAX_NESTING - 1).map_err(|_| {
            CliError::usage(format!("input {name}: {}", bounds::TooDeep(bounds::MAX_NESTING)))
        })?;
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

    fn run(phase: &str, step: &Value) -> Run {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
            "spec": {"flow": "f"}, "status": {"phase": phase, "steps": [step]}
        }))
        .unwrap()
    }

    #[test]
    fn a_retry_and_a_timer_are_waited_through_and_people_and_callbacks_are_not() {
        let step = |phase: &str, more: Value| {
            let mut step = json!({"name": "s", "iteration": 1, "phase": phase});
            step.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            step
        };
        let at = "2026-11-29T12:00:00.000000Z";
        for (phase, step, settled) in [
            ("Waiting", step("Retrying", json!({"wakeAt": at})), false),
            ("Waiting", step("Waiting", json!({"wakeAt": at})), false),
            ("Waiting", step("Waiting", json!({"approval": "r-s"})), true),
            ("Waiting", step("Waiting", json!({"deadline": at})), true),
            ("Running", step("Running", json!({})), false),
            ("Failed", step("Failed", json!({})), true),
        ] {
            assert_eq!(is_settled(&run(phase, &step)), settled, "{phase} {step}");
        }
    }
}
