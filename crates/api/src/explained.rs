//! Field documentation as `kubectl explain` prints it: it breaks lines itself, where the terminal ends.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// The same definition, with each paragraph of its documentation on one line.
pub(crate) fn in_paragraphs(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let versions = crd.spec.versions.iter_mut();
    let schemas = versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(schema);
    crd
}

fn schema(schema_of: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema_of.description {
        *description = paragraphs(description);
    }
    schema_of
        .properties
        .iter_mut()
        .flat_map(|fields| fields.values_mut())
        .for_each(schema);
    match &mut schema_of.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => schema(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(schema),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema_of.additional_properties {
        schema(values);
    }
}

/// A text without the line breaks within its paragraphs.
fn paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let words = paragraph.lines().map(str::trim);
        words.collect::<Vec<_>>().join(" ")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str, schema_of: &JSONSchemaProps, told: &mut Vec<(String, String)>) {
        told.extend(schema_of.description.clone().map(|text| (path.to_owned(), text)));
        for (name, field) in schema_of.properties.iter().flatten() {
            walk(&format!("{path}.{name}"), field, told);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema_of.items {
            walk(&format!("{path}[]"), items, told);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema_of.additional_properties {
            walk(&format!("{path}{{}}"), values, told);
        }
    }

    fn all() -> Vec<(String, String)> {
        let mut told = Vec::new();
        for crd in crate::crds() {
            for version in &crd.spec.versions {
                let known = version
                    .schema
                    .as_ref()
                    .and_then(|schema| schema.open_api_v3_schema.as_ref());
                walk(&crd.spec.names.kind, known.unwrap(), &mut told);
            }
        }
        assert!(told.len() > 500, "{}", told.len());
        told
    }

    #[test]
    fn no_line_of_a_field_ends_before_its_paragraph() {
        for (field, text) in all() {
            for paragraph in text.split("\n\n") {
                assert!(!paragraph.contains('\n'), "{field}: {text:?}");
            }
        }
    }

    #[test]
    fn a_round_of_a_step_is_a_pass_in_every_text() {
        for (field, text) in all() {
            assert!(!text.to_lowercase().contains("iteration"), "{field}: {text:?}");
        }
    }

    #[test]
    fn paragraphs_stay_apart() {
        assert_eq!(paragraphs("one\ntwo\n\nthree\n four"), "one two\n\nthree four");
    }
}
