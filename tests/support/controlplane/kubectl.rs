//! Running kubectl and helm, and what they answer.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::users::Signature;

/// A command line tool with the arguments it always gets.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    kubeconfig: PathBuf,
    args: Vec<OsString>,
    signature: Option<Signature>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Answer {
    /// Whether it ended well.
    pub ok: bool,
    /// What it printed as its result.
    pub out: String,
    /// What it printed beside it.
    pub err: String,
}

impl Tool {
    /// With `signature` it signs what it creates, as the user has to where the server does not say who it was.
    pub(super) fn new(
        program: &Path,
        kubeconfig: &Path,
        args: &[&str],
        signature: Option<Signature>,
    ) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            args: args.iter().map(OsString::from).collect(),
            signature,
        }
    }

    /// The same in this namespace.
    pub fn within(mut self, namespace: &str) -> Self {
        self.args.extend(["--namespace".into(), namespace.into()]);
        self
    }

    /// The program itself.
    #[allow(dead_code, reason = "the benchmark has this file too")]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it.
    pub fn run(&self, args: &[&str]) -> Answer {
        self.feed(args, "")
    }

    /// Runs it with this as its input.
    pub fn feed(&self, args: &[&str], input: &str) -> Answer {
        let mut child = Command::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(args)
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // a tool that does not read its input may be gone already
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Answer {
            ok: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The object as this user has to write it: signed, where the server does not say who it was.
    pub fn signed(&self, object: &Value) -> String {
        let mut object = object.clone();
        if let Some(signature) = &self.signature {
            signature.put(&mut object);
        }
        object.to_string()
    }

    /// Creates the object, signed, and returns it as the server stored it, or fails.
    pub fn create(&self, object: &Value) -> Value {
        let answer = self
            .feed(&["create", "-f", "-", "-o", "json"], &self.signed(object))
            .expect_ok();
        serde_json::from_str(&answer.out).unwrap()
    }

    /// Tries to create the object, signed, and returns the message of the refusal, or fails.
    pub fn refused(&self, object: &Value) -> String {
        self.feed(&["create", "-f", "-"], &self.signed(object))
            .expect_refused()
    }
}

impl Answer {
    /// Fails unless it ended well.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(self.ok, "{self:?}");
        self
    }

    /// The message, or a failure if it ended well.
    #[track_caller]
    pub fn expect_refused(self) -> String {
        assert!(!self.ok, "not refused: {self:?}");
        self.err
    }
}
