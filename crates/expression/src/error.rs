//! Why an expression has no value.

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Steps of evaluation.
    Steps,
    /// Bytes allocated.
    Bytes,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The evaluation takes more than it may; nothing absorbs this error.
    #[error("the expression is too costly: {}", match .0 {
        Resource::Steps => "it takes too many steps",
        Resource::Bytes => "it takes too much memory",
    })]
    BudgetExceeded(Resource),
    /// A map has no such key.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// A function or operator does not take these types.
    #[error("no such overload: {0}")]
    NoSuchOverload(String),
    /// There is no such variable.
    #[error("undeclared reference to '{0}'")]
    UnknownVariable(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Whether the budget is used up, so that nothing more may be tried.
    pub fn is_budget_exceeded(&self) -> bool {
        matches!(self, Self::BudgetExceeded(_))
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}
