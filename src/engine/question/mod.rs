//! A question as people meet it in a pull request: the file that holds it and the text around it.

mod file;
mod text;

pub use self::{
    file::{FileProblem, PutAs, QuestionFile},
    text::{body, title},
};
