//! The request of an `http` step: rendered, and shown to people.

use super::HttpPlan;
use crate::{
    effect::{HttpRequest, HttpTarget},
    expression::{EvaluationError, Template},
    facts::Facts,
    question::item,
    turn::StepView,
};
use signoff_api::approval::ShownItem;

impl HttpPlan {
    pub(super) fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, EvaluationError> {
        let scope = step.scope();
        let target = self.target.render(step, &scope)?;
        let texts = |entries: &[(String, Template)]| {
            entries
                .iter()
                .map(|(name, template)| Ok((name.clone(), template.text(&scope)?)))
                .collect::<Result<_, EvaluationError>>()
        };
        let body = self.body.as_ref().map(|body| body.value(&scope)).transpose()?;
        Ok(HttpRequest {
            target,
            method: self.method,
            headers: texts(&self.headers)?,
            query: texts(&self.query)?,
            body,
        })
    }
}

/// A request for people. Nothing of the Connection is in it, so no secret of it either; `hide` takes out what they may
/// not see.
pub(in crate::kinds) fn shown(
    request: &HttpRequest,
    facts: &Facts,
    hide: &dyn Fn(String) -> String,
) -> Vec<ShownItem> {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(&request.query);
    let query = pairs.finish();
    let (mark, through, address) = match &request.target {
        HttpTarget::Url(url) => (if url.contains('?') { '&' } else { '?' }, String::new(), url),
        HttpTarget::Connection { name, path, bound: _ } => {
            let mark = if path.contains('?') { '&' } else { '?' };
            let known = facts.connections.get(name.as_str());
            let address = known.and_then(|known| known.address.as_deref());
            let address = address.map(|address| format!(" ({address})")).unwrap_or_default();
            (mark, format!(" through connection {name}{address}"), path)
        }
    };
    let query = if query.is_empty() {
        query
    } else {
        format!("{mark}{query}")
    };
    let line = format!("{} {address}{query}{through}", request.method);
    let mut items = vec![item("request", "text/plain", hide(line))];
    items.extend(request.body.as_ref().map(|body| {
        let text = hide(format!("{body:#}"));
        item("body", "application/json", text)
    }));
    items
}
