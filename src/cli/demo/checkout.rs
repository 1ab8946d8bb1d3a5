//! The demo's git side: a bare repository and a working copy, driven with the real `git`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::DemoError;

/// A working copy whose `origin` is a bare repository beside it.
#[derive(Clone, Debug)]
pub(super) struct Checkout {
    bare: PathBuf,
    work: PathBuf,
}

impl Checkout {
    /// Makes both in `dir`.
    pub(super) async fn create(dir: &Path) -> Result<Self, DemoError> {
        let checkout = Self {
            bare: dir.join("flows.git"),
            work: dir.join("flows"),
        };
        git(
            dir,
            ["init", "--quiet", "--bare", "--initial-branch=main", "flows.git"],
        )
        .await?;
        git(dir, ["clone", "--quiet", "flows.git", "flows"]).await?;
        checkout.git(["checkout", "--quiet", "-B", "main"]).await?;
        Ok(checkout)
    }

    /// Address of the bare repository.
    pub(super) fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// Writes a file and commits it; returns the commit.
    pub(super) async fn commit(&self, file: &str, content: &str, message: &str) -> Result<String, DemoError> {
        tokio::fs::write(self.work.join(file), content)
            .await
            .map_err(DemoError::Io)?;
        self.git(["add", file]).await?;
        self.git(["commit", "--quiet", "--message", message]).await?;
        self.git(["rev-parse", "HEAD"]).await
    }

    /// Pushes the working copy's head to a branch.
    pub(super) async fn push(&self, branch: &str) -> Result<(), DemoError> {
        let refspec = format!("HEAD:refs/heads/{branch}");
        self.git(["push", "--quiet", "origin", refspec.as_str()])
            .await
            .map(drop)
    }

    async fn git<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Result<String, DemoError> {
        git(&self.work, args).await
    }
}

/// Runs git apart from the user's own configuration, so that hooks, signing or templates there change nothing here.
async fn git<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(dir: &Path, args: I) -> Result<String, DemoError> {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Dev")
            .env(format!("GIT_{role}_EMAIL"), "dev@example.com");
    }
    for inherited in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
    ] {
        command.env_remove(inherited);
    }
    let output = command.output().await.map_err(DemoError::NoGit)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(DemoError::Git(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
