//! Reads the answers in files that people wrote: as slow as they like, so on a thread that keeps nobody else waiting.

use crate::cluster::context::Context;
use signoff_engine::question::{Answer, FileProblem, PutAs, Question};

/// The answer in a file that asks this and nothing else, or why it is none.
pub(super) async fn answer(
    context: &Context,
    question: &Question<'_>,
    content: Option<&[u8]>,
) -> Result<Answer, FileProblem> {
    let (spec, content) = (question.spec.clone(), content.map(<[u8]>::to_vec));
    let [namespace, name, uid] = [question.namespace, question.name, question.uid].map(str::to_owned);
    let into = match question.put {
        PutAs::PullRequest => None,
        PutAs::Branch(into) => Some(into.to_owned()),
    };
    let of = namespace.clone();
    let read = move || {
        let question = Question {
            spec: &spec,
            namespace: &namespace,
            name: &name,
            uid: &uid,
            put: into.as_deref().map_or(PutAs::PullRequest, PutAs::Branch),
        };
        question.answer(content.as_deref())
    };
    context.read(&of, read).await
}
