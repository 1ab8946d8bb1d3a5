//! The kubeconfig that `signoff dev` leaves in the folder it was started in. Whoever gives somebody a folder can put one there, so it
//! is taken only if it is what `signoff dev` writes: a server on this machine, a certificate authority and tokens. It can neither
//! run a program, nor name a file, nor lead to another machine.

#[cfg(feature = "dev")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{
    gateway_url::is_plain_and_here,
    private::{self, PrivateError},
};

/// Where `signoff dev` leaves it, as seen from the folder it was started in.
const FOLDER: &str = ".signoff";
const FILE: &str = "kubeconfig";
/// Name of the extension of a cluster that says where its gateway is.
const GATEWAY: &str = "signoff.dev/gateway";

/// Why the kubeconfig of the folder is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalKubeconfigError {
    /// Others could have written it.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// It holds what `signoff dev` does not write.
    #[error("{} is not one that signoff dev wrote", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_yaml::Error,
    },
    /// Its server is somewhere else.
    #[error("{} leads to {server}, not to a server on this machine", path.display())]
    Elsewhere {
        /// The file.
        path: PathBuf,
        /// The server.
        server: String,
    },
}

/// The path of the kubeconfig that belongs to a folder.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(FOLDER).join(FILE)
}

/// Reads the kubeconfig of a folder, if there is one.
pub(super) fn read(folder: &Path) -> Result<Option<Kubeconfig>, LocalKubeconfigError> {
    let path = path(folder);
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    private::check_folder(&folder.join(FOLDER))?;
    parse(&private::read(&path)?, &path).map(Some)
}

fn parse(text: &str, path: &Path) -> Result<Kubeconfig, LocalKubeconfigError> {
    let foreign = |source| LocalKubeconfigError::Foreign {
        path: path.to_owned(),
        source,
    };
    let local: Local = serde_yaml::from_str(text).map_err(foreign)?;
    if let Some(named) = local
        .clusters
        .iter()
        .find(|named| !is_here(&named.cluster.server))
    {
        return Err(LocalKubeconfigError::Elsewhere {
            path: path.to_owned(),
            server: named.cluster.server.clone(),
        });
    }
    let extensions = local.clusters.iter().flat_map(|named| &named.cluster.extensions);
    if let Some(stated) = extensions
        .map(|stated| &stated.extension.url)
        .find(|url| !is_gateway(url))
    {
        return Err(LocalKubeconfigError::Elsewhere {
            path: path.to_owned(),
            server: stated.clone(),
        });
    }
    // what was judged is what is used, whatever else a second reader would find in the text
    let judged = serde_yaml::to_string(&local).map_err(foreign)?;
    serde_yaml::from_str(&judged).map_err(foreign)
}

fn is_gateway(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_plain_and_here(&url))
}

/// The gateway that the cluster of a context states, if both are on this machine.
pub(super) fn gateway(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<Url> {
    let context = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == context)?;
    let name = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == *name)?;
    let cluster = cluster.cluster.as_ref()?;
    if !cluster.server.as_deref().is_some_and(is_here) {
        return None;
    }
    let mut extensions = cluster.extensions.iter().flatten();
    let stated = extensions.find(|extension| extension.name == GATEWAY)?;
    let url = stated.extension["url"].as_str()?;
    Url::parse(url).ok().filter(is_plain_and_here)
}

/// The kubeconfig of `signoff dev`, which states the gateway as well.
///
/// # Errors
/// If the text is no kubeconfig of `signoff dev`.
#[cfg(feature = "dev")]
pub(super) fn with_gateway(text: &str, gateway: SocketAddr) -> Result<String, serde_yaml::Error> {
    let mut local: Local = serde_yaml::from_str(text)?;
    for named in &mut local.clusters {
        named.cluster.extensions = vec![Extension {
            name: ExtensionName::Gateway,
            extension: Stated {
                url: format!("http://{}", reached_at(gateway)),
            },
        }];
    }
    serde_yaml::to_string(&local)
}

/// Whether an address is `https` on a loopback address, which no name server has a say in.
fn is_here(server: &str) -> bool {
    let Ok(url) = Url::parse(server) else { return false };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    loopback && url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
}

/// The address that clients on this machine use for a server that listens here.
#[cfg(feature = "dev")]
pub(super) fn reached_at(listening: SocketAddr) -> SocketAddr {
    let mut address = listening;
    if listening.ip().is_unspecified() {
        address.set_ip(match listening {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// All that the kubeconfig of `signoff dev` may hold, also after `kubectl config` has written it anew.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Local {
    api_version: String,
    kind: String,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    #[serde(rename = "current-context", default, skip_serializing_if = "Option::is_none")]
    current_context: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preferences: Option<Preferences>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Preferences {}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    certificate_authority_data: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extensions: Vec<Extension>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    name: ExtensionName,
    extension: Stated,
}

/// No other is written.
#[derive(Debug, Deserialize, Serialize)]
enum ExtensionName {
    #[serde(rename = "signoff.dev/gateway")]
    Gateway,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    url: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct User {
    token: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Context {
    cluster: String,
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: signoff\n  cluster:\n    server: https://127.0.0.1:7443\n    \
        certificate-authority-data: Y2E=\nusers:\n- name: admin\n  user:\n    token: abc\ncontexts:\n- name: admin\n  context:\n    \
        cluster: signoff\n    user: admin\n    namespace: default\ncurrent-context: admin\npreferences: {}\n";

    fn taken(text: &str) -> Result<Kubeconfig, LocalKubeconfigError> {
        parse(text, Path::new("x"))
    }

    #[test]
    fn what_signoff_dev_writes_is_taken() {
        let config = taken(GOOD).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("admin"));
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:7443"));
        for server in ["https://[::1]:7443", "https://127.1.2.3"] {
            assert!(
                taken(&GOOD.replace("https://127.0.0.1:7443", server)).is_ok(),
                "{server}"
            );
        }
    }

    #[test]
    #[cfg(feature = "dev")]
    fn the_gateway_is_the_one_that_signoff_dev_states_and_no_other() {
        assert_eq!(gateway(&taken(GOOD).unwrap(), None), None);
        let text = with_gateway(GOOD, "0.0.0.0:7480".parse().unwrap()).unwrap();
        let found = gateway(&taken(&text).unwrap(), Some("admin"));
        assert_eq!(found.unwrap().as_str(), "http://127.0.0.1:7480/");
        assert_eq!(gateway(&taken(&text).unwrap(), Some("other")), None);
        let elsewhere = text.replace("http://127.0.0.1:7480", "http://evil.example");
        assert!(matches!(
            taken(&elsewhere),
            Err(LocalKubeconfigError::Elsewhere { .. })
        ));
        // a kubeconfig of a cluster that is not on this machine states none
        for (from, to) in [
            ("https://127.0.0.1:7443", "https://api.example.com"),
            ("http://127.0.0.1:7480", "http://10.0.0.1"),
        ] {
            let other: Kubeconfig = serde_yaml::from_str(&text.replace(from, to)).unwrap();
            assert_eq!(gateway(&other, None), None, "{to}");
        }
        assert!(taken(&text.replace("signoff.dev/gateway", "client.authentication.k8s.io/exec")).is_err());
    }

    #[test]
    fn a_server_elsewhere_is_refused() {
        for server in [
            "https://api.example.com",
            "https://localhost:7443",
            "https://10.0.0.1:7443",
            "http://127.0.0.1:7443",
            "https://user:pass@127.0.0.1:7443",
            "https://127.0.0.1.evil.example",
            "/127.0.0.1",
            "''",
        ] {
            let text = GOOD.replace("https://127.0.0.1:7443", server);
            assert!(
                matches!(taken(&text), Err(LocalKubeconfigError::Elsewhere { .. })),
                "{server}"
            );
        }
    }

    #[test]
    fn what_runs_a_program_names_a_file_or_leads_elsewhere_is_refused() {
        let user = |more: &str| GOOD.replace("    token: abc", &format!("    token: abc\n    {more}"));
        let cluster = |more: &str| {
            GOOD.replace(
                "    certificate-authority-data: Y2E=",
                &format!("    certificate-authority-data: Y2E=\n    {more}"),
            )
        };
        for text in [
            user("exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}"),
            user("auth-provider: {name: gcp, config: {cmd-path: sh}}"),
            user("tokenFile: /etc/passwd"),
            user("client-certificate: /tmp/c"),
            user("client-key: /tmp/k"),
            user("client-certificate-data: YQ=="),
            user("username: a"),
            user("as: system:admin"),
            cluster("proxy-url: http://evil.example"),
            cluster("insecure-skip-tls-verify: true"),
            cluster("certificate-authority: /tmp/ca"),
            cluster("tls-server-name: evil.example"),
            GOOD.replace("preferences: {}", "extensions: []"),
            GOOD.replace("    token: abc", "    {}"),
            format!("{GOOD}---\n{GOOD}"),
            format!("{GOOD}users: []\n"),
            String::new(),
        ] {
            assert!(
                matches!(taken(&text), Err(LocalKubeconfigError::Foreign { .. })),
                "{text}"
            );
        }
    }
}
