//! `signoff dev`: the control plane, the operator and the gateway in one process, with state on disk.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    answer::Answer,
    error::CliError,
    local_kubeconfig,
    operator::stop_asked,
    private::{self, PrivateError},
    traces,
};
use crate::{
    cluster::error_chain,
    gateway::{Agents, ConnectionLimits, Listener},
    net::{AddressPolicy, Network},
    operator::{Operator, OperatorError, OperatorOptions},
    store::{OpenError, Settings, Store},
    telemetry::files,
    traces::TraceExporterError,
};
use signoff_local::{ControlPlane, Identity, Options};

/// Longest time in which work under way may end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(20);

/// Start Signoff on this machine: a small control plane that speaks the Kubernetes API, the operator and the gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct DevArgs {
    /// Folder that holds the state; made if it is not there.
    #[arg(long, default_value = ".signoff", value_name = "DIR")]
    pub data: PathBuf,
    /// Address of the API server (TLS); port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:7443", value_name = "ADDRESS", value_parser = address)]
    pub listen: SocketAddr,
    /// Address of the gateway, which takes callbacks and push webhooks; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:7480", value_name = "ADDRESS", value_parser = address)]
    pub gateway: SocketAddr,
    /// Object store for content that is large or binary: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or
    /// `az://container/prefix`. Without it, content is kept in the folder of the state.
    #[arg(long, env = "SIGNOFF_STORE", value_name = "URL")]
    pub store: Option<Url>,
    /// Secret in the namespace `signoff-system` with the keys that sign records of runs: an entry for each key in PEM, and
    /// `current`, which names the one that signs. Without it, records are not signed.
    #[arg(long, value_name = "SECRET")]
    pub record_keys: Option<String>,
    /// Receiver of traces over OTLP/HTTP, such as `http://localhost:4318`: a trace of each run is sent when the run has ended.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = traces::endpoint)]
    pub otlp_endpoint: Option<Url>,
    /// Address for health, readiness and metrics; without it they are not served.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub admin: Option<SocketAddr>,
}

/// An address to listen on; a port alone is one of this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    text.parse()
        .map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:7443, or a port".to_owned())
}

/// Why `signoff dev` or `signoff demo` could not start.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// An address could not be listened on.
    #[error(
        "cannot listen on {address}; is another signoff running? choose another address, or port 0 for a free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The state is not this user's alone.
    #[error("the state cannot be used")]
    Private(#[from] PrivateError),
    /// The state could not be opened.
    #[error("cannot open the state in {}", path.display())]
    Open {
        /// Where the state lies.
        path: PathBuf,
        /// Why.
        #[source]
        source: signoff_local::OpenError,
    },
    /// The kubeconfig could not be written.
    #[error("cannot write {}", path.display())]
    Kubeconfig {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be used.
    #[error("the object store cannot be used")]
    Store(#[from] OpenError),
    /// Traces cannot be sent.
    #[error("--otlp-endpoint cannot be used")]
    Traces(#[from] TraceExporterError),
    /// The kubeconfig cannot be used for agents.
    #[error("the kubeconfig that was written cannot be used")]
    UnusableKubeconfig(#[from] KubeconfigError),
    /// Agents cannot be served.
    #[error("agents cannot be served")]
    Agents(#[source] kube::Error),
    /// The operator ended, and its log says why.
    #[error("the operator cannot go on; its log says why")]
    Stopped,
    /// The operator could not start.
    #[error("the operator could not start")]
    Operator(#[source] OperatorError),
}

/// A running `signoff dev`.
#[derive(Debug)]
pub struct Instance {
    control_plane: ControlPlane,
    api: SocketAddr,
    gateway: SocketAddr,
    kubeconfig: PathBuf,
    shutdown: CancellationToken,
    /// Cancelled when the operator has ended.
    stopped: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Instance {
    /// Opens or makes the state and starts everything; when this returns, clients can connect.
    pub async fn start(args: &DevArgs) -> Result<Self, DevError> {
        private::prepare_folder(&args.data)?;
        let api_listener = bind(args.listen).await?;
        let gateway_listener = bind(args.gateway).await?;
        let api = local_address(&api_listener, args.listen)?;
        let gateway = local_address(&gateway_listener, args.gateway)?;
        let open = |source| DevError::Open {
            path: args.data.clone(),
            source,
        };
        let control_plane = ControlPlane::open(Options::new(&args.data)).await.map_err(open)?;
        let kubeconfig = args.data.join("kubeconfig");
        let text = control_plane.kubeconfig(local_kubeconfig::reached_at(api));
        let text = local_kubeconfig::with_gateway(&text, gateway);
        let written = text
            .map_err(std::io::Error::other)
            .and_then(|text| write_private(&kubeconfig, &text));
        written.map_err(|source| DevError::Kubeconfig {
            path: kubeconfig.clone(),
            source,
        })?;

        let shutdown = CancellationToken::new();
        let mut tasks = Vec::new();
        let (server, token) = (control_plane.clone(), shutdown.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = server.serve(api_listener, token).await {
                tracing::error!(%error, "the API server stopped");
            }
        }));
        let network = Network::new(AddressPolicy::local());
        let store = match &args.store {
            Some(url) => Settings::from_environment(url.clone()),
            None => Settings::folder(&args.data.join("store"))?,
        };
        let agents = agents_of(&control_plane.kubeconfig(local_kubeconfig::reached_at(api))).await?;
        let options = OperatorOptions {
            agents: Some(agents),
            store: Some(Store::open(&store, &network)?),
            record_keys: args.record_keys.clone(),
            traces: traces::exporter(args.otlp_endpoint.as_ref(), &network)?,
            network,
            connections: ConnectionLimits::default().within(files::raise_limit()),
            ..OperatorOptions::new(format!("http://{gateway}"), args.data.join("git"))
        };
        let operator = Operator::start(control_plane.client(&Identity::Operator), options)
            .await
            .map_err(DevError::Operator)?;
        if let Some(address) = args.admin {
            let (listener, routes, token) = (bind(address).await?, operator.admin(), shutdown.clone());
            let serving = Listener::admin(operator.metrics().clone()).serve(listener, routes, token);
            // it only reports, so its end changes nothing
            tasks.push(tokio::spawn(async move { drop(serving.await) }));
        }
        let token = shutdown.clone();
        let stopped = CancellationToken::new();
        let tell = stopped.clone().drop_guard();
        tasks.push(tokio::spawn(async move {
            // also when it panics
            let _tell = tell;
            if let Err(error) = Box::pin(operator.run(Some(gateway_listener), token)).await {
                tracing::error!(error = %error_chain(&error), "the operator stopped");
            }
        }));
        Ok(Self {
            control_plane,
            api,
            gateway,
            kubeconfig,
            shutdown,
            stopped,
            tasks,
        })
    }

    /// A client with the rights of one of the users.
    pub fn client(&self, user: &str) -> kube::Client {
        self.control_plane.client(&Identity::Named(user.to_owned()))
    }

    /// Where the API server listens.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// The kubeconfig that was written.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Ends everything in order: no new decisions, work under way finished, state closed.
    pub async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            if tokio::time::timeout(DRAIN, task).await.is_err() {
                tracing::warn!("something was still running at the end of the drain time");
            }
        }
        self.control_plane.shutdown().await;
    }
}

/// Serves until Ctrl-C or SIGTERM.
pub(super) async fn verb(args: DevArgs) -> Result<Answer, CliError> {
    let instance = Instance::start(&args)
        .await
        .map_err(|error| CliError::internal("signoff dev cannot start", &error))?;
    let text = format!(
        "signoff dev is up\n  \
         API server   https://{api}  (users admin, dev, alice, bob, agent)\n  \
         gateway      http://{gateway}  (agents at /mcp)\n  \
         state        {data}\n\n\
         Try it:\n  \
         export KUBECONFIG={kubeconfig}\n  \
         kubectl get flows,releases,runs,approvals\n  \
         kubectl --context alice auth whoami\n\n\
         Ctrl-C ends it; the state stays.",
        api = instance.api,
        gateway = instance.gateway,
        data = args.data.display(),
        kubeconfig = instance.kubeconfig.display(),
    );
    // nobody reading the banner is no reason to stop serving
    let _ = writeln!(std::io::stdout(), "{text}");
    let broke = tokio::select! {
        () = stop_asked() => false,
        () = instance.stopped.cancelled() => true,
    };
    let _ = writeln!(std::io::stderr(), "stopping");
    instance.stop().await;
    if broke {
        return Err(CliError::internal("signoff dev stopped", &DevError::Stopped));
    }
    Ok(Answer::default())
}

/// The agents of this machine, on the server of a kubeconfig.
async fn agents_of(kubeconfig: &str) -> Result<Agents, DevError> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Agents::local(config).map_err(DevError::Agents)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, DevError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| DevError::Listen { address, source })
}

fn local_address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, DevError> {
    listener
        .local_addr()
        .map_err(|source| DevError::Listen { address, source })
}

/// The kubeconfig holds tokens, so only its owner may read it.
fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}
