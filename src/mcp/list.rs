//! Lists in pages.

use kube::{Api, api::ListParams};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ToolError;
use crate::cluster::objects::{self, Decoded, Kind};

/// How many objects a page has, unless the caller says.
const PAGE: u32 = 50;

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Page {
    /// Most objects to return. Defaults to 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// `nextCursor` of the page before, to go on after it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 8192))]
    cursor: Option<String>,
}

/// One page of the objects of a kind that these field selectors choose, each as `view` shows it.
pub(super) async fn page<K: Kind>(
    api: &Api<Decoded<K>>,
    page: &Page,
    fields: &[String],
    called: &str,
    view: impl Fn(&K) -> Value,
) -> Result<Value, ToolError> {
    let mut params = ListParams::default().limit(page.limit.unwrap_or(PAGE));
    if !fields.is_empty() {
        params = params.fields(&fields.join(","));
    }
    if let Some(cursor) = &page.cursor {
        params = params.continue_token(cursor);
    }
    let listed = objects::list(api, &params)
        .await
        .map_err(|error| ToolError::api(&format!("the {called} cannot be listed"), &error))?;
    let unreadable: Vec<&str> = listed
        .undecodable
        .iter()
        .filter_map(|object| object.metadata.name.as_deref())
        .collect();
    let mut answer = json!({
        called: listed.items.iter().map(view).collect::<Vec<_>>(),
        "nextCursor": listed.next,
    });
    if !unreadable.is_empty() {
        answer["unreadable"] = json!(unreadable);
    }
    Ok(answer)
}
