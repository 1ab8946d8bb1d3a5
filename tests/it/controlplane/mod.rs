//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on free ports, with RBAC,
//! an audit log and a token user per role.
//!
//! `tests/controlplane/build.sh` builds it, `tests/controlplane/tools.sh` gets kubectl and helm. Where one of them is missing the
//! suites that need it say so and do not run; with `SIGNOFF_REQUIRE_CONTROLPLANE` set they fail instead.

mod kubectl;
pub mod process;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use kubectl::Tool;
use process::Process;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Who can call: name of the context, user name, groups; those that the embedded control plane has are the same here. The
/// token is the context's name.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("alice", "alice", "finance,owners"),
    ("bob", "bob", "finance,finance-leads,owners"),
    ("carol", "carol", "support"),
    ("dev", "dev", "developers"),
    (
        "operator",
        "system:serviceaccount:signoff-system:signoff-controller",
        "system:serviceaccounts,system:serviceaccounts:signoff-system",
    ),
    (
        "gateway",
        "system:serviceaccount:signoff-system:signoff-gateway",
        "system:serviceaccounts,system:serviceaccounts:signoff-system",
    ),
    (
        "agent",
        "system:serviceaccount:default:agent",
        "system:serviceaccounts,system:serviceaccounts:default",
    ),
    ("manager", "system:kube-controller-manager", ""),
];

/// A running control plane; it ends with the test process, however that ends.
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    url: String,
    tools: Tools,
    etcd: u16,
    api: u16,
    processes: Vec<Process>,
}

/// Its place among the processes.
const API_SERVER: usize = 1;

#[derive(Debug)]
struct Tools {
    kubectl: PathBuf,
    helm: PathBuf,
    plane: Plane,
}

/// Where the servers' programs are.
#[derive(Debug)]
enum Plane {
    /// One program for all, as `tests/controlplane` builds it.
    One(PathBuf),
    /// A folder with a program for each.
    Folder(PathBuf),
}

impl ControlPlane {
    /// Starts one, or says on the terminal why `suite` does not run.
    pub fn start(suite: &str) -> Option<Self> {
        Self::start_with(suite, &["--unsafe-no-fsync"])
    }

    /// The same, with a store that keeps what it has acknowledged even when the power fails.
    #[allow(dead_code, reason = "for the benchmark, which has this file too")]
    pub fn start_durable(suite: &str) -> Option<Self> {
        Self::start_with(suite, &[])
    }

    fn start_with(suite: &str, etcd_options: &[&str]) -> Option<Self> {
        let tools = match Tools::find() {
            Ok(tools) => tools,
            Err(missing) => return not_run(suite, &missing),
        };
        // the processes remove it: a static one is never dropped
        let dir = tempfile::tempdir().unwrap().keep();
        let (etcd, peer, api) = (free_port(), free_port(), free_port());
        write_users(&dir, api);
        write_key(&dir);
        let mut processes = vec![start_etcd(&tools, &dir, etcd, peer, etcd_options)];
        processes.push(start_api_server(&tools, &dir, etcd, api));
        let plane = Self {
            dir,
            url: format!("https://127.0.0.1:{api}"),
            tools,
            etcd,
            api,
            processes,
        };
        plane.wait("the API server", || {
            plane.as_user("admin").run(&["get", "--raw", "/readyz"]).ok
        });
        let manager = start_manager(&plane.tools, &plane.dir);
        Some(Self {
            processes: plane.processes.into_iter().chain([manager]).collect(),
            ..plane
        })
    }

    /// Sends a signal to one of its servers, such as `STOP` and `CONT` to `etcd`.
    pub fn signal(&self, component: &str, signal: &str) {
        Process::signal(component, &self.dir, signal);
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
        self.wait("the API server to be back", || {
            self.as_user("admin").run(&["get", "--raw", "/readyz"]).ok
        });
    }

    /// A client with this token.
    pub fn client(&self, token: &str) -> kube::Client {
        let mut config = kube::Config::new(self.url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.to_owned().into());
        kube::Client::try_from(config).unwrap()
    }

    /// kubectl as this user of [`USERS`].
    pub fn as_user(&self, user: &str) -> Tool {
        Tool::new(&self.tools.kubectl, &self.kubeconfig(), &["--context", user])
    }

    /// helm as the administrator.
    pub fn helm(&self) -> Tool {
        Tool::new(&self.tools.helm, &self.kubeconfig(), &["--kube-context", "admin"])
    }

    /// A kubeconfig with a context per user.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// What the API server has logged so far, one JSON document a request.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(self.dir.join("audit.log")).unwrap_or_default();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
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

/// helm alone, for what needs no server; `None` as in [`ControlPlane::start`].
pub fn helm(suite: &str) -> Option<Tool> {
    match find("HELM", "helm") {
        Ok(helm) => Some(Tool::new(&helm, Path::new("/dev/null"), &[])),
        Err(missing) => not_run(suite, &missing),
    }
}

fn not_run<T>(suite: &str, missing: &str) -> Option<T> {
    assert!(
        std::env::var_os("SIGNOFF_REQUIRE_CONTROLPLANE").is_none(),
        "{suite}: {missing}"
    );
    // written past the test runner, which keeps what a passing test prints to itself
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {suite}: {missing}");
    None
}

impl Tools {
    fn find() -> Result<Self, String> {
        let plane = match std::env::var_os("KUBEBUILDER_ASSETS") {
            Some(folder) if Path::new(&folder).join("kube-controller-manager").exists() => {
                Plane::Folder(folder.into())
            }
            // it puts the aggregated roles together and collects garbage
            Some(_) => return Err("no kube-controller-manager in KUBEBUILDER_ASSETS".to_owned()),
            None => Plane::One(
                built("controlplane").ok_or("no control plane; build it with tests/controlplane/build.sh")?,
            ),
        };
        Ok(Self {
            kubectl: find("KUBECTL", "kubectl")?,
            helm: find("HELM", "helm")?,
            plane,
        })
    }

    fn start(&self, component: &str, dir: &Path, args: &[String]) -> Process {
        let (program, first) = match &self.plane {
            Plane::One(program) => (program.clone(), Some(component.to_owned())),
            Plane::Folder(folder) => (folder.join(component), None),
        };
        let args: Vec<_> = first.into_iter().chain(args.iter().cloned()).collect();
        Process::start(&program, component, &args, dir)
    }
}

fn built(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/controlplane")
        .join(name);
    path.exists().then_some(path)
}

fn find(variable: &str, name: &str) -> Result<PathBuf, String> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| built(name))
        .ok_or_else(|| format!("no {name}; get it with tests/controlplane/tools.sh or set {variable}"))
}

/// A port of the loopback address that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn write_users(dir: &Path, port: u16) {
    let tokens: Vec<_> = USERS
        .iter()
        .map(|(context, user, groups)| format!("{context},{user},{context}-uid,\"{groups}\"\n"))
        .collect();
    std::fs::write(dir.join("tokens.csv"), tokens.concat()).unwrap();
    let kubeconfig = |current: &str| {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true}}],
            "users": USERS.iter().map(|u| serde_json::json!({"name": u.0, "user": {"token": u.0}})).collect::<Vec<_>>(),
            "contexts": USERS.iter().map(|u| serde_json::json!({"name": u.0, "context": {"cluster": "c", "user": u.0}})).collect::<Vec<_>>(),
            "current-context": current,
        })
        .to_string()
    };
    std::fs::write(dir.join("kubeconfig"), kubeconfig("admin")).unwrap();
    std::fs::write(dir.join("manager.kubeconfig"), kubeconfig("manager")).unwrap();
    // what is asked and answered stays out of the log; annotations are in it at every level
    let audit = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
    std::fs::write(dir.join("audit.yaml"), audit).unwrap();
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
