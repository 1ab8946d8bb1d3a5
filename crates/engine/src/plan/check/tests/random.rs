//! Expressions at random: nothing that checks fails for its types.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use signoff_expression::{self as cel, Budget, Declarations, Library, Program, Scope};

use crate::plan::check::{Defaults, as_declared, type_of};

/// Numbers from a seed.
struct Picks(u64);

impl Picks {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let place = self.below(among.len());
        &among[place]
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn schema(picks: &mut Picks, depth: usize) -> Value {
    match picks.below(if depth == 0 { 5 } else { 8 }) {
        0 => json!({"type": "string"}),
        1 => json!({"enum": ["x", "y"]}),
        2 => json!({"type": "integer"}),
        3 => json!({"type": "number"}),
        4 => json!({"type": "boolean"}),
        5 => json!({"type": "array", "items": schema(picks, depth - 1)}),
        _ => object_schema(picks, depth),
    }
}

fn object_schema(picks: &mut Picks, depth: usize) -> Value {
    let names = &NAMES[..=picks.below(NAMES.len())];
    let properties: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), schema(picks, depth - 1)))
        .collect();
    let required: Vec<&str> = names.iter().copied().filter(|_| picks.one_in(2)).collect();
    let mut object = json!({"type": "object", "properties": properties, "required": required});
    if picks.one_in(4) {
        object["additionalProperties"] = json!({"type": "integer"});
    }
    object
}

fn value(picks: &mut Picks, schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return picks.of(values).clone();
    }
    match schema["type"].as_str().unwrap() {
        "string" => json!(picks.of(&["", "x", "y", "long"])),
        "integer" => picks.of(&[json!(-1), json!(0), json!(3), json!(4.0)]).clone(),
        "number" => picks.of(&[json!(-1), json!(0), json!(2.5), json!(1e300)]).clone(),
        "boolean" => json!(picks.one_in(2)),
        "array" => (0..picks.below(4))
            .map(|_| value(picks, &schema["items"]))
            .collect(),
        _ => {
            let required = schema["required"].as_array().unwrap();
            let mut made = Map::new();
            for (name, part) in schema["properties"].as_object().unwrap() {
                if required.contains(&json!(name)) || picks.one_in(2) {
                    made.insert(name.clone(), value(picks, part));
                }
            }
            if schema["additionalProperties"].is_object() && picks.one_in(2) {
                made.insert("z".to_owned(), json!(1));
            }
            Value::Object(made)
        }
    }
}

/// An expression that is perhaps right: half of its parts are made for the type that is wanted, and guards are often left out.
fn expression(picks: &mut Picks, schema: &Value, wanted: &str, depth: usize) -> String {
    if depth == 0 {
        return leaf(picks, schema, wanted);
    }
    let mut part = |wanted: &str| {
        let wanted = if picks.one_in(12) {
            *picks.of(&["string", "integer", "number", "boolean"])
        } else {
            wanted
        };
        expression(picks, schema, wanted, depth - 1)
    };
    let (left, right, condition) = (part(wanted), part(wanted), part("boolean"));
    let other = *picks.of(&["string", "integer", "number", "boolean"]);
    let pair = [other, other].map(|wanted| expression(picks, schema, wanted, depth - 1));
    let [one, two] = pair;
    match (wanted, picks.below(7)) {
        (_, 0) => leaf(picks, schema, wanted),
        (_, 1) => format!("({condition} ? {left} : {right})"),
        ("boolean", 2) => format!("({left} && {right})"),
        ("boolean", 3) => format!("({left} || {right})"),
        ("boolean", 4) => format!("({one} == {two})"),
        ("boolean", 5) => format!("({one} < {two})"),
        ("boolean", _) => format!("!({left})"),
        ("string", 2 | 3) => format!("({left} + {right})"),
        ("string", 4) => format!("string({one})"),
        ("string", _) => format!("[{left}, {right}].map(s, s + 'k').join('-')"),
        ("integer", 2) => format!("size({})", expression(picks, schema, "string", depth - 1)),
        ("integer", 3) => format!("[{left}, {right}].min()"),
        ("integer", 4) => format!("int({})", expression(picks, schema, "number", depth - 1)),
        (_, 2) => format!("double({})", expression(picks, schema, "integer", depth - 1)),
        (_, 3) => format!("[{left}, {right}].max()"),
        _ => {
            let operator = picks.of(&["+", "-", "*", "/"]);
            format!("({left} {operator} {right})")
        }
    }
}

fn leaf(picks: &mut Picks, schema: &Value, wanted: &str) -> String {
    if picks.one_in(4) {
        return match wanted {
            "string" => "'x'",
            "integer" => "7",
            "number" => "1.5",
            _ => "true",
        }
        .to_owned();
    }
    let mut found = Vec::new();
    paths(schema, "inputs", &[], wanted, &mut found);
    let fallback = match wanted {
        "string" => "''",
        "integer" => "0",
        "number" => "0.0",
        _ => "false",
    };
    let Some((path, optional)) = (!found.is_empty()).then(|| picks.of(&found)) else {
        return fallback.to_owned();
    };
    if optional.is_empty() {
        path.clone()
    } else {
        match picks.below(4) {
            0 => path.clone(),
            1 => {
                let guards: Vec<String> = optional.iter().map(|path| format!("has({path})")).collect();
                format!("({} ? {path} : {fallback})", guards.join(" && "))
            }
            2 => {
                let absent: Vec<String> = optional.iter().map(|path| format!("!has({path})")).collect();
                format!("({} ? {fallback} : {path})", absent.join(" || "))
            }
            _ => {
                let mut chained = path.clone();
                for at in optional.iter().rev() {
                    let (before, _) = at.rsplit_once('.').unwrap();
                    chained.insert(before.len() + 1, '?');
                }
                format!("{chained}.orValue({fallback})")
            }
        }
    }
}

/// The paths to values of a type, each with those on the way that may be absent.
fn paths(
    schema: &Value,
    at: &str,
    optional: &[String],
    wanted: &str,
    found: &mut Vec<(String, Vec<String>)>,
) {
    let is_text = schema["enum"].is_array() || schema["type"] == "string";
    if schema["type"] == wanted || wanted == "string" && is_text {
        found.push((at.to_owned(), optional.to_vec()));
    }
    if schema["type"] == "array" && schema["items"]["type"] == wanted && optional.is_empty() {
        found.push((format!("{at}[0]"), vec![]));
        if wanted == "boolean" {
            found.push((format!("{at}.all(x, x)"), vec![]));
        }
    }
    if schema["type"] == "array"
        && schema["items"]["type"] == "object"
        && wanted == "boolean"
        && optional.is_empty()
    {
        let item = &schema["items"];
        let mut inner = Vec::new();
        paths(item, "x", &[], "boolean", &mut inner);
        for (path, optional) in inner {
            let guards = optional.iter().map(|path| format!("has({path})"));
            let condition: Vec<String> = guards.chain([path]).collect();
            found.push((format!("{at}.exists(x, {})", condition.join(" && ")), vec![]));
        }
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        let below = format!("{at}.{name}");
        let mut optional = optional.to_vec();
        if !required.contains(&json!(name)) {
            optional.push(below.clone());
        }
        paths(part, &below, &optional, wanted, found);
    }
}

/// Whether an expression checks; if so it is evaluated, and may fail for nothing that its types say.
fn holds_what_its_type_says(source: &str, schema: &Value, inputs: &Value) -> bool {
    let Ok(program) = Program::parse(source, &Library::kubernetes()) else {
        return false;
    };
    let declared = type_of(schema, Defaults::Ignored);
    let declarations = Declarations {
        variables: [("inputs".to_owned(), declared.clone())].into(),
        ..Declarations::default()
    };
    let Ok(type_) = program.check(&declarations) else {
        return false;
    };
    let inputs = as_declared(inputs.clone(), &declared);
    let mut scope = Scope::default();
    scope.set("inputs", &inputs);
    match program.evaluate(&scope, &mut Budget::default()) {
        Ok(value) => {
            let given = value.type_of();
            let fits = match type_ {
                cel::StaticType::Scalar(type_) => given == type_,
                cel::StaticType::OneOf(_) => given == cel::Type::String,
                _ => true,
            };
            assert!(
                fits,
                "{source} gives {given:?} and not {type_} for {inputs} of {schema}"
            );
        }
        Err(cel::Error::BudgetExceeded(_) | cel::Error::Failed(_)) => {}
        Err(
            error @ (cel::Error::NoSuchKey(_)
            | cel::Error::NoSuchOverload(_)
            | cel::Error::UnknownVariable(_)),
        ) => panic!("{source} fails with {error} for {inputs} of {schema}"),
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_that_checks_never_fails_for_its_types(seed in any::<u64>()) {
        let picks = &mut Picks(seed);
        let schema = object_schema(picks, 3);
        let mut checked = 0;
        for _ in 0..40 {
            let wanted = *picks.of(&["string", "integer", "number", "boolean"]);
            let depth = picks.below(4);
            let source = expression(picks, &schema, wanted, depth);
            for _ in 0..3 {
                let inputs = value(picks, &schema);
                checked += usize::from(holds_what_its_type_says(&source, &schema, &inputs));
            }
        }
        // some are as they are meant, whatever the schema
        prop_assert!(checked >= 3, "only {checked} of 120 check with {schema}");
    }
}
