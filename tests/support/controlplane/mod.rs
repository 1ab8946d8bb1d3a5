//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on free ports, with RBAC,
//! an audit log and a token user per role.
//!
//! `tests/controlplane/build.sh` builds it, `tests/controlplane/tools.sh` gets kubectl and helm; both take `oldest`, and
//! `SIGNOFF_CONTROLPLANE=oldest` uses what they then give. `KUBEBUILDER_ASSETS` names a folder with other programs. Where one of them is
//! missing the suites that need it say so and do not run; with `SIGNOFF_REQUIRE_CONTROLPLANE` set they fail instead.

pub mod audit;
mod kubectl;
pub mod process;
mod slot;
mod tools;
mod users;

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use kubectl::Answer;
pub use kubectl::Tool;
use process::Process;
use serde_json::{Value, json};
use slot::Slot;
use tools::Tools;
pub use tools::{helm, kubectl, not_run, say_not_run};
pub use users::Signature;

/// How long a condition may take to come true: what comes true does so long before, but on a machine with many other things to do. Longer than
/// the operator's longest pause between two tries, so that what failed for a while is seen to be tried again.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// A running control plane; it ends with the test process, however that ends.
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    url: String,
    tools: Tools,
    etcd: u16,
    api: u16,
    processes: Vec<Process>,
    stamps: bool,
    /// Given back after the processes have ended.
    _slot: Option<Slot>,
}

/// What is asked and answered stays out of the log; annotations are in it at every level.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";
const AUDIT_IN_FULL: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: RequestResponse
  verbs: [create, update, patch, delete]
  resources: [{group: signoff.dev}, {group: coordination.k8s.io}]
- level: Metadata
";

/// Its place among the processes.
const API_SERVER: usize = 1;

impl ControlPlane {
    /// Starts one for one test, or says on the terminal why `suite` does not run. Waits while many tests have one already, so a test must not
    /// ask for a second one.
    pub fn start(suite: &str) -> Option<Self> {
        Self::start_with(suite, &["--unsafe-no-fsync"], AUDIT)
    }

    /// The same for many tests that share it.
    pub fn start_shared(suite: &str) -> Option<Self> {
        Self::start_in(None, suite, &["--unsafe-no-fsync"], AUDIT)
    }

    /// The same for one test, with all that is written to our kinds and to leases in the audit log, and what is answered.
    pub fn start_recording(suite: &str) -> Option<Self> {
        Self::start_with(suite, &["--unsafe-no-fsync"], AUDIT_IN_FULL)
    }

    /// The same, with a store that keeps what it has acknowledged even when the power fails.
    #[allow(dead_code, reason = "for the benchmark, which has this file too")]
    pub fn start_durable(suite: &str) -> Option<Self> {
        Self::start_with(suite, &[], AUDIT)
    }

    fn start_with(suite: &str, etcd_options: &[&str], audit: &str) -> Option<Self> {
        Self::start_in(Some(Slot::take()), suite, etcd_options, audit)
    }

    fn start_in(slot: Option<Slot>, suite: &str, etcd_options: &[&str], audit: &str) -> Option<Self> {
        let tools = match Tools::find() {
            Ok(tools) => tools,
            Err(missing) => return not_run(suite, &missing),
        };
        // the processes remove it: a static one is never dropped
        let dir = tempfile::tempdir().unwrap().keep();
        let (etcd, peer, api) = (free_port(), free_port(), free_port());
        users::write(&dir, api);
        write_key(&dir);
        std::fs::write(dir.join("audit.yaml"), audit).unwrap();
        let mut processes = vec![start_etcd(&tools, &dir, etcd, peer, etcd_options)];
        processes.push(start_api_server(&tools, &dir, etcd, api));
        let plane = Self {
            dir,
            url: format!("https://127.0.0.1:{api}"),
            tools,
            etcd,
            api,
            processes,
            stamps: false,
            _slot: slot,
        };
        plane.wait("the API server", || plane.raw("/readyz").ok);
        let group = plane.raw("/apis/admissionregistration.k8s.io/v1").expect_ok();
        let manager = plane
            .tools
            .has_manager()
            .then(|| start_manager(&plane.tools, &plane.dir));
        Some(Self {
            processes: plane.processes.into_iter().chain(manager).collect(),
            stamps: group.out.contains("\"mutatingadmissionpolicies\""),
            ..plane
        })
    }

    fn raw(&self, path: &str) -> Answer {
        self.as_user("admin").run(&["get", "--raw", path])
    }

    /// Whether it fills in who decides and who requests, as the chart's mutating policies say.
    pub fn stamps(&self) -> bool {
        self.stamps
    }

    /// Whether there is somebody who collects garbage, empties namespaces, runs jobs and puts aggregated roles together.
    pub fn has_manager(&self) -> bool {
        self.tools.has_manager()
    }

    /// Whether `what` can be tested, which takes the manager; says so where it cannot. That is no failure even where everything has to be
    /// tested: whoever names the programs has chosen.
    pub fn can_test(&self, what: &str) -> bool {
        if !self.has_manager() {
            let missing = "it takes kube-controller-manager, which KUBEBUILDER_ASSETS does not have";
            say_not_run(what, missing);
        }
        self.has_manager()
    }

    /// Puts under a decision or a run who sends it, as a careful person does where the server does not fill it in.
    pub fn sign(&self, user: &str, object: &mut Value) {
        if let Some(signature) = self.signature(user) {
            signature.put(object);
        }
    }

    /// What this user puts under what they send; `None` where the server says who it was.
    pub fn signature(&self, user: &str) -> Option<Signature> {
        Signature::of(user).filter(|_| !self.stamps())
    }

    /// Sends a signal to one of its servers, such as `STOP` and `CONT` to `etcd`.
    pub fn signal(&self, component: &str, signal: &str) {
        Process::signal(component, &self.dir, signal);
    }

    /// Makes its store forget what was before now.
    #[allow(dead_code, reason = "the benchmark has this file too")]
    pub fn compact(&self) {
        let post = |path: &str, body: &Value| -> Value {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.etcd)).unwrap();
            let body = body.to_string();
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}"
            );
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(" 200 "), "{answer}");
            // it may come in chunks
            let (from, to) = (answer.find('{').unwrap(), answer.rfind('}').unwrap());
            serde_json::from_str(&answer[from..=to]).unwrap()
        };
        let any = json!({"key": "AA==", "range_end": "AA==", "count_only": true});
        let revision = post("/v3/kv/range", &any)["header"]["revision"].clone();
        post(
            "/v3/kv/compaction",
            &json!({"revision": revision, "physical": true}),
        );
    }

    /// Ends the API server as a crash does.
    pub fn kill_api_server(&mut self) {
        self.signal("kube-apiserver", "KILL");
        drop(self.processes.remove(API_SERVER));
    }

    /// Starts it again, on the same state and the same port, and waits until it is ready.
    pub fn start_api_server_again(&mut self) {
        let again = start_api_server(&self.tools, &self.dir, self.etcd, self.api);
        self.processes.insert(API_SERVER, again);
        self.wait("the API server to be back", || self.raw("/readyz").ok);
    }

    /// A client with this token.
    pub fn client(&self, token: &str) -> kube::Client {
        let mut config = kube::Config::new(self.url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.to_owned().into());
        kube::Client::try_from(config).unwrap()
    }

    /// kubectl as this user of [`users`].
    pub fn as_user(&self, user: &str) -> Tool {
        let args = ["--context", user];
        Tool::new(
            &self.tools.kubectl,
            &self.kubeconfig(),
            &args,
            self.signature(user),
        )
    }

    /// helm as the administrator.
    pub fn helm(&self) -> Tool {
        Tool::new(
            &self.tools.helm,
            &self.kubeconfig(),
            &["--kube-context", "admin"],
            None,
        )
    }

    /// A kubeconfig with a context per user.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// What the API server has logged so far, one JSON document a request.
    pub fn audit(&self) -> Vec<Value> {
        self.audit_of("", 0)
    }

    /// The same of requests in which this word occurs, after so many bytes of the log.
    pub fn audit_of(&self, word: &str, after: u64) -> Vec<Value> {
        let mut log = Vec::new();
        if let Ok(mut file) = std::fs::File::open(self.audit_log()) {
            file.seek(SeekFrom::Start(after)).unwrap();
            file.read_to_end(&mut log).unwrap();
        }
        // the last line may be half written
        String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| line.contains(word))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How long the log is.
    pub fn audit_length(&self) -> u64 {
        std::fs::metadata(self.audit_log()).map_or(0, |file| file.len())
    }

    fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// The last lines of each server's log.
    fn last_logged(&self) -> String {
        ["etcd", "kube-apiserver", "kube-controller-manager"]
            .map(|component| {
                let log =
                    std::fs::read_to_string(self.dir.join(format!("{component}.log"))).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
                format!("{component}:\n{}", last.join("\n"))
            })
            .join("\n")
    }

    /// Waits until the condition is true; fails after [`PATIENCE`].
    pub fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(
                Instant::now() < end,
                "{what}: not within {PATIENCE:?}; last in the logs:\n{}",
                self.last_logged()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A port that nobody listens on and nobody is given before it is used: it is below those that the system hands out by itself, to other tests'
/// listeners and to every connection, and no other in this process gets it.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    // processes that start one after the other do not begin at the same
    let begin = std::process::id().wrapping_mul(101);
    loop {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(next < COUNT, "no port is free");
        let port = FIRST + begin.wrapping_add(next) % COUNT;
        let port = u16::try_from(port).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The key that signs service account tokens.
fn write_key(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(dir.join("accounts.key"), key.serialize_pem()).unwrap();
    std::fs::write(dir.join("accounts.pub"), key.public_key_pem()).unwrap();
}

fn start_etcd(tools: &Tools, dir: &Path, client: u16, peer: u16, options: &[&str]) -> Process {
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let mut args = vec![
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    args.extend(options.iter().map(ToString::to_string));
    tools.start("etcd", dir, &args)
}

fn start_api_server(tools: &Tools, dir: &Path, etcd: u16, port: u16) -> Process {
    let file = |name: &str| dir.join(name).display().to_string();
    let args = [
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("certs")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        format!("--audit-policy-file={}", file("audit.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
    ];
    tools.start("kube-apiserver", dir, &args)
}

/// Garbage collection, namespaces and jobs; each of its controllers with an account of its own, as on real clusters.
fn start_manager(tools: &Tools, dir: &Path) -> Process {
    let file = |name: &str| dir.join(name).display().to_string();
    let args = [
        format!("--kubeconfig={}", file("manager.kubeconfig")),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    tools.start("kube-controller-manager", dir, &args)
}
