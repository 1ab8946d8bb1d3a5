//! `signoff operator` as a child process.

use std::{
    fs::File,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::LEASE;
use crate::{controlplane::ControlPlane, support::rig::PATIENCE};

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
        Self::start_with(plane, name, &[])
    }

    pub fn start_with(plane: &ControlPlane, name: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, admin) = (free_address(), free_address());
        let log = std::env::var_os("SIGNOFF_FAULT_LOGS").map(|logs| {
            let path = std::path::Path::new(&logs).join(format!("{name}-{}.log", std::process::id()));
            File::options().create(true).append(true).open(path).unwrap()
        });
        let child = Command::new(env!("CARGO_BIN_EXE_signoff"))
            .env("KUBECONFIG", plane.kubeconfig())
            .args(["operator", "--context=operator", "--allow-loopback"])
            .arg(format!("--name={name}"))
            .arg(format!("--gateway-listen={gateway}"))
            .arg(format!("--gateway-url=http://{gateway}"))
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--lease-duration={}s", LEASE.as_secs()))
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

    /// Waits until its admin address says that it lives.
    pub async fn until_it_answers(&self) {
        let url = format!("http://{}/healthz", self.admin);
        let answers = async {
            while reqwest::get(&url).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers)
            .await
            .expect("the operator answers");
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
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

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
