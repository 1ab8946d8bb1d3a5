//! The JSON paths of printer columns: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.a=="b")]`.

use serde_json::Value;

/// A parsed path. What cannot be parsed finds nothing.
pub(super) struct Path(Option<Vec<Step>>);

enum Step {
    Field(String),
    Index(usize),
    All,
    /// Items whose field (a path of names) is this text.
    Where(Vec<String>, String),
}

impl Path {
    pub(super) fn parse(text: &str) -> Self {
        Self(parse(text.trim_start_matches('$')))
    }

    /// The first value the path leads to.
    pub(super) fn find<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        let mut found = vec![object];
        for step in self.0.as_ref()? {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found.into_iter().next()
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let items = || value.as_array().into_iter().flatten();
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => value.get(index).into_iter().collect(),
            Self::All => items().collect(),
            Self::Where(names, text) => items()
                .filter(|item| {
                    let field = names.iter().try_fold(*item, |value, name| value.get(name));
                    field.and_then(Value::as_str) == Some(text)
                })
                .collect(),
        }
    }
}

fn parse(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end > 0 {
                steps.push(Step::Field(after[..end].to_owned()));
            }
            rest = &after[end..];
        } else {
            let inner = rest.strip_prefix('[')?;
            let (step, after) = bracket(inner)?;
            steps.push(step);
            rest = after;
        }
    }
    Some(steps)
}

fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(filter) = inner.strip_prefix("?(@.") {
        let (condition, after) = filter.split_once(")]")?;
        let (field, text) = condition.split_once("==")?;
        let names = field.trim().split('.').map(str::to_owned).collect();
        return Some((Step::Where(names, unquote(text.trim())?.to_owned()), after));
    }
    let (content, after) = inner.split_once(']')?;
    let step = match content {
        "*" => Step::All,
        _ => match content.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Field(unquote(content)?.to_owned()),
        },
    };
    Some((step, after))
}

fn unquote(text: &str) -> Option<&str> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\''))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "a": {"b": 1, "x.y": 2}, "list": [{"n": 3}, {"n": 4}],
            "conditions": [{"type": "Stalled", "status": "False"}, {"type": "Ready", "status": "True"}],
        });
        let find = |path: &str| Path::parse(path).find(&object).cloned();
        assert_eq!(find(".a.b"), Some(json!(1)));
        assert_eq!(find(".a['x.y']"), Some(json!(2)));
        assert_eq!(find(".list[1].n"), Some(json!(4)));
        assert_eq!(find(".list[*].n"), Some(json!(3)));
        assert_eq!(
            find(r#".conditions[?(@.type=="Ready")].status"#),
            Some(json!("True"))
        );
        assert_eq!(find(".conditions[?(@.type=='Gone')].status"), None);
        assert_eq!(find("[nonsense"), None);
    }
}
