//! Items that a question shows: on its page, as pictures, and to be saved. An address of an item has the digest of its content, so it
//! gives what was on the page, or nothing.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    PageError, Web,
    content::{self, Extent, Picture, View},
    shown,
};
use signoff_api::{Approval, Digest, MediaType, approval::ShownItem};

/// A shown item.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) size: String,
    pub(super) digest: String,
    pub(super) view: View,
    /// Address of the picture that it is, if it is one.
    pub(super) picture: Option<String>,
    /// Whether it is a sound or a picture that is not drawn.
    pub(super) is_hidden: bool,
    /// Address at which it is saved.
    pub(super) download: String,
    pub(super) is_editable: bool,
}

/// The items of a question, as much of each as is asked for.
pub(super) fn items(approval: &Approval, (namespace, name): (&str, &str), extent: Extent) -> Vec<Item> {
    let items = approval.spec.show.iter().map(|item| {
        let content = Content::of(item);
        let digest = Digest::of(&content.bytes);
        let address = format!("/ns/{namespace}/approvals/{name}/items/{}", digest.hex());
        let picture = content.picture().map(|_| format!("{address}/picture"));
        Item {
            name: shown(&item.name),
            media_type: shown(&item.media_type),
            size: content::size(content.bytes.len()),
            digest: digest.to_string(),
            view: View::of(content.shown_as(item), &item.inline, extent),
            is_hidden: content.is_binary() && picture.is_none(),
            picture,
            download: format!("{address}/download"),
            is_editable: item.editable.is_some(),
        }
    });
    items.collect()
}

/// A value as people are shown it: text as it is, anything else as JSON.
pub(super) fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| format!("{value:#}"), str::to_owned)
}

/// The content of an item, as bytes.
struct Content {
    /// The type, if it is one of those that are known and the content can be of it.
    media_type: Option<MediaType>,
    bytes: Vec<u8>,
}

impl Content {
    fn of(item: &ShownItem) -> Self {
        let media_type: Option<MediaType> = item.media_type.parse().ok();
        match media_type.as_ref().filter(|media_type| media_type.is_binary()) {
            Some(_) => match STANDARD.decode(&item.inline) {
                Ok(bytes) => Self { media_type, bytes },
                // it is what it is
                Err(_) => Self {
                    media_type: None,
                    bytes: item.inline.clone().into_bytes(),
                },
            },
            None => Self {
                media_type,
                bytes: item.inline.clone().into_bytes(),
            },
        }
    }

    fn is_binary(&self) -> bool {
        self.media_type.as_ref().is_some_and(MediaType::is_binary)
    }

    /// The type as which it is drawn.
    fn shown_as<'a>(&self, item: &'a ShownItem) -> &'a str {
        self.media_type
            .as_ref()
            .map_or("text/plain", |_| &item.media_type)
    }

    fn picture(&self) -> Option<Picture> {
        Picture::of(self.media_type.as_ref()?, &self.bytes)
    }

    /// The ending of the name of a file with it: never one of a program.
    fn ending(&self) -> &'static str {
        match &self.media_type {
            Some(MediaType::Json) => "json",
            Some(MediaType::Markdown) => "md",
            Some(MediaType::Diff) => "diff",
            Some(MediaType::Plain) | None => "txt",
            Some(MediaType::Image(_) | MediaType::Audio(_)) => match self.picture() {
                Some(Picture::Png) => "png",
                Some(Picture::Jpeg) => "jpg",
                Some(Picture::Gif) => "gif",
                Some(Picture::WebP) => "webp",
                None => "bin",
            },
        }
    }
}

/// The first item of a question with this content that will do.
async fn found<T>(
    web: &Web,
    (namespace, name, sha256): &(String, String, String),
    take: impl Fn(&ShownItem, Content) -> Option<T>,
) -> Result<T, PageError> {
    let approval: Approval = web.one(namespace, name).await?;
    let wanted: Option<Digest> = format!("sha256:{sha256}").parse().ok();
    let mut items = approval.spec.show.iter();
    let found = items.find_map(|item| {
        let content = Content::of(item);
        let is_it = Some(Digest::of(&content.bytes)) == wanted;
        is_it.then(|| take(item, content)).flatten()
    });
    found.ok_or_else(|| PageError::not_found("this question shows no such item"))
}

/// `GET …/items/SHA256/picture`
pub(super) async fn picture(
    State(web): State<Arc<Web>>,
    Path(place): Path<(String, String, String)>,
) -> Result<Response, PageError> {
    let (format, bytes) = found(&web, &place, |_, content| {
        content.picture().map(|format| (format, content.bytes))
    })
    .await?;
    let kind = HeaderValue::from_static(format.media_type());
    Ok(([(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response())
}

/// `GET …/items/SHA256/download`: a file to be saved. No browser shows it as a page of ours.
pub(super) async fn download(
    State(web): State<Arc<Web>>,
    Path(place): Path<(String, String, String)>,
) -> Result<Response, PageError> {
    let (name, bytes) = found(&web, &place, |item, content| {
        Some((file_name(&item.name, content.ending()), content.bytes))
    })
    .await?;
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let disposition = disposition.map_err(|error| PageError::internal(&error))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from(bytes)).into_response())
}

/// The name of an item as that of a file.
fn file_name(name: &str, ending: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("{name}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(media_type: &str, inline: &str) -> ShownItem {
        ShownItem {
            name: "a".to_owned(),
            media_type: media_type.to_owned(),
            inline: inline.to_owned(),
            editable: None,
        }
    }

    #[test]
    fn content_is_that_of_its_type_or_text() {
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\n");
        let picture = Content::of(&item("image/png", &png));
        assert!(picture.picture() == Some(Picture::Png) && picture.ending() == "png");
        let none = Content::of(&item("image/png", &STANDARD.encode(b"<svg>")));
        assert!(none.picture().is_none() && none.is_binary() && none.ending() == "bin");
        let svg = Content::of(&item("image/svg+xml", &STANDARD.encode(b"<svg>")));
        assert!(svg.picture().is_none() && svg.ending() == "bin");
        let wrong = item("image/png", "no base64 <b>");
        let content = Content::of(&wrong);
        assert!(!content.is_binary() && content.shown_as(&wrong) == "text/plain");
        assert_eq!(Content::of(&item("text/html", "<b>")).ending(), "txt");
    }

    #[test]
    fn no_name_of_a_file_leads_elsewhere_or_is_that_of_a_program() {
        assert_eq!(file_name("quote", "json"), "quote.json");
        assert_eq!(file_name("../a\"b\r\nc.exe\u{202e}", "txt"), "___a_b__c_exe_.txt");
    }
}
