//! Repository: a git remote that holds flows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HumanDuration,
    approval::AskVia,
    connection::SecretKeyRef,
    flow::Promotion,
    name::{COMMIT, ObjectName, SUBDOMAIN},
};

/// A git remote that holds flows: its draft and live refs and where the flows lie in it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Repository",
    plural = "repositories",
    shortname = "repo",
    category = "signoff",
    namespaced,
    status = "RepositoryStatus",
    derive = "PartialEq",
    doc = "A git remote that holds flows: a push to its draft ref cuts releases, a push to its live ref promotes them.",
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Draft", type_ = "string", json_path = ".status.draft.short"),
    printcolumn(name = "Live", type_ = "string", json_path = ".status.live.short"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(super::address::REMOTE_RULE).message(super::address::CREDENTIALS))]
pub struct RepositorySpec {
    /// Address of the remote: `https://`, `http://`, `ssh://`, or `git@host:path`; `file://` only where the operator allows it. Credentials belong into a
    /// Connection.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Name of a `git` Connection in this namespace with the credentials. Without it the remote is read anonymously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// How often to look for changes nobody told about, at least 1s. Defaults to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
    /// Where drafts come from: a push here updates flows and cuts releases.
    pub draft: DraftSource,
    /// What is live: a branch, the tag of the highest version, or a folder. A push, a merged pull request or a new tag there promotes. Without it,
    /// promote with `spec.live` of a Flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveSource>,
    /// Folder in the repository that is read, with its sub-folders, unless `draft` or `live` names another. Defaults to the whole repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// A gate every promotion of this repository's flows must pass, beside the flow's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// Whose signatures are accepted. Where it is set, a ref whose newest commit or tag has no good signature is taken as if it had not been
    /// pushed: nothing of it is applied, cut or promoted, and the conditions say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// The push webhook of the forge. Without it only the interval and the annotation `signoff.dev/requestedAt` start a sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<PushWebhook>,
    /// The forge that serves this repository: where commit statuses are posted and pull requests opened. Without it git alone is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeSpec>,
    /// How questions about this repository's flows are put on its forge, and answered there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<Decisions>,
    /// Which user of the cluster an account of the forge is. An account that is not found here decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Identities>,
    /// Begins the names of the branches and commit statuses that are made there, and defaults to `signoff`. Where several clusters or Repositories
    /// put questions or tell of commits in one project, give each its own, such as `signoff-staging`, and its own `decisions.path`. What was put under another
    /// prefix stays as it is: change it while no question is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = "^signoff(-[a-z0-9]+)*$"))]
    pub prefix: Option<String>,
    /// Which flows are deleted when git no longer holds them, and when the Repository is deleted. Defaults to `KeepLive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<Prune>,
    /// Stop syncing. What was applied stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Which flows are deleted with what they came from. A flow whose live release has a gate is never deleted because its file is gone from git.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Prune {
    /// Flows that have no live release. One that has stays when the Repository is deleted, and when its file is gone from the draft while `spec.live` of
    /// the flow, not git, says what is live.
    #[default]
    KeepLive,
    /// All flows, also those that are live.
    All,
    /// None.
    Never,
}

/// Where drafts come from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftSource {
    /// Branch name such as `main`, or a full ref such as `refs/tags/v1`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Folder that holds the drafts. Defaults to the `path` of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
}

/// What is live.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveSource {
    /// Which ref of the remote it is; exactly one of the forms.
    #[serde(flatten)]
    pub at: LiveRef,
    /// Folder that holds what is live, where the ref is the draft's too. Defaults to the `path` of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
}

/// Which ref of the remote is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LiveRef {
    /// Branch name such as `live`, or a full ref such as `refs/tags/v1`.
    #[serde(rename = "ref")]
    Name(#[schemars(length(min = 1, max = 255))] String),
    /// Pattern for tags of versions, such as `v*`, with at most one `*`: the one with the highest semantic version is live. What comes before the
    /// version is passed over; pre-releases count only where the pattern has a `-` within the version, as `v2.0.0-*` has.
    Tag(#[schemars(length(min = 1, max = 255))] String),
}

impl RepositorySpec {
    /// What begins the names of branches and commit statuses.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("signoff")
    }

    /// Follows two branches of a remote, read anonymously; everything else is as it is by default.
    pub fn following(url: impl Into<String>, draft: &str, live: &str) -> Self {
        Self {
            url: url.into(),
            connection: None,
            interval: None,
            draft: DraftSource {
                name: draft.to_owned(),
                path: None,
            },
            live: Some(LiveSource {
                at: LiveRef::Name(live.to_owned()),
                path: None,
            }),
            path: None,
            promotion: None,
            verify: None,
            webhook: None,
            forge: None,
            decisions: None,
            identities: None,
            prefix: None,
            prune: None,
            suspend: None,
        }
    }

    /// Folder that holds the drafts; empty for the whole repository.
    pub fn draft_folder(&self) -> &str {
        self.folder(self.draft.path.as_ref())
    }

    /// Folder that holds what is live; empty for the whole repository.
    pub fn live_folder(&self) -> &str {
        self.folder(self.live.as_ref().and_then(|live| live.path.as_ref()))
    }

    fn folder<'a>(&'a self, own: Option<&'a String>) -> &'a str {
        own.or(self.path.as_ref())
            .map_or("", |path| path.trim_matches('/'))
    }
}

/// The forge that serves a repository, and how to call its API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(super::address::URL_RULE).message(super::address::CREDENTIALS))]
pub struct ForgeSpec {
    /// What kind of forge it is.
    pub kind: ForgeKind,
    /// Address of the forge's API: `https://api.github.com`, `https://gitlab.com/api/v4`, `https://gitea.example.com/api/v1`.
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub url: String,
    /// Where the access token lies, in a Secret of this namespace, which whoever writes this may get: it is sent to `url`.
    pub token: SecretKeyRef,
    /// Whether the e-mail addresses that a Gitea or Forgejo shows may name people in `identities.expression`. Its API does not say which of them it has
    /// confirmed: set this only where it lets nobody have an address without confirming it (`REGISTER_EMAIL_CONFIRM`, or accounts that
    /// come from a directory). Otherwise `email` is null there. GitHub and GitLab show none that they have not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_email: Option<bool>,
    /// The project on the forge, such as `acme/flows`. Defaults to the path of `url` without `.git`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 512))]
    pub project: Option<String>,
}

/// A kind of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForgeKind {
    /// GitHub, also GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea or Forgejo.
    Gitea,
}

/// Whose signatures are accepted, and what has to be signed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.keys.all(k, self.keys.exists_one(o, o.name == k.name))").message("the names of the keys differ"))]
pub struct Verify {
    /// What has to be signed. Defaults to `Head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<VerifyMode>,
    /// The keys whose signatures are accepted; any one of them is enough.
    #[schemars(length(min = 1, max = 64))]
    pub keys: Vec<VerifyKey>,
}

/// What has to be signed. `Head`, the default: the commit that a ref points at; the commits before it are vouched for by it. `Tag`: where the
/// ref is a tag, the annotated tag itself, whose name must be the ref's, while its commit need not be signed; where it is a branch, its commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerifyMode {
    /// The commit that a ref points at.
    #[default]
    Head,
    /// The annotated tag where a ref is one, else the commit.
    Tag,
}

/// A key whose signatures are accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyKey {
    /// What a release calls the key that vouches for it, such as a person's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The public key; exactly one of the forms.
    #[serde(flatten)]
    pub key: PublicKeySource,
}

/// A public key or where it lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PublicKeySource {
    /// An SSH public key as a line of `id_ed25519.pub` has it: Ed25519, ECDSA, or RSA of at least 2048 bits. Signatures are those that git makes
    /// with `gpg.format=ssh`.
    Ssh(#[schemars(length(min = 1, max = 8192))] String),
    /// An OpenPGP certificate as `gpg --armor --export` writes it, with its subkeys, expiry and revocations.
    Openpgp(#[schemars(length(min = 1, max = 65536))] String),
    /// A key of a Secret in this namespace that holds OpenPGP certificates, or SSH public keys, one on each line. Whoever may write that Secret says
    /// whose signatures are accepted.
    SecretRef(SecretKeyRef),
}

/// How questions are put. Pull requests need `forge`, branches need `verify`, and both need `identities`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decisions {
    /// How a question is put unless its approval says otherwise (`askVia`).
    pub propose: AskVia,
    /// The branch that pull requests go into, or where signed merges are looked for. Defaults to the draft's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub into: Option<String>,
    /// Folder in the repository for the files that hold the questions. Flows are not read from it. Defaults to `decisions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub path: Option<String>,
    /// Login names of those who are asked to review.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 256)))]
    pub reviewers: Vec<String>,
}

impl Decisions {
    /// The folder for the files that hold the questions, without slashes at its ends.
    pub fn folder(&self) -> &str {
        self.path.as_deref().unwrap_or("decisions").trim_matches('/')
    }
}

/// Which user of the cluster an account of the forge is. The table is looked at first.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identities {
    /// Accounts and their users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub users: Vec<MappedIdentity>,
    /// Keys of `verify`, by their names there, and their users: who a signature is, where questions are put as branches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub keys: Vec<MappedKey>,
    /// For other accounts, a CEL expression over `login`, `id` (the forge's number for the account, which unlike the login never becomes somebody
    /// else's), `email` (verified by the forge, or null; see `forge.trustEmail`) and `groups` (`owner/team`) that gives the user's name, or an
    /// object with `user` and `groups`, or null for an account that is nobody here. A user must have one name only: who asks for something
    /// under one could approve it under another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub expression: Option<String>,
}

/// An account of the forge and the user of the cluster that it is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MappedIdentity {
    /// Login name on the forge, in upper or lower case.
    #[schemars(length(min = 1, max = 256))]
    pub login: String,
    /// The forge's number for the account. With it, whoever takes the login after it was given up is nobody here. `GET /users/<login>` of the
    /// forge's API tells it (GitLab: `GET /users?username=<login>`), and every Decision in `via.evidence.accountId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub id: Option<i64>,
    /// Name of the user in the cluster; `system:serviceaccount:<namespace>:<name>` for an agent's account, which then decides nothing.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
    /// Groups of the user in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
}

/// A key whose signatures are accepted and the user of the cluster that holds it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MappedKey {
    /// Name of the key in `verify.keys`.
    #[schemars(length(min = 1, max = 63))]
    pub key: String,
    /// Name of the user in the cluster; a service account decides nothing.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
    /// Groups of the user in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
}

/// How a forge proves that a push webhook is its own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushWebhook {
    /// The secret shared with the forge.
    pub secret_ref: SecretKeyRef,
}

/// What a Repository last saw.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `signoff.dev/requestedAt` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// Address that is followed, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub url: Option<String>,
    /// Commit of the draft ref that was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<SyncedCommit>,
    /// Commit of the live ref that was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<SyncedCommit>,
    /// Flows applied from the draft ref, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000), inner(length(min = 1, max = 253), regex(pattern = SUBDOMAIN)))]
    pub flows: Vec<String>,
    /// Whether one of its flows is gated (`status.gated` there). Who deletes the Repository then, and its flows with it, takes the verb `delete`
    /// on releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// Files that could not be used, each with the place and the reason; the first 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub problems: Vec<FileProblem>,
    /// Ready, Reconciling, Stalled; with a forge also `ForgeReady`, which says whether it can be told what came of commits and pull requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A commit that was read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncedCommit {
    /// Object id of the commit, hexadecimal.
    #[schemars(length(max = 64), regex(pattern = COMMIT))]
    pub commit: String,
    /// Its first ten digits.
    #[schemars(length(max = 10))]
    pub short: String,
    /// The ref that it was found at, by full name.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub git_ref: Option<String>,
}

/// One file that could not be used.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileProblem {
    /// Path in the repository.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<i64>,
    /// Column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<i64>,
    /// What is wrong.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Whether it is so in the draft, in what is live, or in both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub channels: Vec<Channel>,
}

/// What a commit is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Its flows become drafts.
    Draft,
    /// Its flows become live.
    Live,
}
