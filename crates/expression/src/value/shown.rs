//! Values as CEL would write them, for messages and comparisons.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Value, number};
use crate::library::time;

impl Value<'_> {
    /// The value in a form that says its type too. It is as long as the value is, and not for messages to strangers.
    pub fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(truth) => truth.to_string(),
            Self::Int(int) => int.to_string(),
            Self::Uint(uint) => format!("{uint}u"),
            Self::Double(double) => format!("double({})", number::general(*double)),
            Self::String(text) => serde_json::Value::from(&**text).to_string(),
            Self::Bytes(bytes) => format!("bytes({})", STANDARD.encode(bytes)),
            Self::List(list) => {
                let items: Vec<String> = list.iter().map(|item| item.shown()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(map) => {
                let mut entries: Vec<String> = map
                    .entries()
                    .map(|(key, value)| format!("{}: {}", Value::from(key).shown(), value.shown()))
                    .collect();
                entries.sort();
                format!("{{{}}}", entries.join(", "))
            }
            Self::Timestamp(at) => format!("timestamp({at})"),
            Self::Duration(nanos) => format!("duration({})", time::duration_text(*nanos)),
            Self::Type(type_) => format!("type({})", type_.name()),
            Self::Optional(None) => "optional.none()".to_owned(),
            Self::Optional(Some(value)) => format!("optional.of({})", value.shown()),
            Self::Ip(address) => format!("ip({address})"),
            Self::Cidr(range) => format!("cidr({range})"),
            Self::Url(url) => format!("url({url})"),
            Self::Quantity(_) => "quantity".to_owned(),
            Self::Semver(version) => format!("semver({version})"),
            Self::Format(format) => format!("format({})", format.name),
            Self::Host(value) => format!("{value:?}"),
        }
    }
}
