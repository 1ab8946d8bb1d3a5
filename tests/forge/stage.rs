//! An operator that follows a repository of the forge, and short words for both ends.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signoff_api::{Connection, Flow, Repository, names};

use crate::support::rig::{Rig, Running};
use crate::{Account, Checkout, Forge, Repo};

/// An operator, an empty private repository on the forge, and its owner's working copy of it.
pub struct Stage {
    pub forge: &'static Forge,
    pub rig: Rig,
    pub owner: Account,
    pub repo: Repo,
    pub work: Checkout,
    pub operator: Running,
}

impl Stage {
    /// Sets it up; `None` where there is no forge, which is told on the terminal.
    pub async fn open(suite: &str) -> Option<Self> {
        let forge = Forge::shared(suite).await?;
        let rig = Rig::open().await;
        let operator = rig.operator().await;
        let owner = forge.user("owner").await;
        let repo = owner.create_repository("flows").await;
        let work = owner.checkout(&repo).await;
        Some(Self {
            forge,
            rig,
            owner,
            repo,
            work,
            operator,
        })
    }

    /// A user who may read the repository, and the name and text of a token for no more than that.
    pub async fn reader(&self) -> (Account, String, String) {
        let reader = self.forge.user("reader").await;
        self.owner.add_collaborator(&self.repo, &reader, "read").await;
        let (name, token) = self.forge.token(&reader.login, &["read:repository"]).await;
        (reader, name, token)
    }

    /// Puts a Secret there with these keys, or changes the one that is there.
    pub async fn secret(&self, name: &str, keys: Value) {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys});
        self.apply::<Secret>(name, secret).await;
    }

    /// Puts the Connection `forge` there with a token for http, in the Secret `forge`.
    pub async fn connect_with_token(&self, login: &str, token: &str) {
        self.secret("forge", json!({"token": token})).await;
        let password = json!({"name": "forge", "key": "token"});
        self.connect(json!({"username": login, "password": password}))
            .await;
    }

    /// Puts the Connection `forge` there with a key for ssh and the lines of `known_hosts`, in the Secret `forge`.
    pub async fn connect_with_key(&self, private: &str, known_hosts: &str) {
        self.secret("forge", json!({"key": private, "known_hosts": known_hosts}))
            .await;
        let key = |key: &str| json!({"name": "forge", "key": key});
        self.connect(json!({"privateKey": key("key"), "knownHosts": key("known_hosts")}))
            .await;
    }

    async fn connect(&self, git: Value) {
        let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "forge"},
            "spec": {"git": git}});
        self.apply::<Connection>("forge", connection).await;
    }

    /// What a Repository says of the forge whose API is at this address, with this token in the Secret `api`.
    pub async fn api(&self, forge: &str, token: &str) -> Value {
        self.secret("api", json!({"token": token})).await;
        json!({"kind": "Gitea", "url": format!("{forge}/api/v1"), "token": {"name": "api", "key": "token"}})
    }

    /// Puts the Repository `flows` there, which follows `main` and `live` of this address through the Connection `forge` and looks by
    /// itself only once an hour; `more` goes into its spec, `null` takes something out of it.
    pub async fn follow(&self, url: &str, more: Value) {
        let mut spec = json!({"url": url, "connection": "forge", "interval": "1h", "draft": {"ref": "main"}, "live": {"ref": "live"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"}, "spec": spec});
        self.apply::<Repository>("flows", repository).await;
    }

    /// Puts another Repository there, as `flows` is but for what `more` has.
    pub async fn also_follow(&self, name: &str, more: Value) {
        let flows = self.rig.api::<Repository>().get("flows").await.unwrap();
        let mut spec = serde_json::to_value(flows.spec).unwrap();
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name}, "spec": spec});
        self.apply::<Repository>(name, repository).await;
    }

    /// Waits until a flow has a release; gives its name.
    pub async fn cut(&self, flow: &str) -> String {
        let draft = |flow: &Flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.clone());
        let flow = self.rig.until::<Flow>(flow, |flow| draft(flow).is_some()).await;
        draft(&flow).unwrap()
    }

    async fn apply<K>(&self, name: &str, object: Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let apply = PatchParams::apply("test").force();
        self.rig
            .api::<K>()
            .patch(name, &apply, &Patch::Apply(object))
            .await
            .unwrap();
    }

    /// Asks for a sync by annotation, and waits until one was made of it.
    pub async fn sync(&self) {
        let now = self.forge.name("now");
        let ask = json!({"metadata": {"annotations": {names::REQUESTED_AT: now}}});
        self.rig
            .api::<Repository>()
            .patch("flows", &PatchParams::default(), &Patch::Merge(ask))
            .await
            .unwrap();
        let handled = |repository: &Repository| {
            let status = repository.status.as_ref();
            status.and_then(|status| status.last_handled_request.as_deref()) == Some(&now)
        };
        self.rig.until::<Repository>("flows", handled).await;
    }

    /// Waits for the `Ready` condition of the Repository to have this reason; gives its message.
    pub async fn ready(&self, reason: &str) -> String {
        let message = |repository: &Repository| {
            let conditions = &repository.status.as_ref()?.conditions;
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
            (ready.reason == reason).then(|| ready.message.clone())
        };
        let repository = self
            .rig
            .until::<Repository>("flows", |repository| message(repository).is_some())
            .await;
        message(&repository).unwrap()
    }

    /// Waits until the draft ref was read at this commit.
    pub async fn until_read(&self, commit: &str) {
        let at = |repository: &Repository| Some(repository.status.as_ref()?.draft.as_ref()?.commit == commit);
        self.rig
            .until::<Repository>("flows", |repository| at(repository) == Some(true))
            .await;
    }

    /// Waits until the draft of the flow `hello` was cut from this commit; gives the release's name.
    pub async fn draft_of(&self, commit: &str) -> String {
        use signoff_api::Release;
        self.until_read(commit).await;
        let draft = |flow: &Flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.clone());
        let current = |flow: &Flow| {
            let status = flow.status.as_ref();
            status.and_then(|status| status.observed_generation) == flow.metadata.generation
        };
        let flow = self
            .rig
            .until::<Flow>("hello", |flow| draft(flow).is_some() && current(flow))
            .await;
        let release = draft(&flow).unwrap();
        let release = self.rig.api::<Release>().get(&release).await.unwrap();
        assert_eq!(release.spec.source.commit.as_deref(), Some(commit));
        release.name_any()
    }

    /// Waits until this release of the flow `hello` is live.
    pub async fn until_live(&self, release: &str) {
        let live = |flow: &Flow| {
            flow.status
                .as_ref()
                .and_then(|status| status.live_release().map(str::to_owned))
        };
        self.rig
            .until::<Flow>("hello", |flow| live(flow).as_deref() == Some(release))
            .await;
    }
}
