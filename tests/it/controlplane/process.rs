//! A child that ends with the test process, even with one that is killed.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running program.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it with its output in `<component>.log` of the folder, which goes when the program has ended.
    pub fn start(program: &Path, component: &str, args: &[String], folder: &Path) -> Self {
        let log = File::create(folder.join(format!("{component}.log"))).unwrap();
        // the shell reads its input until this process is gone, and then ends the program
        let child = Command::new("sh")
            .args(["-c", r#""$0" "$@" </dev/null & program=$!; cat >/dev/null; kill -9 $program; wait; sleep 1; rm -rf "$FOLDER""#])
            .env("FOLDER", folder)
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
