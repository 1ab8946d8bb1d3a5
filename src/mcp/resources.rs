//! Content that runs have kept in the object store.

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ToolError,
    server::{Caller, Place, ToolServer},
};
use crate::client::resources_of;
use signoff_api::{Resource, ResourceRef, Run, name::RunName};

/// Most bytes of content that a tool returns.
pub const MAX_CONTENT: u64 = 96 << 10;

/// Where content comes from.
#[async_trait]
pub trait Content: Send + Sync {
    /// The content of a resource, which has at most [`MAX_CONTENT`] bytes, for a caller who may read it. Its hash is right.
    async fn read(&self, caller: &Caller, run: &Run, resource: &Resource) -> Result<Bytes, ToolError>;
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListResources {
    #[serde(flatten)]
    place: Place,
    /// Name of the run.
    run: RunName,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReadResource {
    /// The resource, `res://NAMESPACE/RUN/STEP/NAME`.
    #[serde(rename = "ref")]
    reference: ResourceRef,
}

pub(super) async fn list(server: &ToolServer, args: ListResources) -> Result<Value, ToolError> {
    let run = run(server, &args.place, &args.run).await?;
    let found: Vec<Resource> = resources_of(&run).into_values().collect();
    Ok(json!({ "resources": found }))
}

async fn run(server: &ToolServer, place: &Place, name: &str) -> Result<Run, ToolError> {
    let found = server.api::<Run>(place)?.get(name).await;
    found.map_err(|error| ToolError::api(&format!("run {name}"), &error))
}

pub(super) async fn read(server: &ToolServer, args: ReadResource) -> Result<Value, ToolError> {
    let reference = &args.reference;
    let place = Place::of(&reference.namespace)?;
    let run = run(server, &place, &reference.run).await?;
    let resource = resources_of(&run).remove(reference).ok_or_else(|| {
        let message = format!("run {} has no resource {reference}", reference.run);
        ToolError::new("NotFound", message).hint("list_resources shows those of the run")
    })?;
    if resource.bytes().is_none_or(|size| size > MAX_CONTENT) {
        let message = format!(
            "the content has {} bytes, and a tool returns at most {MAX_CONTENT}",
            resource.size
        );
        return Err(ToolError::new("TooLarge", message).hint(format!(
            "read it with `signoff resources get {reference} --file FILE`"
        )));
    }
    let content = server.content().read(server.caller(), &run, &resource).await?;
    let mut shown = json!(resource);
    let (encoding, content) = match String::from_utf8(content.to_vec()) {
        Ok(text) => ("text", text),
        Err(binary) => ("base64", STANDARD.encode(binary.as_bytes())),
    };
    shown["encoding"] = json!(encoding);
    shown["content"] = json!(content);
    Ok(shown)
}
