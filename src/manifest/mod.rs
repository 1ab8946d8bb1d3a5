//! Manifests: their documents, the place of any field, and what is wrong with an object of one of our kinds.

mod check;
mod json_schema;
mod readable;
mod rules;
mod text;
mod wording;
mod yaml11;

pub use self::{
    check::{
        FieldProblem, check, check_with, field_problems, is_kind, kinds, no_such_kind, plan_problems,
        readable_definition, unknown_fields,
    },
    json_schema::{Unknown, json_schema},
    text::{Document, Position, SyntaxError, documents, is_meant_to_be_ours, locate, may_be_ours},
    yaml11::booleans,
};
pub use signoff_engine::spelling::{closest, did_you_mean};
