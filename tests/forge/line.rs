//! The line to the forge, which can be cut: connections are then refused, and those that were open break.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::controlplane::free_port;

/// A port that leads to the forge, while it does.
#[derive(Debug)]
pub struct Line {
    near: SocketAddr,
    far: String,
    carrying: Option<JoinHandle<()>>,
}

impl Line {
    /// Opens one to the forge at this address.
    pub async fn open(forge: &str) -> Self {
        let mut line = Self {
            near: ([127, 0, 0, 1], free_port()).into(),
            far: forge.trim_start_matches("http://").to_owned(),
            carrying: None,
        };
        line.mend().await;
        line
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.near)
    }

    /// Cuts it.
    pub async fn cut(&mut self) {
        if let Some(carrying) = self.carrying.take() {
            carrying.abort();
            // what it carried ends with it
            let _ = carrying.await;
        }
    }

    /// Makes it whole again.
    pub async fn mend(&mut self) {
        let listener = TcpListener::bind(self.near).await.unwrap();
        self.carrying = Some(tokio::spawn(carry(listener, self.far.clone())));
    }
}

async fn carry(listener: TcpListener, far: String) {
    let mut calls = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let far = far.clone();
        calls.spawn(async move {
            let mut far = TcpStream::connect(far).await.unwrap();
            // either end may break off
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
