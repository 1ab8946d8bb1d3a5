//! Files and folders that only their owner may use: the state of `signoff dev`, and the kubeconfig in it.

#[cfg(feature = "dev")]
mod folder;
#[cfg(test)]
#[cfg(feature = "dev")]
mod tests;

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

#[cfg(feature = "dev")]
pub use folder::prepare_folder;

/// Mode bits by which others than the owner may do anything.
const OTHERS: u32 = 0o077;
/// Mode bits by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Largest file that [`read`] takes.
const MAX_FILE: u64 = 1 << 20;

/// Why a file or folder is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The system refused.
    #[error("{} cannot be read or made private", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A symbolic link, a pipe, or a file in a folder's place.
    #[error("{} is not a {expected}", path.display())]
    Type {
        /// The file or folder.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to another user (uid {owner}, not {me})", path.display())]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who this process is.
        me: u32,
    },
    /// Others may use it.
    #[error(
        "{path} is open to other users (mode {mode:o}). If you made it yourself, run: chmod -R go= {path}; \
         if it came with a repository or an archive, delete it",
        path = path.display()
    )]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file that is longer than any that is expected.
    #[error("{} is larger than {MAX_FILE} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// Checks that a folder is this user's and that nobody else may write into it.
pub fn check_folder(path: &Path) -> Result<(), PrivateError> {
    let found = fs::symlink_metadata(path).map_err(|source| io_error(path, source))?;
    check_folder_owner(path, &found)?;
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(open(path, &found));
    }
    Ok(())
}

/// Reads a file that is this user's and that nobody else may use. What is checked is what is read.
pub fn read(path: &Path) -> Result<String, PrivateError> {
    let at = |source| io_error(path, source);
    let opened = OpenOptions::new()
        .read(true)
        // neither follows a link nor waits for the other end of a pipe
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let mut file: File = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_a_file(path)),
        opened => opened.map_err(at)?,
    };
    let found = file.metadata().map_err(at)?;
    if !found.is_file() {
        return Err(not_a_file(path));
    }
    check_owner(path, &found)?;
    if found.mode() & OTHERS != 0 {
        return Err(open(path, &found));
    }
    if found.len() > MAX_FILE {
        return Err(PrivateError::TooLarge(path.to_owned()));
    }
    let mut text = String::new();
    file.by_ref()
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(at)?;
    Ok(text)
}

fn check_folder_owner(path: &Path, found: &Metadata) -> Result<(), PrivateError> {
    if !found.is_dir() {
        return Err(PrivateError::Type {
            path: path.to_owned(),
            expected: "folder",
        });
    }
    check_owner(path, found)
}

fn check_owner(path: &Path, found: &Metadata) -> Result<(), PrivateError> {
    let (owner, me) = (found.uid(), effective_user());
    if owner == me {
        return Ok(());
    }
    Err(PrivateError::Owner {
        path: path.to_owned(),
        owner,
        me,
    })
}

fn open(path: &Path, found: &Metadata) -> PrivateError {
    PrivateError::Open {
        path: path.to_owned(),
        mode: found.mode() & 0o777,
    }
}

fn not_a_file(path: &Path) -> PrivateError {
    PrivateError::Type {
        path: path.to_owned(),
        expected: "regular file",
    }
}

fn io_error(path: &Path, source: io::Error) -> PrivateError {
    PrivateError::Io {
        path: path.to_owned(),
        source,
    }
}

fn effective_user() -> u32 {
    #[allow(
        unsafe_code,
        reason = "it has no arguments, touches no memory and cannot fail"
    )]
    unsafe {
        libc::geteuid()
    }
}
