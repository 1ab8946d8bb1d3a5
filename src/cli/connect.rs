//! A client as the arguments and the environment say.

use std::path::Path;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{
    Global,
    error::{CliError, exit},
    lines::{self, Lines},
    local_kubeconfig,
};
use crate::cluster::{
    error_chain,
    objects::{self, Decoded, Kind},
};

/// A client and the namespace to work in.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Connection {
    /// Connects as the arguments say.
    pub(super) async fn open(global: &Global) -> Result<Self, CliError> {
        let mut config = config(global).await?;
        if let Some(user) = &global.act_as {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(global.act_as_group.clone()).filter(|groups| !groups.is_empty());
        }
        let namespace = global
            .namespace
            .as_ref()
            .map_or_else(|| config.default_namespace.clone(), ToString::to_string);
        let client = Client::try_from(config)
            .map_err(|error| CliError::internal("the kubeconfig cannot be used", &error))?;
        Ok(Self { client, namespace })
    }

    /// The objects of a kind in the namespace.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Lists the objects of a kind in the namespace. Those that cannot be decoded are told of on standard error, and keep no other away.
    pub(super) async fn list<K: Kind>(&self, params: &ListParams) -> Result<Vec<K>, kube::Error> {
        let listed = objects::list(&self.api::<Decoded<K>>(), params).await?;
        let mut lines = Lines::default();
        for object in &listed.undecodable {
            let (kind, name) = (K::kind(&()), object.metadata.name.as_deref().unwrap_or_default());
            let message = object.message();
            lines.push(format!(
                "warning: {kind} {name} cannot be decoded and is left out: {message}"
            ));
        }
        if !listed.undecodable.is_empty() {
            lines::say(&lines);
        }
        Ok(listed.items)
    }

    /// The user name and the groups that the API server knows the caller by, to be written down where it does not do so itself.
    pub(super) async fn whoami(&self) -> Result<(String, Vec<String>), CliError> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = reviews
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await;
        let review = review.map_err(|error| CliError::api("it is not known who you are", &error))?;
        let user = review
            .status
            .and_then(|status| status.user_info)
            .unwrap_or_default();
        Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
    }
}

/// The configuration of a kubeconfig, or of the pod this runs in.
pub(super) async fn config(global: &Global) -> Result<Config, CliError> {
    let options = KubeConfigOptions {
        context: global.context.clone(),
        ..KubeConfigOptions::default()
    };
    let unusable = |error: kube::config::KubeconfigError| {
        CliError::new("Kubeconfig", exit::UNREACHABLE, format!("the kubeconfig cannot be used: {error}"))
            .hint("signoff dev starts a control plane on this machine; otherwise set KUBECONFIG or give --kubeconfig")
    };
    let Some(kubeconfig) = chosen(global, unusable)? else {
        if global.context.is_none()
            && let Ok(config) = Config::incluster()
        {
            return Ok(config);
        }
        return Config::from_kubeconfig(&options).await.map_err(unusable);
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(unusable)
}

/// The kubeconfig of `--kubeconfig`, or else that of `signoff dev` in this folder unless `KUBECONFIG` names others.
fn chosen(
    global: &Global,
    unusable: impl Fn(kube::config::KubeconfigError) -> CliError,
) -> Result<Option<Kubeconfig>, CliError> {
    if let Some(path) = &global.kubeconfig {
        return Kubeconfig::read_from(path).map(Some).map_err(unusable);
    }
    if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        return Ok(None);
    }
    let here = Path::new("");
    let path = local_kubeconfig::path(here);
    let local = local_kubeconfig::read(here).map_err(|error| {
        let message = format!(
            "the kubeconfig of this folder is not used: {}",
            error_chain(&error)
        );
        CliError::new("Kubeconfig", exit::UNREACHABLE, message).hint(format!(
            "name the one you mean with --kubeconfig or KUBECONFIG, or delete {}",
            path.display()
        ))
    })?;
    if local.is_some() {
        let mut said = Lines::default();
        said.push(format!(
            "using {}, left here by signoff dev; --kubeconfig and KUBECONFIG come before it",
            path.display()
        ));
        lines::say(&said);
    }
    Ok(local)
}
