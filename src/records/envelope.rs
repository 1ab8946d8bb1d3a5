//! The envelope of a record: Dead Simple Signing Envelope (DSSE) 1.0.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::keys::{PublicKey, SigningKey, Unsigned};

/// The media type of in-toto Statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload with its signatures. Without signatures, it is the payload alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The payload in base64.
    payload: String,
    /// What the payload is.
    payload_type: String,
    /// The signatures.
    signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which key made it. It is a hint, which proves nothing.
    #[serde(default)]
    pub keyid: String,
    /// The signature in base64.
    pub sig: String,
}

/// Why a text is no envelope of a record.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no envelope.
    #[error("this is no DSSE envelope")]
    NoEnvelope(#[source] serde_json::Error),
    /// The payload is something else.
    #[error("the payload is of type {0:?}, and that of a record is {PAYLOAD_TYPE:?}")]
    OtherPayload(String),
    /// The payload is not in base64.
    #[error("the payload of the envelope is not in base64")]
    NotBase64,
}

impl Envelope {
    /// An envelope with this payload, signed by this key if there is one.
    ///
    /// # Errors
    /// If the key does not sign.
    pub fn seal(payload: &[u8], key: Option<&SigningKey>) -> Result<Self, Unsigned> {
        let sign = |key: &SigningKey| {
            Ok(Signature {
                keyid: key.public().id().to_owned(),
                sig: STANDARD.encode(key.sign(&signed_bytes(PAYLOAD_TYPE, payload))?),
            })
        };
        Ok(Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: key.map(sign).transpose()?.into_iter().collect(),
        })
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// If it is none, or its payload is no Statement.
    pub fn read(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self = serde_json::from_slice(bytes).map_err(EnvelopeError::NoEnvelope)?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::OtherPayload(envelope.payload_type));
        }
        Ok(envelope)
    }

    /// The payload, whoever signed it.
    ///
    /// # Errors
    /// If it is not in base64.
    pub fn payload(&self) -> Result<Vec<u8>, EnvelopeError> {
        STANDARD
            .decode(&self.payload)
            .map_err(|_| EnvelopeError::NotBase64)
    }

    /// The signatures, whether or not they are right.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The first of these keys that has signed the payload.
    ///
    /// # Errors
    /// If the payload cannot be read.
    pub fn signed_by<'k>(&self, keys: &'k [PublicKey]) -> Result<Option<&'k PublicKey>, EnvelopeError> {
        let message = signed_bytes(&self.payload_type, &self.payload()?);
        let verifies = |key: &&PublicKey| {
            let mut signatures = self.signatures.iter();
            signatures.any(|signature| {
                // a key is known by itself: an id is only a hint
                STANDARD
                    .decode(&signature.sig)
                    .is_ok_and(|bytes| key.verifies(&message, &bytes))
            })
        };
        Ok(keys.iter().find(verifies))
    }
}

/// What is signed: the pre-authentication encoding of DSSE.
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let mut bytes = Vec::with_capacity(head.len() + payload.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_as_the_protocol_has_it() {
        let bytes = signed_bytes("http://example.com/HelloWorld", b"hello world");
        let expected = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn an_envelope_of_something_else_is_none_of_a_record() {
        let mut envelope = Envelope::seal(b"{}", None).unwrap();
        assert_eq!(
            Envelope::read(&serde_json::to_vec(&envelope).unwrap()).unwrap(),
            envelope
        );
        envelope.payload_type = "application/json".to_owned();
        let read = Envelope::read(&serde_json::to_vec(&envelope).unwrap());
        assert!(matches!(read, Err(EnvelopeError::OtherPayload(_))), "{read:?}");
        assert!(Envelope::read(b"{}").is_err());
    }
}
