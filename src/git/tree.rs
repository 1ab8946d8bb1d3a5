//! Reads manifests from a commit's tree, within bounds.

mod names;

use std::collections::HashSet;

use git2::{ObjectType, Oid, Repository};

use super::{
    commit::{CommitId, CommitInfo},
    error::GitError,
    limits::Limits,
    object,
};
use crate::manifest;

/// The manifests of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The commit.
    pub commit: CommitInfo,
    /// The folder that was read, without slashes at its ends; empty for the whole tree.
    pub folder: String,
    /// Every readable `*.yaml`, `*.yml` and `*.json`, by path.
    pub files: Vec<SourceFile>,
    /// Paths that were not read because nothing of ours is in them, or because they are links or submodules, with the reason to
    /// give if a flow was read from there before.
    pub passed_over: Vec<(String, Option<&'static str>)>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Whether all of the folder was looked at; if not, a missing file means nothing.
    pub complete: bool,
}

impl Tree {
    /// Leaves out what lies in a folder of the repository.
    pub fn leave_out(&mut self, folder: &str) {
        let inside = |path: &str| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.files.retain(|file| !inside(&file.path));
        self.passed_over.retain(|(path, _)| !inside(path));
        self.problems.retain(|problem| !inside(&problem.path));
    }
}

/// One manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path in the repository, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Path in the repository.
    pub path: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn of_file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            column: None,
            message: message.into(),
        }
    }
}

const SYMLINK: i32 = 0o120_000;
const SUBMODULE: i32 = 0o160_000;

pub(super) fn read(
    repository: &Repository,
    id: CommitId,
    folder: &str,
    limits: &Limits,
) -> Result<Tree, GitError> {
    let commit = match object::commit_of(repository, id.0, limits) {
        Err(GitError::Missing(_)) => return Err(GitError::NoCommit(id.to_string())),
        commit => commit?,
    };
    let (root, prefix) = find(repository, commit.tree_id(), folder, limits)?;
    let mut walk = Walk {
        repository,
        limits,
        files: vec![],
        passed_over: vec![],
        problems: vec![],
        complete: true,
        left_out: HashSet::new(),
        bytes: 0,
        entries: 0,
    };
    walk.folder(root, &prefix, 0)?;
    Ok(Tree {
        commit: CommitInfo::read(&commit),
        folder: prefix.trim_end_matches('/').to_owned(),
        files: walk.files,
        passed_over: walk.passed_over,
        problems: walk.problems,
        complete: walk.complete,
    })
}

/// The folder to read, and how its paths begin.
fn find(
    repository: &Repository,
    root: Oid,
    folder: &str,
    limits: &Limits,
) -> Result<(Oid, String), GitError> {
    let (mut at, mut prefix) = (root, String::new());
    for part in folder.split('/').filter(|part| !matches!(*part, "" | ".")) {
        let path = format!("{prefix}{part}");
        let tree = load(repository, at, limits)?.map_err(|size| GitError::ObjectTooLarge {
            object: format!("the list of the folder {prefix:?} with {size} bytes"),
            limit: limits.object_bytes,
        })?;
        let entry = tree
            .get_name_bytes(part.as_bytes())
            .filter(|_| names::refused(part.as_bytes()).is_none())
            .ok_or_else(|| GitError::NoFolder(path.clone()))?;
        let what = match (entry.kind(), entry.filemode()) {
            (_, SUBMODULE) | (Some(ObjectType::Commit), _) => "a submodule",
            (_, SYMLINK) => "a symbolic link",
            (Some(ObjectType::Tree), _) => {
                at = entry.id();
                prefix = format!("{path}/");
                continue;
            }
            _ => "a file",
        };
        return Err(GitError::NotAFolder { path, what });
    }
    Ok((at, prefix))
}

/// Loads the list of a folder, unless it is too large: then its size.
fn load<'a>(
    repository: &'a Repository,
    id: Oid,
    limits: &Limits,
) -> Result<Result<git2::Tree<'a>, usize>, GitError> {
    let (_, size) = object::header(repository, id)?;
    if size > limits.object_bytes {
        return Ok(Err(size));
    }
    Ok(Ok(repository.find_tree(id)?))
}

struct Walk<'a> {
    repository: &'a Repository,
    limits: &'a Limits,
    files: Vec<SourceFile>,
    passed_over: Vec<(String, Option<&'static str>)>,
    problems: Vec<Problem>,
    complete: bool,
    /// The reasons for which something was left out, as they were told.
    left_out: HashSet<String>,
    bytes: usize,
    entries: usize,
}

impl Walk<'_> {
    fn folder(&mut self, id: Oid, prefix: &str, depth: usize) -> Result<(), GitError> {
        let limits = self.limits;
        if depth > limits.depth {
            let depth = limits.depth;
            self.left_out(
                prefix,
                format!("folders are nested deeper than {depth}; this one is not read"),
            );
            return Ok(());
        }
        let tree = match load(self.repository, id, limits).map_err(|error| sent(error, prefix))? {
            Ok(tree) => tree,
            Err(size) => {
                let most = limits.object_bytes;
                self.left_out(
                    prefix,
                    format!("the folder's list has {size} bytes; at most {most} are read"),
                );
                return Ok(());
            }
        };
        let mut names = HashSet::new();
        for entry in &tree {
            self.entries += 1;
            if self.entries > limits.entries {
                let entries = limits.entries;
                self.left_out(
                    prefix,
                    format!("there are more than {entries} entries; the rest is not read"),
                );
                return Ok(());
            }
            let name = entry.name_bytes();
            let path = format!("{prefix}{}", names::shown(name));
            let is_folder = entry.kind() == Some(ObjectType::Tree);
            let is_submodule = entry.filemode() == SUBMODULE || entry.kind() == Some(ObjectType::Commit);
            // other tools have them too; only if a flow was read from there before is it a problem
            if is_submodule {
                let why = "it is a submodule, and submodules are not followed";
                self.passed_over.push((path, Some(why)));
                continue;
            }
            if entry.filemode() == SYMLINK {
                let why = "it is a symbolic link, and links are not followed";
                self.passed_over.push((path, Some(why)));
                continue;
            }
            if !is_folder && !is_manifest(&path) {
                continue;
            }
            if let Some(why) = names::refused(name) {
                if !is_folder && !self.is_ours(entry.id())? {
                    self.passed_over.push((path, Some(why)));
                    continue;
                }
                // what is in it may have been read by another name before
                self.complete = false;
                self.problem(&path, why);
            } else if !names.insert(name.to_owned()) {
                self.problem(&path, "its folder has another entry of this name; it is not read");
            } else if is_folder {
                self.folder(entry.id(), &format!("{path}/"), depth + 1)?;
            } else {
                self.file(path, entry.id())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, id: Oid) -> Result<(), GitError> {
        let (kind, size) = object::header(self.repository, id).map_err(|error| sent(error, &path))?;
        let limits = self.limits;
        if kind != ObjectType::Blob {
            self.problem(&path, "its folder says that it is a file, and it is not");
        } else if size > limits.file_bytes && !self.is_meant_to_be_ours(id, size)? {
            self.passed_over.push((path, None));
        } else if size > limits.file_bytes {
            let most = limits.file_bytes;
            self.problem(
                &path,
                &format!("the file has {size} bytes; a manifest may have {most}"),
            );
        } else if self.files.len() >= limits.files {
            let most = limits.files;
            self.left_out(
                &path,
                format!("there are more than {most} manifests; this one is not read"),
            );
        } else if self.bytes + size > limits.total_bytes {
            let most = limits.total_bytes;
            self.left_out(
                &path,
                format!("the manifests have more than {most} bytes; this one is not read"),
            );
        } else {
            self.bytes += size;
            match String::from_utf8(self.repository.find_blob(id)?.content().to_vec()) {
                Ok(text) => {
                    // kubectl takes a byte order mark too
                    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                    self.files.push(SourceFile { path, text });
                }
                Err(error) if !manifest::is_meant_to_be_ours(error.as_bytes()) => {
                    self.passed_over.push((path, None));
                }
                Err(error) => {
                    let good = error.utf8_error().valid_up_to();
                    let (line, column) = end_of(&String::from_utf8_lossy(&error.as_bytes()[..good]));
                    self.tell(Problem {
                        line: Some(line),
                        column: Some(column),
                        ..Problem::of_file(path, "the file is not UTF-8 text")
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether a file that is not read by its name is a manifest of ours all the same.
    fn is_ours(&mut self, id: Oid) -> Result<bool, GitError> {
        let (kind, size) = object::header(self.repository, id)?;
        Ok(kind == ObjectType::Blob && self.is_meant_to_be_ours(id, size)?)
    }

    /// Whether a file that is too large to be read is a manifest of ours all the same. Other tools have large files too, such as lists of locked
    /// versions. What is larger than any object that is loaded, or than all that is read of one commit, is not looked at.
    fn is_meant_to_be_ours(&mut self, id: Oid, size: usize) -> Result<bool, GitError> {
        if size > self.limits.object_bytes || self.bytes + size > self.limits.total_bytes {
            return Ok(false);
        }
        self.bytes += size;
        Ok(manifest::is_meant_to_be_ours(
            self.repository.find_blob(id)?.content(),
        ))
    }

    fn problem(&mut self, path: &str, message: &str) {
        self.tell(Problem::of_file(path, message));
    }

    fn tell(&mut self, problem: Problem) {
        let most = self.limits.problems;
        if self.problems.len() < most {
            self.problems.push(problem);
        } else {
            self.left_out(
                &problem.path,
                format!("there are more than {most} problems; this one and later ones are not told"),
            );
        }
    }

    /// Something was left out for its size. One such message a reason is enough to act on.
    fn left_out(&mut self, path: &str, message: String) {
        self.complete = false;
        if !self.left_out.contains(&message) {
            self.problems.push(Problem::of_file(path, message.as_str()));
            self.left_out.insert(message);
        }
    }
}

/// Tells what is missing by its path.
fn sent(error: GitError, path: &str) -> GitError {
    match error {
        GitError::Missing(id) if !path.is_empty() => GitError::Missing(format!("{path} ({id})")),
        other => other,
    }
}

/// Line and column after a text.
fn end_of(text: &str) -> (usize, usize) {
    let (before, last) = text
        .rsplit_once('\n')
        .map_or((None, text), |(before, last)| (Some(before), last));
    let line = before.map_or(1, |before| before.matches('\n').count() + 2);
    (line, last.chars().count() + 1)
}

fn is_manifest(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}
