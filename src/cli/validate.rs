//! `signoff validate`: checks manifests without any API server.

use std::path::PathBuf;

use serde_json::json;

use super::{
    answer::Answer,
    error::{CliError, exit},
    manifest::{Finding, Manifest},
};

/// Check manifests without an API server: syntax, fields, references, expressions.
#[derive(Debug, clap::Args)]
pub(super) struct ValidateArgs {
    /// Files to check; - reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn verb(args: &ValidateArgs) -> Result<Answer, CliError> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut checked = Vec::new();
    for path in &args.files {
        match Manifest::read(path)? {
            Err(finding) => findings.push(finding),
            Ok(manifest) => {
                for document in &manifest.documents {
                    findings.extend(manifest.check(document));
                    checked.push(name(&document.value));
                }
            }
        }
    }
    if findings.is_empty() {
        let text = format!("{} of {} fine", checked.len(), count(checked.len(), "manifest"));
        let data = json!({ "checked": checked, "problems": [] });
        return Ok(Answer::text(text).with_data(data).with_names(checked));
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let message = format!("{}:", count(findings.len(), "problem"));
    Err(CliError::new("Invalid", exit::INVALID, message)
        .listing(lines)
        .details(json!({ "problems": findings })))
}

fn name(value: &serde_json::Value) -> String {
    let kind = value["kind"].as_str().unwrap_or("unknown").to_lowercase();
    format!(
        "{kind}/{}",
        value["metadata"]["name"].as_str().unwrap_or("unnamed")
    )
}

fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}
