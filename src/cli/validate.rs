//! `signoff validate`: checks manifests without any API server.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    answer::Answer,
    error::{CliError, exit},
    lines::{self, Lines, count},
    manifest::{Checked, Finding, Manifest, files, name},
};
use crate::{
    manifest::{check_with, field_problems, readable_definition},
    simulation::{Objects, children, run_each_other},
};
use signoff_api::{Definition, GROUP, name::FlowName};

/// Check manifests without an API server: syntax, fields, references, expressions.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  signoff validate flow.yaml\n  signoff validate -R flows")]
pub(super) struct ValidateArgs {
    /// Files to check, or folders of them; - reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look into the folders below a folder as well.
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// A flow of a file.
struct CheckedFlow {
    name: FlowName,
    definition: Definition,
    /// Its file and its document there.
    place: (usize, usize),
}

fn flow(value: &Value, place: (usize, usize)) -> Option<CheckedFlow> {
    let name = value["metadata"]["name"].as_str()?.parse().ok()?;
    let definition = (value["kind"] == "Flow").then(|| readable_definition(value))??;
    Some(CheckedFlow {
        name,
        definition,
        place,
    })
}

/// What is wrong with flows that run each other, beside what is known of each.
fn together(flows: &[CheckedFlow], manifests: &[Manifest], known: &[Finding]) -> Vec<Finding> {
    let all = flows.iter();
    let all = all.map(|flow| (flow.name.clone(), flow.definition.clone()));
    let objects = Objects {
        flows: all.collect(),
        ..Objects::default()
    };
    let inputs = children(&objects);
    let mut findings = Vec::new();
    for flow in flows.iter().filter(|flow| !flow.definition.children().is_empty()) {
        let (manifest, document) = flow.place;
        let manifest = &manifests[manifest];
        let document = &manifest.documents[document];
        let mut problems = field_problems(run_each_other(&objects, &flow.name, &flow.definition));
        problems.extend(check_with(&document.value, &inputs));
        let told = problems.into_iter().map(|problem| {
            let message = format!("{}: {}", problem.field, problem.message);
            manifest.at(document, &problem.field, message)
        });
        findings.extend(told.filter(|finding| !known.contains(finding)));
    }
    findings
}

pub(super) fn verb(args: &ValidateArgs) -> Result<Answer, CliError> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut warned: Vec<Finding> = Vec::new();
    let (mut checked, mut skipped) = (Vec::new(), Vec::new());
    let (mut flows, mut manifests) = (Vec::new(), Vec::new());
    for path in files(&args.files, args.recursive)? {
        match Manifest::read(&path)? {
            Err(finding) => findings.push(finding),
            Ok(manifest) => {
                for (index, document) in manifest.documents.iter().enumerate() {
                    match manifest.check(document) {
                        Checked::Ours { problems, warnings } => {
                            flows.extend(flow(&document.value, (manifests.len(), index)));
                            findings.extend(problems);
                            warned.extend(warnings);
                            checked.push(name(&document.value));
                        }
                        Checked::Skipped { warning } => {
                            warned.extend(warning);
                            skipped.push(name(&document.value));
                        }
                    }
                }
                manifests.push(manifest);
            }
        }
    }
    findings.extend(together(&flows, &manifests, &findings));
    let warnings: Lines = warned
        .iter()
        .map(|finding| format!("warning: {finding}"))
        .collect();
    lines::say(&warnings);
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let message = format!("{}:", count(findings.len(), "problem"));
        return Err(CliError::new("Invalid", exit::INVALID, message)
            .listing(lines)
            .details(json!({ "problems": findings, "warnings": warned })));
    }
    let left_out = match skipped.len() {
        0 => String::new(),
        n => format!(", {n} skipped (not of the group {GROUP})"),
    };
    if checked.is_empty() {
        let message = format!("nothing was checked: 0 valid{left_out}");
        return Err(
            CliError::new("NothingChecked", exit::INVALID, message).hint(format!(
                "a manifest of Signoff has the group {GROUP} in its apiVersion"
            )),
        );
    }
    let text = format!("{} valid{left_out}", checked.len());
    let data = json!({ "checked": checked, "skipped": skipped, "warnings": warned, "problems": [] });
    Ok(Answer::text(text).with_data(data).with_names(checked))
}
