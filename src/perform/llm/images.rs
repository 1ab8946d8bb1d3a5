//! Images that lie in the object store. A request is written with a mark in the place of each; the content is read into the text that
//! is sent, one image after the other, so that no other copy is held.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::super::{error, http::HttpExecutor};
use crate::store::Owner;
use signoff_api::{Resource, reason::StepReason};
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

/// The images of a request.
#[derive(Debug)]
pub(super) struct Images<'a> {
    all: Vec<&'a Resource>,
    bytes: u64,
    /// What no text of the request holds, since nobody could know it.
    mark: String,
}

impl<'a> Images<'a> {
    /// The images, if a provider takes them. Nothing is read.
    pub(super) fn of(request: &'a LlmRequest) -> Result<Self, EffectError> {
        let all: Vec<_> = request.messages.iter().flat_map(resources).collect();
        let mut bytes = 0_u64;
        for resource in &all {
            let named = media_type(resource);
            if !TYPES.contains(&named) {
                let message = format!("an image is one of {}, not {named:?}", TYPES.join(", "));
                return Err(error::invalid(StepReason::InvalidRequest, message));
            }
            // one that is sent twice counts twice
            bytes = bytes.saturating_add(resource.bytes().unwrap_or(u64::MAX));
        }
        if bytes > MAX_TOGETHER {
            let message = format!("the images have more than {} MiB together", MAX_TOGETHER >> 20);
            return Err(error::invalid(StepReason::ResourceTooLarge, message));
        }
        Ok(Self {
            all,
            bytes,
            mark: format!("{:032x}", rand::random::<u128>()),
        })
    }

    /// Number of bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What stands for the content of an image in base64.
    pub(super) fn content(&self, resource: &Resource) -> String {
        format!("{}{}", self.mark, resource.sha256)
    }

    /// The text with the content of the images in their places.
    pub(super) async fn fill(
        &self,
        http: &HttpExecutor,
        run: &Owner,
        text: String,
    ) -> Result<String, EffectError> {
        if self.all.is_empty() {
            return Ok(text);
        }
        let mut parts = text.split(&self.mark);
        let first = parts.next().unwrap_or_default();
        let size = text.len() + usize::try_from(self.bytes).unwrap_or_default() / 3 * 4 + 4 * self.all.len();
        let mut filled = String::with_capacity(size);
        filled.push_str(first);
        for part in parts {
            let rest = |resource: &&'a Resource| {
                let rest = part.strip_prefix(&resource.sha256.to_string())?;
                Some((*resource, rest))
            };
            // after each mark comes the digest of an image
            if let Some((resource, rest)) = self.all.iter().find_map(rest) {
                let content = http.read(run, resource, MAX_IMAGE).await?;
                STANDARD.encode_string(content, &mut filled);
                filled.push_str(rest);
            }
        }
        Ok(filled)
    }
}

/// The media type of an image, without parameters.
pub(super) fn media_type(resource: &Resource) -> &str {
    let named = resource.media_type.split(';').next();
    named.unwrap_or_default().trim()
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
