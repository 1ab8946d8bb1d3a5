//! The type of a resource.

use std::collections::BTreeMap;

use signoff_expression::{Field, ObjectType, StaticType, Type};

/// Content that lies in the object store.
pub(crate) fn resource() -> StaticType {
    let fields = fields().map(|(name, type_)| (name.to_owned(), Field::required(type_)));
    ObjectType::new(BTreeMap::from(fields), None)
        .called("field of a resource named")
        .into()
}

/// The contents of resources, by their digest.
pub(super) fn contents() -> StaticType {
    StaticType::map(
        StaticType::STRING,
        StaticType::map(StaticType::STRING, StaticType::STRING),
    )
}

fn fields() -> [(&'static str, StaticType); 4] {
    [
        ("ref", StaticType::STRING),
        ("size", StaticType::INT),
        ("mediaType", StaticType::STRING),
        ("sha256", StaticType::STRING),
    ]
}

/// Whether a value of a type may be a resource: it has all fields of one, and no others that are always there.
pub(crate) fn may_be_resource(type_: &StaticType) -> bool {
    match type_ {
        StaticType::Dyn => true,
        StaticType::Scalar(type_) => matches!(type_, Type::Dyn | Type::Map | Type::Optional),
        StaticType::Optional(inner) => may_be_resource(inner),
        StaticType::Map(entry) => may_be(&entry.1, &StaticType::Dyn),
        StaticType::Object(object) => {
            let has = |(name, wanted): (&str, StaticType)| {
                let field = object.fields().get(name).map(|field| &field.type_);
                field.or(object.rest()).is_some_and(|is| may_be(is, &wanted))
            };
            let known = fields().map(|(name, _)| name);
            let is_more =
                |(name, field): (&String, &Field)| field.is_required && !known.contains(&name.as_str());
            fields().into_iter().all(has) && !object.fields().iter().any(is_more)
        }
        StaticType::OneOf(_) | StaticType::List(_) | StaticType::TypeOf(_) | StaticType::Unresolved(_) => {
            false
        }
    }
}

/// Whether a value of a type may be one of another.
fn may_be(is: &StaticType, wanted: &StaticType) -> bool {
    match is {
        StaticType::Dyn => true,
        StaticType::Optional(inner) => may_be(inner, wanted),
        StaticType::OneOf(_) => *wanted == StaticType::STRING,
        StaticType::Scalar(_)
        | StaticType::List(_)
        | StaticType::Map(_)
        | StaticType::TypeOf(_)
        | StaticType::Object(_)
        | StaticType::Unresolved(_) => *wanted == StaticType::Dyn || is == wanted,
    }
}
