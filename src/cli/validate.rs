//! `signoff validate`: checks manifests without any API server.

use std::path::PathBuf;

use serde_json::json;

use super::{
    answer::Answer,
    error::{CliError, exit},
    lines::{self, Lines, count},
    manifest::{Checked, Finding, Manifest, files, name},
};
use signoff_api::GROUP;

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

pub(super) fn verb(args: &ValidateArgs) -> Result<Answer, CliError> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut warned: Vec<Finding> = Vec::new();
    let (mut checked, mut skipped) = (Vec::new(), Vec::new());
    for path in files(&args.files, args.recursive)? {
        match Manifest::read(&path)? {
            Err(finding) => findings.push(finding),
            Ok(manifest) => {
                for document in &manifest.documents {
                    match manifest.check(document) {
                        Checked::Ours { problems, warnings } => {
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
            }
        }
    }
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
        n => format!(", {n} skipped (not {GROUP})"),
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
