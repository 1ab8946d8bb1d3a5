//! Files written into a tree. What is there is looked at first: a path over a link would be written elsewhere when the tree is checked
//! out.

use std::collections::BTreeMap;

use git2::{FileMode, Oid, Repository, Tree, TreeEntry};

use super::CommittedFile;
use crate::git::{error::GitError, limits::Limits, object};

const FOLDER: i32 = 0o040_000;
const FILE: i32 = 0o100_644;
const EXECUTABLE: i32 = 0o100_755;

/// What an entry of a tree is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Folder,
    File,
    Executable,
    Link,
    Submodule,
}

impl Is {
    fn of(entry: &TreeEntry<'_>) -> Self {
        let mode = entry.filemode();
        if mode == i32::from(FileMode::Tree) {
            Self::Folder
        } else if mode == i32::from(FileMode::Link) {
            Self::Link
        } else if mode == i32::from(FileMode::Commit) {
            Self::Submodule
        } else if mode == i32::from(FileMode::BlobExecutable) {
            Self::Executable
        } else {
            Self::File
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::File | Self::Executable => "a file",
            Self::Link => "a link",
            Self::Submodule => "a submodule",
        }
    }

    /// Whether it leads out of the tree.
    fn leads_out(self) -> bool {
        match self {
            Self::Link | Self::Submodule => true,
            Self::Folder | Self::File | Self::Executable => false,
        }
    }
}

/// The tree with these files in it.
pub(super) fn tree(
    repository: &Repository,
    limits: &Limits,
    base: Oid,
    files: &[CommittedFile],
) -> Result<Oid, GitError> {
    let writer = Writer { repository, limits };
    let files: Vec<Below<'_>> = files
        .iter()
        .map(|file| Below {
            rest: &file.path,
            file,
        })
        .collect();
    match writer.folder(Some(base), &files)? {
        Some(tree) => Ok(tree),
        None => Ok(repository.treebuilder(None)?.write()?),
    }
}

struct Writer<'a> {
    repository: &'a Repository,
    limits: &'a Limits,
}

/// A file, and its path from a folder on.
#[derive(Clone, Copy)]
struct Below<'a> {
    rest: &'a str,
    file: &'a CommittedFile,
}

impl Below<'_> {
    fn refused(&self, why: impl Into<String>) -> GitError {
        GitError::PathRefused {
            path: self.file.path.clone(),
            why: why.into(),
        }
    }
}

impl Writer<'_> {
    /// A folder with these files in it; none if nothing is left of it.
    fn folder(&self, base: Option<Oid>, files: &[Below<'_>]) -> Result<Option<Oid>, GitError> {
        let base = base.map(|base| self.load(base)).transpose()?;
        let mut groups: BTreeMap<&str, Vec<Below<'_>>> = BTreeMap::new();
        for below in files {
            let (name, rest) = below.rest.split_once('/').unwrap_or((below.rest, ""));
            groups.entry(name).or_default().push(Below { rest, ..*below });
        }
        if let Some(base) = &base {
            look_alikes(base, &groups)?;
        }
        let mut builder = self.repository.treebuilder(base.as_ref())?;
        for (name, group) in groups {
            let there = match &base {
                Some(base) => base.get_name(name).map(|entry| (Is::of(&entry), entry.id())),
                None => None,
            };
            let is = there.map(|(is, _)| is);
            let made = match group.as_slice() {
                [one] if one.rest.is_empty() => self.file(one, is)?,
                several => {
                    if let Some(file) = several.iter().find(|below| below.rest.is_empty()) {
                        return Err(file.refused("other files lie below it"));
                    }
                    let at = match there {
                        None => None,
                        Some((Is::Folder, at)) => Some(at),
                        Some((is, _)) => {
                            return Err(several[0].refused(format!("{name} is {} in the branch", is.word())));
                        }
                    };
                    self.folder(at, several)?.map(|folder| (folder, FOLDER))
                }
            };
            match made {
                Some((id, mode)) => drop(builder.insert(name, id, mode)?),
                None if is.is_some() => builder.remove(name)?,
                None => {}
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        Ok(Some(builder.write()?))
    }

    /// A file and its mode; nothing if it goes.
    fn file(&self, below: &Below<'_>, is: Option<Is>) -> Result<Option<(Oid, i32)>, GitError> {
        if let Some(is @ (Is::Folder | Is::Link | Is::Submodule)) = is {
            return Err(below.refused(format!("it is {} in the branch", is.word())));
        }
        let Some(content) = &below.file.content else {
            return Ok(None);
        };
        let executable = content.executable.unwrap_or(is == Some(Is::Executable));
        let blob = self.repository.blob(&content.bytes)?;
        Ok(Some((blob, if executable { EXECUTABLE } else { FILE })))
    }

    fn load(&self, id: Oid) -> Result<Tree<'_>, GitError> {
        let (kind, size) = object::header(self.repository, id)?;
        if size > self.limits.object_bytes {
            return Err(GitError::ObjectTooLarge {
                object: format!("the {kind} {id}"),
                limit: self.limits.object_bytes,
            });
        }
        Ok(self.repository.find_tree(id)?)
    }
}

/// Refuses names that a file system which folds cases takes for a link that is there.
fn look_alikes(base: &Tree<'_>, groups: &BTreeMap<&str, Vec<Below<'_>>>) -> Result<(), GitError> {
    let folded: BTreeMap<String, &Below<'_>> = groups
        .iter()
        .filter_map(|(name, group)| Some((name.to_lowercase(), group.first()?)))
        .collect();
    for entry in base {
        let is = Is::of(&entry);
        if !is.leads_out() {
            continue;
        }
        let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        if !groups.contains_key(name.as_str())
            && let Some(below) = folded.get(&name.to_lowercase())
        {
            let why = format!(
                "the branch has {name}, which is {}, and differs in case only",
                is.word()
            );
            return Err(below.refused(why));
        }
    }
    Ok(())
}
