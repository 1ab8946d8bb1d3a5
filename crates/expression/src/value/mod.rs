//! Values. They share what they are made of: neither the scope nor a list is copied to be looked at.

mod collections;
mod json;
pub(crate) mod number;
mod shown;
mod text;

use std::{any::Any, fmt, sync::Arc};

use serde_json::Value as Json;

pub use collections::{Key, List, Map};
pub use text::Text;

use crate::{
    library::{
        cidr::Cidr, named_format::NamedFormat, quantity::Quantity, semver::Semver, time::Moment, url::Url,
    },
    types::Type,
};

/// A value, made of the scope and the expression it comes from.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer without a sign.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// A moment.
    Timestamp(Moment),
    /// A length of time, in nanoseconds.
    Duration(i64),
    /// A type.
    Type(Type),
    /// A value, or none.
    Optional(Option<Arc<Value<'a>>>),
    /// An IP address.
    Ip(std::net::IpAddr),
    /// A range of IP addresses.
    Cidr(Cidr),
    /// A URL.
    Url(Arc<Url>),
    /// A quantity.
    Quantity(Arc<Quantity>),
    /// A semantic version.
    Semver(Arc<Semver>),
    /// A named format.
    Format(&'static NamedFormat),
    /// A value of the host's own.
    Host(Arc<dyn HostValue>),
}

/// A value that only the host knows: expressions hand it on and call the host's functions with it.
pub trait HostValue: Any + fmt::Debug + Send + Sync {
    /// The name of its type.
    fn type_name(&self) -> &'static str;
    /// Whether it is the same as another of its type.
    fn is_equal(&self, other: &dyn HostValue) -> bool;
    /// For the host's functions to get back what they made.
    fn as_any(&self) -> &dyn Any;
}

impl<'a> Value<'a> {
    /// Its type.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::List(_) => Type::List,
            Self::Map(_) => Type::Map,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::Type(_) => Type::Type,
            Self::Optional(_) => Type::Optional,
            Self::Ip(_) => Type::Ip,
            Self::Cidr(_) => Type::Cidr,
            Self::Url(_) => Type::Url,
            Self::Quantity(_) => Type::Quantity,
            Self::Semver(_) => Type::Semver,
            Self::Format(_) => Type::Format,
            Self::Host(value) => Type::Host(value.type_name()),
        }
    }

    /// An optional that has a value.
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// Text.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::String(text.into())
    }
}

impl<'a> From<&'a Json> for Value<'a> {
    /// Numbers are as Kubernetes reads them: an integer where they are one and fit.
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Bool(*truth),
            Json::Number(number) => number
                .as_i64()
                .map_or_else(|| Self::Double(number.as_f64().unwrap_or(f64::NAN)), Self::Int),
            Json::String(text) => Self::String(Text::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(map) => Self::Map(Map::Json(map)),
        }
    }
}
