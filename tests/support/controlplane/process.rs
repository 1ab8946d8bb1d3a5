//! A child that ends with the test process, even with one that is killed.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running program.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it with its output in `<component>.log` of the folder and its number in `<component>.pid`. The folder goes when its last
    /// program has ended.
    pub fn start(program: &Path, component: &str, args: &[String], folder: &Path) -> Self {
        Self::start_as(None, program, component, args, folder)
    }

    /// The same as the user with this number, who has to own the folder. Only root may choose one.
    pub fn start_as(
        user: Option<u32>,
        program: &Path,
        component: &str,
        args: &[String],
        folder: &Path,
    ) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{component}.log")))
            .unwrap();
        let pid = folder.join(format!("{component}.pid"));
        // the shell reads its input until this process is gone, and then ends the program
        let mut shell = Command::new("sh");
        if let Some(user) = user {
            shell.uid(user).gid(user);
        }
        let child = shell
            .args(["-c", r#""$0" "$@" </dev/null & echo $! >"$PID"; cat >/dev/null; kill -9 $!; wait; rm -f "$PID"; sleep 1; ls "$FOLDER"/*.pid >/dev/null 2>&1 || rm -rf "$FOLDER""#])
            .env("FOLDER", folder)
            .env("PID", &pid)
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Sends a signal to the program.
    pub fn signal(component: &str, folder: &Path, signal: &str) {
        let pid = std::fs::read_to_string(folder.join(format!("{component}.pid"))).unwrap();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), pid.trim()])
            .status();
        assert!(
            sent.unwrap().success(),
            "{component} is not there to get {signal}"
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
