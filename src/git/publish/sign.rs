//! Signatures of commits, as git makes them with `gpg.format=ssh`.

use git2::{Oid, Repository};
use russh::keys::{
    PrivateKey,
    ssh_key::{HashAlg, LineEnding},
};

use crate::git::error::GitError;

/// The purpose that git signs for.
const NAMESPACE: &str = "git";

/// Writes a commit, signed if there is a key.
pub(super) fn commit(
    repository: &Repository,
    buffer: &[u8],
    key: Option<&PrivateKey>,
) -> Result<Oid, GitError> {
    let text = std::str::from_utf8(buffer)
        .map_err(|_| GitError::Git(git2::Error::from_str("a commit that is not UTF-8")))?;
    let Some(key) = key else {
        return Ok(repository.odb()?.write(git2::ObjectType::Commit, buffer)?);
    };
    let refused = |why: String| GitError::InvalidCredentials(format!("the signing key: {why}"));
    let signed = key.sign(NAMESPACE, HashAlg::Sha512, buffer);
    let signature = signed.and_then(|signature| signature.to_pem(LineEnding::LF));
    let signature = signature.map_err(|error| refused(error.to_string()))?;
    Ok(repository.commit_signed(text, signature.trim_end(), None)?)
}
