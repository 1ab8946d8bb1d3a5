//! The control plane as a whole: opening it, serving it, and clients in the same process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accounts::{self, Accounts};
use super::admission::Policies;
use super::handlers::{self, Caller, events};
use super::openapi::Documents;
use super::rbac::{Attributes, Authorizer, Verdict};
use super::registry::{Registry, ResourceKind};
use super::schema::Schema;
use super::store::{OpenError, Store};
use super::tls::Tls;
use super::users::User;
use super::{files, janitor, kubeconfig, seed, server};

/// How to open a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory that holds its state; it is made when it is missing.
    pub data: PathBuf,
    /// The kinds it serves besides the core ones.
    pub definitions: Vec<CustomResourceDefinition>,
}

impl Options {
    /// A control plane for our kinds.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            definitions: signoff_api::crds(),
        }
    }
}

/// As whom a client in this process acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The operator's service account.
    Operator,
    /// An account by its short name, such as `alice` or `agent`; a name without an account has no rights.
    Named(String),
}

/// Everything a request needs.
pub(super) struct Plane {
    pub(super) store: Arc<Store>,
    pub(super) registry: Arc<Registry>,
    pub(super) accounts: Accounts,
    pub(super) policies: Policies,
    pub(super) stop: CancellationToken,
    documents: OnceLock<Documents>,
    schemas: HashMap<String, Schema>,
    authorizer: Mutex<Option<(u64, Arc<Authorizer>)>>,
}

/// The resources that say who may do what.
const RBAC: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

impl Plane {
    /// The schema of a kind in the form in which it is stored; every kind that is served has one.
    pub(super) fn schema(&self, kind: &ResourceKind) -> &Schema {
        static UNCHECKED: LazyLock<Schema> = LazyLock::new(Schema::unchecked);
        self.schemas.get(&events::stored_as(kind)).unwrap_or(&UNCHECKED)
    }

    /// The `OpenAPI` documents, rendered when they are first asked for.
    pub(super) fn documents(&self) -> &Documents {
        self.documents.get_or_init(|| Documents::new(&self.registry))
    }

    /// Whether RBAC allows it.
    pub(super) fn allows(&self, user: &User, asked: &Attributes) -> bool {
        self.authorize(user, asked).allowed
    }

    /// What RBAC says.
    pub(super) fn authorize(&self, user: &User, asked: &Attributes) -> Verdict {
        self.authorizer().authorize(user, asked)
    }

    fn objects<T: serde::de::DeserializeOwned>(&self, resource: &str) -> Vec<T> {
        let items = self
            .store
            .list(resource, None, None, None)
            .map(|page| page.items)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|entry| serde_json::from_slice(&entry.json).ok())
            .collect()
    }

    /// The authorizer for the role objects as they are now.
    pub(super) fn authorizer(&self) -> Arc<Authorizer> {
        let stamp = self.store.last_change(&RBAC);
        let mut cached = self.authorizer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, authorizer)) = &*cached
            && *of == stamp
        {
            return authorizer.clone();
        }
        let [roles, cluster_roles, bindings, cluster_bindings] = RBAC;
        let authorizer = Arc::new(Authorizer::new(
            self.objects(roles),
            self.objects(cluster_roles),
            self.objects(bindings),
            self.objects(cluster_bindings),
        ));
        *cached = Some((stamp, authorizer.clone()));
        authorizer
    }
}

/// The embedded control plane. Clones are handles on the same one.
#[derive(Clone)]
pub struct ControlPlane {
    plane: Arc<Plane>,
    tls: Arc<Tls>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Opens the data directory, seeds it at the first start, and starts the background work.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Options { data, definitions } = options;
        let io = |path: PathBuf| move |source| OpenError::Io { path, source };
        std::fs::create_dir_all(&data).map_err(io(data.clone()))?;
        let registry = Arc::new(Registry::new(definitions));
        let file = data.join("store.redb");
        files::create_private(&file).map_err(io(file.clone()))?;
        let (store, notes) = Store::open(&file, registry.clone())?;
        let accounts = Accounts::open(&data).map_err(io(data.join("tokens.json")))?;
        let tls = Tls::open(&data).map_err(|source| OpenError::Certificates {
            path: data.clone(),
            source,
        })?;
        let policies = Policies::of_the_chart()?;
        let schemas = registry
            .iter()
            .map(|kind| (kind.qualified(), Schema::of(kind)))
            .collect();
        let plane = Arc::new(Plane {
            documents: OnceLock::new(),
            store: Arc::new(store),
            registry,
            accounts,
            policies,
            stop: CancellationToken::new(),
            schemas,
            authorizer: Mutex::new(None),
        });
        seed::seed(&plane)
            .await
            .map_err(|e| OpenError::Seed(e.to_string()))?;
        let tasks = TaskTracker::new();
        tasks.spawn(janitor::run(plane.clone(), notes));
        Ok(Self {
            plane,
            tls: Arc::new(tls),
            tasks,
        })
    }

    /// A client in this process: the same handlers, no connection. Its default namespace is `default`.
    pub fn client(&self, identity: &Identity) -> kube::Client {
        let user = match identity {
            Identity::Operator => accounts::operator(),
            Identity::Named(name) => accounts::named(name).unwrap_or_else(|| User {
                name: name.clone(),
                ..User::default()
            }),
        };
        let (plane, user) = (self.plane.clone(), Arc::new(user));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            handlers::serve(plane.clone(), Caller::Trusted(user.clone()), request)
        });
        kube::Client::new(service, "default")
    }

    /// Serves connections until `shutdown`; returns when those that were open have ended.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        server::serve(self.plane.clone(), self.tls.server.clone(), listener, shutdown).await
    }

    /// A kubeconfig with one context per account for a server at this address.
    pub fn kubeconfig(&self, server: SocketAddr) -> String {
        kubeconfig::render(server, &self.tls.authority, &self.plane.accounts)
    }

    /// Ends watches and background work, finishes the writes handed in, and lets go of the data directory.
    pub async fn shutdown(&self) {
        self.plane.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let store = self.plane.store.clone();
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the store did not close");
        }
    }
}
