//! A working copy in a temporary folder, driven by the `git` program.

use std::path::Path;

use russh::keys::ssh_key::{HashAlg, LineEnding, PrivateKey};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Account, Repo};

/// A working copy of a repository, pushed as somebody over http with a token.
#[derive(Debug)]
pub struct Checkout {
    dir: TempDir,
    author: (String, String),
    signer: Option<PrivateKey>,
}

impl Account {
    /// A working copy of a repository, empty or not.
    pub async fn checkout(&self, repo: &Repo) -> Checkout {
        let checkout = Checkout {
            dir: tempfile::tempdir().unwrap(),
            author: (self.login.clone(), self.email.clone()),
            signer: None,
        };
        let address = self
            .forge()
            .replace("http://", &format!("http://{}:{}@", self.login, self.token));
        let remote = format!("{address}/{}/{}.git", repo.owner, repo.name);
        checkout.git(&["init", "--quiet", "--initial-branch=main"]).await;
        checkout.git(&["remote", "add", "origin", &remote]).await;
        checkout.git(&["fetch", "--quiet", "origin"]).await;
        checkout
    }
}

impl Checkout {
    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Lets the next commits claim to be by somebody.
    pub fn claim(&mut self, name: &str, email: &str) {
        self.author = (name.to_owned(), email.to_owned());
    }

    /// Lets the next commits be signed with this key, as `git commit -S` does.
    pub fn sign_with(&mut self, key: &PrivateKey) {
        self.signer = Some(key.clone());
    }

    /// Commits files on top of a branch as the forge has it, or on top of nothing, and pushes. No content deletes a file. Gives the
    /// commit's id.
    pub async fn push(&self, branch: &str, files: &[(&str, Option<&str>)]) -> String {
        let commit = self.commit(branch, files).await;
        self.git(&["push", "--quiet", "origin", &format!("HEAD:refs/heads/{branch}")])
            .await;
        commit
    }

    /// Commits as [`Checkout::push`] does, but leaves it here.
    pub async fn commit(&self, branch: &str, files: &[(&str, Option<&str>)]) -> String {
        self.git(&["fetch", "--quiet", "--prune", "origin"]).await;
        let theirs = format!("refs/remotes/origin/{branch}");
        if self
            .try_git(&["rev-parse", "--verify", "--quiet", &theirs])
            .await
            .is_ok()
        {
            self.git(&["checkout", "--quiet", "--force", "-B", "work", &theirs])
                .await;
        } else {
            let head = self.try_git(&["rev-parse", "--verify", "--quiet", "HEAD"]).await;
            if head.is_ok() {
                self.git(&[
                    "checkout",
                    "--quiet",
                    "--force",
                    "--orphan",
                    &format!("new-{branch}"),
                ])
                .await;
                self.git(&["rm", "-r", "--quiet", "--force", "."]).await;
            }
        }
        for (path, content) in files {
            let file = self.path().join(path);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(file, content).unwrap();
                }
                None => std::fs::remove_file(file).unwrap(),
            }
        }
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--message", "a change"]).await;
        if let Some(key) = &self.signer {
            let signed = self.signed_head(key);
            self.git(&["reset", "--quiet", "--hard", &signed]).await;
        }
        self.git(&["rev-parse", "HEAD"]).await
    }

    /// The commit that is checked out once more, signed.
    fn signed_head(&self, key: &PrivateKey) -> String {
        let git = git2::Repository::open(self.path()).unwrap();
        let head = git.head().unwrap().peel_to_commit().unwrap();
        let (parents, tree) = (head.parents().collect::<Vec<_>>(), head.tree().unwrap());
        let parents: Vec<_> = parents.iter().collect();
        let (author, committer) = (head.author(), head.committer());
        let message = head.message().unwrap();
        let text = git
            .commit_create_buffer(&author, &committer, message, &tree, &parents)
            .unwrap();
        let text = text.as_str().unwrap();
        let signature = key.sign("git", HashAlg::Sha512, text.as_bytes()).unwrap();
        let signature = signature.to_pem(LineEnding::LF).unwrap();
        git.commit_signed(text, &signature, None).unwrap().to_string()
    }

    /// Points a branch of the forge at another or at a commit, by force.
    pub async fn point(&self, branch: &str, at: &str) {
        self.git(&["fetch", "--quiet", "--prune", "origin"]).await;
        let theirs = format!("refs/remotes/origin/{at}");
        let is_branch = self
            .try_git(&["rev-parse", "--verify", "--quiet", &theirs])
            .await
            .is_ok();
        let from = if is_branch { &theirs } else { at };
        self.git(&[
            "push",
            "--quiet",
            "--force",
            "origin",
            &format!("{from}:refs/heads/{branch}"),
        ])
        .await;
    }

    /// Runs git in it, or fails; gives what it printed.
    pub async fn git(&self, args: &[&str]) -> String {
        let done = self.try_git(args).await;
        done.unwrap_or_else(|said| panic!("git {args:?}: {said}"))
    }

    /// Runs git in it; gives what it printed, or what it said when it failed.
    pub async fn try_git(&self, args: &[&str]) -> Result<String, String> {
        let (name, email) = &self.author;
        let output = Command::new("git")
            .args(args)
            .current_dir(self.path())
            // nothing of whoever runs the tests
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs([("GIT_AUTHOR_NAME", name), ("GIT_AUTHOR_EMAIL", email)])
            .envs([("GIT_COMMITTER_NAME", name), ("GIT_COMMITTER_EMAIL", email)])
            .output()
            .await
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
