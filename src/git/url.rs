//! The address of a git remote, read once into what the transports need.

use std::{fmt, path::PathBuf, str::FromStr};

use url::Url;

use signoff_api::address;

/// Where a git remote is. Never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteUrl {
    /// `http://` or `https://`.
    Http(Url),
    /// `ssh://` or `user@host:path`.
    Ssh(SshUrl),
    /// `file://`.
    File(PathBuf),
}

/// The parts of an ssh address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshUrl {
    /// User name, when the address has one.
    pub user: Option<String>,
    /// Host name or IP address.
    pub host: String,
    /// Port; 22 unless the address says otherwise.
    pub port: u16,
    /// Path as the server is to read it.
    pub path: String,
}

/// Why a text is not the address of a git remote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an address at all.
    #[error(
        "not an address of a git repository; write https://host/path, ssh://user@host/path or user@host:path"
    )]
    Malformed,
    /// A scheme that is not supported.
    #[error("the scheme {0:?} is not supported; use https, http or ssh")]
    Scheme(String),
    /// `file://` where it is not allowed.
    #[error("file:// is not allowed here")]
    FileRefused,
    /// Credentials in the address.
    #[error("the address must not hold credentials; put them into a Connection")]
    Credentials,
    /// The address has no host or no path.
    #[error("the address has no {0}")]
    Missing(&'static str),
    /// A query or a fragment, which git remotes do not have.
    #[error("the address must not have a query or a fragment")]
    Query,
}

impl RemoteUrl {
    /// Host for messages; `this machine` for a local path.
    pub fn host(&self) -> &str {
        match self {
            Self::Http(url) => url.host_str().unwrap_or_default(),
            Self::Ssh(ssh) => &ssh.host,
            Self::File(_) => "this machine",
        }
    }
}

/// An address that is read as the same remote.
impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => url.fmt(f),
            Self::Ssh(ssh) => {
                let text = ssh.as_url();
                // which cannot say a path below the home directory, nor any path byte for byte
                if text.parse().as_ref() == Ok(self) {
                    f.write_str(&text)
                } else {
                    write!(f, "{}{}:{}", ssh.login(), ssh.host, ssh.path)
                }
            }
            Self::File(path) => match Url::from_file_path(path) {
                Ok(url) => url.fmt(f),
                Err(()) => write!(f, "file://{}", path.display()),
            },
        }
    }
}

impl SshUrl {
    fn login(&self) -> String {
        let user = self.user.as_ref();
        user.map_or_else(String::new, |user| format!("{user}@"))
    }

    /// As `ssh://`, which says every address that was written so.
    fn as_url(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let port = match self.port {
            22 => String::new(),
            port => format!(":{port}"),
        };
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        format!("ssh://{}{host}{port}/{path}", self.login())
    }
}

impl FromStr for RemoteUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(UrlError::Malformed);
        }
        if address::remote_holds_credentials(text) {
            return Err(UrlError::Credentials);
        }
        if !text.contains("://") {
            return scp_style(text);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Query);
        }
        match url.scheme() {
            "http" | "https" => http(url),
            "ssh" => ssh(&url),
            "file" => url
                .to_file_path()
                .map(Self::File)
                .map_err(|()| UrlError::Malformed),
            other => Err(UrlError::Scheme(other.to_owned())),
        }
    }
}

fn http(mut url: Url) -> Result<RemoteUrl, UrlError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if path.is_empty() {
        return Err(UrlError::Missing("path"));
    }
    url.set_path(&path);
    Ok(RemoteUrl::Http(url))
}

fn ssh(url: &Url) -> Result<RemoteUrl, UrlError> {
    if url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or(UrlError::Missing("host"))?;
    // ssh://host/~user/repo names a path in a home directory
    let path = match url.path().strip_prefix("/~") {
        Some(home) => format!("~{home}"),
        None => url.path().to_owned(),
    };
    ssh_url(Some(url.username()), host, url.port().unwrap_or(22), path)
}

/// `[user@]host:path`, as ssh remotes are most often written.
fn scp_style(text: &str) -> Result<RemoteUrl, UrlError> {
    let (authority, path) = text.split_once(':').ok_or(UrlError::Malformed)?;
    if authority.contains('/') {
        return Err(UrlError::Malformed);
    }
    let (user, host) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, host)| (Some(user), host));
    if user.is_some_and(|user| user.contains(':')) {
        return Err(UrlError::Credentials);
    }
    ssh_url(user, host, 22, path.to_owned())
}

fn ssh_url(user: Option<&str>, host: &str, port: u16, path: String) -> Result<RemoteUrl, UrlError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(UrlError::Missing("host"));
    }
    if path.trim_matches('/').is_empty() {
        return Err(UrlError::Missing("path"));
    }
    // the server would take it for an option of git-upload-pack
    if path.starts_with('-') {
        return Err(UrlError::Malformed);
    }
    let user = user.filter(|user| !user.is_empty()).map(str::to_owned);
    Ok(RemoteUrl::Ssh(SshUrl {
        user,
        host: host.to_owned(),
        port,
        path,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh_parts(text: &str) -> (Option<String>, String, u16, String) {
        match text.parse::<RemoteUrl>() {
            Ok(RemoteUrl::Ssh(ssh)) => (ssh.user, ssh.host, ssh.port, ssh.path),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_every_way_to_write_a_remote() {
        assert_eq!(
            ssh_parts("git@example.com:team/flows.git"),
            (
                Some("git".into()),
                "example.com".into(),
                22,
                "team/flows.git".into()
            )
        );
        assert_eq!(
            ssh_parts("ssh://bot@example.com:2222/srv/flows.git"),
            (
                Some("bot".into()),
                "example.com".into(),
                2222,
                "/srv/flows.git".into()
            )
        );
        assert_eq!(ssh_parts("ssh://[::1]/~bot/flows").1, "::1");
        assert_eq!(ssh_parts("ssh://host/~bot/flows").3, "~bot/flows");
        let http: RemoteUrl = "https://example.com/team/flows.git/".parse().unwrap();
        assert_eq!(http.to_string(), "https://example.com/team/flows.git");
        let file: RemoteUrl = "file:///srv/flows.git".parse().unwrap();
        assert_eq!(file, RemoteUrl::File("/srv/flows.git".into()));
    }

    #[test]
    fn what_is_shown_is_read_as_the_same_remote() {
        for (given, shown) in [
            ("git@github.com:acme/flows.git", None),
            ("github.com:acme/flows.git", None),
            ("git@host:/srv/flows.git", Some("ssh://git@host/srv/flows.git")),
            ("git@host:~bot/flows", Some("ssh://git@host/~bot/flows")),
            ("git@host:/~bot/flows", None),
            ("git@host:/srv/../flows?é#", None),
            ("a@b@host:x", None),
            ("ssh://git@github.com/acme/flows.git", None),
            ("ssh://github.com/acme/flows.git", None),
            ("ssh://git@host:22/x", Some("ssh://git@host/x")),
            ("ssh://git@host:2222/acme/flows.git", None),
            ("ssh://bot@h.example/~bot/flows", None),
            ("ssh://bot@h.example:2222/~bot/flows", None),
            ("ssh://a%40b@host/a%20b", None),
            ("ssh://bot@[::1]:2222/x", None),
            ("ssh://[::1]/x", None),
            ("ssh://host//x", None),
            ("ssh://host/a://b", None),
            ("https://forge.example.com/acme/flows.git", None),
            (
                "https://forge.example.com:8443/a%20b/",
                Some("https://forge.example.com:8443/a%20b"),
            ),
            ("file:///srv/flows.git", None),
            ("file:///srv/a%20b%25", None),
        ] {
            let remote: RemoteUrl = given.parse().unwrap();
            assert_eq!(remote.to_string(), shown.unwrap_or(given));
            assert_eq!(remote.to_string().parse().as_ref(), Ok(&remote), "{given}");
        }
    }

    #[test]
    fn refuses_what_is_no_remote_and_says_why() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("flows", UrlError::Malformed),
            ("/srv/flows.git", UrlError::Malformed),
            ("./a:b", UrlError::Malformed),
            ("git@host:-oProxyCommand=x", UrlError::Malformed),
            ("git@host:", UrlError::Missing("path")),
            ("@:x", UrlError::Missing("host")),
            ("https://example.com", UrlError::Missing("path")),
            ("https://user:pass@example.com/x", UrlError::Credentials),
            ("https://token@example.com/x", UrlError::Credentials),
            ("ssh://user:pass@example.com/x", UrlError::Credentials),
            ("https:/token@example.com/x", UrlError::Credentials),
            ("user:pass@example.com:x", UrlError::Credentials),
            ("https://example.com/x?y", UrlError::Query),
            ("git://example.com/x", UrlError::Scheme("git".into())),
            ("ext::sh -c id", UrlError::Malformed),
        ] {
            assert_eq!(text.parse::<RemoteUrl>(), Err(error), "{text}");
        }
    }
}
