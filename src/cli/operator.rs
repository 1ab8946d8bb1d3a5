//! `signoff operator`: the controllers and the gateway, as they run in a cluster.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Global, agents::AgentsArgs, answer::Answer, error::CliError, listening::ConnectionArgs,
    outbound::OutboundArgs, serving, store::StoreArgs,
};
use crate::{
    cluster::leadership::Timing,
    gateway::Listener,
    operator::{NO_JOBS, Operator, OperatorOptions, Policies, Rivalry},
    runs::JobRunner,
    telemetry::{logs::LogFormat, metrics::Metrics},
};
use signoff_api::{
    HumanDuration,
    name::{DnsLabel, ObjectName},
};

/// Run the controllers and the gateway, as in a cluster.
#[derive(Clone, Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on the command line"
)]
pub(super) struct OperatorArgs {
    /// Address of the gateway, which takes callbacks and push webhooks.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    gateway_listen: SocketAddr,
    /// Serve no gateway: `signoff gateway` does, in processes of its own.
    #[arg(long)]
    without_gateway: bool,
    #[command(flatten)]
    connections: ConnectionArgs,
    /// Address for health, readiness and metrics, which shares no bound with the gateway.
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    admin_listen: SocketAddr,
    /// Where the gateway is reached from outside; callback addresses begin with it.
    #[arg(long, env = "SIGNOFF_GATEWAY_URL", value_name = "URL")]
    gateway_url: String,
    /// Where people reach the page with questions, as `signoff ui` serves it: messages of `notifications` link to it.
    #[arg(long, env = "SIGNOFF_UI_URL", value_name = "URL", value_parser = ui_url)]
    ui_url: Option<String>,
    /// Namespace of the operator itself, where it keeps the keys of callback addresses.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "signoff-system",
        value_name = "NAMESPACE"
    )]
    own_namespace: DnsLabel,
    /// Namespaces to work in, and to need any right in beside its own; repeatable. Without it all of them.
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',')]
    watch_namespaces: Vec<DnsLabel>,
    /// Campaign for no lease: there is no other operator on this API server.
    #[arg(long)]
    without_rivals: bool,
    /// How long after an operator fell silent another one leads, at least 3s. One that stops in order hands over at once.
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = lease)]
    lease_duration: HumanDuration,
    /// What this process calls itself in the lease, with something random added; in a cluster the name of the pod.
    #[arg(long, env = "POD_NAME", default_value = "operator", value_name = "NAME")]
    name: String,
    /// Folder for clones of git remotes.
    #[arg(long, default_value = "/var/cache/signoff/git", value_name = "FOLDER")]
    git_cache: PathBuf,
    #[command(flatten)]
    outbound: OutboundArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    agents: AgentsArgs,
    /// Secret in the operator's own namespace with the keys that sign records of runs: an entry for each key in PEM, and
    /// `current`, which names the one that signs. Without it, records are not signed.
    #[arg(long, value_name = "SECRET")]
    record_keys: Option<ObjectName>,
    /// What the names of the chart's admission policies begin with: they are watched, so that it is known at once when one is changed or gone.
    #[arg(long, value_name = "NAME")]
    policies: Option<String>,
    /// File with those policies as the chart rendered them: one that says something else proves nothing.
    #[arg(long, value_name = "FILE", requires = "policies")]
    policies_file: Option<PathBuf>,
    /// Count decisions even if no admission policy proves who made them: anybody who may create decisions can then forge them.
    #[arg(long)]
    dangerously_count_unproven_decisions: bool,
    /// Run the Jobs of `job` steps in the namespaces it works in. It needs rights on Jobs, pods and their logs.
    #[arg(long)]
    jobs: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
}

/// An address that messages may link to: nothing in it is markup of a channel.
fn ui_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
    let is_web = matches!(url.scheme(), "http" | "https") && url.username().is_empty();
    if !is_web || !text.chars().all(is_plain) {
        return Err("it is no address such as https://signoff.example.com".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn lease(text: &str) -> Result<HumanDuration, String> {
    let span = text.parse::<HumanDuration>().map_err(|error| error.to_string())?;
    if span.duration() < Timing::SHORTEST {
        let shortest = Timing::SHORTEST.as_secs();
        return Err(format!(
            "a leader needs time to renew its lease: at least {shortest}s"
        ));
    }
    Ok(span)
}

pub(super) async fn verb(args: OperatorArgs, global: &Global) -> Result<Answer, CliError> {
    let identity = format!("{}_{:08x}", args.name, rand::random::<u32>());
    let client = serving::client(global, &identity).await?;
    let rivalry = (!args.without_rivals).then(|| Rivalry {
        identity,
        timing: Timing::of_lease(args.lease_duration.duration()),
    });
    let network = args.outbound.network()?;
    let options = OperatorOptions {
        store: args.store.open(&network)?,
        agents: args.agents.open(global).await?,
        record_keys: args.record_keys.map(String::from),
        network,
        rivalry,
        ui_url: args.ui_url,
        namespace: args.own_namespace.into(),
        watch_namespaces: args.watch_namespaces.into_iter().map(String::from).collect(),
        policies: policies(args.policies, args.policies_file.as_deref())?,
        connections: args.connections.limits(),
        count_unproven_decisions: args.dangerously_count_unproven_decisions,
        jobs: if args.jobs {
            JobRunner::On
        } else {
            JobRunner::Off(NO_JOBS)
        },
        ..OperatorOptions::new(args.gateway_url, args.git_cache)
    };
    let gateway = if args.without_gateway {
        None
    } else {
        Some(bind(args.gateway_listen).await?)
    };
    let admin = bind(args.admin_listen).await?;
    let operator = Operator::start(client, options)
        .await
        .map_err(|error| CliError::internal("the operator cannot start", &error))?;
    let routes = operator.admin();
    tracing::info!(admin = %args.admin_listen, "the operator runs");
    let metrics = operator.metrics().clone();
    until_stopped(admin, routes, metrics, |shutdown| {
        Box::pin(operator.run(gateway, shutdown))
    })
    .await
    .map(|()| Answer::default())
    .map_err(|error| CliError::internal("the operator stopped", &error))
}

/// Serves the admin address while something runs that ends when this process is asked to stop.
pub(super) async fn until_stopped<F: Future>(
    admin: TcpListener,
    routes: axum::Router,
    metrics: Metrics,
    run: impl FnOnce(CancellationToken) -> F,
) -> F::Output {
    let (shutdown, ended) = (CancellationToken::new(), CancellationToken::new());
    let admin = tokio::spawn(Listener::admin(metrics).serve(admin, routes, ended.clone()));
    let signal = shutdown.clone();
    tokio::spawn(async move {
        stop_asked().await;
        tracing::info!("stopping: nothing new begins, work under way may end");
        signal.cancel();
    });
    let result = run(shutdown).await;
    ended.cancel();
    // the admin address only reports, so its end changes nothing
    let _ = admin.await;
    result
}

/// The admission policies to watch, and what they must say.
fn policies(name: Option<String>, file: Option<&Path>) -> Result<Option<Policies>, CliError> {
    let (Some(name), Some(file)) = (&name, file) else {
        return Ok(name.map(Policies::named));
    };
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        CliError::internal(&format!("the file {} cannot be used", file.display()), error)
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    let policies = Policies::named(name).rendered_as(&text);
    policies.map(Some).map_err(|error| unusable(&error))
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, CliError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| CliError::internal(&format!("cannot listen on {address}"), &error))
}

/// Returns at Ctrl-C or SIGTERM.
pub(super) async fn stop_asked() {
    let interrupt = tokio::signal::ctrl_c();
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        let _ = interrupt.await;
        return;
    };
    tokio::select! {
        _ = interrupt => {}
        _ = terminate.recv() => {}
    }
}
