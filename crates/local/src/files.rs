//! Files that hold secrets: written whole or not at all, readable by their owner only.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// Makes an empty file if there is none, before somebody else makes it for everybody to read.
pub fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Replaces a file: the new content is on disk before the old one goes.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    // a full disk is no reason not to start
    if std::fs::read(path).is_ok_and(|known| known == content) {
        return Ok(());
    }
    let next = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}
