//! The generated definitions: in step with the types, documented and bounded.

use serde_json::Value;

fn each_schema(visit: &mut dyn FnMut(&str, &Value)) {
    fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, visit);
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"], visit);
        }
        if schema["additionalProperties"].is_object() {
            walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
        }
    }
    for crd in signoff_api::crds() {
        let kind = crd.spec.names.kind.clone();
        let schema = crd.spec.versions[0]
            .schema
            .clone()
            .unwrap()
            .open_api_v3_schema
            .unwrap();
        walk(&kind, &serde_json::to_value(&schema).unwrap(), visit);
    }
}

#[test]
fn the_files_in_crds_are_those_of_the_types() {
    for crd in signoff_api::crds() {
        let path = format!("crds/{}.yaml", crd.spec.names.plural);
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        let generated = serde_yaml::to_string(&crd).unwrap();
        assert!(
            there == generated,
            "{path} is not what the types say; mend it with: cargo run -- crds --dir crds"
        );
    }
    let files = std::fs::read_dir("crds").unwrap().count();
    assert_eq!(
        files,
        signoff_api::crds().len(),
        "a file in crds/ belongs to no kind"
    );
}

#[test]
fn rules_spell_fields_whose_names_are_reserved_as_kubernetes_does() {
    let reserved = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let mut rules = 0;
    each_schema(&mut |path, schema| {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            rules += 1;
            let rule = rule["rule"].as_str().unwrap();
            let words = rule.split(|c: char| !c.is_ascii_alphanumeric() && !"_.?".contains(c));
            for field in words.flat_map(|word| word.split('.').skip(1)) {
                let field = field.trim_start_matches('?');
                assert!(!reserved.contains(&field), "{path}: {rule}: write __{field}__");
            }
        }
    });
    assert!(rules > 20, "{rules}");
}

#[test]
fn every_field_is_documented_for_kubectl_explain() {
    let mut missing = Vec::new();
    each_schema(&mut |path, schema| {
        let named_field = path.contains('.') && !path.ends_with("[]") && !path.ends_with("{}");
        if named_field && schema["description"].as_str().is_none_or(str::is_empty) {
            missing.push(path.to_owned());
        }
    });
    // the status and spec of a kind are described by what is in them
    missing.retain(|path| path.matches('.').count() > 1);
    assert!(
        missing.is_empty(),
        "these fields need a doc comment: {missing:#?}"
    );
}

#[test]
fn every_string_and_list_has_a_bound() {
    let mut unbounded = Vec::new();
    each_schema(&mut |path, schema| {
        // conditions are the upstream type, whose strings the API server bounds by size; times and enums are bounded by form
        let exempt =
            path.contains(".conditions[]") || schema["format"] == "date-time" || schema["enum"].is_array();
        let bounded = match schema["type"].as_str() {
            Some("string") => schema["maxLength"].is_number(),
            Some("array") => schema["maxItems"].is_number(),
            _ => true,
        };
        // values of string maps are bounded by the map's own bound and the size of an object
        if !exempt && !bounded && !path.ends_with("{}") {
            unbounded.push(path.to_owned());
        }
    });
    assert!(unbounded.is_empty(), "these need a bound: {unbounded:#?}");
}

#[test]
fn no_number_has_an_unsigned_format() {
    each_schema(&mut |path, schema| {
        let format = schema["format"].as_str().unwrap_or_default();
        assert!(
            !format.starts_with("uint"),
            "{path} has format {format}, which Kubernetes does not know"
        );
    });
}

/// The admission policy of Connections refuses a Connection whose writer may not read the Secrets that it names. A Secret
/// that the policy does not know would be sent for anybody.
#[test]
fn the_policy_of_connections_checks_every_secret_that_they_can_name() {
    let policy = "charts/signoff/files/policies/validating/connections.yaml";
    let policy = std::fs::read_to_string(policy).unwrap();
    let (mut places, mut unchecked) = (0, Vec::new());
    each_schema(&mut |path, schema| {
        let keys: Vec<&str> = schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|properties| properties.keys().map(String::as_str))
            .collect();
        let Some(field) = path.strip_prefix("Connection.spec.") else {
            return;
        };
        if keys == ["key", "name"] {
            places += 1;
            let read = format!("object.spec.?{}.?name", field.replace('.', ".?"));
            if !policy.contains(&read) {
                unchecked.push(field.to_owned());
            }
        }
    });
    assert!(places >= 6, "only {places} Secrets were found in the schema");
    assert!(unchecked.is_empty(), "the policy does not check {unchecked:?}");
}

#[test]
fn no_rule_reads_a_field_that_an_api_server_does_not_know_in_rules() {
    let mut rules = 0;
    each_schema(&mut |path, schema| {
        let properties = schema["properties"].as_object();
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let rule = rule["rule"].as_str().unwrap();
            for read in rule.split("self.").skip(1) {
                let end = read
                    .find(|c: char| !c.is_ascii_alphanumeric())
                    .unwrap_or(read.len());
                let Some(field) = properties.and_then(|properties| properties.get(&read[..end])) else {
                    continue;
                };
                let is_typed = field["type"].is_string() || field["x-kubernetes-int-or-string"] == true;
                assert!(is_typed, "{path}: {rule}: {} has no type", &read[..end]);
                rules += 1;
            }
        }
    });
    assert!(rules > 50, "{rules}");
}
