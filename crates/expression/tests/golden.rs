//! The same results as Kubernetes' own CEL: `tests/controlplane/cel.sh` makes them anew, and `.ci/run` fails where they differ.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use serde_json::Value as Json;
use signoff_expression::{Budget, Library, Program, Scope};

const CASES: &str = include_str!("golden/cases.txt");
const RESULTS: &str = include_str!("golden/results.jsonl");

struct Case {
    expression: String,
    inputs: Json,
    /// Only its types are wrong, and there is no checker yet.
    is_of_types: bool,
    /// Theirs has a value that we do not make.
    is_refused: bool,
}

fn cases() -> Vec<Case> {
    let mut inputs = Json::Null;
    let mut cases = Vec::new();
    for line in CASES.lines() {
        if let Some(given) = line.strip_prefix("inputs ")
            && given.starts_with('{')
        {
            inputs = serde_json::from_str(given).unwrap();
        } else if !line.is_empty() && !line.starts_with('#') {
            let plain = line.strip_prefix("~ ").or_else(|| line.strip_prefix("! "));
            cases.push(Case {
                expression: plain.unwrap_or(line).to_owned(),
                inputs: inputs.clone(),
                is_of_types: line.starts_with("~ "),
                is_refused: line.starts_with("! "),
            });
        }
    }
    cases
}

fn ours(case: &Case) -> Result<String, String> {
    let program = Program::parse(&case.expression, &Library::kubernetes()).map_err(|error| error.message)?;
    let mut scope = Scope::default();
    scope.set("inputs", &case.inputs);
    let value = program.evaluate(&scope, &mut Budget::default());
    value
        .map(|value| value.shown())
        .map_err(|error| error.to_string())
}

#[test]
fn every_expression_gives_what_kubernetes_gives() {
    let cases = cases();
    let results: Vec<Json> = RESULTS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        cases.len(),
        results.len(),
        "tests/controlplane/cel.sh makes the results anew"
    );
    assert!(cases.len() >= 500);
    let mut differ = Vec::new();
    for (case, theirs) in cases.iter().zip(&results) {
        assert_eq!(theirs["expression"], case.expression.as_str());
        let got = ours(case);
        let agree = match (theirs["value"].as_str(), &got) {
            _ if case.is_of_types => theirs["error"] == "compile",
            (Some(_), got) if case.is_refused => got.is_err(),
            (Some(value), Ok(got)) => value == got,
            (None, Err(_)) => true,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        };
        if !agree {
            differ.push(format!(
                "{}\n    theirs: {}{}\n    ours:   {got:?}",
                case.expression,
                theirs["value"].as_str().unwrap_or_default(),
                theirs["error"].as_str().unwrap_or_default()
            ));
        }
    }
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.join("\n")
    );
}
