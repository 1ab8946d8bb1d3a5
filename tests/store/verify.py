"""Verifies a record with securesystemslib and in-toto-attestation: `verify.py RECORD KEY KEYID`. Ends with 0 if both accept it."""

import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

record, key, keyid = sys.argv[1:]
with open(record, "rb") as file:
    envelope = Envelope.from_dict(json.load(file))
with open(key, "rb") as file:
    public = SSlibKey.from_crypto(load_pem_public_key(file.read()), keyid)
envelope.verify([public], 1)
if envelope.payload_type != "application/vnd.in-toto+json":
    sys.exit("the payload is no Statement: " + envelope.payload_type)
message = json_format.Parse(envelope.payload, statement_pb2.Statement())
Statement.copy_from_pb(message).validate()
print(message.predicate_type)
