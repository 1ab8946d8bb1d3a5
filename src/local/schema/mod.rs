//! Structural schemas: pruning, defaulting and validation, CEL rules included.
