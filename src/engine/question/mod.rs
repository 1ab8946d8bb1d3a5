//! A question as people meet it in a pull request: the file that holds it and the text around it.

mod file;
mod text;

pub use self::{
    file::{FileProblem, QuestionFile},
    text::{body, title},
};
