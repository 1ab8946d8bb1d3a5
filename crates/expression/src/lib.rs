//! CEL as the Kubernetes API server evaluates it, within a budget.
//!
//! [`Program::parse`] takes a text from anybody: parsing is bounded in depth and size. [`Program::evaluate`] takes steps and bytes from a
//! [`Budget`] in every operation, and ends with [`Error::BudgetExceeded`] when there are no more. Values share what they are made of, so
//! that an expression costs what it does and not what the scope holds.
//!
//! The functions are those of Kubernetes 1.37, and those for JSON and base64 with [`Library::with_encodings`]. A host adds its
//! own with [`Library::with`], its own values as [`HostValue`], and messages with [`Library::with_messages`]. [`Function`] says of each which types it takes and gives.
//!
//! [`Program::check`] knows the type of an expression before it is evaluated, from the types of the variables in [`Declarations`], and
//! finds everything that can be wrong with it by then.

mod ast;
mod budget;
mod check;
mod error;
mod evaluate;
mod library;
mod lower;
mod parse;
mod program;
mod types;
mod value;

pub use ast::{Binary, Comprehension, Entry, Expr, Literal, MacroKind, Node};
pub use budget::{Budget, Limits};
pub use check::{CheckError, Declarations, Facts, Field, Implication, ObjectType, Path, StaticType};
pub use error::{Error, ParseError, Resource};
pub use evaluate::{Call, Scope};
pub use library::{Function, Library, Message};
pub use program::Program;
pub use types::Type;
pub use value::{HostValue, Key, List, Map, Text, Value};
