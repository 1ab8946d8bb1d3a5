//! `signoff gateway`: the gateway alone, as it faces the outside in a cluster.

use std::net::SocketAddr;

use super::{
    Global,
    agents::AgentsArgs,
    answer::Answer,
    error::CliError,
    listening::ConnectionArgs,
    operator::{bind, until_stopped},
    serving,
    store_options::StoreArgs,
};
use crate::{
    net::{AddressPolicy, Network},
    operator::{GatewayServer, GatewayServerOptions},
    telemetry::logs::LogFormat,
};
use signoff_api::name::DnsLabel;

/// Run the gateway alone, which takes callbacks and push webhooks, and serves agents if it is told to; any number of them serve at the same time.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct GatewayArgs {
    /// Address of the gateway.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    gateway_listen: SocketAddr,
    #[command(flatten)]
    connections: ConnectionArgs,
    /// Address for health, readiness and metrics, which shares no bound with the gateway.
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    agents: AgentsArgs,
    /// Namespace of the operator, where the keys of callback addresses are.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "signoff-system",
        value_name = "NAMESPACE"
    )]
    own_namespace: DnsLabel,
    /// Namespaces to work in; repeatable. Without it all of them.
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',')]
    watch_namespaces: Vec<DnsLabel>,
    /// What this process calls itself to the API server; in a cluster the name of the pod.
    #[arg(long, env = "POD_NAME", default_value = "gateway", value_name = "NAME")]
    name: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
}

pub(super) async fn verb(args: GatewayArgs, global: &Global) -> Result<Answer, CliError> {
    let client = serving::client(global, &args.name).await?;
    let options = GatewayServerOptions {
        namespace: args.own_namespace.into(),
        watch_namespaces: args.watch_namespaces.into_iter().map(String::from).collect(),
        connections: args.connections.limits(),
        store: args.store.open(&Network::new(AddressPolicy::default()))?,
        agents: args.agents.open(global).await?,
    };
    let listener = bind(args.gateway_listen).await?;
    let admin = bind(args.admin_listen).await?;
    let gateway = GatewayServer::start(client, options)
        .await
        .map_err(|error| CliError::internal("the gateway cannot start", &error))?;
    let routes = gateway.admin();
    tracing::info!(gateway = %args.gateway_listen, admin = %args.admin_listen, "the gateway serves");
    let metrics = gateway.metrics().clone();
    until_stopped(admin, routes, metrics, |shutdown| gateway.run(listener, shutdown))
        .await
        .map(|()| Answer::default())
        .map_err(|error| CliError::internal("the gateway stopped", &error))
}
