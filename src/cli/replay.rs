//! `signoff runs replay`: proves from the record of a run that the engine decides the same.

use std::path::PathBuf;

use kube::{ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    lines::{Lines, terminal_width},
    manifest::{Manifest, files},
    named,
    table::{
        Column::{Free, Whole},
        table,
    },
};
use crate::simulation::{Difference, Recorded, Replay, ReplayError, StepReplay, Verdict, replay};
use signoff_api::{API_VERSION, Approval, Decision, Release, Run, name::ObjectName, names};

/// Prove from the record of a run that the engine decides the same.
///
/// Everything is decided anew from the first step on. What others said and did is taken from the record: answers to calls,
/// decisions of people, callbacks, and times. Nothing is called.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff runs replay refund-x7k2q\n  kubectl get runs,releases,approvals,decisions -o yaml | signoff runs replay refund-x7k2q -f -"
)]
pub(super) struct ReplayArgs {
    /// Name of the run. It may be left out if the files hold one run.
    #[arg(value_parser = named::run, required_unless_present = "file")]
    run: Option<ObjectName>,
    /// Take the run, its release, approvals, decisions and the runs that it started from these files, or folders of
    /// them, instead of from the cluster; - reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
}

pub(super) async fn verb(args: &ReplayArgs, global: &Global) -> Result<Answer, CliError> {
    let recorded = match (&args.run, args.file.as_slice()) {
        (Some(run), []) => of_cluster(run, global).await?,
        (run, files) => of_files(run.as_ref(), files)?,
    };
    let replayed = replay(&recorded).map_err(|error| refused(&error))?;
    Ok(told(&recorded, &replayed))
}

fn refused(error: &ReplayError) -> CliError {
    match error {
        ReplayError::ReleaseChanged { .. } => CliError::new("Differs", exit::DIFFERS, error.to_string()),
        ReplayError::NoRelease(_)
        | ReplayError::OtherRelease { .. }
        | ReplayError::Invalid { .. }
        | ReplayError::Callbacks(_) => CliError::new("NotReplayed", exit::CONFLICT, error.to_string()),
    }
}

/// Name of the release that a run used.
fn release_of(run: &Run) -> Result<String, CliError> {
    let pinned = run.status.as_ref().and_then(|status| status.release.as_ref());
    let pinned = pinned.ok_or_else(|| refused(&ReplayError::NoRelease(run.name_any())))?;
    Ok(pinned.name.clone())
}

/// Names of the runs that steps of a run started.
fn children_of(run: &Run) -> impl Iterator<Item = &String> {
    let steps = run.status.iter().flat_map(|status| &status.steps);
    steps.filter_map(|step| step.run.as_ref())
}

async fn of_cluster(name: &ObjectName, global: &Global) -> Result<Recorded, CliError> {
    let connection = Connection::open(global).await?;
    let run: Run = connection.get(name).await?;
    let release: Release = connection.get(&release_of(&run)?).await?;
    let of_run = ListParams::default().labels(&format!("{}={name}", names::RUN));
    let listed = connection.list::<Approval>(&of_run).await;
    let mut approvals = listed.map_err(|error| CliError::api("the approvals cannot be listed", &error))?;
    approvals.retain(|approval| approval.spec.subject.run.as_deref() == Some(name.as_str()));
    let mut decisions = Vec::new();
    for approval in &approvals {
        let on_it = ListParams::default().fields(&format!("spec.approval={}", approval.name_any()));
        let listed = connection.list::<Decision>(&on_it).await;
        decisions.extend(listed.map_err(|error| CliError::api("the decisions cannot be listed", &error))?);
    }
    let mut runs = Vec::new();
    for child in children_of(&run) {
        let found = connection.api::<Run>().get_opt(child).await;
        runs.extend(found.map_err(|error| CliError::api(child, &error))?);
    }
    Ok(Recorded {
        run,
        release,
        approvals,
        decisions,
        runs,
    })
}

fn of_files(name: Option<&ObjectName>, paths: &[PathBuf]) -> Result<Recorded, CliError> {
    let mut objects = Vec::new();
    for path in files(paths, false)? {
        let manifest = Manifest::read(&path)?
            .map_err(|finding| CliError::new("Invalid", exit::INVALID, finding.to_string()))?;
        for document in manifest.documents {
            flatten(document.value, &mut objects);
        }
    }
    let mut runs: Vec<Run> = of_kind(&objects, "Run")?;
    let at = match name {
        Some(name) => runs.iter().position(|run| run.name_any() == name.as_str()),
        None if runs.len() > 1 => {
            let message = format!("there are {} runs in the files; name one", runs.len());
            return Err(CliError::usage(message));
        }
        None => (!runs.is_empty()).then_some(0),
    };
    let missing = |kind: &str, name: &str| {
        let message = format!("there is no {kind} {name} in the files");
        CliError::new("NotFound", exit::NOT_FOUND, message)
    };
    let at = at.ok_or_else(|| missing("run", name.map(ObjectName::as_str).unwrap_or_default().trim()))?;
    let run = runs.swap_remove(at);
    let wanted = release_of(&run)?;
    let namespace = run.namespace();
    let releases: Vec<Release> = of_kind(&objects, "Release")?;
    let release = releases
        .into_iter()
        .find(|release| release.name_any() == wanted && release.namespace() == namespace);
    let release = release.ok_or_else(|| missing("release", &wanted))?;
    let approvals = of_kind::<Approval>(&objects, "Approval")?.into_iter();
    let approvals = approvals.filter(|approval| {
        approval.namespace() == namespace && approval.spec.subject.run.as_ref() == Some(&run.name_any())
    });
    let decisions = of_kind::<Decision>(&objects, "Decision")?.into_iter();
    let decisions = decisions.filter(|decision| decision.namespace() == namespace);
    runs.retain(|child| {
        child.namespace() == namespace && children_of(&run).any(|name| *name == child.name_any())
    });
    Ok(Recorded {
        approvals: approvals.collect(),
        decisions: decisions.collect(),
        runs,
        release,
        run,
    })
}

/// The objects in a document: those of a `List` are in its `items`.
fn flatten(document: Value, objects: &mut Vec<Value>) {
    let is_list = document["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match document {
        Value::Object(mut map) if is_list => {
            let items = map.remove("items");
            let items = items
                .as_ref()
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            for item in items {
                flatten(item, objects);
            }
        }
        other => objects.push(other),
    }
}

fn of_kind<K: DeserializeOwned>(objects: &[Value], kind: &str) -> Result<Vec<K>, CliError> {
    let ours = objects
        .iter()
        .filter(|object| object["apiVersion"] == API_VERSION && object["kind"] == kind);
    ours.map(|object| {
        serde_json::from_value(object.clone()).map_err(|error| {
            let name = object["metadata"]["name"].as_str().unwrap_or("unnamed");
            let message = format!("{} {name} cannot be read: {error}", kind.to_lowercase());
            CliError::new("Invalid", exit::INVALID, message)
        })
    })
    .collect()
}

fn told(recorded: &Recorded, replayed: &Replay) -> Answer {
    let name = recorded.run.name_any();
    let release = recorded.release.name_any();
    let mut lines = Lines::from(format!("Run {name}, replayed with release {release}"));
    if !replayed.steps.is_empty() {
        lines.blank();
        let rows: Vec<Vec<String>> = replayed.steps.iter().map(row).collect();
        let headings = [Whole("step"), Whole("recorded"), Whole("verdict"), Free("why")];
        lines.append(table(&headings, &rows, terminal_width()));
    }
    if !replayed.unproven.is_empty() {
        lines.blank();
        lines.push("Not proven, because the record does not have it:");
        for what in &replayed.unproven {
            lines.push(format!("  {what}"));
        }
    }
    lines.blank();
    let count = |verdict: Verdict| {
        let steps = replayed.steps.iter();
        steps.filter(|step| step.verdict == verdict).count()
    };
    let first = replayed.first_difference();
    match first {
        Some((step, difference)) => lines.push(difference_of(step, difference)),
        None => lines.push("The engine decides the same."),
    }
    let (agree, differ, unproven) = (
        count(Verdict::Agrees),
        count(Verdict::Differs),
        count(Verdict::Unproven),
    );
    lines.push(format!(
        "passes of steps: {agree} agree, {differ} differ, {unproven} not proven"
    ));
    let data = json!({
        "run": name,
        "release": release,
        "agrees": first.is_none(),
        "steps": replayed.steps,
        "differences": replayed.run,
        "unproven": replayed.unproven,
    });
    Answer::text(lines)
        .with_data(data)
        .with_names([format!("run/{name}")])
        .with_exit(if first.is_none() { 0 } else { exit::DIFFERS })
}

fn named_pass(step: &StepReplay) -> String {
    let item = step.item.map(|item| format!("[{item}]")).unwrap_or_default();
    match step.pass {
        1 => format!("{}{item}", step.step),
        pass => format!("{}{item} (pass {pass})", step.step),
    }
}

fn difference_of(step: Option<&StepReplay>, difference: &Difference) -> String {
    let Difference {
        field,
        recorded,
        decided,
    } = difference;
    let place = step.map_or_else(
        || "the run".to_owned(),
        |step| format!("step {}", named_pass(step)),
    );
    format!("First difference: {place}, {field}: recorded {recorded}, decided {decided}")
}

fn row(step: &StepReplay) -> Vec<String> {
    let verdict = match step.verdict {
        Verdict::Agrees => "agrees",
        Verdict::Differs => "differs",
        Verdict::Unproven => "not proven",
    };
    let differing = step.differences.iter().map(|difference| difference.field.clone());
    let why: Vec<String> = differing.chain(step.notes.iter().cloned()).collect();
    vec![
        named_pass(step),
        step.recorded.clone().unwrap_or_else(|| "not begun".to_owned()),
        verdict.to_owned(),
        why.join("; "),
    ]
}
