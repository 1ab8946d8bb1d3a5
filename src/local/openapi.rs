//! `OpenAPI` documents, v3 per group and a minimal v2.
