//! A list of objects, read one by one.

use std::fmt::Debug;

use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use serde::de::DeserializeOwned;

use super::decoded::{Decoded, Undecodable};

/// What a list has brought.
#[derive(Debug)]
pub struct Listed<K> {
    /// The objects that were decoded, in order.
    pub items: Vec<K>,
    /// Those that were not.
    pub undecodable: Vec<Undecodable>,
    /// Where the next ones begin, if there are more than were asked for.
    pub next: Option<String>,
}

/// Lists objects; one that cannot be decoded does not keep the others away.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn list<K>(api: &Api<Decoded<K>>, params: &ListParams) -> kube::Result<Listed<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(api.list(params).await?.into())
}

impl<K: Clone> From<ObjectList<Decoded<K>>> for Listed<K> {
    fn from(list: ObjectList<Decoded<K>>) -> Self {
        let mut listed = Self {
            items: Vec::with_capacity(list.items.len()),
            undecodable: Vec::new(),
            next: list.metadata.continue_.filter(|token| !token.is_empty()),
        };
        for item in list.items {
            match item {
                Decoded::Object(object) => listed.items.push(object),
                Decoded::Undecodable(object) => listed.undecodable.push(*object),
            }
        }
        listed
    }
}
