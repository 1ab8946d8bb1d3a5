//! `signoff ui`: the page for people, on this machine.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::CliError,
    lines::{self, Lines},
};
use crate::web::{Session, Web};

/// Longest time in which answers under way may end.
const DRAIN: Duration = Duration::from_secs(3);

/// Serve a page on this machine: what waits for you, what is asked, and your answer.
///
/// All that it reads and does are requests of your own to the API server, with your kubeconfig. The address that it prints lets
/// one browser in, once. It ends with Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  signoff ui --context alice")]
pub(super) struct UiArgs {
    /// Address to listen on: `127.0.0.1` or `[::1]`, with a port. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", value_parser = loopback)]
    listen: SocketAddr,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:8090".to_owned())?;
    // the page answers under no other name
    let usual: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if usual.contains(&address.ip()) {
        Ok(address)
    } else {
        Err("the page is served to this machine only, on 127.0.0.1 or [::1]".to_owned())
    }
}

pub(super) async fn verb(args: &UiArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let user = connection.whoami().await?;
    let listener = TcpListener::bind(args.listen).await;
    let listener =
        listener.map_err(|error| CliError::internal(&format!("{} cannot be used", args.listen), &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| CliError::internal("the page cannot be served", &error))?;
    let (session, code) = Session::begin();
    let mut told = Lines::default();
    told.push(format!(
        "the page of {} is at this address, which lets one browser in, once:",
        user.0
    ));
    told.command(&format!("http://{address}/login?code={code}"));
    lines::say(&told);
    let web = Web {
        client: connection.client.clone(),
        user,
        namespace: connection.namespace.clone(),
        session: Arc::new(session),
        address,
        answering: Arc::default(),
    };
    serve(listener, web.router(), interrupted).await?;
    Ok(Answer::default())
}

/// Ctrl-C. A signal that cannot be awaited ends the process by itself.
async fn interrupted() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Serves until it is interrupted. Answers under way get a moment, unless it is interrupted again: a request that is never sent to its
/// end must not keep the page up.
async fn serve<F: Future<Output = ()>>(
    listener: TcpListener,
    pages: Router,
    interrupted: impl Fn() -> F,
) -> Result<(), CliError> {
    let stop = CancellationToken::new();
    let serving = axum::serve(listener, pages).with_graceful_shutdown(stop.clone().cancelled_owned());
    let drained = async {
        interrupted().await;
        stop.cancel();
        let _ = tokio::time::timeout(DRAIN, interrupted()).await;
    };
    tokio::select! {
        served = serving.into_future() => {
            served.map_err(|error| CliError::internal("the page cannot be served", &error))
        }
        () = drained => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_for_this_machine_only() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8090").is_ok());
        for other in [
            "0.0.0.0:80",
            "10.0.0.1:80",
            "127.0.0.2:80",
            "localhost:80",
            "8090",
        ] {
            assert!(loopback(other).is_err(), "{other}");
        }
    }

    #[tokio::test]
    async fn a_request_that_is_sent_by_half_does_not_keep_the_page_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let half = tokio::net::TcpSocket::new_v4().unwrap();
        let mut half = half.connect(listener.local_addr().unwrap()).await.unwrap();
        let once = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&once);
        // it is not interrupted a second time
        let interrupted = move || {
            let told = Arc::clone(&told);
            async move { told.notified().await }
        };
        let page = tokio::spawn(serve(listener, Router::new(), interrupted));
        tokio::io::AsyncWriteExt::write_all(&mut half, b"GET / HTTP/1.1\r\nhost: x")
            .await
            .unwrap();
        once.notify_one();
        let ended = tokio::time::timeout(DRAIN * 10, page).await;
        assert!(ended.unwrap().unwrap().is_ok());
    }
}
