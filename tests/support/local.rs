//! An embedded control plane in a temporary directory, and small helpers around it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta};
use kube::{Client, CustomResource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use signoff_local::{ControlPlane, Identity, Options};

pub use super::controlplane::PATIENCE;

/// A kind of the tests' own, with a status subresource and a selectable field.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, JsonSchema, PartialEq)]
#[kube(
    group = "test.dev",
    version = "v1",
    kind = "Widget",
    namespaced,
    status = "WidgetStatus"
)]
#[kube(selectable = ".spec.color")]
pub struct WidgetSpec {
    pub color: String,
    #[serde(default)]
    pub size: i64,
}

#[derive(Serialize, Deserialize, Debug, Clone, Default, JsonSchema, PartialEq)]
pub struct WidgetStatus {
    pub ready: bool,
}

pub struct Local {
    pub plane: ControlPlane,
    pub dir: tempfile::TempDir,
}

impl Local {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plane = open(dir.path()).await;
        Self { plane, dir }
    }

    pub fn client(&self) -> Client {
        self.plane.client(&Identity::Named("admin".to_owned()))
    }

    pub fn maps(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client())
    }

    pub fn widgets(&self) -> Api<Widget> {
        Api::default_namespaced(self.client())
    }

    /// Closes the control plane and opens it again on the same data.
    pub async fn restart(self) -> Self {
        self.plane.shutdown().await;
        let plane = open(self.dir.path()).await;
        Self { plane, dir: self.dir }
    }
}

pub async fn open(data: &std::path::Path) -> ControlPlane {
    use kube::CustomResourceExt as _;
    let mut options = Options::new(data);
    options.definitions.push(Widget::crd());
    ControlPlane::open(options).await.unwrap()
}

pub fn map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("k".to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

pub fn widget(name: &str, color: &str) -> Widget {
    Widget::new(
        name,
        WidgetSpec {
            color: color.to_owned(),
            size: 1,
        },
    )
}

/// The code and reason of a refusal.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not refused by the server: {other:?}"),
    }
}

/// Waits until the condition holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, holds).await.is_ok(),
        "{what}: not within {PATIENCE:?}"
    );
}
