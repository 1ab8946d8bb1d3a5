//! `signoff dev` as a child process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::process::{Child, Command};

use super::controlplane::free_port;

pub use super::controlplane::PATIENCE as CAP;

/// `signoff dev` as a child process on fixed ports, so that clients find it again.
pub struct Dev {
    data: PathBuf,
    listen: SocketAddr,
    gateway: SocketAddr,
}

impl Dev {
    pub fn new(dir: &Path) -> Self {
        Self::with_state(&dir.join("state"))
    }

    /// One whose state lies in this folder.
    pub fn with_state(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            listen: free_address(),
            gateway: free_address(),
        }
    }

    /// Starts it and waits until it answers.
    pub async fn start(&self) -> Child {
        let child = Command::new(env!("CARGO_BIN_EXE_signoff"))
            .arg("dev")
            .args(["--data", self.data.to_str().unwrap()])
            .args(["--listen", &self.listen.to_string()])
            .args(["--gateway", &self.gateway.to_string()])
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = async {
            loop {
                if let Some(client) = self.try_client("admin").await
                    && client.apiserver_version().await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(CAP, ready)
            .await
            .expect("signoff dev comes up");
        child
    }

    pub async fn client(&self, user: &str) -> Client {
        self.try_client(user).await.expect("a kubeconfig")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// Where its gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    async fn try_client(&self, user: &str) -> Option<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).ok()?;
        let options = KubeConfigOptions {
            context: Some(user.to_owned()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.ok()?;
        Client::try_from(config).ok()
    }
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
