//! The API server under measurement and the operator on it, as a process of its own.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Args, controlplane::ControlPlane, real};

const PATIENCE: Duration = Duration::from_secs(60);
const OPERATOR: &str = "system:serviceaccount:signoff-system:signoff-controller";

/// Which API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ServerKind {
    Embedded,
    Real,
    Kubeconfig,
}

/// The API server and the operator.
pub struct Server {
    pub kind: ServerKind,
    pub operator: Operator,
    config: Config,
    plane: Option<ControlPlane>,
}

impl Server {
    /// Starts the API server, but not the operator: on the embedded one they are one process, so that starts.
    pub fn start(args: &Args) -> Self {
        let kind = args.server;
        let folder = tempfile::tempdir().unwrap();
        let (kubeconfig, context, plane) = match kind {
            ServerKind::Embedded => (folder.path().join("state/kubeconfig"), Some("admin"), None),
            ServerKind::Real => {
                let what = "the benchmark";
                let plane = if args.volatile {
                    ControlPlane::start(what)
                } else {
                    ControlPlane::start_durable(what)
                };
                let plane = plane.expect("a control plane");
                real::prepare(&plane);
                (plane.kubeconfig(), Some("admin"), Some(plane))
            }
            ServerKind::Kubeconfig => {
                let path = std::env::var_os("KUBECONFIG").expect("KUBECONFIG names the cluster");
                (PathBuf::from(path), None, None)
            }
        };
        let account = args.operator_context.clone();
        let account = account.or_else(|| (kind == ServerKind::Real).then(|| "operator".to_owned()));
        let mut operator = Operator::new(kind, kubeconfig.clone(), account, folder);
        operator.lease = args.lease;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        if kind == ServerKind::Embedded {
            runtime.block_on(operator.start());
        }
        let config = runtime.block_on(async {
            let options = KubeConfigOptions {
                context: context.map(str::to_owned),
                ..KubeConfigOptions::default()
            };
            let kubeconfig = Kubeconfig::read_from(&kubeconfig).unwrap();
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .unwrap()
        });
        Self {
            kind,
            operator,
            config,
            plane,
        }
    }

    /// How many writes the operator has sent so far, renewals of its lease aside: by the API server's audit log where it keeps one, else by
    /// the operator's own counter.
    pub async fn writes(&self) -> f64 {
        match &self.plane {
            Some(plane) => audited_writes(plane) as f64,
            None => self.operator.count("signoff_api_writes_total").await,
        }
    }

    /// Who says so.
    pub fn witness(&self) -> &'static str {
        match &self.plane {
            Some(_) => "by the audit log",
            None => "by its own counter",
        }
    }

    /// Since when the operator leads, as its lease says; nothing where it has none.
    pub async fn leads_since(&self) -> Option<Timestamp> {
        let leases: Api<Lease> = Api::namespaced(self.client(), "signoff-system");
        let lease = leases.get_opt(signoff::operator::LEASE).await.ok()??;
        Some(lease.spec?.acquire_time?.0)
    }

    /// A client with connections of its own.
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone()).unwrap()
    }
}

/// The operator's process.
pub struct Operator {
    kind: ServerKind,
    kubeconfig: PathBuf,
    /// Context of its account, where it is not the one that the kubeconfig says.
    account: Option<String>,
    folder: TempDir,
    listen: [SocketAddr; 3],
    /// Seconds of its lease.
    lease: u64,
    child: Option<Child>,
}

impl Operator {
    fn new(kind: ServerKind, kubeconfig: PathBuf, account: Option<String>, folder: TempDir) -> Self {
        let listen = [(); 3].map(|()| free_address());
        Self {
            kind,
            kubeconfig,
            account,
            folder,
            listen,
            lease: 3,
            child: None,
        }
    }

    /// Starts it, unless it runs, and waits until it leads.
    pub async fn start(&mut self) {
        if self.child.is_none() {
            self.spawn();
        }
        let deadline = Instant::now() + PATIENCE;
        while !self
            .metrics()
            .await
            .is_some_and(|text| text.contains("signoff_leading 1"))
        {
            assert!(Instant::now() < deadline, "the operator does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) {
        let [gateway, admin, api] = self.listen;
        let operator = env!("CARGO_BIN_EXE_signoff");
        // what watches it, as benches/heaptrack.sh does, has to become it, so that it can be killed
        let mut command = match std::env::var_os("SIGNOFF_BENCH_UNDER") {
            Some(under) => {
                let mut command = Command::new(under);
                command.arg(operator);
                command
            }
            None => Command::new(operator),
        };
        if self.kind == ServerKind::Embedded {
            command
                .arg("dev")
                .arg(format!("--data={}", self.folder.path().join("state").display()))
                .arg(format!("--listen={api}"))
                .arg(format!("--gateway={gateway}"))
                .arg(format!("--admin={admin}"));
        } else {
            command
                .env("KUBECONFIG", &self.kubeconfig)
                .args(["operator", "--allow-loopback"])
                .arg(format!("--lease-duration={}s", self.lease))
                .arg(format!(
                    "--git-cache={}",
                    self.folder.path().join("git").display()
                ))
                .arg(format!("--gateway-listen={gateway}"))
                .arg(format!("--gateway-url=http://{gateway}"))
                .arg(format!("--admin-listen={admin}"));
            if let Some(account) = &self.account {
                command.arg(format!("--context={account}"));
            }
        }
        let log = std::env::var("SIGNOFF_BENCH_LOG").unwrap_or_else(|_| "error".to_owned());
        command.env("RUST_LOG", log).stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    /// Address of its gateway.
    pub fn gateway(&self) -> String {
        format!("http://{}", self.listen[0])
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    async fn metrics(&self) -> Option<String> {
        let url = format!("http://{}/metrics", self.listen[1]);
        reqwest::get(url).await.ok()?.text().await.ok()
    }

    /// The sum of a counter over all its labels but those of leases, which are renewed all the time.
    pub async fn count(&self, name: &str) -> f64 {
        let text = self.metrics().await.expect("the operator's metrics");
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && !line.contains("\"leases\""));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Returns once it has written nothing for this long.
    pub async fn rests(&self, pause: Duration) {
        let mut last = self.count("signoff_api_writes_total").await;
        loop {
            tokio::time::sleep(pause).await;
            let now = self.count("signoff_api_writes_total").await;
            if now.to_bits() == last.to_bits() {
                return;
            }
            last = now;
        }
    }

    /// Memory of the process that is its own, in bytes.
    pub fn memory(&self) -> f64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() * 1024.0
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// What the audit log has of accepted writes by the operator's account.
fn audited_writes(plane: &ControlPlane) -> usize {
    let is_write = |event: &Value| {
        let verb = event["verb"].as_str().unwrap_or_default();
        let uri = event["requestURI"].as_str().unwrap_or_default();
        event["user"]["username"] == OPERATOR
            && ["create", "update", "patch", "delete"].contains(&verb)
            && event["objectRef"]["resource"] != "leases"
            && !uri.contains("dryRun=")
    };
    plane.audit().iter().filter(|event| is_write(event)).count()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
