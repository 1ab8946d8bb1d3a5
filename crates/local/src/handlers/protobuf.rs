//! The few objects that kubectl's typed commands send as protobuf whatever the server says: reviews and
//! small core kinds. They are turned into JSON here; everything else of ours is JSON on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::status::ApiError;

/// The media type of protobuf.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every protobuf object begins with.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEPTH: usize = 16;

/// A field of a message: its number, its JSON name, what it is.
type Field = (u64, &'static str, Shape);

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Texts,
    Flag,
    Message(&'static [Field]),
    Messages(&'static [Field]),
    TextMap,
    ByteMap,
    /// A map whose values are messages with a repeated text in field 1.
    ListMap,
}

use Shape::{ByteMap, Flag, ListMap, Message, Messages, Text, TextMap, Texts};

const OWNER: &[Field] = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Flag),
    (7, "blockOwnerDeletion", Flag),
];
const META: &[Field] = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
];
const RESOURCE: &[Field] = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const PATH: &[Field] = &[(1, "path", Text), (2, "verb", Text)];
const SELF_ACCESS: &[Field] = &[
    (1, "resourceAttributes", Message(RESOURCE)),
    (2, "nonResourceAttributes", Message(PATH)),
];
const ACCESS: &[Field] = &[
    (1, "resourceAttributes", Message(RESOURCE)),
    (2, "nonResourceAttributes", Message(PATH)),
    (3, "user", Text),
    (4, "groups", Texts),
    (5, "extra", ListMap),
    (6, "uid", Text),
];
const RULE: &[Field] = &[
    (1, "verbs", Texts),
    (2, "apiGroups", Texts),
    (3, "resources", Texts),
    (4, "resourceNames", Texts),
    (5, "nonResourceURLs", Texts),
];
const SUBJECT: &[Field] = &[
    (1, "kind", Text),
    (2, "apiGroup", Text),
    (3, "name", Text),
    (4, "namespace", Text),
];
const ROLE_REF: &[Field] = &[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)];
const ROLE: &[Field] = &[(1, "metadata", Message(META)), (2, "rules", Messages(RULE))];
const BINDING: &[Field] = &[
    (1, "metadata", Message(META)),
    (2, "subjects", Messages(SUBJECT)),
    (3, "roleRef", Message(ROLE_REF)),
];

/// The messages that are understood, by kind.
fn message(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "SelfSubjectReview" => &[(1, "metadata", Message(META))],
        "TokenReview" => &[
            (1, "metadata", Message(META)),
            (2, "spec", Message(&[(1, "token", Text), (2, "audiences", Texts)])),
        ],
        "SelfSubjectAccessReview" => &[(1, "metadata", Message(META)), (2, "spec", Message(SELF_ACCESS))],
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            &[(1, "metadata", Message(META)), (2, "spec", Message(ACCESS))]
        }
        "SelfSubjectRulesReview" => &[
            (1, "metadata", Message(META)),
            (2, "spec", Message(&[(1, "namespace", Text)])),
        ],
        "Namespace" => &[(1, "metadata", Message(META))],
        "ConfigMap" => &[
            (1, "metadata", Message(META)),
            (2, "data", TextMap),
            (3, "binaryData", ByteMap),
            (4, "immutable", Flag),
        ],
        "Secret" => &[
            (1, "metadata", Message(META)),
            (2, "data", ByteMap),
            (3, "type", Text),
            (4, "stringData", TextMap),
            (5, "immutable", Flag),
        ],
        "ServiceAccount" => &[
            (1, "metadata", Message(META)),
            (4, "automountServiceAccountToken", Flag),
        ],
        "DeleteOptions" => &[
            (
                2,
                "preconditions",
                Message(&[(1, "uid", Text), (2, "resourceVersion", Text)]),
            ),
            (3, "orphanDependents", Flag),
            (4, "propagationPolicy", Text),
            (5, "dryRun", Texts),
        ],
        "Role" | "ClusterRole" => ROLE,
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        _ => return None,
    })
}

/// Turns a protobuf object into JSON.
pub fn decode(bytes: &[u8]) -> Result<Value, ApiError> {
    let bad = || ApiError::bad_request("the object provided is unrecognized: not a protobuf object");
    let unknown = bytes.strip_prefix(MAGIC).ok_or_else(bad)?;
    let envelope: &[Field] = &[(1, "type", Message(&[(1, "apiVersion", Text), (2, "kind", Text)]))];
    let head = read(unknown, envelope, 0).ok_or_else(bad)?;
    let kind = head["type"]["kind"].as_str().unwrap_or_default();
    let fields = message(kind).ok_or_else(|| {
        ApiError::unsupported_media_type(&["application/json", "application/yaml"]).with_message(format!(
            "{kind} is not understood as protobuf here: send JSON or YAML, for example with -f"
        ))
    })?;
    let raw = parts(unknown).flatten().find_map(|part| match part {
        (2, Wire::Bytes(raw)) => Some(raw),
        _ => None,
    });
    let mut object = read(raw.unwrap_or_default(), fields, 0).ok_or_else(bad)?;
    object["apiVersion"] = head["type"]["apiVersion"].clone();
    object["kind"] = head["type"]["kind"].clone();
    Ok(object)
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number, which none of the known fields is.
    Fixed,
}

/// The fields of a message in the order of the wire; `None` where it is broken, and the end.
fn parts(mut rest: &[u8]) -> impl Iterator<Item = Option<(u64, Wire<'_>)>> {
    let mut broken = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || broken {
            return None;
        }
        let part = part(&mut rest);
        broken = part.is_none();
        Some(part)
    })
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => take(rest, 8).map(|_| Wire::Fixed)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Wire::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Wire::Fixed)?,
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn read(bytes: &[u8], fields: &[Field], depth: usize) -> Option<Value> {
    if depth > DEPTH {
        return None;
    }
    let mut object = Map::new();
    for part in parts(bytes) {
        let (number, wire) = part?;
        let Some((_, name, shape)) = fields.iter().find(|(n, _, _)| *n == number) else {
            continue;
        };
        let text = |bytes: &[u8]| Some(Value::from(std::str::from_utf8(bytes).ok()?));
        match (shape, wire) {
            // What is not a pointer is on the wire even when it is empty.
            (Text | Message(_), Wire::Bytes([])) => {}
            (Text, Wire::Bytes(bytes)) => {
                object.insert((*name).to_owned(), text(bytes)?);
            }
            (Flag, Wire::Number(number)) => {
                object.insert((*name).to_owned(), Value::from(number != 0));
            }
            (Message(inner), Wire::Bytes(bytes)) => {
                let value = read(bytes, inner, depth + 1)?;
                object.insert((*name).to_owned(), value);
            }
            (Texts, Wire::Bytes(bytes)) => push(&mut object, name, text(bytes)?),
            (Messages(inner), Wire::Bytes(bytes)) => {
                let value = read(bytes, inner, depth + 1)?;
                push(&mut object, name, value);
            }
            (TextMap | ByteMap | ListMap, Wire::Bytes(bytes)) => {
                let (key, value) = pair(bytes)?;
                let value = match shape {
                    ByteMap => Value::from(STANDARD.encode(value)),
                    ListMap => read(value, &[(1, "items", Texts)], depth + 1)?["items"].take(),
                    _ => text(value)?,
                };
                let map = object.entry(*name).or_insert_with(|| json!({}));
                map[std::str::from_utf8(key).ok()?] = value;
            }
            _ => return None,
        }
    }
    Some(Value::Object(object))
}

fn push(object: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(list) = object.entry(name).or_insert_with(|| json!([])) {
        list.push(value);
    }
}

/// Key and value of an entry of a map.
fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for part in parts(bytes) {
        match part? {
            (1, Wire::Bytes(bytes)) => key = bytes,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    fn object(kind: &str, raw: &[u8]) -> Vec<u8> {
        let kind = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [
            MAGIC.to_vec(),
            field(1, &kind),
            field(2, raw),
            field(3, b""),
            field(4, b""),
        ]
        .concat()
    }

    #[test]
    fn a_config_map_is_understood() {
        let meta = [field(1, b"a"), field(2, b""), field(8, b"")].concat();
        let entry = [field(1, b"k"), field(2, b"")].concat();
        let bytes = object("ConfigMap", &[field(1, &meta), field(2, &entry)].concat());
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": ""},
        });
        assert_eq!(decode(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_broken_or_unknown_is_refused() {
        assert_eq!(decode(b"nonsense").unwrap_err().code(), 400);
        assert_eq!(
            decode(&object("ConfigMap", &[0x0a, 0xff])).unwrap_err().code(),
            400
        );
        assert_eq!(decode(&object("Job", &[])).unwrap_err().code(), 415);
    }
}
