//! What the API server has of our kinds, as all controllers of a term share it: one watch for each kind, each object held once.
//!
//! * [`Shared`] holds the objects of a kind, and tells each [subscriber](Shared::subscribe) of what is there and of each change.
//! * [`OpenApprovals`] holds a row for each question that is open. Whole are only those about promotions, which are few.
//! * [`RepositoryQuestions`] holds where a question is put that is about a flow of a Repository.
//!
//! Runs and decisions have one watch each as well. Their only reader keeps what it needs of them.

mod approvals;
mod change;
mod feed;
mod jobs;
mod open_approvals;
mod questions;
mod stores;

pub use self::{
    approvals::ApprovalInbox,
    change::Change,
    feed::Shared,
    jobs::JobStores,
    open_approvals::{Answering, OpenApprovals, QuestionListener},
    questions::{Question, QuestionChange, RepositoryQuestions},
    stores::SharedStores,
};
