//! `signoff test`: runs flows offline, as scenario files say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    answer::{Answer, Format},
    error::{CliError, exit},
    lines::{Lines, count},
    manifest::{Checked, Finding, Manifest, files},
};
use crate::simulation::{self, Objects, Record, Scenario};
use signoff_api::{Connection, Flow, name::FlowName};

/// Run flows offline, as scenario files say, and compare what happens with what they expect.
///
/// A scenario gives a run its inputs, says what others answer and what people decide, and what must come of it. Nothing
/// is called and nothing sleeps.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff test refund.test.yaml\n  signoff test -R flows --junit report.xml\n  signoff test refund.test.yaml --update"
)]
pub(super) struct TestArgs {
    /// Files with scenarios, or folders of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look into the folders below a folder as well.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Only scenarios whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Print what happened in each scenario, not only in those that fail.
    #[arg(long)]
    story: bool,
    /// Write a `JUnit` report to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write what happened into the files as what is expected.
    #[arg(long, conflicts_with = "junit")]
    update: bool,
}

/// A scenario that was run.
struct Tested {
    file: PathBuf,
    document: usize,
    name: String,
    /// What happened, if it could begin.
    record: Option<Record>,
    problems: Vec<String>,
}

pub(super) fn verb(args: &TestArgs, format: Format) -> Result<Answer, CliError> {
    let mut tested = vec![];
    for path in files(&args.files, args.recursive)? {
        tested.extend(of_file(&path, args)?);
    }
    if tested.is_empty() {
        let message = "nothing was tested: there is no scenario";
        return Err(
            CliError::new("NothingTested", exit::INVALID, message).hint(format!(
                "a scenario has `apiVersion: {}` and `kind: {}`",
                simulation::API_VERSION,
                simulation::KIND
            )),
        );
    }
    if args.update {
        return updated(&tested);
    }
    if let Some(path) = &args.junit {
        let cases: Vec<(String, &Tested)> = tested
            .iter()
            .map(|tested| (tested.file.display().to_string(), tested))
            .collect();
        let report = simulation::junit(
            cases
                .iter()
                .map(|(file, tested)| (file.as_str(), tested.name.as_str(), tested.problems.as_slice())),
        );
        write(path, &report)?;
    }
    Ok(told(&tested, args, format))
}

fn of_file(path: &Path, args: &TestArgs) -> Result<Vec<Tested>, CliError> {
    let manifest = Manifest::read(path)?.map_err(|finding| invalid(&[finding]))?;
    let mut tested = vec![];
    for document in &manifest.documents {
        if !simulation::is_scenario(&document.value) {
            continue;
        }
        let scenario = Scenario::parse(document.value.clone())
            .map_err(|error| invalid(&[manifest.at(document, error.field(), error.to_string())]))?;
        let name = scenario.metadata.name.to_string();
        if args
            .name
            .as_ref()
            .is_some_and(|part| !name.contains(part.as_str()))
        {
            continue;
        }
        let objects = objects(path, &scenario)?;
        let (record, problems) = match simulation::simulate(&scenario, &objects) {
            Ok(record) => {
                let problems = simulation::check(&scenario.spec.expect, &record);
                (Some(record), problems)
            }
            Err(problems) => (None, problems),
        };
        tested.push(Tested {
            file: path.to_owned(),
            document: document.index,
            name,
            record,
            problems,
        });
    }
    Ok(tested)
}

/// The flows and Connections in the files of a scenario, which are relative to its own.
fn objects(path: &Path, scenario: &Scenario) -> Result<Objects, CliError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut objects = Objects::default();
    for file in &scenario.spec.files {
        let manifest = Manifest::read(&folder.join(file))?.map_err(|finding| invalid(&[finding]))?;
        for document in &manifest.documents {
            let Checked::Ours { problems, .. } = manifest.check(document) else {
                continue;
            };
            if !problems.is_empty() {
                return Err(invalid(&problems));
            }
            take(&mut objects, &document.value).map_err(|error| {
                let message = format!("{}: {error}", manifest.path);
                CliError::new("Invalid", exit::INVALID, message)
            })?;
        }
    }
    Ok(objects)
}

fn take(objects: &mut Objects, value: &Value) -> Result<(), serde_json::Error> {
    let name = || value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    match value["kind"].as_str() {
        Some("Flow") => {
            let flow: Flow = serde_json::from_value(value.clone())?;
            let name: FlowName = serde_json::from_value(json!(name()))?;
            objects.flows.insert(name, flow.spec.definition);
        }
        Some("Connection") => {
            let connection: Connection = serde_json::from_value(value.clone())?;
            objects.connections.insert(name(), connection);
        }
        _ => {}
    }
    Ok(())
}

fn invalid(findings: &[Finding]) -> CliError {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    CliError::new(
        "Invalid",
        exit::INVALID,
        format!("{}:", count(findings.len(), "problem")),
    )
    .listing(lines)
    .details(json!({ "problems": findings }))
}

fn told(tested: &[Tested], args: &TestArgs, format: Format) -> Answer {
    let failed = tested.iter().filter(|tested| !tested.problems.is_empty()).count();
    let mut lines = Lines::default();
    for tested in tested {
        let ok = if tested.problems.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        lines.push(format!("{ok:<6} {}: {}", tested.file.display(), tested.name));
        for problem in &tested.problems {
            lines.push(format!("       {problem}"));
        }
        if let Some(record) = tested
            .record
            .as_ref()
            .filter(|_| args.story || !tested.problems.is_empty())
        {
            for (at, line) in &record.story {
                lines.push(format!("       │ {at:.0} {line}"));
            }
        }
    }
    lines.blank();
    lines.push(format!("{} passed, {failed} failed", tested.len() - failed));
    let data: Vec<Value> = tested.iter().map(|tested| data(tested, format)).collect();
    let names = tested.iter().map(|tested| format!("scenario/{}", tested.name));
    Answer::text(lines)
        .with_data(json!({ "scenarios": data, "passed": tested.len() - failed, "failed": failed }))
        .with_names(names)
        .with_exit(if failed == 0 { 0 } else { exit::INVALID })
}

fn data(tested: &Tested, format: Format) -> Value {
    let mut data = json!({
        "file": tested.file,
        "name": tested.name,
        "ok": tested.problems.is_empty(),
        "problems": tested.problems,
    });
    if let (Some(record), Format::Json | Format::Yaml) = (&tested.record, format) {
        let story = record
            .story
            .iter()
            .map(|(at, line)| json!({ "at": at, "line": line }));
        data["outcome"] = json!(record.status.phase);
        data["story"] = story.collect();
        data["calls"] = json!(record.calls);
    }
    data
}

/// Writes what happened into the files, the last document first, so that the places of the others stay.
fn updated(tested: &[Tested]) -> Result<Answer, CliError> {
    let mut names = vec![];
    for tested in tested.iter().rev() {
        let failed = |why: String| {
            CliError::new(
                "Invalid",
                exit::INVALID,
                format!("{}: {}: {why}", tested.file.display(), tested.name),
            )
        };
        let Some(record) = &tested.record else {
            return Err(failed(tested.problems.join("; ")));
        };
        if let Some(problem) = record.problems.first() {
            return Err(failed(problem.clone()));
        }
        let text = fs::read_to_string(&tested.file)
            .map_err(|error| CliError::usage(format!("{}: {error}", tested.file.display())))?;
        let next =
            simulation::update(&text, tested.document, record).map_err(|error| failed(error.to_string()))?;
        if next != text {
            write(&tested.file, &next)?;
        }
        names.push(format!("scenario/{}", tested.name));
    }
    names.reverse();
    let text = format!("{} written", count(names.len(), "expectation"));
    Ok(Answer::text(text)
        .with_data(json!({ "updated": names }))
        .with_names(names))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
}
