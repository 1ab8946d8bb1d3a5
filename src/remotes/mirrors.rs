//! Where mirrors lie, and which of them nobody needs any more.
//!
//! A folder is named after the namespace and the uid of its Repository, so that whoever watches only some namespaces, beside others that keep
//! their mirrors in the same place, can tell which are theirs.

use std::{collections::HashSet, io, path::Path};

use kube::{ResourceExt as _, api::ListParams, core::PartialObjectMeta};

use super::RepositorySettings;
use crate::{
    cluster::{context::Context, error_chain, objects::Decoded},
    git::Mirror,
};
use signoff_api::Repository;

/// What a mirror is for. Syncs of one must not overlap, and what a fork holds does not mix with what is applied: each has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What is applied.
    Flows,
    /// What people merge, with the history that tells who signed what.
    Questions,
    /// What pull requests would change.
    Pulls,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Flows, Self::Questions, Self::Pulls];

    fn suffix(self) -> &'static str {
        match self {
            Self::Flows => "",
            Self::Questions => "-questions",
            Self::Pulls => "-pulls",
        }
    }
}

impl RepositorySettings {
    /// The mirror of a Repository for a purpose.
    pub fn mirror(&self, repository: &Repository, purpose: Purpose) -> Mirror {
        let (namespace, uid) = (repository.namespace(), repository.uid());
        let name = format!(
            "{}.{}{}",
            namespace.unwrap_or_default(),
            uid.unwrap_or_default(),
            purpose.suffix()
        );
        let mirror = self.mirror_in(&name);
        if purpose == Purpose::Questions {
            mirror.with_history()
        } else {
            mirror
        }
    }

    fn mirror_in(&self, folder: &str) -> Mirror {
        let dir = self.mirrors.join(folder);
        Mirror::new(dir, self.network.clone(), self.limits)
    }
}

/// Removes the mirrors of Repositories that were deleted while nobody looked, in the namespaces that are watched.
pub async fn sweep(context: &Context, settings: &RepositorySettings) {
    // before the Repositories are listed: what is there by then and belongs to none of them is nobody's
    let folders = match folders(&settings.mirrors).await {
        Ok(folders) => folders,
        Err(error) => {
            tracing::warn!(%error, "it could not be seen which mirrors are left behind");
            return;
        }
    };
    let ours: Vec<&String> = folders
        .iter()
        .filter(|folder| owner(folder).is_some_and(|(namespace, _)| context.watches(namespace)))
        .collect();
    if ours.is_empty() {
        return;
    }
    let listed = context
        .all::<Decoded<PartialObjectMeta<Repository>>>()
        .list(&ListParams::default())
        .await;
    let known: HashSet<String> = match listed {
        Ok(listed) => listed.iter().filter_map(kube::ResourceExt::uid).collect(),
        Err(error) => {
            tracing::warn!(error = %error_chain(&error), "it could not be seen which mirrors are left behind");
            return;
        }
    };
    for folder in ours {
        if owner(folder).is_some_and(|(_, uid)| known.contains(uid)) {
            continue;
        }
        match settings.mirror_in(folder).remove().await {
            Ok(()) => tracing::info!(
                folder,
                "the mirror of a repository that was deleted meanwhile is removed"
            ),
            Err(error) => {
                tracing::warn!(folder, %error, "the mirror of a deleted repository could not be removed");
            }
        }
    }
}

/// The names of the folders in a folder; none where it is not there.
async fn folders(dir: &Path) -> io::Result<Vec<String>> {
    let mut entries = match tokio::fs::read_dir(dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        if entry.file_type().await?.is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(names)
}

/// The namespace and the uid of the Repository whose mirror is in a folder of this name, if it is one that was made here.
fn owner(folder: &str) -> Option<(&str, &str)> {
    // a namespace has no dot in its name
    let (namespace, rest) = folder.split_once('.')?;
    let uids = Purpose::ALL.map(|purpose| rest.strip_suffix(purpose.suffix()));
    let uid = uids.into_iter().flatten().find(|uid| is_uid(uid))?;
    (!namespace.is_empty()).then_some((namespace, uid))
}

fn is_uid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
        && text
            .chars()
            .all(|c| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_were_made_here_have_an_owner() {
        let uid = "3f9a1c07-81c4-4d2a-9be1-0123456789ab";
        for suffix in ["", "-questions", "-pulls"] {
            let folder = format!("shop.{uid}{suffix}");
            assert_eq!(owner(&folder), Some(("shop", uid)), "{folder}");
        }
        for foreign in [
            uid,
            ".git",
            "shop",
            "shop.git",
            "lost+found",
            &format!(".{uid}"),
            &format!("shop.{uid}-backup"),
            &format!("shop.{}", uid.to_uppercase()),
            &format!("shop.{uid}.{uid}"),
        ] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }
}
