//! Values drawn from the schemas of our kinds: valid ones at random, and for each field those at and beyond its bounds.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bounds of a schema are whole numbers, and those of lengths small"
)]

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use proptest::{prelude::*, strategy::ValueTree as _, string::string_regex, test_runner::TestRunner};
use serde_json::{Map, Value, json};

/// One of our kinds.
pub struct Kind {
    pub name: String,
    pub plural: String,
    pub schema: Value,
}

/// All of them.
pub fn kinds() -> Vec<Kind> {
    let of = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        Kind {
            name: crd.spec.names.kind,
            plural: crd.spec.names.plural,
            schema: serde_json::to_value(schema).unwrap(),
        }
    };
    signoff_api::crds().into_iter().map(of).collect()
}

/// The schema as JSON Schema, in which what may be null says so by its type.
pub fn json_schema(schema: &Value) -> Value {
    let mut schema = schema.clone();
    convert(&mut schema);
    schema
}

fn convert(schema: &mut Value) {
    if schema["format"] == json!("int64") {
        for (key, bound) in [("minimum", i64::MIN), ("maximum", i64::MAX)] {
            if schema[key].is_null() {
                schema[key] = json!(bound);
            }
        }
    }
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        schema["type"] = if schema["nullable"] == json!(true) {
            json!(["integer", "string", "null"])
        } else {
            json!(["integer", "string"])
        };
    }
    if schema["nullable"] == json!(true) {
        if let Some(of) = schema["type"].as_str().map(str::to_owned) {
            schema["type"] = json!([of, "null"]);
        }
        if let Some(options) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            options.push(Value::Null);
        }
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            convert(&mut schema[key]);
        }
    }
    for property in schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        convert(property.1);
    }
}

/// A field of a kind.
pub struct Field {
    /// The way there: names of properties, with `[]` for any item of a list and `{}` for any value of a map.
    pub path: Vec<String>,
    pub schema: Value,
}

/// Every field of a schema that holds no further ones.
pub fn leaves(schema: &Value) -> Vec<Field> {
    fn walk(path: &[String], schema: &Value, found: &mut Vec<Field>) {
        let mut inner: Vec<(String, &Value)> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, property)| (name.clone(), property))
            .collect();
        if schema["items"].is_object() {
            inner.push(("[]".to_owned(), &schema["items"]));
        }
        if schema["additionalProperties"].is_object() {
            inner.push(("{}".to_owned(), &schema["additionalProperties"]));
        }
        // a list and a map have bounds of their own
        if inner.is_empty() || schema["items"].is_object() || schema["additionalProperties"].is_object() {
            found.push(Field {
                path: path.to_vec(),
                schema: schema.clone(),
            });
        }
        for (name, schema) in inner {
            let path: Vec<String> = path.iter().cloned().chain([name]).collect();
            walk(&path, schema, found);
        }
    }
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        if schema["properties"][part].is_object() {
            walk(&[part.to_owned()], &schema["properties"][part], &mut found);
        }
    }
    // a step of `finally` has the fields of any other step, read by the same parser
    let of_steps: BTreeMap<Vec<String>, Value> = found
        .iter()
        .filter(|field| field.path.iter().any(|part| part == "steps"))
        .map(|field| (field.path.clone(), field.schema.clone()))
        .collect();
    found.retain(|field| {
        let mut twin = field.path.clone();
        let finally = twin.iter_mut().find(|part| *part == "finally");
        let is_finally = finally.map(|part| "steps".clone_into(part)).is_some();
        !is_finally || of_steps.get(&twin) != Some(&field.schema)
    });
    found
}

/// What draws at random, the same each time.
pub struct Draw(TestRunner);

impl Default for Draw {
    fn default() -> Self {
        Self(TestRunner::deterministic())
    }
}

impl Draw {
    fn one<T: std::fmt::Debug>(&mut self, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.0).unwrap().current()
    }

    fn often(&mut self) -> bool {
        self.one(any::<bool>())
    }

    /// A valid value of a schema. The deeper it lies, the less of what may be left out is there.
    pub fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if schema["nullable"] == json!(true) && self.one(0..20) == 0 {
            return Value::Null;
        }
        if let Some(options) = schema["enum"].as_array() {
            let some: Vec<&Value> = options.iter().filter(|option| !option.is_null()).collect();
            return some[self.one(0..some.len())].clone();
        }
        if schema["x-kubernetes-int-or-string"] == json!(true) {
            let type_ = if self.often() { "integer" } else { "string" };
            let mut one = schema.clone();
            one["x-kubernetes-int-or-string"] = json!(false);
            one["type"] = json!(type_);
            return self.value(&one, depth);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, depth),
            Some("array") => {
                let least = length(schema, "minItems", 0);
                let most = length(schema, "maxItems", 2).min(least + 2);
                let count = self.one(least..=most);
                (0..count)
                    .map(|_| self.value(&schema["items"], depth + 1))
                    .collect()
            }
            Some("string") => Value::from(self.text(schema)),
            Some("integer") => {
                let least = schema["minimum"].as_f64().map_or(i64::MIN, whole);
                let most = schema["maximum"].as_f64().map_or(i64::MAX, whole);
                Value::from(self.one(prop_oneof![Just(least), Just(most), least..=most]))
            }
            Some("boolean") => Value::from(self.often()),
            Some(other) => panic!("no such type: {other}"),
            None => self.anything(3),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        let required = names(&schema["required"]);
        let forms = schema["oneOf"].as_array().cloned().unwrap_or_default();
        let alternatives: Vec<String> = forms.iter().flat_map(|form| names(&form["required"])).collect();
        let chosen = if forms.is_empty() {
            Vec::new()
        } else {
            names(&forms[self.one(0..forms.len())]["required"])
        };
        for (name, property) in properties {
            let wanted = required.contains(name)
                || chosen.contains(name)
                || (!alternatives.contains(name) && depth < 8 && self.often());
            if wanted {
                object.insert(name.clone(), self.present(property, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() {
            let most = length(schema, "maxProperties", 2).min(2);
            for number in 0..self.one(0..=most) {
                let value = self.value(&schema["additionalProperties"], depth + 1);
                object.insert(format!("key-{number}.1"), value);
            }
        } else if properties.is_empty() && schema["x-kubernetes-preserve-unknown-fields"] == json!(true) {
            object.insert("any".to_owned(), self.anything(3));
        }
        Value::Object(object)
    }

    /// A value that is not null, as what is required is.
    fn present(&mut self, schema: &Value, depth: usize) -> Value {
        let mut schema = schema.clone();
        if let Some(map) = schema.as_object_mut() {
            map.remove("nullable");
        }
        self.value(&schema, depth)
    }

    /// A text that a schema of type string takes.
    pub fn text(&mut self, schema: &Value) -> String {
        let (least, most) = (length(schema, "minLength", 0), length(schema, "maxLength", 64));
        let pattern = match schema["pattern"].as_str() {
            Some(pattern) => match pattern.strip_suffix('$') {
                Some(whole) => whole.to_owned(),
                None => format!("{pattern}[a-z./]{{1,20}}"),
            },
            None => format!("\\PC{{{least},{}}}", most.min(least + 40)),
        };
        let strategy = string_regex(pattern.trim_start_matches('^')).unwrap();
        loop {
            let mut text = self.one(&strategy);
            if schema["format"] == json!("date-time") && matches!(text.get(8..10), Some("29" | "30" | "31")) {
                // whether a month has such a day is for the format to say
                text.replace_range(8..10, "28");
            }
            if (least..=most).contains(&text.chars().count()) {
                return text;
            }
        }
    }

    fn anything(&mut self, levels: usize) -> Value {
        match self.one(0..if levels == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => Value::from(self.often()),
            2 => Value::from(self.one(any::<i64>())),
            3 => json!(self.one(-1e9..1e9_f64)),
            4 => Value::from(self.one("\\PC{0,12}")),
            5 => json!([self.anything(levels - 1), self.anything(levels - 1)]),
            _ => json!({ "a": self.anything(levels - 1), "b": self.anything(levels - 1) }),
        }
    }
}

/// The least that a schema takes, with what lies at a path put there as it is. Rules are not looked at.
pub fn with(schema: &Value, path: &[String], value: &Value) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return value.clone();
    };
    match first.as_str() {
        "[]" => json!([with(&schema["items"], rest, value)]),
        "{}" => json!({ "key": with(&schema["additionalProperties"], rest, value) }),
        name => {
            let mut object = least(schema);
            let forms: Vec<String> = schema["oneOf"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|form| names(&form["required"]))
                .collect();
            if forms.iter().any(|form| form == name) {
                for form in &forms {
                    object.as_object_mut().unwrap().remove(form);
                }
            }
            object[name] = with(&schema["properties"][name], rest, value);
            object
        }
    }
}

/// The least that a schema takes.
pub fn least(schema: &Value) -> Value {
    if let Some(options) = schema["enum"].as_array() {
        return options[0].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let first = schema["oneOf"][0]["required"].clone();
            let wanted = names(&schema["required"]).into_iter().chain(names(&first));
            let fields = wanted.map(|name| (name.clone(), least(&schema["properties"][&name])));
            Value::Object(fields.collect())
        }
        Some("array") => {
            let count = length(schema, "minItems", 0);
            (0..count).map(|_| least(&schema["items"])).collect()
        }
        Some("string") if schema["pattern"].is_string() => Value::from(short_text(schema)),
        Some("string") => Value::from("x".repeat(length(schema, "minLength", 0).max(1))),
        Some("integer") => json!(schema["minimum"].as_f64().map_or(1, whole)),
        Some("boolean") => json!(false),
        _ => json!({}),
    }
}

/// A short text that a schema with a pattern takes: the same each time, and drawn once, since drawing takes long.
fn short_text(schema: &Value) -> String {
    static DRAWN: LazyLock<Mutex<BTreeMap<String, String>>> = LazyLock::new(Mutex::default);
    let mut schema = schema.clone();
    schema["maxLength"] = json!(length(&schema, "maxLength", 71).min(71));
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let text = drawn
        .entry(schema.to_string())
        .or_insert_with(|| Draw::default().text(&schema));
    text.clone()
}

/// Values at the bounds of a field and beyond them, as JSON texts. Each is refused by the schema, or has to be borne by whoever reads it.
pub fn poisons(schema: &Value) -> Vec<String> {
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        let of = |type_: &str| {
            let mut one = schema.clone();
            one["x-kubernetes-int-or-string"] = json!(false);
            one["type"] = json!(type_);
            poisons(&one)
        };
        return of("integer").into_iter().chain(of("string")).collect();
    }
    let lists = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mut all: Vec<Value> = vec![Value::Null, json!(false), json!(-1), json!(0), json!("")];
    match schema["type"].as_str() {
        Some("string") => {
            let most = length(schema, "maxLength", 64);
            all.extend([
                json!("x".repeat(most)),
                json!("x".repeat(most + 1)),
                json!("é".repeat(most)),
            ]);
            all.extend(
                [
                    "../../x",
                    "a/b",
                    "a%2Fb",
                    "\u{0}",
                    "\u{202e}\u{ad}",
                    "-",
                    ".",
                    "0s",
                    "40000d",
                    "99999999999s",
                    "800d",
                    "9999d99999h9999999m999999999s999999999999ms",
                    "0000-01-01T00:00:00Z",
                    "9999-12-31T23:59:59Z",
                    "2026-02-30T00:00:00Z",
                    "2026-01-01T00:00:00x5Z",
                    "2026-01-01T00:00:00+99:99",
                    "sha256:0",
                    "${",
                    "${!!(!!(true))}",
                    "http://[::1",
                    "(?=x)[",
                ]
                .map(Value::from),
            );
            if schema["pattern"].is_string() {
                let mut draw = Draw::default();
                all.extend((0..3).map(|_| Value::from(draw.text(schema))));
            }
            all.extend(schema["enum"].as_array().into_iter().flatten().cloned());
        }
        Some("integer") => {
            let bounds = [&schema["minimum"], &schema["maximum"]];
            let bounds = bounds.into_iter().filter_map(Value::as_f64).map(whole);
            all.extend(bounds.flat_map(|bound| [json!(bound - 1), json!(bound), json!(bound + 1)]));
            all.extend([
                json!(i64::MIN),
                json!(i64::MAX),
                json!(u64::MAX),
                json!(1e30),
                json!(1.5),
                json!(1.0),
            ]);
        }
        Some("array") => {
            let most = length(schema, "maxItems", 8);
            let item = least(&schema["items"]);
            all.extend([json!([]), Value::Array(vec![item; most.min(300) + 1])]);
        }
        Some("object" | "boolean") => all.push(json!({})),
        _ => {}
    }
    let mut texts: Vec<String> = all.iter().map(Value::to_string).collect();
    texts.extend([lists(33), lists(124), lists(10_000)]);
    texts.extend([
        format!("{{\"a\":{}}}", lists(124)),
        format!("{{\"a\":{}}}", lists(9_000)),
    ]);
    texts.push("1e400".to_owned());
    texts
}

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

fn length(schema: &Value, key: &str, otherwise: usize) -> usize {
    let given = schema[key]
        .as_u64()
        .or_else(|| schema[key].as_f64().map(|given| given as u64));
    given.map_or(otherwise, |given| usize::try_from(given).unwrap())
}

fn whole(number: f64) -> i64 {
    number as i64
}
