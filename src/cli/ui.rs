//! `signoff ui`: the page for people, on this machine.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::CliError,
    lines::{self, Lines},
};
use crate::web::{Session, Web};

/// Serve a page on this machine: what waits for you, what is asked, and your answer.
///
/// All that it reads and does are requests of your own to the API server, with your kubeconfig. The address that it prints lets
/// one browser in, once. It ends with Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  signoff ui --context alice")]
pub(super) struct UiArgs {
    /// Address to listen on; only of this machine. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", value_parser = loopback)]
    listen: SocketAddr,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:8090".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the page is served to this machine only, such as on 127.0.0.1".to_owned())
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
    };
    axum::serve(listener, web.router())
        .with_graceful_shutdown(async {
            // a signal that cannot be awaited ends the process by itself
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
        .map_err(|error| CliError::internal("the page cannot be served", &error))?;
    Ok(Answer::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_for_this_machine_only() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8090").is_ok());
        for other in ["0.0.0.0:80", "10.0.0.1:80", "localhost:80", "8090"] {
            assert!(loopback(other).is_err(), "{other}");
        }
    }
}
