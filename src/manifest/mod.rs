//! Manifests: their documents, the place of any field, and what is wrong with an object of one of our kinds.

mod check;
mod text;
mod wording;
mod yaml11;

pub use self::{
    check::{
        FieldProblem, check, field_problems, is_kind, kinds, no_such_kind, plan_problems, plan_problems_with,
        unknown_fields,
    },
    text::{Document, Position, SyntaxError, documents, is_meant_to_be_ours, locate, may_be_ours},
    yaml11::booleans,
};
pub use signoff_engine::spelling::{closest, did_you_mean};
