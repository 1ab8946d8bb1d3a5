//! Types as they are known before anything is evaluated.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use crate::types::Type;

/// Most parts of a type. A larger one counts as [`StaticType::Dyn`], so that no expression can make types grow without end.
const MAX_PARTS: usize = 1_000;

/// What is known of a value before it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticType {
    /// Nothing is known: every use is allowed, and checked when it is evaluated.
    Dyn,
    /// A type without parameters.
    Scalar(Type),
    /// A string that is one of these.
    OneOf(Arc<BTreeSet<String>>),
    /// A list of such values.
    List(Arc<StaticType>),
    /// A map from such keys to such values.
    Map(Arc<(StaticType, StaticType)>),
    /// A value that may be absent.
    Optional(Arc<StaticType>),
    /// A type as a value.
    TypeOf(Arc<StaticType>),
    /// A map whose keys are known.
    Object(Arc<ObjectType>),
    /// A type that is found while an expression is checked. A finished check gives none.
    Unresolved(usize),
}

/// A map whose keys are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectType {
    fields: BTreeMap<String, Field>,
    rest: Option<StaticType>,
    values: StaticType,
    noun: &'static str,
    explained: BTreeMap<String, String>,
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its type, where it is there.
    pub type_: StaticType,
    /// Whether it is always there.
    pub is_required: bool,
}

impl Field {
    /// A field that is always there.
    pub fn required(type_: StaticType) -> Self {
        Self {
            type_,
            is_required: true,
        }
    }

    /// A field that may be absent.
    pub fn optional(type_: StaticType) -> Self {
        Self {
            type_,
            is_required: false,
        }
    }
}

impl ObjectType {
    /// An object with these fields, and no others unless they have a type too.
    pub fn new(fields: BTreeMap<String, Field>, rest: Option<StaticType>) -> Self {
        let values = {
            let mut types = fields.values().map(|field| &field.type_).chain(&rest);
            match types.next() {
                Some(first) if types.all(|type_| type_ == first) => first.clone(),
                _ => StaticType::Dyn,
            }
        };
        Self {
            fields,
            rest,
            values,
            noun: "field",
            explained: BTreeMap::new(),
        }
    }

    /// The same, with what its fields are called in messages.
    #[must_use]
    pub fn called(self, noun: &'static str) -> Self {
        Self { noun, ..self }
    }

    /// The same, with what to say of names that are no fields although people may think so.
    #[must_use]
    pub fn explaining(self, explained: BTreeMap<String, String>) -> Self {
        Self { explained, ..self }
    }

    /// Its fields.
    pub fn fields(&self) -> &BTreeMap<String, Field> {
        &self.fields
    }

    /// The type of fields that are not listed, if there may be any.
    pub fn rest(&self) -> Option<&StaticType> {
        self.rest.as_ref()
    }

    /// The type that every value in it has.
    pub(super) fn values(&self) -> &StaticType {
        &self.values
    }

    pub(super) fn noun(&self) -> &'static str {
        self.noun
    }

    pub(super) fn explained(&self, name: &str) -> Option<&str> {
        self.explained.get(name).map(String::as_str)
    }
}

impl From<ObjectType> for StaticType {
    fn from(object: ObjectType) -> Self {
        Self::Object(Arc::new(object))
    }
}

impl From<Type> for StaticType {
    /// A declared type without its parameters: any value may be in a list, map or optional.
    fn from(type_: Type) -> Self {
        match type_ {
            Type::Dyn => Self::Dyn,
            Type::List => Self::list(Self::Dyn),
            Type::Map => Self::map(Self::Dyn, Self::Dyn),
            Type::Optional => Self::optional(Self::Dyn),
            Type::Type => Self::type_of(Self::Dyn),
            Type::Null
            | Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Timestamp
            | Type::Duration
            | Type::Ip
            | Type::Cidr
            | Type::Url
            | Type::Quantity
            | Type::Semver
            | Type::Format
            | Type::Host(_) => Self::Scalar(type_),
        }
    }
}

impl StaticType {
    /// A boolean.
    pub const BOOL: Self = Self::Scalar(Type::Bool);
    /// A 64-bit integer.
    pub const INT: Self = Self::Scalar(Type::Int);
    /// A floating-point number.
    pub const DOUBLE: Self = Self::Scalar(Type::Double);
    /// Text.
    pub const STRING: Self = Self::Scalar(Type::String);

    /// A list of such values.
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item)).bounded()
    }

    /// A map from such keys to such values.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value))).bounded()
    }

    /// Such a value, or none.
    pub fn optional(value: Self) -> Self {
        Self::Optional(Arc::new(value)).bounded()
    }

    /// Such a type as a value.
    pub fn type_of(type_: Self) -> Self {
        Self::TypeOf(Arc::new(type_)).bounded()
    }

    /// A string that is one of these.
    pub fn one_of<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::OneOf(Arc::new(values.into_iter().map(Into::into).collect()))
    }

    fn bounded(self) -> Self {
        if self.parts(MAX_PARTS) > MAX_PARTS {
            Self::Dyn
        } else {
            self
        }
    }

    /// How many parts it has; more than `most` are not counted to their end.
    fn parts(&self, most: usize) -> usize {
        match self {
            Self::Dyn | Self::Scalar(_) | Self::OneOf(_) | Self::Object(_) | Self::Unresolved(_) => 1,
            Self::List(inner) | Self::Optional(inner) | Self::TypeOf(inner) => {
                if most == 0 {
                    return 1;
                }
                1 + inner.parts(most - 1)
            }
            Self::Map(parts) => {
                if most == 0 {
                    return 1;
                }
                let keys = parts.0.parts(most - 1);
                1 + keys + parts.1.parts(most.saturating_sub(1 + keys))
            }
        }
    }

    /// Whether nothing is known of it.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    /// What is known of a string beside that it is one is lost.
    pub(super) fn widened(self) -> Self {
        match self {
            Self::OneOf(_) => Self::STRING,
            other => other,
        }
    }
}

impl fmt::Display for StaticType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::Unresolved(_) => f.write_str("dyn"),
            Self::Scalar(Type::Null) => f.write_str("null"),
            Self::Scalar(Type::Timestamp) => f.write_str("timestamp"),
            Self::Scalar(Type::Duration) => f.write_str("duration"),
            Self::Scalar(type_) => f.write_str(type_.name()),
            Self::OneOf(_) => f.write_str("string"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(parts) => write!(f, "map({}, {})", parts.0, parts.1),
            Self::Optional(value) => write!(f, "optional({value})"),
            Self::TypeOf(type_) => write!(f, "type({type_})"),
            Self::Object(_) => f.write_str("object"),
        }
    }
}
