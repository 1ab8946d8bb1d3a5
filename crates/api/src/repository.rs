//! Repository: a git remote that holds flows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ConnectionSpec, Digest, HumanDuration,
    approval::AskVia,
    canonical,
    connection::SecretKeyRef,
    flow::Promotion,
    name::{COMMIT, ObjectName, SUBDOMAIN},
};

/// A git remote that contains flows: its draft and live refs, and the folders of the flows.
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(super::address::REMOTE_RULE).message(super::address::CREDENTIALS))]
pub struct RepositorySpec {
    /// Address of the remote: `https://`, `http://`, `ssh://`, or `git@host:path`. `file://` works only if the
    /// operator allows it. Credentials are not allowed here: use a Connection.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Name of a `git` Connection in this namespace that holds the credentials. Without it, the remote is read
    /// anonymously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// How often the remote is checked for changes, at least 1s. Defaults to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
    /// Source of drafts. A push to it updates flows and cuts releases.
    pub draft: DraftSource,
    /// Source of live releases: a branch, the tag of the highest version, or a folder. A push, a merged pull request
    /// or a new tag there promotes. Without it, set `spec.live` of a Flow to promote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveSource>,
    /// Folder that is read, with its sub-folders, unless `draft` or `live` names another. Defaults to the whole
    /// repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// Gate for every promotion of this repository's flows, in addition to the gate of the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// Whose signatures are accepted. If it is set, a ref is ignored unless its newest commit or tag carries an
    /// accepted signature. Nothing of that ref is applied, cut or promoted, and the conditions say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Push webhook of the forge. Without it, only `interval` and the annotation `signoff.dev/requestedAt` start a
    /// sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<PushWebhook>,
    /// Forge that hosts this repository. Commit statuses and pull requests are created there. Without it, only git is
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeSpec>,
    /// How questions about this repository's flows are asked in the repository, and answered there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<Decisions>,
    /// Maps accounts of the forge to users of the cluster. An account that is not mapped cannot decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Identities>,
    /// Prefix of the names of branches and commit statuses. Defaults to `signoff`. If several clusters or
    /// Repositories use one project, give each its own prefix, such as `signoff-staging`, and its own
    /// `decisions.path`. Change it only while no question is open: pull requests with another prefix are no longer
    /// looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = "^signoff(-[a-z0-9]+)*$"))]
    pub prefix: Option<String>,
    /// Which flows are deleted when git no longer contains them, and when the Repository is deleted. `KeepLive`, the
    /// default: flows without a live release. `All`: all flows. `Never`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<Prune>,
    /// Allows `job` steps in the flows of this repository. Whoever can change them in git can then run containers in this
    /// namespace. You must be allowed to create Jobs, and to `use` the service accounts that it lists. Without it, flows
    /// with `job` steps are not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<RepositoryJobs>,
    /// Stops syncing. What was applied stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What `job` steps in the flows of a repository may use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryJobs {
    /// Names of the service accounts that they may name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4))]
    pub service_accounts: Option<Vec<ObjectName>>,
}

/// Which flows are deleted when git no longer contains them, and when the Repository is deleted. `KeepLive`, the
/// default: flows without a live release. `All`: all flows. `Never`: none. A flow whose live release has a gate is
/// never deleted because its file is missing in git.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Prune {
    /// Flows without a live release. A flow with one stays when the Repository is deleted. It also stays when its
    /// file is missing in the draft while `spec.live` of the flow was not set by git.
    #[default]
    KeepLive,
    /// All flows, including live ones.
    All,
    /// None.
    Never,
}

/// Git ref and folder.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftSource {
    /// Branch name, such as `main`, or a full ref, such as `refs/tags/v1`.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Folder that contains the drafts. Defaults to `path` of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
}

/// Git ref and folder. Exactly one of `ref` and `tag` is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveSource {
    /// Which ref of the remote is live. Exactly one form is set.
    #[serde(flatten)]
    pub at: LiveRef,
    /// Folder that contains the live flows, if the ref is also the draft's. Defaults to `path` of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
}

/// Which ref of the remote is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LiveRef {
    /// Branch name, such as `live`, or a full ref, such as `refs/tags/v1`.
    #[serde(rename = "ref")]
    Name(#[schemars(length(min = 1, max = 255))] String),
    /// Pattern for version tags, such as `v*`, with at most one `*`. The tag with the highest semantic version is
    /// live. Text before the version is ignored. Pre-releases count only if the pattern has a `-` within the version,
    /// such as `v2.0.0-*`.
    Tag(#[schemars(length(min = 1, max = 255))] String),
}

impl RepositorySpec {
    /// Digest of where a `git` step pushes, and as whom: the remote, its Connection, and the forge.
    ///
    /// # Errors
    /// When it has no JSON form, which no spec that was read lacks.
    pub fn target_digest(&self, connection: Option<&ConnectionSpec>) -> Result<Digest, serde_json::Error> {
        let connection = connection.map(ConnectionSpec::digest).transpose()?;
        Ok(canonical::digest_of_value(&json!({
            "url": self.url,
            "connection": self.connection,
            "forge": self.forge,
            "credentials": connection,
        })))
    }

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
            jobs: None,
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

/// Kind of the forge, and how to call its API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(super::address::URL_RULE).message(super::address::CREDENTIALS))]
pub struct ForgeSpec {
    /// Kind of the forge. `GitHub` includes GitHub Enterprise. `Gitea` includes Forgejo.
    pub kind: ForgeKind,
    /// Address of the API of the forge: `https://api.github.com`, `https://gitlab.com/api/v4`,
    /// `https://gitea.example.com/api/v1`.
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub url: String,
    /// Secret in this namespace with the access token. You must be allowed to read it, because it is sent to `url`.
    pub token: SecretKeyRef,
    /// Whether `email` of a Gitea or Forgejo account may be used in `identities.expression`. If false, `email` is
    /// null there. The API does not say which addresses were confirmed. Set it only if the forge requires confirmed
    /// addresses (`REGISTER_EMAIL_CONFIRM`, or accounts from a directory). GitHub and GitLab show confirmed addresses
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_email: Option<bool>,
    /// Project on the forge, such as `acme/flows`. Defaults to the path of `url` without `.git`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 512))]
    pub project: Option<String>,
}

/// Kind of a forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForgeKind {
    /// GitHub or GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea or Forgejo.
    Gitea,
}

/// Accepted keys, and what must be signed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.keys.all(k, self.keys.exists_one(o, o.name == k.name))").message("the names of the keys differ"))]
pub struct Verify {
    /// What must be signed. `Head`, the default: the commit that the ref points at, which vouches for the commits
    /// before it. `Tag`: if the ref is a tag, the annotated tag itself, made under that name. Its commit need not be
    /// signed. If the ref is a branch, its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<VerifyMode>,
    /// Keys whose signatures are accepted. A signature by any one of them is enough.
    #[schemars(length(min = 1, max = 64))]
    pub keys: Vec<VerifyKey>,
}

/// What must be signed. `Head`, the default: the commit that the ref points at, which vouches for the commits before
/// it. `Tag`: if the ref is a tag, the annotated tag itself, made under that name. Its commit need not be signed. If
/// the ref is a branch, its commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerifyMode {
    /// The commit that a ref points at.
    #[default]
    Head,
    /// The annotated tag if the ref is a tag, otherwise the commit.
    Tag,
}

/// A name and a public key. Exactly one of `ssh`, `openpgp` and `secretRef` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyKey {
    /// Name of the key, such as the name of a person. Releases record it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The public key. Exactly one form is set.
    #[serde(flatten)]
    pub key: PublicKeySource,
}

/// A public key, or the Secret that holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PublicKeySource {
    /// SSH public key, as in a line of `id_ed25519.pub`: Ed25519, ECDSA, or RSA of at least 2048 bits. Signatures are
    /// those that git makes with `gpg.format=ssh`.
    Ssh(#[schemars(length(min = 1, max = 8192))] String),
    /// OpenPGP certificate, as `gpg --armor --export` writes it, with its subkeys, expiry and revocations.
    Openpgp(#[schemars(length(min = 1, max = 65536))] String),
    /// Key of a Secret in this namespace that holds OpenPGP certificates, or SSH public keys, one on each line.
    /// Anybody who may write that Secret controls whose signatures are accepted.
    SecretRef(SecretKeyRef),
}

/// Pull requests need `forge`, branches need `verify`, and both need `identities`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decisions {
    /// How a question is asked, unless its approval sets `askVia`. `PullRequest`: as a pull request. Merging it
    /// approves, closing it rejects, and a review can request changes. `Branch`: as a branch with a file, which
    /// people answer with a signed commit. `None`: only as an Approval object.
    pub propose: AskVia,
    /// Branch that pull requests are merged into, or where signed merges are looked for. Defaults to the branch of
    /// the draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub into: Option<String>,
    /// Folder for the files of the questions. Flows are not read from it. Defaults to `decisions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub path: Option<String>,
    /// Logins of accounts that are asked to review.
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

/// Accounts and keys, and the users that they are. `users` is checked before `expression`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identities {
    /// Accounts of the forge and their users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub users: Vec<MappedIdentity>,
    /// Keys in `verify` and their users. They identify signers if questions are asked as branches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub keys: Vec<MappedKey>,
    /// CEL expression for accounts that are not in `users`. It reads `login`, `id` (the number of the account, which
    /// never changes owner), `email` (verified by the forge, or null, see `forge.trustEmail`) and `groups`
    /// (`owner/team`). It returns the user's name, an object with `user` and `groups`, or null if the account is not
    /// a user. Each person must have one user name only. Otherwise they can request under one name and approve under
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub expression: Option<String>,
}

/// An account of the forge and its user in the cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MappedIdentity {
    /// Login name on the forge. Case does not matter.
    #[schemars(length(min = 1, max = 256))]
    pub login: String,
    /// Number of the account on the forge. With it, another person who later takes the same login is not accepted.
    /// Find it with `GET /users/<login>` of the forge's API (GitLab: `GET /users?username=<login>`), or in
    /// `via.evidence.accountId` of a Decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub id: Option<i64>,
    /// User name in the cluster. Use `system:serviceaccount:<namespace>:<name>` for the account of an agent, which
    /// then cannot decide.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
    /// Groups of the user in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
}

/// A key in `verify` and its user in the cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MappedKey {
    /// Name of the key in `verify.keys`.
    #[schemars(length(min = 1, max = 63))]
    pub key: String,
    /// User name in the cluster. A service account cannot decide.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
    /// Groups of the user in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
}

/// How a push webhook is authenticated.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushWebhook {
    /// Secret that is shared with the forge.
    pub secret_ref: SecretKeyRef,
}

/// Observed state of a Repository.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation `signoff.dev/requestedAt` that was last handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// Address of the remote, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub url: Option<String>,
    /// Commit of the draft ref that was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<SyncedCommit>,
    /// Commit of the live ref that was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<SyncedCommit>,
    /// Names of the flows applied from the draft ref.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000), inner(length(min = 1, max = 253), regex(pattern = SUBDOMAIN)))]
    pub flows: Vec<String>,
    /// Whether one of its flows has `status.gated`. Deleting such a Repository also requires the verb `delete` on
    /// releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// Problems with files, each with its place. The first 50 are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub problems: Vec<FileProblem>,
    /// Conditions of type Ready, Reconciling and Stalled. With a forge, `ForgeReady` says whether commit statuses and
    /// comments can be written there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A commit, and the ref at which it was found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncedCommit {
    /// Object id of the commit, in hexadecimal digits.
    #[schemars(length(max = 64), regex(pattern = COMMIT))]
    pub commit: String,
    /// First ten digits of the object id.
    #[schemars(length(max = 10))]
    pub short: String,
    /// Full name of the ref.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub git_ref: Option<String>,
}

/// A file and what is wrong with it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileProblem {
    /// Path of the file in the repository.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<i64>,
    /// Column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<i64>,
    /// Description of the problem.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Where the problem is: in the draft, in what is live, or in both.
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
