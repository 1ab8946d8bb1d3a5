//! An OpenSSH server, as a process, with a home folder of its own.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use serde_json::{Value, json};
use signoff_api::{Connection, Run, run::StepStatus};

use crate::support::rig::{Rig, Running};

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(60);
static STARTING: Mutex<()> = Mutex::new(());

/// A server. It ends with the test.
pub struct Sshd {
    process: Child,
    dir: tempfile::TempDir,
    pub port: u16,
    host_key: PrivateKey,
    user_key: PrivateKey,
    user: String,
}

fn program() -> Option<PathBuf> {
    let known = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].map(PathBuf::from);
    known.into_iter().find(|path| path.exists())
}

impl Sshd {
    /// Starts one with these lines in its configuration, if it is installed.
    pub fn start(test: &str, lines: &str) -> Option<Self> {
        let Some(program) = program() else {
            let missing = "no OpenSSH server; install it with tests/ssh/install.sh";
            assert!(
                std::env::var_os("SIGNOFF_REQUIRE_SSHD").is_none(),
                "{test}: {missing}"
            );
            // written past the test runner, which keeps what a passing test prints to itself
            let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {missing}");
            return None;
        };
        // one after the other: a port is free only until somebody takes it
        let _turn = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let [host_key, user_key] =
            [(); 2].map(|()| PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap());
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        write_private(
            &dir.path().join("host_key"),
            &host_key.to_openssh(LineEnding::LF).unwrap(),
        );
        let public = user_key.public_key().to_openssh().unwrap();
        write_private(&dir.path().join("authorized_keys"), &public);
        let at = dir.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nSetEnv HOME={at}/home\nMaxStartups 100\n{lines}\n"
        );
        std::fs::write(dir.path().join("sshd_config"), config).unwrap();
        if is_root() {
            // where a server that is started as root confines itself
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let process = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            dir,
            port,
            host_key,
            user_key,
            user: user(),
        };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "sshd does not listen: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A file in the home folder.
    pub fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join("home").join(name)
    }

    /// What a file in the home folder has; nothing if there is none.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home(name)).unwrap_or_default()
    }

    /// Lets it take no connections.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub fn host_key(&self) -> String {
        self.host_key.public_key().to_openssh().unwrap()
    }

    /// A Connection to it, with a Secret of the same name.
    pub async fn connect(&self, rig: &Rig, name: &str, more: Value) {
        let known = format!("[127.0.0.1]:{} {}", self.port, self.host_key());
        self.connect_knowing(rig, name, &known, more).await;
    }

    /// The same, with these known hosts.
    pub async fn connect_knowing(&self, rig: &Rig, name: &str, known: &str, more: Value) {
        let key = self.user_key.to_openssh(LineEnding::LF).unwrap();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"key": key.as_str(), "known": known}});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        rig.api::<Secret>()
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        let mut ssh = json!({"host": "127.0.0.1", "port": self.port, "user": self.user, "directory": self.dir.path().join("home"),
            "privateKey": {"name": name, "key": "key"}, "knownHosts": {"name": name, "key": "known"}});
        for (field, value) in more.as_object().unwrap() {
            ssh[field] = value.clone();
        }
        let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection",
            "metadata": {"name": name}, "spec": {"ssh": ssh}});
        let connection: Connection = serde_json::from_value(connection).unwrap();
        rig.api::<Connection>()
            .create(&PostParams::default(), &connection)
            .await
            .unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.write_all(b"\n").unwrap();
}

fn user() -> String {
    let told = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

fn is_root() -> bool {
    user() == "root"
}

/// A server, and an operator with a Connection `vm` to it.
pub async fn stage(test: &str, lines: &str) -> Option<(Sshd, Rig, Running)> {
    let server = Sshd::start(test, lines)?;
    let rig = Rig::open().await;
    server.connect(&rig, "vm", json!({})).await;
    let operator = rig.operator().await;
    Some((server, rig, operator))
}

/// Plays a flow of these steps to its end, in a run of the same name.
pub async fn play(rig: &Rig, name: &str, steps: Value, phase: &str) -> Run {
    rig.flow(name, json!({ "steps": steps })).await;
    rig.start(name, json!({ "flow": name })).await;
    rig.phase(name, phase).await
}

/// The newest entry of a step.
pub fn step<'a>(run: &'a Run, name: &str) -> &'a StepStatus {
    let steps = &run.status.as_ref().unwrap().steps;
    steps.iter().rev().find(|step| step.name == name).unwrap()
}

/// Whether a process is there that is no zombie.
pub fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}
