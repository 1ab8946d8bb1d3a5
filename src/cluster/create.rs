//! Making sure that an object is there which nobody but this operator is to make.

use std::fmt::Debug;

use kube::{Api, Resource, ResourceExt as _, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};

use signoff_api::names;

/// The object of the wanted name.
#[derive(Debug)]
pub enum Adopted<K> {
    /// The wanted one: made now, or by an attempt before.
    Ours(K),
    /// Another one has the name.
    Others(K),
}

impl<K> Adopted<K> {
    /// The object, whoever made it.
    pub fn object(self) -> K {
        match self {
            Self::Ours(object) | Self::Others(object) => object,
        }
    }
}

/// Creates an object, or finds the one that has its name and says by `is_ours` whether it is the wanted one.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn create_or_adopt<K>(
    api: &Api<K>,
    object: &K,
    is_ours: impl FnOnce(&K) -> bool,
) -> kube::Result<Adopted<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, object).await {
        Ok(created) => Ok(Adopted::Ours(created)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let there = api.get(&object.name_any()).await?;
            Ok(if is_ours(&there) {
                Adopted::Ours(there)
            } else {
                Adopted::Others(there)
            })
        }
        Err(error) => Err(error),
    }
}
