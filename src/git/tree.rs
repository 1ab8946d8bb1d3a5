//! Reads manifests from a commit's tree, within bounds.

use git2::{ErrorCode, ObjectType, Repository};

use super::{
    commit::{CommitId, CommitInfo},
    error::GitError,
    limits::Limits,
};

/// The manifests of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The commit.
    pub commit: CommitInfo,
    /// The folder that was read, without slashes at its ends; empty for the whole tree.
    pub folder: String,
    /// Every readable `*.yaml`, `*.yml` and `*.json`, by path.
    pub files: Vec<SourceFile>,
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
    let commit = repository.find_commit(id.0).map_err(|error| match error.code() {
        ErrorCode::NotFound => GitError::NoCommit(id.to_string()),
        _ => error.into(),
    })?;
    let folder = folder
        .trim_matches('/')
        .trim_start_matches("./")
        .trim_end_matches("/.");
    let mut root = commit.tree()?;
    if !matches!(folder, "" | ".") {
        let no_folder = |_| GitError::NoFolder(folder.to_owned());
        let entry = root.get_path(std::path::Path::new(folder)).map_err(no_folder)?;
        root = entry
            .to_object(repository)
            .and_then(|object| object.peel_to_tree())
            .map_err(no_folder)?;
    }
    let prefix = if matches!(folder, "" | ".") {
        String::new()
    } else {
        format!("{folder}/")
    };
    let mut walk = Walk {
        repository,
        limits,
        files: vec![],
        problems: vec![],
        complete: true,
        bytes: 0,
        entries: 0,
    };
    walk.folder(&root, &prefix, 0)?;
    Ok(Tree {
        commit: CommitInfo::read(&commit),
        folder: prefix.trim_end_matches('/').to_owned(),
        files: walk.files,
        problems: walk.problems,
        complete: walk.complete,
    })
}

struct Walk<'a> {
    repository: &'a Repository,
    limits: &'a Limits,
    files: Vec<SourceFile>,
    problems: Vec<Problem>,
    complete: bool,
    bytes: usize,
    entries: usize,
}

impl Walk<'_> {
    fn folder(&mut self, tree: &git2::Tree<'_>, prefix: &str, depth: usize) -> Result<(), GitError> {
        if depth > self.limits.depth {
            self.incomplete(
                prefix,
                &format!(
                    "folders are nested deeper than {}; this one is not read",
                    self.limits.depth
                ),
            );
            return Ok(());
        }
        for entry in tree {
            self.entries += 1;
            if self.entries > self.limits.entries {
                self.incomplete(
                    prefix,
                    &format!(
                        "there are more than {} entries; the rest is not read",
                        self.limits.entries
                    ),
                );
                return Ok(());
            }
            let path = format!("{prefix}{}", String::from_utf8_lossy(entry.name_bytes()));
            match (entry.kind(), entry.filemode()) {
                (_, SUBMODULE) | (Some(ObjectType::Commit), _) => {
                    self.problem(&path, "submodules are not followed");
                }
                (Some(ObjectType::Tree), _) => {
                    let tree = self.repository.find_tree(entry.id())?;
                    self.folder(&tree, &format!("{path}/"), depth + 1)?;
                }
                (Some(ObjectType::Blob), mode) if is_manifest(&path) => {
                    if mode == SYMLINK {
                        self.problem(&path, "symbolic links are not followed");
                    } else {
                        self.file(path, entry.id())?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, id: git2::Oid) -> Result<(), GitError> {
        let (size, _) = self.repository.odb()?.read_header(id)?;
        let limits = self.limits;
        if size > limits.file_bytes {
            self.problem(
                &path,
                &format!(
                    "the file has {size} bytes; a manifest may have {}",
                    limits.file_bytes
                ),
            );
        } else if self.files.len() >= limits.files {
            self.incomplete(
                &path,
                &format!(
                    "there are more than {} manifests; this one is not read",
                    limits.files
                ),
            );
        } else if self.bytes + size > limits.total_bytes {
            self.incomplete(
                &path,
                &format!(
                    "the manifests have more than {} bytes; this one is not read",
                    limits.total_bytes
                ),
            );
        } else {
            self.bytes += size;
            match String::from_utf8(self.repository.find_blob(id)?.content().to_vec()) {
                Ok(text) => self.files.push(SourceFile { path, text }),
                Err(_) => self.problem(&path, "the file is not UTF-8 text"),
            }
        }
        Ok(())
    }

    fn problem(&mut self, path: &str, message: &str) {
        self.problems.push(Problem::of_file(path, message));
    }

    /// Something was left out for its size. One such message a reason is enough to act on.
    fn incomplete(&mut self, path: &str, message: &str) {
        self.complete = false;
        if self.problems.iter().all(|problem| problem.message != message) {
            self.problem(path, message);
        }
    }
}

fn is_manifest(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}
