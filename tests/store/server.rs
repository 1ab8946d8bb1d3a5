//! An S3 server, as a process.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use signoff::{
    net::{AddressPolicy, Network},
    store::{Owner, Settings, Store},
};

/// Longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(120);
const BUCKET: &str = "signoff";
static STARTING: Mutex<()> = Mutex::new(());

/// A server with a bucket. It ends with the test.
pub struct Server {
    process: Child,
    _dir: tempfile::TempDir,
    /// Of the master, the volumes, the filer and S3.
    ports: [u16; 4],
}

impl Server {
    /// Starts one, if it was fetched.
    pub fn start(test: &str) -> Option<Self> {
        let Some(program) = program() else {
            let missing = "no S3 server; fetch it with tests/store/fetch.sh";
            assert!(
                std::env::var_os("SIGNOFF_REQUIRE_STORE").is_none(),
                "{test}: {missing}"
            );
            // written past the test runner, which keeps what a passing test prints to itself
            let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {missing}");
            return None;
        };
        // one after the other: ports are free only until somebody takes them
        let _turn = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let identities = r#"{"identities": [{"name": "t", "credentials": [{"accessKey": "key", "secretKey": "secret"}],
            "actions": ["Admin", "Read", "Write", "List"]}]}"#;
        std::fs::write(dir.path().join("s3.json"), identities).unwrap();
        let ports = free_ports();
        let process = spawn(&program, dir.path(), ports);
        let server = Self {
            process,
            _dir: dir,
            ports,
        };
        server.await_ready();
        Some(server)
    }

    /// Lets it answer nothing.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// A store in the bucket, with these credentials.
    pub fn store_with(&self, secret: &str) -> Store {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.ports[3])),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ];
        let settings = Settings {
            url: format!("s3://{BUCKET}/some/prefix").parse().unwrap(),
            variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        };
        // the policy is for addresses of flows: the store may be on this machine
        Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap()
    }

    pub fn store(&self) -> Store {
        self.store_with("secret")
    }

    /// What lies in the bucket, by the server's own interface: paths of files.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.walk(&format!("/buckets/{BUCKET}"), &mut found);
        found
    }

    fn walk(&self, folder: &str, found: &mut Vec<String>) {
        let url = format!("http://127.0.0.1:{}{folder}/?limit=1000", self.ports[2]);
        let client = client();
        let answer = client
            .get(url)
            .header("accept", "application/json")
            .send()
            .unwrap();
        let listed: serde_json::Value = answer.json().unwrap_or_default();
        for entry in listed["Entries"].as_array().into_iter().flatten() {
            let path = entry["FullPath"].as_str().unwrap();
            // the mode of a folder has its highest bit set
            if entry["Mode"].as_u64().unwrap() >> 31 == 1 {
                self.walk(path, found);
            } else {
                found.push(path.to_owned());
            }
        }
    }

    /// Writes a file past S3.
    pub fn overwrite(&self, path: &str, content: &[u8]) {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[2]);
        let client = client();
        let answer = client.put(url).body(content.to_vec()).send().unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    fn await_ready(&self) {
        let client = client();
        let ready = || {
            let listening = TcpStream::connect(("127.0.0.1", self.ports[3])).is_ok();
            let bucket = format!("http://127.0.0.1:{}/buckets/{BUCKET}/", self.ports[2]);
            listening
                && client
                    .post(bucket)
                    .send()
                    .is_ok_and(|answer| answer.status().is_success())
        };
        let began = Instant::now();
        while !ready() {
            assert!(began.elapsed() < PATIENCE, "the S3 server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> reqwest::blocking::Client {
    // fails only when one is installed already, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::new()
}

fn program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/s3/current/weed");
    program.exists().then_some(program)
}

fn spawn(program: &Path, dir: &Path, [master, volume, filer, s3]: [u16; 4]) -> Child {
    let data = dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    Command::new(program)
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .arg("-ip=127.0.0.1")
        .arg("-ip.bind=127.0.0.1")
        .arg(format!("-master.port={master}"))
        .arg(format!("-volume.port={volume}"))
        .arg(format!("-filer.port={filer}"))
        .arg(format!("-s3.port={s3}"))
        .args(["-master.volumeSizeLimitMB=64", "-volume.max=40", "-filer", "-s3"])
        // services beside S3 would take ports that other servers have
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-s3.config={}", dir.join("s3.json").display()))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Ports that are free, and those ten thousand above them, which the server uses too.
fn free_ports() -> [u16; 4] {
    let free = || loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port() % 20_000 + 20_000;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            break port;
        }
    };
    let mut ports = [0; 4];
    for at in 0..ports.len() {
        ports[at] = loop {
            let port = free();
            if !ports.contains(&port) {
                break port;
            }
        };
    }
    ports
}

pub fn owner() -> Owner {
    Owner {
        namespace: "payments".into(),
        run: "refund-1".into(),
        uid: "u-1".into(),
    }
}
