//! What channels deliver, and what tests of Connections find.

mod connections;
mod mails;
mod posts;
