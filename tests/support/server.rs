//! The API server that a test plays on: an embedded one of its own, or with `SIGNOFF_TEST_SERVER=real` a namespace of a real one that all
//! tests share, where the operator and the gateway have the accounts of the chart.

use std::{
    path::{Path, PathBuf},
    sync::Once,
};

use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use signoff_local::{ControlPlane, Identity, Options};

use super::{
    controlplane::say_not_run,
    real::{self, Room},
};

/// An API server.
pub enum Server {
    Embedded(ControlPlane),
    Real(Room),
}

impl Server {
    /// Opens one; an embedded one keeps its state in this folder.
    ///
    /// # Panics
    ///
    /// In a test outside `scenarios`, which would not be played on a real server.
    pub async fn open(data: &Path) -> Self {
        assert_is_a_scenario();
        if real::is_wanted() {
            let shared = tokio::task::spawn_blocking(real::shared).await.unwrap();
            return Self::Real(shared.room().await);
        }
        Self::Embedded(ControlPlane::open(Options::new(data)).await.unwrap())
    }

    /// Where everything happens.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Embedded(_) => "default",
            Self::Real(room) => room.name(),
        }
    }

    /// The one namespace that an operator watches; without it all of them.
    pub fn watched(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Real(room) => Some(room.name().to_owned()),
        }
    }

    pub fn client(&self, user: &str) -> Client {
        match self {
            Self::Embedded(plane) => plane.client(&Identity::Named(user.to_owned())),
            Self::Real(room) => room.client(user),
        }
    }

    /// With the rights of the operator.
    pub fn operator(&self) -> Client {
        match self {
            Self::Embedded(plane) => plane.client(&Identity::Operator),
            Self::Real(room) => room.client("operator"),
        }
    }

    /// With the rights of a gateway that is a process of its own, where there is an account for that.
    pub fn gateway(&self) -> Option<Client> {
        match self {
            Self::Embedded(_) => None,
            Self::Real(room) => Some(room.client("gateway")),
        }
    }

    /// Lets an operator have its own things, its keys and its lease, in this namespace too.
    pub async fn house_operator(&self) {
        if let Self::Real(room) = self {
            room.house_operator().await;
        }
    }

    /// A kubeconfig with a context for each user, of a server that other processes reach.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(_) => None,
            Self::Real(room) => Some(room.kubeconfig()),
        }
    }

    /// The token of a user.
    pub fn token(&self, user: &str) -> String {
        match self {
            Self::Embedded(plane) => {
                let text = plane.kubeconfig(([127, 0, 0, 1], 1).into());
                let config: Value = serde_yaml::from_str(&text).unwrap();
                let mut users = config["users"].as_array().unwrap().iter();
                let named = users.find(|known| known["name"] == user).unwrap();
                named["user"]["token"].as_str().unwrap().to_owned()
            }
            // there the name of a user is the token
            Self::Real(_) => user.to_owned(),
        }
    }

    /// Whether `what` can be tested, which takes somebody who collects garbage; says so where it cannot.
    pub fn can_test(&self, what: &str) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Real(room) => room.can_test(what),
        }
    }

    /// Whether it writes down who asks and who changes what.
    pub fn stamps(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Real(room) => room.stamps(),
        }
    }

    /// Puts under a decision or a run who sends it, where the server does not.
    pub fn sign(&self, user: &str, object: &mut Value) {
        if let Self::Real(room) = self {
            room.sign(user, object);
        }
    }

    /// What the audit log has of this namespace, where there is one.
    pub fn audit(&self) -> Vec<Value> {
        match self {
            Self::Embedded(_) => Vec::new(),
            Self::Real(room) => room.audit(),
        }
    }

    /// The objects of a kind, for the administrator.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client("admin"), self.namespace())
    }

    /// The objects of a kind, for whom the policies let write what is evidence.
    pub fn operators<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.operator(), self.namespace())
    }

    /// The objects of a kind, for the garbage collector of the API server.
    pub async fn collector<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::Embedded(_) => self.operators(),
            Self::Real(room) => {
                let file = Kubeconfig::read_from(room.kubeconfig()).unwrap();
                let options = KubeConfigOptions {
                    context: Some("admin".to_owned()),
                    ..KubeConfigOptions::default()
                };
                let mut config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
                let user = "system:serviceaccount:kube-system:generic-garbage-collector";
                config.auth_info.impersonate = Some(user.to_owned());
                config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
                Api::namespaced(Client::try_from(config).unwrap(), self.namespace())
            }
        }
    }
}

/// A test that chooses its server has to be among those that `tests/controlplane/scenarios.sh` plays, which has them by their path. The test
/// runner gives a test's name to its thread.
fn assert_is_a_scenario() {
    static SAID: Once = Once::new();
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    assert!(
        !name.contains("::") || name.contains("scenarios::"),
        "{name} can be played on a real API server too: move its module to the folder `scenarios` of its test program"
    );
    if !real::is_wanted() && std::env::var_os("SIGNOFF_REQUIRE_CONTROLPLANE").is_none() {
        SAID.call_once(|| {
            say_not_run(
                "the scenarios on a real API server",
                "tests/controlplane/scenarios.sh plays them there",
            );
        });
    }
}
