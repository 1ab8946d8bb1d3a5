//! A client as the arguments and the environment say.

use std::path::Path;

use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
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

/// The name under which the API server notes what the command line writes.
const FIELD_MANAGER: &str = "signoff-cli";

/// How the command line creates objects.
pub(super) fn post_params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// How the command line changes objects.
pub(super) fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

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
        self.list_in(Namespaces::One, params).await
    }

    /// Lists the objects of a kind in the namespace, or in all.
    pub(super) async fn list_in<K: Kind>(
        &self,
        namespaces: Namespaces,
        params: &ListParams,
    ) -> Result<Vec<K>, kube::Error> {
        let api = match namespaces {
            Namespaces::One => self.api::<Decoded<K>>(),
            Namespaces::All => Api::all(self.client.clone()),
        };
        let listed = objects::list(&api, params).await?;
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

    /// An object that has to be there; none if it may not be read, as the API server has the last word anyway.
    pub(super) async fn named<K: Kind>(&self, name: &str) -> Result<Option<K>, CliError>
    where
        Api<K>: Clone,
    {
        match self.api::<K>().get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(self.failed::<K>(name, &error)),
        }
    }

    /// An object that has to be there.
    pub(super) async fn get<K: Kind>(&self, name: &str) -> Result<K, CliError> {
        let found = self.api::<K>().get(name).await;
        found.map_err(|error| self.failed::<K>(name, &error))
    }

    /// Why a request about an object failed. That there is no such object is said in one form.
    pub(super) fn failed<K: Kind>(&self, name: &str, error: &kube::Error) -> CliError {
        match error {
            kube::Error::Api(status) if status.code == 404 && names(status) => self.not_found::<K>(name),
            error => CliError::api(name, error),
        }
    }

    /// There is no such object.
    pub(super) fn not_found<K: Kind>(&self, name: &str) -> CliError {
        let kind = K::kind(&()).to_lowercase();
        let message = format!("there is no {kind} {name} in namespace {}", self.namespace);
        CliError::new("NotFound", exit::NOT_FOUND, message)
    }

    /// Where is looked, for people.
    pub(super) fn places(&self, namespaces: Namespaces) -> String {
        match namespaces {
            Namespaces::One => format!("namespace {}", self.namespace),
            Namespaces::All => "any namespace".to_owned(),
        }
    }

    /// The user name and the groups that the API server knows the caller by, to be written down where it does not do so itself.
    pub(super) async fn whoami(&self) -> Result<(String, Vec<String>), CliError> {
        let known = crate::client::whoami(&self.client).await;
        known.map_err(|error| CliError::api("it is not known who you are", &error))
    }
}

/// Which namespaces are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    /// That of the context, or of `--namespace`.
    One,
    /// All.
    All,
}

impl Namespaces {
    pub(super) fn of(all: bool) -> Self {
        if all { Self::All } else { Self::One }
    }
}

/// Whether an answer speaks of one object, and not of a kind that is not installed.
fn names(status: &kube::core::Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty())
}

/// The configuration of a kubeconfig, or of the pod this runs in.
pub(super) async fn config(global: &Global) -> Result<Config, CliError> {
    let options = KubeConfigOptions {
        context: global.context.clone(),
        ..KubeConfigOptions::default()
    };
    let Some(kubeconfig) = chosen(global)? else {
        if global.context.is_none()
            && let Ok(config) = Config::incluster()
        {
            return Ok(config);
        }
        return Config::from_kubeconfig(&options)
            .await
            .map_err(|error| unusable(&error));
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unusable(&error))
}

fn unusable(error: &KubeconfigError) -> CliError {
    let why = match error {
        KubeconfigError::ReadConfig(why, path) => format!("{}: {why}", path.display()),
        KubeconfigError::LoadContext(name) => format!("it has no context {name:?}"),
        KubeconfigError::CurrentContextNotSet => "it has no current context".to_owned(),
        error => error.to_string(),
    };
    let hint = match &error {
        KubeconfigError::LoadContext(_) | KubeconfigError::CurrentContextNotSet => {
            "kubectl config get-contexts lists the contexts; choose one with --context"
        }
        _ => {
            "signoff dev starts a control plane on this machine; otherwise set KUBECONFIG or give --kubeconfig"
        }
    };
    let message = format!("the kubeconfig cannot be used: {why}");
    CliError::new("Kubeconfig", exit::UNREACHABLE, message).hint(hint)
}

/// Where the gateway of `signoff dev` is reached, if the kubeconfig is one that it wrote.
pub(super) fn stated_gateway(global: &Global) -> Option<url::Url> {
    let here = || local_kubeconfig::read(Path::new("")).ok().flatten();
    let named = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let kubeconfig = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).ok(),
        None if named => Kubeconfig::read().ok(),
        None => here().or_else(|| Kubeconfig::read().ok()),
    };
    local_kubeconfig::gateway(&kubeconfig?, global.context.as_deref())
}

/// The kubeconfig of `--kubeconfig`, or else that of `signoff dev` in this folder unless `KUBECONFIG` names others.
fn chosen(global: &Global) -> Result<Option<Kubeconfig>, CliError> {
    if let Some(path) = &global.kubeconfig {
        return Kubeconfig::read_from(path)
            .map(Some)
            .map_err(|error| unusable(&error));
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
