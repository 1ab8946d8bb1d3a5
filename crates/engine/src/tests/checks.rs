//! What is refused before a release is cut, in whole flows.

use super::*;

fn problems(definition: Value) -> Vec<String> {
    let definition: Definition = serde_json::from_value(definition).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    let problems = problems.into_iter();
    problems
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

#[test]
fn the_schema_of_a_response_is_the_type_of_its_body() {
    let flow = |http: Value, output: &str| {
        let mut http = http;
        http["url"] = json!("http://h/");
        http["schema"] = json!({"type": "object", "required": ["total"], "additionalProperties": false,
            "properties": {"total": {"type": "number"}, "note": {"type": "string"}}});
        json!({"steps": [{"name": "a", "http": http}], "output": {"v": output}})
    };
    let right =
        json!({"expect": {"when": "${response.body.total * 1.5 > 1.0}"}, "output": "${response.body.total}"});
    assert_eq!(
        problems(flow(right, "${steps.a.output * 1.5}")),
        Vec::<String>::new()
    );
    assert_eq!(
        problems(flow(json!({}), "${steps.a.output.total * 1.5}")),
        Vec::<String>::new()
    );
    for (http, output, part) in [
        (
            json!({"expect": {"when": "${response.body.totl > 1.0}"}}),
            "x",
            "totl",
        ),
        (json!({"output": "${response.body.totl}"}), "x", "totl"),
        (json!({}), "${steps.a.output.totl}", "totl"),
        (
            json!({}),
            "${steps.a.output.total == 'x'}",
            "double and string are never equal",
        ),
        (json!({}), "${steps.a.output.note}", "note"),
    ] {
        let found = problems(flow(http.clone(), output));
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{http} {output}: {found:?}"
        );
    }
}

#[test]
fn a_long_flow_whose_steps_read_many_others_is_checked_in_work_that_grows_with_it() {
    let mut steps = vec![json!({"name": "s0", "set": {"v": "1"}})];
    steps.extend((1..200_usize).map(|n| {
        let all: Vec<String> = (n.saturating_sub(60)..n)
            .map(|other| format!("steps.s{other}.output.v"))
            .collect();
        json!({"name": format!("s{n}"), "when": format!("${{steps.s{}.outcome == 'Succeeded'}}", n - 1),
            "set": {"v": format!("${{{}}}", all.join(" + "))}})
    }));
    assert_eq!(problems(json!({"steps": steps})), Vec::<String>::new());
    let graph: Vec<Value> = (0..200_usize)
        .map(|n| {
            let needs: Vec<String> = (n.saturating_sub(64)..n)
                .map(|other| format!("s{other}"))
                .collect();
            json!({"name": format!("s{n}"), "needs": needs, "set": {"v": "1"}})
        })
        .collect();
    assert_eq!(problems(json!({"steps": graph})), Vec::<String>::new());
}

fn of_inputs(inputs: &Value, expression: &str) -> Vec<String> {
    problems(json!({ "inputs": inputs, "steps": [{ "name": "s", "set": { "v": expression } }] }))
}

#[test]
fn inputs_are_objects_and_their_defaults_fit() {
    let property = |schema: Value| json!({ "type": "object", "properties": { "a": schema } });
    for right in [
        json!({ "type": ["object", "null"] }),
        property(json!({ "type": "string", "default": "x" })),
        property(
            json!({ "type": "object", "required": ["b"], "properties": { "b": { "type": "string", "default": "x" } } }),
        ),
        json!({ "type": "object", "required": ["z"], "properties": { "a": { "$ref": "#/$defs/t", "default": 1 }, "z": {} },
            "$defs": { "t": { "type": "integer" } } }),
    ] {
        assert_eq!(of_inputs(&right, "x"), Vec::<String>::new(), "{right}");
    }
    for (wrong, field) in [
        (json!({ "type": "array" }), "inputs.type: "),
        (
            property(json!({ "type": "string", "default": 5 })),
            "inputs.properties.a.default: ",
        ),
        (
            property(json!({ "enum": ["a"], "default": "zz" })),
            "inputs.properties.a.default: ",
        ),
        (
            property(json!({ "type": "array", "items": { "type": "string" }, "default": [1] })),
            "inputs.properties.a.default: ",
        ),
        (
            property(json!({ "type": "object", "properties": { "b": { "type": "string", "default": 5 } } })),
            "inputs.properties.a.properties.b.default: ",
        ),
    ] {
        let found = of_inputs(&wrong, "x");
        assert!(
            found.len() == 1 && found[0].starts_with(field),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn what_no_flow_may_have_is_told_and_a_release_that_was_cut_runs_on() {
    let property = |schema: Value| json!({ "type": "object", "properties": { "a": schema } });
    let deep = (0..9).fold(json!({}), |schema, _| property(schema));
    let large = property(json!({ "description": "x".repeat(33_000) }));
    let step = |extra: Value| {
        let mut step = json!({ "name": "s", "set": {} });
        step.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!({ "steps": [step] })
    };
    let every = |every: &str| step(json!({ "repeat": { "until": "${true}", "every": every } }));
    let steps = json!([{ "name": "s", "set": {} }]);
    for (flow, part) in [
        (
            json!({ "inputs": deep, "steps": steps }),
            "inputs: the schema has 10 schemas within each other",
        ),
        (
            json!({ "inputs": large, "steps": steps }),
            "inputs: the schema has 330",
        ),
        (
            json!({ "inputs": property(json!({ "const": "${1}" })), "steps": steps }),
            "inputs: a schema has no `${…}`",
        ),
        (
            every("${5}"),
            "steps[0].repeat.every: it gives a duration, not int",
        ),
        (
            json!({ "steps": [{ "name": "s", "http": { "url": "http://x/" }, "timeout": "11m" }] }),
            "steps[0].timeout: an attempt takes at most 10m",
        ),
    ] {
        let found = problems(flow.clone());
        assert!(
            found.len() == 1 && found[0].starts_with(part),
            "{part}: {found:?}"
        );
        assert!(
            Plan::of_release(&serde_json::from_value(flow).unwrap()).is_ok(),
            "{part}"
        );
    }
    assert_eq!(problems(every("${'5s'}")), Vec::<String>::new());
}

#[test]
fn a_key_that_is_in_a_map_is_there_and_so_is_what_a_part_of_a_schema_requires() {
    let plain = json!({ "type": "object", "properties": { "c": { "type": "string" } } });
    assert_eq!(
        of_inputs(&plain, "${'c' in inputs ? inputs.c : ''}"),
        Vec::<String>::new()
    );
    assert_eq!(of_inputs(&plain, "${'d' in inputs ? inputs.c : ''}").len(), 1);
    assert_eq!(of_inputs(&plain, "${!('c' in inputs) ? inputs.c : ''}").len(), 1);
    let text = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } });
    let referred = json!({ "$ref": "#/$defs/i", "$defs": { "i": text } });
    let all = json!({ "type": "object", "allOf": [text], "properties": {} });
    for schema in [referred, all] {
        assert_eq!(of_inputs(&schema, "${inputs.a + 'x'}"), Vec::<String>::new());
        let found = of_inputs(&schema, "${inputs.a + 1}");
        assert!(found.len() == 1 && !found[0].contains("absent"), "{found:?}");
    }
}
