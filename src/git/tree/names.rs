//! Names of entries. Nothing is checked out, so that no name reaches a disk; but paths are shown to people, and tell files apart.

use signoff_api::text::visible;

/// Why an entry of this name is not read.
pub(super) fn refused(name: &[u8]) -> Option<&'static str> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.eq_ignore_ascii_case(b".git") {
        return Some("git allows no entry of this name; it is not read");
    }
    match std::str::from_utf8(name) {
        Err(_) => Some("the name is not UTF-8; it is not read"),
        Ok(name) if name.chars().any(char::is_control) => {
            Some("the name has control characters; it is not read")
        }
        Ok(_) => None,
    }
}

/// The name as it is shown, on one line.
pub(super) fn shown(name: &[u8]) -> String {
    visible(&String::from_utf8_lossy(name)).into_owned()
}
