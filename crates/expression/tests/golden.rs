//! The same results as Kubernetes' own CEL: `tests/controlplane/cel.sh` makes them anew, and `.ci/run` fails where they differ.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use serde_json::Value as Json;
use signoff_expression::{Budget, Declarations, Library, Program, Scope, StaticType};

const CASES: &str = include_str!("golden/cases.txt");
const RESULTS: &str = include_str!("golden/results.jsonl");

struct Case {
    expression: String,
    inputs: Json,
    /// We take it, although they do not.
    is_taken: bool,
    /// They take it, although we do not.
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
                is_taken: line.starts_with("~ "),
                is_refused: line.starts_with("! "),
            });
        }
    }
    cases
}

/// Why an expression has no value.
struct Failure {
    /// It is refused before it is evaluated.
    is_refused: bool,
    message: String,
}

fn refused(message: String) -> Failure {
    Failure {
        is_refused: true,
        message,
    }
}

fn ours(case: &Case) -> Result<String, Failure> {
    let compiled = Program::parse(&case.expression, &Library::kubernetes());
    let program = compiled.map_err(|error| refused(error.message))?;
    let mut declarations = Declarations::default();
    declarations
        .variables
        .insert("inputs".to_owned(), StaticType::Dyn);
    program
        .check(&declarations)
        .map_err(|errors| refused(format!("{errors:?}")))?;
    let mut scope = Scope::default();
    scope.set("inputs", &case.inputs);
    let value = program.evaluate(&scope, &mut Budget::default());
    value.map(|value| value.shown()).map_err(|error| Failure {
        is_refused: false,
        message: error.to_string(),
    })
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
        let is_refused_there = theirs["error"] == "compile";
        let agree = match (theirs["value"].as_str(), &got) {
            (_, got) if case.is_refused => got.is_err() && !is_refused_there,
            (_, got) if case.is_taken => got.is_ok() && is_refused_there,
            (Some(value), Ok(got)) => value == got,
            (None, Err(failure)) => failure.is_refused == is_refused_there,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        };
        if !agree {
            let ours = got.unwrap_or_else(|failure| failure.message);
            differ.push(format!(
                "{}\n    theirs: {}{}\n    ours:   {ours}",
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
