//! `signoff operator` as a child process.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    controlplane::{ControlPlane, free_port},
    rig::PATIENCE,
};

/// How long a lease lasts here, which is as short as may be.
pub const LEASE: Duration = Duration::from_secs(3);

/// A running operator.
pub struct Operator {
    pub name: String,
    pub gateway: SocketAddr,
    admin: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Operator {
    pub fn start(plane: &ControlPlane, name: &str) -> Self {
        let lease = format!("--lease-duration={}s", LEASE.as_secs());
        Self::start_with(&plane.kubeconfig(), name, &[&lease])
    }

    /// Starts it with these arguments beside those that say where it is.
    pub fn start_with(kubeconfig: &Path, name: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, admin) = (free_address(), free_address());
        let log = std::env::var_os("SIGNOFF_FAULT_LOGS").map(|logs| {
            let path = Path::new(&logs).join(format!("{name}-{}.log", std::process::id()));
            File::options().create(true).append(true).open(path).unwrap()
        });
        let child = Command::new(env!("CARGO_BIN_EXE_signoff"))
            .env("KUBECONFIG", kubeconfig)
            .args(["operator", "--context=operator", "--allow-loopback"])
            .arg(format!("--name={name}"))
            .arg(format!("--gateway-listen={gateway}"))
            .arg(format!("--gateway-url=http://{gateway}"))
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--git-cache={}", folder.path().display()))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .unwrap();
        Self {
            name: name.to_owned(),
            gateway,
            admin,
            child,
            _folder: folder,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its admin address says that it lives.
    pub async fn until_it_answers(&self) {
        let url = format!("http://{}/healthz", self.admin);
        let answers = async {
            while reqwest::get(&url).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers)
            .await
            .expect("the operator answers");
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status();
        assert!(sent.unwrap().success(), "{} gets {signal}", self.name);
    }

    /// Ends it by this signal.
    pub fn end(mut self, signal: &str) {
        self.signal(signal);
        self.child.wait().unwrap();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How the installed chart starts the controllers, but for where they listen and keep things, which is where this machine has room.
pub fn args_of_the_chart(plane: &ControlPlane) -> Vec<String> {
    const OF_THE_MACHINE: [&str; 5] = [
        "operator",
        "--without-gateway",
        "--admin-listen",
        "--gateway-url",
        "--git-cache",
    ];
    let admin = plane.as_user("admin").within("signoff-system");
    let field = |of: [&str; 2], path: &str| {
        let path = format!("-o=jsonpath={path}");
        admin.run(&["get", of[0], of[1], &path]).expect_ok().out
    };
    let path = "{.spec.template.spec.containers[0].args}";
    let said = field(["deployment", "signoff-controller"], path);
    let mut args: Vec<String> = serde_json::from_str(&said).unwrap();
    args.retain(|arg| {
        let (name, _) = arg.split_once('=').unwrap_or((arg, ""));
        !OF_THE_MACHINE.contains(&name)
    });
    assert!(args.len() >= 3, "{args:?}");
    // what the pod has mounted
    let policies = plane.kubeconfig().with_file_name("policies.yaml");
    let rendered = field(["configmap", "signoff-policies"], r"{.data.policies\.yaml}");
    std::fs::write(&policies, rendered).unwrap();
    for arg in &mut args {
        if arg.starts_with("--policies-file=") {
            *arg = format!("--policies-file={}", policies.display());
        }
    }
    args
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
