//! The process: its folder, its settings, its start and its administrator.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::Account;
use crate::controlplane::{free_port, process::Process};

/// How long it may take to answer: a few seconds, and many times that on a machine that compiles.
const START: Duration = Duration::from_secs(120);
/// The user it runs as when the tests run as root, as which it does not start.
const NOBODY: u32 = 65_534;
/// Login and password of who may do everything.
const ADMIN: (&str, &str) = ("keeper", "keeper-of-the-forge");

/// A running process, and where it listens.
#[derive(Debug)]
pub(super) struct Server {
    dir: PathBuf,
    user: Option<u32>,
    http: u16,
    pub(super) ssh: u16,
    /// Its public host key for ssh.
    pub(super) host_key: String,
    _process: Process,
}

impl Server {
    /// Starts what was built into this folder and waits until it answers.
    pub(super) fn start(built: &Path) -> Self {
        // the process removes it: a static one is never dropped
        let dir = tempfile::tempdir().unwrap().keep();
        let user = is_root().then_some(NOBODY);
        // that user may not be able to reach the folder it was built in
        link(built, &dir.join("forge"), user);
        let (http, ssh) = (free_port(), free_port());
        let (private, host_key) = crate::ssh_key();
        let settings = settings(&dir, http, ssh);
        for (name, content) in [("app.ini", &settings), ("host.key", &private)] {
            let file = dir.join(name);
            std::fs::write(&file, content).unwrap();
            // it writes into its settings, and keeps a host key that others can read for no secret
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            chown(&file, user, user).unwrap();
        }
        chown(&dir, user, user).unwrap();
        let process = Process::start_as(user, Path::new("env"), "gitea", &arguments(&dir, &["web"]), &dir);
        let server = Self {
            dir,
            user,
            http,
            ssh,
            host_key,
            _process: process,
        };
        server.wait_until_ready();
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Creates who may do everything, with the command line.
    pub(super) fn create_admin(&self) -> Account {
        let (login, password) = ADMIN;
        let email = format!("{login}@example.com");
        let create = [
            "admin",
            "user",
            "create",
            "--admin",
            "--must-change-password=false",
            "--access-token",
        ];
        let who = ["--username", login, "--password", password, "--email", &email];
        let mut command = Command::new("env");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let output = command
            .args(arguments(&self.dir, &[create.as_slice(), &who].concat()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = said
            .lines()
            .find_map(|line| line.split("successfully created... ").nth(1));
        let token = token.unwrap_or_else(|| panic!("no administrator: {output:?}\n{}", self.logged()));
        Account::new(&self.url(), login, &email, token.trim()).with_password(password)
    }

    fn wait_until_ready(&self) {
        let end = Instant::now() + START;
        while !answers(self.http) {
            assert!(
                Instant::now() < end,
                "no answer within {START:?}\n{}",
                self.logged()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last lines of what it printed and logged.
    fn logged(&self) -> String {
        ["gitea.log", "log/gitea.log"]
            .map(|file| {
                let log = std::fs::read_to_string(self.dir.join(file)).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
                format!("{file}:\n{}", last.join("\n"))
            })
            .join("\n")
    }
}

/// Whether the API is there.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /api/v1/version HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 "))
}

/// Arguments of `env` for the program with nothing of this process's environment but its path.
fn arguments(dir: &Path, rest: &[&str]) -> Vec<String> {
    let at = |name: &str| dir.join(name).display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let own = [
        "-i".to_owned(),
        format!("HOME={}", dir.display()),
        format!("PATH={path}"),
        at("forge/gitea"),
    ];
    let settings = ["--config".to_owned(), at("app.ini")];
    own.into_iter()
        .chain(settings)
        .chain(rest.iter().map(|word| (*word).to_owned()))
        .collect()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Puts the program and its static files where any user can reach them, without a copy where that is possible. The folders are that
/// user's, who removes them; the files may be the very ones that were built, and stay whose they are.
fn link(from: &Path, to: &Path, user: Option<u32>) {
    std::fs::create_dir(to).unwrap();
    let script = r#"cp -rl "$0/." "$1" 2>/dev/null || cp -r "$0/." "$1""#;
    let copied = Command::new("sh").args(["-c", script]).args([from, to]).status();
    assert!(copied.unwrap().success(), "{} cannot be copied", from.display());
    if let Some(user) = user {
        let owner = user.to_string();
        let given = Command::new("find")
            .arg(to)
            .args(["-type", "d", "-exec", "chown", &owner, "{}", "+"])
            .status();
        assert!(given.unwrap().success(), "{} cannot be given away", to.display());
    }
}

/// What it is told: no mail, no network beyond this machine, quick hashes, queues in memory so that a webhook goes at once.
fn settings(dir: &Path, http: u16, ssh: u16) -> String {
    let dir = dir.display();
    format!(
        "\
RUN_MODE = prod
WORK_PATH = {dir}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {http}
DOMAIN = 127.0.0.1
ROOT_URL = http://127.0.0.1:{http}/
STATIC_ROOT_PATH = {dir}/forge/static
OFFLINE_MODE = true
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_DOMAIN = 127.0.0.1
SSH_LISTEN_HOST = 127.0.0.1
SSH_PORT = {ssh}
SSH_LISTEN_PORT = {ssh}
SSH_ROOT_PATH = {dir}/ssh
SSH_CREATE_AUTHORIZED_KEYS_FILE = false
SSH_SERVER_HOST_KEYS = {dir}/host.key
[database]
DB_TYPE = sqlite3
PATH = {dir}/gitea.db
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 20000
[repository]
ROOT = {dir}/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
PASSWORD_HASH_ALGO = pbkdf2$1000$50
[service]
DISABLE_REGISTRATION = true
[mailer]
ENABLED = false
[webhook]
ALLOWED_HOST_LIST = loopback
[queue]
TYPE = channel
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[packages]
ENABLED = false
[cron]
ENABLED = false
[cron.update_checker]
ENABLED = false
[picture]
DISABLE_GRAVATAR = true
[session]
PROVIDER = memory
[log]
MODE = file
LEVEL = Info
ROOT_PATH = {dir}/log
"
    )
}
