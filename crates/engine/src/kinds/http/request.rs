//! The request of an `http` step: rendered, and shown to people.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Body, HttpPlan};
use crate::{
    effect::{HttpBody, HttpRequest, HttpTarget, SaveBody},
    expression::{EvaluationError, Scope, Template},
    facts::Facts,
    kinds::Failure,
    question::item,
    turn::StepView,
};
use signoff_api::{Resource, approval::ShownItem, reason::StepReason, resource::MAX_CONTENT};

/// Longest text that is sent, in bytes.
const MAX_TEXT: usize = 1 << 20;

impl HttpPlan {
    pub(super) fn request(&self, step: &StepView<'_>) -> Result<HttpRequest, Failure> {
        let scope = step.scope();
        let headers = texts(&self.headers, &scope)?;
        if let Some((name, _)) = headers
            .iter()
            .find(|(_, value)| value.contains(['\r', '\n', '\0']))
        {
            return Err(invalid(format!("headers.{name}: a header has no line breaks")));
        }
        Ok(HttpRequest {
            target: self.target.render(step, &scope)?,
            method: self.method,
            headers,
            query: self.query(&scope)?,
            body: match &self.body {
                Some(body) => body.render(&scope, &step.run.facts.run.namespace)?,
                None => None,
            },
            redirects: self.redirects,
            save: self.saves.then(|| SaveBody {
                status: self.expected.status.clone(),
            }),
            reads_body: true,
        })
    }

    fn query(&self, scope: &Scope) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        let Some(query) = &self.query else {
            return Ok(BTreeMap::new());
        };
        let Value::Object(parameters) = query.value(scope)? else {
            return Ok(BTreeMap::new());
        };
        let parameters = parameters.into_iter().map(|(name, value)| {
            let values = match value {
                Value::Array(items) => items.into_iter().map(plain).collect(),
                other => plain(other).map(|text| vec![text]),
            };
            let message = || format!("query.{name}: neither a text, a number, a boolean, nor a list of them");
            let values: Vec<String> = values.ok_or_else(|| invalid(message()))?;
            Ok((name, values))
        });
        parameters.collect()
    }
}

impl Body {
    /// What is sent; nothing if an expression in its place gives nothing.
    fn render(&self, scope: &Scope, namespace: &str) -> Result<Option<HttpBody>, Failure> {
        Ok(match self {
            Self::Json(body) => body.present(scope)?.map(HttpBody::Json),
            Self::Form(form) => Some(HttpBody::Form(texts(form, scope)?)),
            Self::Text(text) => {
                let Some(text) = text.present_text(scope)? else {
                    return Ok(None);
                };
                if text.len() > MAX_TEXT {
                    let message = format!("text: it has {} bytes; at most {MAX_TEXT} are sent", text.len());
                    return Err(invalid(message));
                }
                Some(HttpBody::Text(text))
            }
            Self::Resource(from) => match from.present(scope)? {
                Some(value) => Some(HttpBody::Resource(resource(value, namespace)?)),
                None => None,
            },
        })
    }
}

/// A value that is a resource of the namespace. Whether the run may read it is for the executor to find out.
pub(in crate::kinds) fn resource(value: Value, namespace: &str) -> Result<Resource, Failure> {
    let not_one = |message: String| Failure::new(StepReason::NotAResource, message);
    let resource = serde_json::from_value::<Resource>(value)
        .map_err(|error| not_one(format!("from: it is no resource: {error}")))?;
    if resource.reference.namespace != namespace {
        return Err(not_one("from: it is a resource of another namespace".to_owned()));
    }
    if resource.bytes().is_none_or(|bytes| bytes > MAX_CONTENT) {
        let message = format!(
            "from: it has {} bytes; at most {MAX_CONTENT} are sent",
            resource.size
        );
        return Err(Failure::new(StepReason::ResourceTooLarge, message));
    }
    Ok(resource)
}

fn texts(entries: &[(String, Template)], scope: &Scope) -> Result<BTreeMap<String, String>, EvaluationError> {
    let mut texts = BTreeMap::new();
    for (name, template) in entries {
        let text = template.present_text(scope)?;
        texts.extend(text.map(|text| (name.clone(), text)));
    }
    Ok(texts)
}

/// The text of a value in a query.
fn plain(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(in crate::kinds) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(StepReason::InvalidRequest, message)
}

/// A request for people. Nothing of the Connection is in it, so no secret of it either; `hide` takes out what they may
/// not see.
pub(in crate::kinds) fn shown(
    request: &HttpRequest,
    facts: &Facts,
    hide: &dyn Fn(String) -> String,
) -> Vec<ShownItem> {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, values) in &request.query {
        pairs.extend_pairs(values.iter().map(|value| (name, value)));
    }
    let query = pairs.finish();
    let (mark, through, address) = match &request.target {
        HttpTarget::Url(url) | HttpTarget::PublicUrl(url) => {
            (if url.contains('?') { '&' } else { '?' }, String::new(), url)
        }
        HttpTarget::Connection { name, path, bound: _ }
        | HttpTarget::Channel {
            channel: _,
            name,
            path,
            bound: _,
        } => {
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
        let (media_type, text) = match body {
            HttpBody::Json(body) | HttpBody::CloudEvent(body) => ("application/json", format!("{body:#}")),
            HttpBody::Form(fields) => ("application/json", format!("{:#}", serde_json::json!(fields))),
            HttpBody::Text(text) => ("text/plain", text.clone()),
            HttpBody::Resource(from) => ("application/json", format!("{:#}", json!({ "from": from }))),
        };
        item("body", media_type, hide(text))
    }));
    items
}

/// A request as a document, with everything that it sends but what its Connection adds.
pub(in crate::kinds) fn described(request: &HttpRequest, hide: &dyn Fn(String) -> String) -> Value {
    let HttpRequest {
        target,
        method,
        headers,
        query,
        body,
        redirects: _, // the release says it
        save: _,      // this too
        reads_body: _,
    } = request;
    let mut document = json!({ "method": method });
    let target = match target {
        HttpTarget::Url(url) | HttpTarget::PublicUrl(url) => json!({ "url": url }),
        HttpTarget::Connection { name, path, bound: _ }
        | HttpTarget::Channel {
            // the step says it
            channel: _,
            name,
            path,
            bound: _,
        } => json!({ "connection": name, "path": path }),
    };
    let body = match body {
        None => json!({}),
        Some(HttpBody::Json(body) | HttpBody::CloudEvent(body)) => json!({ "body": body }),
        Some(HttpBody::Form(form)) => json!({ "form": form }),
        Some(HttpBody::Text(text)) => json!({ "text": text }),
        Some(HttpBody::Resource(from)) => json!({ "from": from }),
    };
    let rest = [
        target,
        body,
        if headers.is_empty() {
            json!({})
        } else {
            json!({ "headers": headers })
        },
        if query.is_empty() {
            json!({})
        } else {
            json!({ "query": query })
        },
    ];
    for part in rest {
        if let (Value::Object(document), Value::Object(part)) = (&mut document, part) {
            document.extend(part);
        }
    }
    hidden(document, hide)
}

/// A value with `hide` applied to its texts.
pub(in crate::kinds) fn hidden(value: Value, hide: &dyn Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(hide(text)),
        Value::Array(items) => items.into_iter().map(|item| hidden(item, hide)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(name, value)| (name, hidden(value, hide))).collect())
        }
        other => other,
    }
}
