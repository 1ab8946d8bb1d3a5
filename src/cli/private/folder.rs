//! Makes the state folder of `signoff dev` private.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::{OTHERS, PrivateError, check_folder_owner, check_owner, io_error, open};

/// Makes the folder if it is missing, and sees to it that nobody else may use what is in it. A folder that others may use is refused
/// unless it is empty: what they could write is not trusted, and what they could read is not secret.
pub fn prepare_folder(path: &Path) -> Result<(), PrivateError> {
    let at = |source| io_error(path, source);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(at(error)),
    }
    let found = fs::symlink_metadata(path).map_err(at)?;
    check_folder_owner(path, &found)?;
    let empty = || Ok::<_, io::Error>(fs::read_dir(path)?.next().is_none());
    if found.mode() & OTHERS != 0 {
        if !empty().map_err(at)? {
            return Err(open(path, &found));
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at)?;
    }
    for entry in fs::read_dir(path).map_err(at)? {
        prepare_entry(&entry.map_err(at)?.path())?;
    }
    keep_out_of_git(path)
}

/// What lies directly in the folder. What lies deeper cannot be reached by others.
fn prepare_entry(path: &Path) -> Result<(), PrivateError> {
    let at = |source| io_error(path, source);
    let found = fs::symlink_metadata(path).map_err(at)?;
    let mode = if found.is_dir() {
        0o700
    } else if found.is_file() {
        0o600
    } else {
        return Err(PrivateError::Type {
            path: path.to_owned(),
            expected: "file or folder",
        });
    };
    check_owner(path, &found)?;
    if found.mode() & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at)?;
    }
    Ok(())
}

/// Nothing of the folder is ever committed.
fn keep_out_of_git(folder: &Path) -> Result<(), PrivateError> {
    let path = folder.join(".gitignore");
    // an empty one is left from a disk that was full
    if fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    opened
        .and_then(|mut file| file.write_all(b"*\n"))
        .map_err(|error| io_error(&path, error))
}
