//! Flows and runs as pictures, for the command line and for the page. Each format is a file.

mod columns;
pub(crate) mod dot;
pub(crate) mod layout;
pub(crate) mod mermaid;
pub(crate) mod model;
mod span;
pub(crate) mod svg;

pub(crate) use self::{
    columns::{columns, cut, cut_at, width_of},
    span::since,
};
