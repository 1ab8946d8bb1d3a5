//! What is wrong with an object of one of our kinds: its fields against the schema, and whether a flow's definition can run.

use std::sync::LazyLock;

use serde_json::Value;

use super::{
    closest, did_you_mean,
    json_schema::{Unknown, json_schema},
    readable::readable,
    rules::Rules,
    wording::{self, join},
};
use signoff_api::{
    API_VERSION, Definition, Step, crds,
    flow::Promotion,
    name::{FlowName, NameError, ObjectName},
};
use signoff_engine::{
    plan::{Children, Plan, Problem},
    promotion,
};

/// Something that is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Its path, such as `spec.steps[2].http.url`.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

struct Schema {
    kind: String,
    value: Value,
    validator: Option<jsonschema::Validator>,
    rules: Rules,
}

/// Most wrong fields for which it is told what was meant.
const MOST_MEANT: usize = 100;

static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    let of = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
        let schema = serde_json::to_value(schema).ok()?;
        let rules = Rules::of(&schema);
        let value = json_schema(schema, Unknown::Kept);
        Some(Schema { kind: crd.spec.names.kind.clone(), validator: validator(&value), value, rules })
    };
    crds().into_iter().filter_map(of).collect()
});

/// As an API server validates: `1.0` is no integer.
fn validator(schema: &Value) -> Option<jsonschema::Validator> {
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft4);
    options.should_validate_formats(true).build(schema).ok()
}

/// The names of our kinds.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().map(|schema| schema.kind.as_str())
}

/// Whether one of our kinds has this name.
pub fn is_kind(name: &str) -> bool {
    kinds().any(|kind| kind == name)
}

/// What is told of a kind that we do not have.
pub fn no_such_kind(name: &str) -> String {
    let meant = match closest(name, kinds()) {
        Some(kind) => format!("did you mean {kind}?"),
        None => format!("there are {}", kinds().collect::<Vec<_>>().join(", ")),
    };
    format!("there is no kind {name:?} in {API_VERSION}; {meant}")
}

/// Everything that is wrong with an object of one of our kinds.
///
/// A field that is misspelt is read as the field that was probably meant, and what cannot be read is left out, so that
/// everything else is told in the same go.
pub fn check(object: &Value) -> Vec<FieldProblem> {
    check_with(object, &Children::new())
}

/// The same, where the inputs of some of the flows that the steps of a flow run are known.
pub fn check_with(object: &Value, children: &Children) -> Vec<FieldProblem> {
    let Some(schema) = schema_of(object) else {
        let kind = object["kind"].as_str().unwrap_or_default();
        return vec![FieldProblem {
            field: "kind".to_owned(),
            message: no_such_kind(kind),
        }];
    };
    let mut object = object.clone();
    let mut found: Vec<FieldProblem> = name_problem(&object, &schema.kind).into_iter().collect();
    correct(&mut object, &schema.value, "", &mut found);
    let mut wrong = Vec::new();
    if let Some(validator) = &schema.validator {
        for error in validator.iter_errors(&object) {
            wrong.push(error.instance_path().to_string());
            found.push(wording::problem(&error, &schema.value));
        }
    }
    found.extend(schema.rules.broken(&object));
    if schema.kind == "Repository" {
        let gate = serde_json::from_value::<Promotion>(object["spec"]["promotion"].clone());
        let fields = gate.as_ref().map(promotion::expressions).unwrap_or_default();
        found.extend(fields.into_iter().map(|field| FieldProblem {
            field: format!("spec.promotion.{field}"),
            message: promotion::NO_EXPRESSIONS.to_owned(),
        }));
        let unreachable = gate.as_ref().ok().and_then(promotion::unreachable_quorum);
        found.extend(unreachable.map(|message| FieldProblem {
            field: "spec.promotion.approval.quorum".to_owned(),
            message,
        }));
    }
    if schema.kind == "Flow" {
        let spec = definition_of(object);
        found.extend(of_definition(&spec, &schema.value, &wrong, children, &found));
    }
    found
}

/// The definition in a flow.
fn definition_of(mut flow: Value) -> Value {
    let mut spec = flow["spec"].take();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("live");
        spec.remove("suspend");
    }
    spec
}

/// The definition in a flow, as far as it can be read.
pub fn readable_definition(flow: &Value) -> Option<Definition> {
    let schema = schema_of(flow)?;
    let mut flow = flow.clone();
    correct(&mut flow, &schema.value, "", &mut vec![]);
    let errors = schema
        .validator
        .iter()
        .flat_map(|validator| validator.iter_errors(&flow));
    let wrong: Vec<String> = errors.map(|error| error.instance_path().to_string()).collect();
    let read = readable(&definition_of(flow), &wrong, &schema.value);
    read.map(|read| read.definition)
}

/// What is wrong with a definition beside what the schema says, which is `known`.
fn of_definition(
    spec: &Value,
    schema: &Value,
    wrong: &[String],
    children: &Children,
    known: &[FieldProblem],
) -> Vec<FieldProblem> {
    let mut found = Vec::new();
    // what the schema says of it is said better
    if known.is_empty()
        && let Err(error) = serde_json::from_value::<Definition>(spec.clone())
    {
        found.push(innermost(spec, &error));
    }
    let Some(readable) = readable(spec, wrong, schema) else {
        return found;
    };
    let problems = Plan::problems(&readable.definition, children, &readable.unread);
    let is_news = |problem: &FieldProblem| {
        let is_known = |known: &FieldProblem| known.field == problem.field;
        !known.iter().chain(&found).any(is_known) && !readable.explains(&problem.field)
    };
    let news: Vec<FieldProblem> = field_problems(problems).into_iter().filter(is_news).collect();
    found.extend(news);
    found
}

/// The fields of an object that its kind does not have, as a strict API server refuses them.
pub fn unknown_fields(object: &Value) -> Vec<FieldProblem> {
    let mut found = Vec::new();
    if let Some(schema) = schema_of(object) {
        correct(&mut object.clone(), &schema.value, "", &mut found);
    }
    found
}

/// Why a definition cannot run.
pub fn plan_problems(definition: &Definition) -> Vec<FieldProblem> {
    field_problems(Plan::compile(definition).err().unwrap_or_default())
}

/// Problems of a definition as those of a manifest.
pub fn field_problems(problems: Vec<Problem>) -> Vec<FieldProblem> {
    let told = |problem: Problem| FieldProblem {
        message: match problem.offset {
            Some(offset) => format!("{} (at character {} of the text)", problem.message, offset + 1),
            None => problem.message,
        },
        field: format!("spec.{}", problem.field),
    };
    problems.into_iter().map(told).collect()
}

fn schema_of(object: &Value) -> Option<&'static Schema> {
    let kind = object["kind"].as_str()?;
    SCHEMAS.iter().find(|schema| schema.kind == kind)
}

fn name_problem(object: &Value, kind: &str) -> Option<FieldProblem> {
    let metadata = &object["metadata"];
    let problem = |message: String| {
        Some(FieldProblem {
            field: "metadata.name".to_owned(),
            message,
        })
    };
    let Some(name) = metadata["name"].as_str() else {
        // a Run may be named by the API server
        return if metadata["generateName"].is_string() {
            None
        } else {
            problem("this field is required".to_owned())
        };
    };
    let parsed: Result<(), NameError> = if kind == "Flow" {
        name.parse::<FlowName>().map(|_| ())
    } else {
        name.parse::<ObjectName>().map(|_| ())
    };
    parsed.err().and_then(|error| problem(error.to_string()))
}

/// Tells the fields that a schema does not know. Each is read as the one that was probably meant, or left out.
fn correct(value: &mut Value, schema: &Value, path: &str, found: &mut Vec<FieldProblem>) {
    match value {
        Value::Object(map) => {
            let free = schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true);
            let known = schema["properties"].as_object();
            let others = &schema["additionalProperties"];
            let names = known
                .into_iter()
                .flat_map(serde_json::Map::keys)
                .map(String::as_str);
            // what is given already was not meant by another key
            let names: Vec<&str> = names.filter(|name| !map.contains_key(*name)).collect();
            for (key, mut item) in std::mem::take(map) {
                let field = join(path, &key);
                if path.is_empty() && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    map.insert(key, item);
                } else if let Some(schema) = known.and_then(|known| known.get(&key)) {
                    correct(&mut item, schema, &field, found);
                    map.insert(key, item);
                } else if others.is_object() {
                    correct(&mut item, others, &field, found);
                    map.insert(key, item);
                } else if free {
                    map.insert(key, item);
                } else {
                    let names = || names.iter().copied().filter(|_| found.len() < MOST_MEANT);
                    let meant = did_you_mean(&key, names());
                    let read_as = closest(&key, names());
                    found.push(FieldProblem {
                        field: field.clone(),
                        message: format!("there is no such field{meant}"),
                    });
                    if let Some((name, schema)) = read_as.and_then(|name| Some((name, known?.get(name)?))) {
                        correct(&mut item, schema, &field, found);
                        map.entry(name).or_insert(item);
                    }
                }
            }
        }
        // any value may be in a list of which the schema says nothing
        Value::Array(items) if schema["items"].is_object() => {
            for (i, item) in items.iter_mut().enumerate() {
                correct(item, &schema["items"], &format!("{path}[{i}]"), found);
            }
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The step that cannot be read, if it is one: an error from inside a flattened structure does not say where it is.
fn innermost(spec: &Value, error: &serde_json::Error) -> FieldProblem {
    let all = ["steps", "finally"].into_iter().flat_map(|list| {
        let steps = spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
        steps
            .iter()
            .enumerate()
            .map(move |(index, step)| (list, index, step))
    });
    let bad = all.into_iter().find_map(|(list, index, step)| {
        let error = serde_json::from_value::<Step>(step.clone()).err()?;
        Some((format!("spec.{list}[{index}]"), error.to_string()))
    });
    let (field, message) = bad.unwrap_or_else(|| ("spec".to_owned(), error.to_string()));
    FieldProblem { field, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow(steps: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": "Flow", "metadata": {"name": "f"}, "spec": {"steps": steps}})
    }

    fn told(object: &Value) -> Vec<String> {
        check(object)
            .into_iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect()
    }

    #[test]
    fn a_misspelt_kind_of_step_is_named_with_the_one_that_was_meant() {
        let steps = json!([{"name": "a", "aproval": {"title": "Go?"}}]);
        assert_eq!(
            told(&flow(&steps)),
            ["spec.steps[0].aproval: there is no such field; did you mean approval?"]
        );
    }

    #[test]
    fn everything_is_told_at_once_however_wrong_the_first_thing_is() {
        let steps = json!([
            {"name": "a", "aproval": {"titel": "Go?", "quorum": 0}},
            {"name": "B", "set": {"x": "${steps.nope.output}"}, "timeout": "5"},
            {"name": "c", "http": {"url": "https://a.example", "method": "FETCH"}, "set": {}},
            {"name": "d"},
        ]);
        let told = told(&flow(&steps));
        for part in [
            "spec.steps[0].aproval: there is no such field; did you mean approval?",
            "spec.steps[0].aproval.titel: there is no such field; did you mean title?",
            "spec.steps[1].name: \"B\" is not a name: lower-case letters, digits and dashes",
            "spec.steps[1].timeout: \"5\" is not a duration; write for example 500ms, 30s",
            "spec.steps[2].http.method: \"FETCH\" is not one of GET, HEAD, POST, PUT, PATCH, DELETE",
            "spec.steps[2]: a step needs exactly one of http, set, wait, approval, notify, ssh, llm, git, store, task, agent, flow, end; it has http and set",
            "spec.steps[3]: a step needs exactly one of http, set, wait, approval, notify, ssh, llm, git, store, task, agent, flow, end; it has none",
        ] {
            assert!(
                told.iter().any(|line| line.starts_with(part)),
                "{part}\n{told:#?}"
            );
        }
        let both = json!([{"name": "a", "sett": {}}, {"name": "b", "set": {"x": "${steps.nope.output}"}}]);
        let both = check(&flow(&both));
        assert_eq!(
            (both.len(), both[1].field.as_str()),
            (2, "spec.steps[1].set.x"),
            "{both:?}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_and_a_missing_field_are_told_without_the_schema() {
        let steps = json!([{"name": "a", "approval": {"quorum": "two"}}]);
        let told = told(&flow(&steps));
        for part in [
            "spec.steps[0].approval.title: this field is required",
            "spec.steps[0].approval.quorum: \"two\" must be an integer, or one ${…} expression",
        ] {
            assert!(told.iter().any(|line| line == part), "{part}\n{told:#?}");
        }
    }

    #[test]
    fn a_name_that_an_api_server_refuses_is_told() {
        let mut nameless = flow(&json!([{"name": "a", "set": {}}]));
        assert_eq!(told(&nameless), [""; 0]);
        nameless["metadata"] = json!({});
        assert_eq!(told(&nameless), ["metadata.name: this field is required"]);
        nameless["metadata"] = json!({"name": "Not_a_name"});
        assert!(told(&nameless)[0].starts_with("metadata.name: \"Not_a_name\" is not "));
    }

    #[test]
    fn a_kind_that_is_not_ours_is_told_with_ours() {
        assert!(no_such_kind("flow").ends_with("did you mean Flow?"));
        assert!(no_such_kind("Pipeline").contains("there are Repository, Flow, Release"));
    }

    fn told_of(spec: &Value) -> Vec<String> {
        told(&json!({"apiVersion": API_VERSION, "kind": "Flow", "metadata": {"name": "f"}, "spec": spec}))
    }

    /// Whether each line begins as expected, and there are no others.
    fn begin(told: &[String], expected: &[&str]) {
        let fits = told.len() == expected.len()
            && expected
                .iter()
                .all(|part| told.iter().any(|line| line.starts_with(part)));
        assert!(fits, "{expected:#?}\n{told:#?}");
    }

    #[test]
    fn problems_of_the_schema_hide_none_of_expressions_and_none_of_the_plan() {
        let call = |more: Value| {
            let mut call = json!({"url": "https://a.example/${steps.nope.output}", "method": "post"});
            call.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            call
        };
        let told = told_of(&json!({"steps": [
            {"name": "a", "http": call(json!({"body": {"x": "${inputs.nope}", "y": "${1 +}"}}))},
            {"name": "b", "set": {"x": "${steps.a.output.anything}", "y": "${steps.c.output}"}},
            {"name": "c", "wait": {"duration": "90 minutes"}},
            {"name": "c", "set": {}},
            {"name": "d", "when": "${size(1)}", "approval": {"title": "Go?", "quorum": 99}},
        ]}));
        begin(
            &told,
            &[
                "spec.steps[0].http.method: \"post\" is not one of GET, HEAD, POST, PUT, PATCH, DELETE; did you mean POST?",
                "spec.steps[0].http.url: there is no step nope",
                "spec.steps[0].http.body.x: there is no input nope",
                "spec.steps[0].http.body.y: ",
                "spec.steps[1].set.y: step c is not done before this one",
                "spec.steps[2].wait.duration: \"90 minutes\" is not a duration",
                "spec.steps[3].name: there is another step c",
                "spec.steps[4].when: ",
                "spec.steps[4].approval.quorum: ",
            ],
        );
    }

    #[test]
    fn what_depends_on_a_part_that_cannot_be_read_makes_no_noise() {
        // the outcomes are not known
        let told = told_of(&json!({"steps": [
            {"name": "ask", "approval": {"title": "Go?", "onReject": {"outcome": "Contine"}}},
            {"name": "pay", "when": "${steps.ask.outcome == 'Rejected'}", "set": {"x": "${steps.ask.decision.values.n}"}},
        ]}));
        begin(
            &told,
            &["spec.steps[0].approval.onReject.outcome: \"Contine\" is not one of"],
        );
        // nor is the kind, nor what it waits for, nor what it gives
        let told = told_of(&json!({"steps": [
            {"name": "x"},
            {"name": "y", "set": {"a": 1}, "wait": {"callback": {}}},
            {"name": "z", "set": {"a": "${steps.x.output.b + steps.y.output}", "c": "${callback('y').url}", "d": "${steps.w.output}"}},
        ]}));
        begin(
            &told,
            &[
                "spec.steps[0]: a step needs exactly one of",
                "spec.steps[1]: a step needs exactly one of",
                "spec.steps[2].set.c: callback() is known only in what is sent",
                "spec.steps[2].set.d: there is no step w",
            ],
        );
        // a step without a name, and a loop that is lost
        let told = told_of(&json!({"steps": [
            {"set": {"a": "${inputs.b}"}},
            {"name": "b", "set": {"a": "${steps.a.output}"}},
            {"name": "c", "set": {"a": "${steps.b.previous.outcome}"}, "repeat": {"from": "b", "max": 3, "until": 5}},
        ]}));
        begin(
            &told,
            &[
                "spec.steps[0].name: this field is required",
                "spec.steps[2].repeat.until: 5 must be a string",
            ],
        );
        // needs of which nothing is known say nothing of the order
        let told = told_of(&json!({"steps": [
            {"name": "a", "needs": "b", "set": {}},
            {"name": "b", "needs": [], "set": {"x": "${steps.a.output}"}},
        ]}));
        begin(&told, &["spec.steps[0].needs: \"b\" must be an array"]);
    }

    #[test]
    fn triggers_and_inputs_that_cannot_be_read_hide_none_of_the_others() {
        let told = told_of(&json!({
            "inputs": 3,
            "triggers": [
                {"name": "nightly", "schedule": {"cron": 5}},
                {"name": "pushed", "webhook": {"auth": {"bearer": {"name": "s", "key": "k"}}, "key": "${body.nope(}"}},
            ],
            "steps": [{"name": "a", "set": {"x": "${inputs.anything + trigger.name + nope}"}}],
        }));
        let parts = [
            "spec.triggers[0].schedule.cron: 5 must be a string",
            "spec.triggers[1].webhook.key: ",
            "spec.steps[0].set.x: there is no variable nope",
        ];
        for part in parts {
            assert!(
                told.iter().any(|line| line.starts_with(part)),
                "{part}\n{told:#?}"
            );
        }
        assert!(
            !told.iter().any(|line| line.contains("there is no input")),
            "{told:#?}"
        );
    }

    #[test]
    fn what_an_api_server_takes_as_absent_is_taken() {
        let told = told_of(&json!({"inputs": null, "output": null, "steps": [
            {"name": "a", "when": null, "needs": null, "http": {"url": "https://a.example", "method": null, "body": null}},
            {"name": "b", "approval": {"title": "Go?", "quorum": null, "respondWithin": null, "onReject": null}},
        ]}));
        assert_eq!(told, [""; 0]);
        let told = told_of(&json!({"steps": [{"name": null, "set": null}]}));
        assert!(!told.is_empty());
    }
}
