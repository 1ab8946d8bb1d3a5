//! The `OpenAPI` v2 document, which is empty. kubectl asks for it when it finds no v3 schema for a kind, and skips its own validation of kinds
//! that are not in it.

use serde_json::{Value, json};

/// What a client asks for that reads protobuf.
pub const ACCEPTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The media type of the answer, as a real server has it: what is asked for is not a valid one.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

const SWAGGER: &str = "2.0";
const TITLE: &str = "Kubernetes";

/// The document as JSON.
pub fn json(version: &str) -> Value {
    json!({"swagger": SWAGGER, "info": {"title": TITLE, "version": version}, "paths": {}, "definitions": {}})
}

/// The document as protobuf: its first field is the version of `OpenAPI`, its second has title and version.
pub fn protobuf(version: &str) -> Vec<u8> {
    let mut info = Vec::new();
    field(1, TITLE.as_bytes(), &mut info);
    field(2, version.as_bytes(), &mut info);
    let mut document = Vec::new();
    field(1, SWAGGER.as_bytes(), &mut document);
    field(2, &info, &mut document);
    document
}

/// A field with a length.
fn field(number: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(number << 3 | 2);
    let mut length = bytes.len();
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            into.push(low);
            break;
        }
        into.push(low | 0x80);
    }
    into.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protobuf_is_read_field_by_field() {
        let mut expected = b"\x0a\x032.0\x12\x8f\x01\x0a\x0aKubernetes\x12\x80\x01".to_vec();
        expected.extend([b'v'; 128]);
        assert_eq!(protobuf(&"v".repeat(128)), expected);
    }
}
