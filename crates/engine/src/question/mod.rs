//! A question as people meet it on a branch or in a pull request: the file that holds it and the text around it.

mod consequence;
mod facts;
mod file;
mod item;
mod text;

pub(crate) use self::item::item;
pub use self::{
    consequence::consequence,
    facts::facts,
    file::{Answer, FileProblem},
    item::binary,
};
use signoff_api::ApprovalSpec;

/// Name of the shown item that says how the run ends, in a question about a step of a run that is ending.
pub(crate) const ENDING_ITEM: &str = "ending";

/// A question that is put to people who use git.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub spec: &'a ApprovalSpec,
    /// Namespace of the Approval.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid, which tells it from those that had its name before.
    pub uid: &'a str,
    /// How it is put.
    pub put: PutAs<'a>,
}

/// Where a file is put, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutAs<'a> {
    /// On the branch of a pull request.
    PullRequest,
    /// On a branch that is to be merged into this one.
    Branch(&'a str),
}
