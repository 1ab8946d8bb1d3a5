//! Images that lie in the object store, read before a model is asked.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::super::{error, http::HttpExecutor};
use crate::store::Owner;
use signoff_api::{Digest, Resource, reason::StepReason};
use signoff_engine::{
    chat::{Image, LlmRequest, Message},
    facts::EffectError,
};

/// Largest image, in bytes.
const MAX_IMAGE: u64 = 8 << 20;
/// Most bytes of all images of a request: they are held in memory, and providers take no more.
const MAX_TOGETHER: u64 = 20 << 20;
/// The media types that providers take.
const TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Contents of images in base64, by their digest.
#[derive(Debug, Default)]
pub(super) struct Images(BTreeMap<Digest, String>);

impl Images {
    /// The content of an image; empty for one that was not read, of which there is none.
    pub(super) fn content(&self, resource: &Resource) -> &str {
        self.0.get(&resource.sha256).map_or("", String::as_str)
    }
}

/// The media type of an image, without parameters.
pub(super) fn media_type(resource: &Resource) -> &str {
    let named = resource.media_type.split(';').next();
    named.unwrap_or_default().trim()
}

pub(super) async fn read(
    http: &HttpExecutor,
    run: &Owner,
    request: &LlmRequest,
) -> Result<Images, EffectError> {
    let mut read = Images::default();
    let mut left = MAX_TOGETHER;
    for resource in request.messages.iter().flat_map(resources) {
        let named = media_type(resource);
        if !TYPES.contains(&named) {
            let message = format!("an image is one of {}, not {named:?}", TYPES.join(", "));
            return Err(error::invalid(StepReason::InvalidRequest, message));
        }
        if read.0.contains_key(&resource.sha256) {
            continue;
        }
        let Some(rest) = resource.bytes().and_then(|bytes| left.checked_sub(bytes)) else {
            let message = format!("the images have more than {} MiB together", MAX_TOGETHER >> 20);
            return Err(error::invalid(StepReason::ResourceTooLarge, message));
        };
        left = rest;
        let content = http.read(run, resource, MAX_IMAGE).await?;
        read.0.insert(resource.sha256.clone(), STANDARD.encode(content));
    }
    Ok(read)
}

fn resources(message: &Message) -> impl Iterator<Item = &Resource> {
    let images = match message {
        Message::User { images, .. } => images.as_slice(),
        Message::Assistant { .. } | Message::Tool { .. } => &[],
    };
    images.iter().filter_map(|image| match image {
        Image::Resource(resource) => Some(resource),
        Image::Url(_) => None,
    })
}
