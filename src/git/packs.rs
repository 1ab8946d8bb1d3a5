//! What a pack may ask of libgit2, which keeps a list of its objects in memory and there applies differences to them.

use super::error::GitError;

/// Most objects of a pack.
const OBJECTS: usize = 1_000_000;
/// Largest object that is stored as a difference to another. Those are small as they come, and as large as they say.
const OBJECT_BYTES: usize = 256 << 20;

/// Sets the limits. They are the whole process's, and this is called once, before the first fetch.
pub(super) fn limit() {
    set(libgit2_sys::GIT_OPT_SET_PACK_MAX_OBJECTS, OBJECTS);
    set(libgit2_sys::GIT_OPT_SET_PACK_MAX_OBJECT_SIZE, OBJECT_BYTES);
}

fn set(option: libgit2_sys::git_libgit2_opt_t, value: usize) {
    #[allow(
        unsafe_code,
        reason = "both options take one size_t, and nothing is fetched while they are set"
    )]
    // these options cannot fail; were they unknown, everything else would be as before
    unsafe {
        libgit2_sys::git_libgit2_opts(option.cast_signed(), value);
    }
}

/// Names the limit that a fetch met; libgit2 has words for it only.
pub(super) fn named(error: git2::Error) -> GitError {
    match error.message() {
        "too many objects" => GitError::TooManyObjects { limit: OBJECTS },
        message if message.contains("overly large object") => GitError::ObjectTooLarge {
            object: "an object of the repository".to_owned(),
            limit: OBJECT_BYTES,
        },
        _ => error.into(),
    }
}
