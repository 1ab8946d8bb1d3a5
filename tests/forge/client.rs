//! Every question and change of the client for Gitea, put to a real one.

use std::{sync::Arc, time::Duration};

use signoff::{
    forge::{
        self, Access, AccountKind, Actor, CommitState, CommitStatus, ForgeError, Login, NewFile,
        NewPullRequest, Opinion, ProjectPath, PullRequest, PullRequestNumber, PullRequestState,
    },
    git::{CommitId, HostPause, Secret},
    net::{AddressPolicy, Network},
};
use signoff_api::repository::ForgeKind;

use crate::controlplane::PATIENCE;
use crate::{Account, Forge, Pull, Repo};

const SUITE: &str = "the client for Gitea on a real one";

/// A repository with a commit on `main`, and the client of an account that may write to it.
pub struct Desk {
    pub forge: &'static Forge,
    pub owner: Account,
    pub bot: Account,
    pub repo: Repo,
    pub main: String,
    pub client: Arc<dyn forge::Forge>,
}

impl Desk {
    pub async fn open() -> Option<Self> {
        let forge = Forge::shared(SUITE).await?;
        let (owner, bot) = (forge.user("owner").await, forge.operator().await);
        let repo = owner.create_repository("flows").await;
        owner.add_collaborator(&repo, &bot, "write").await;
        let work = owner.checkout(&repo).await;
        let main = work.push("main", &[("a.txt", Some("1"))]).await;
        let filled = async {
            // until then the next branch may be taken for its default one, which cannot be deleted
            while owner.get(&repo.path("")).await["empty"] != false {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, filled).await.unwrap();
        let client = client(forge, &repo, &bot.token);
        Some(Self {
            forge,
            owner,
            bot,
            repo,
            main,
            client,
        })
    }

    /// Somebody else who may write to the repository.
    pub async fn colleague(&self, name: &str) -> Account {
        let account = self.forge.user(name).await;
        self.owner.add_collaborator(&self.repo, &account, "write").await;
        account
    }

    pub fn file(content: &str) -> NewFile {
        NewFile {
            branch: "signoff/ns/a".into(),
            base: "main".into(),
            path: "decisions/ns/a.yaml".into(),
            content: content.into(),
            message: "Sign off: go?".into(),
        }
    }

    pub fn request() -> NewPullRequest {
        NewPullRequest {
            head: "signoff/ns/a".into(),
            base: "main".into(),
            title: "Sign off: go?".into(),
            body: "text".into(),
            draft: false,
            reviewers: Vec::new(),
        }
    }

    /// A pull request with one file, as the operator puts questions.
    pub async fn put(&self) -> (PullRequest, Pull) {
        self.client.propose_file(&Self::file("x")).await.unwrap();
        let request = self.client.open_pull_request(&Self::request()).await.unwrap();
        let pull = self.pull(request.number);
        (request, pull)
    }

    pub fn pull(&self, number: PullRequestNumber) -> Pull {
        Pull {
            repo: self.repo.clone(),
            number: i64::try_from(number.0).unwrap(),
        }
    }

    pub async fn state(&self, number: PullRequestNumber) -> PullRequestState {
        self.client.pull_request(number).await.unwrap().state
    }
}

pub fn client(forge: &Forge, repo: &Repo, token: &str) -> Arc<dyn forge::Forge> {
    let api = format!("{}/api/v1", forge.url()).parse().unwrap();
    let project = ProjectPath::parse(&format!("{}/{}", repo.owner, repo.name)).unwrap();
    let network = Network::new(AddressPolicy::local());
    let access = Access {
        kind: ForgeKind::Gitea,
        api,
        token: Secret::new(token),
        project,
        trust_email: false,
        rest: HostPause::default(),
    };
    forge::connect(access, &network).unwrap()
}

/// Somebody as they should be told of.
async fn actor(account: &Account) -> Actor {
    Actor {
        login: Login::new(&account.login),
        id: account.get("/user").await["id"].as_u64().unwrap(),
    }
}

#[tokio::test]
async fn a_file_is_proposed_on_a_branch_of_its_own_whatever_was_on_it() {
    let Some(desk) = Desk::open().await else { return };
    desk.client.propose_file(&Desk::file("x")).await.unwrap();
    let head = desk.owner.head(&desk.repo, "signoff/ns/a").await.unwrap();
    let commit = CommitId::parse(&head).unwrap();
    let path = "decisions/ns/a.yaml";
    assert_eq!(desk.client.file(commit, path).await.unwrap(), Some(b"x".to_vec()));
    for missing in ["decisions/ns/b.yaml", "decisions/ns", "decisions"] {
        assert_eq!(
            desk.client.file(commit, missing).await.unwrap(),
            None,
            "{missing}"
        );
    }
    let main = CommitId::parse(&desk.main).unwrap();
    assert_eq!(desk.client.file(main, path).await.unwrap(), None);

    let work = desk.owner.checkout(&desk.repo).await;
    work.push("signoff/ns/a", &[("flow.yaml", Some("2"))]).await;
    desk.client.propose_file(&Desk::file("y")).await.unwrap();
    let head = desk.owner.head(&desk.repo, "signoff/ns/a").await.unwrap();
    let commit = CommitId::parse(&head).unwrap();
    assert_eq!(desk.client.file(commit, path).await.unwrap(), Some(b"y".to_vec()));
    assert_eq!(desk.client.file(commit, "flow.yaml").await.unwrap(), None);
    // one that does not exist is as good as deleted
    desk.client.delete_branch("nothing").await.unwrap();
}

#[tokio::test]
async fn a_pull_request_is_opened_once_and_found_by_its_branches() {
    let Some(desk) = Desk::open().await else { return };
    let reviewer = desk.colleague("reviewer").await;
    desk.client.propose_file(&Desk::file("x")).await.unwrap();
    let mut wanted = Desk::request();
    wanted.reviewers = vec![Login::new("nobody-of-that-name"), Login::new(&reviewer.login)];
    let opened = desk.client.open_pull_request(&wanted).await.unwrap();
    assert_eq!(
        (opened.head.as_str(), opened.base.as_str(), opened.same_project),
        ("signoff/ns/a", "main", true)
    );
    assert_eq!(
        (&opened.author, &opened.state),
        (&Login::new(&desk.bot.login), &PullRequestState::Open)
    );
    let said = desk.owner.pull(&desk.pull(opened.number)).await;
    assert_eq!(said["requested_reviewers"][0]["login"], reviewer.login.as_str());

    wanted.title = "Sign off: really?".into();
    let again = desk.client.open_pull_request(&wanted).await.unwrap();
    assert_eq!(
        (again.number, again.title.as_str()),
        (opened.number, "Sign off: really?")
    );
    let numbers = |found: Vec<PullRequest>| found.into_iter().map(|pull| pull.number).collect::<Vec<_>>();
    assert_eq!(desk.owner.pulls(&desk.repo, "all").await.len(), 1);
    let from = async |branch| numbers(desk.client.pull_requests_from(branch).await.unwrap());
    let into = async |branch| numbers(desk.client.open_pull_requests_into(branch).await.unwrap());
    assert_eq!(from("signoff/ns/a").await, [opened.number]);
    assert_eq!(into("main").await, [opened.number]);
    assert_eq!((from("main").await, into("live").await), (vec![], vec![]));

    desk.client.close_pull_request(opened.number).await.unwrap();
    desk.client.close_pull_request(opened.number).await.unwrap();
    assert_eq!(into("main").await, []);
    desk.client.delete_branch("signoff/ns/a").await.unwrap();
    assert_eq!(from("signoff/ns/a").await, [opened.number], "its branch is gone");
    let (second, _) = desk.put().await;
    assert_eq!(
        from("signoff/ns/a").await,
        [second.number, opened.number],
        "the newest first"
    );
}

#[tokio::test]
async fn who_merged_and_who_closed_is_whoever_did() {
    let Some(desk) = Desk::open().await else { return };
    let (merger, closer) = (desk.colleague("merger").await, desk.colleague("closer").await);
    let (first, pull) = desk.put().await;
    closer.close(&pull).await;
    let PullRequestState::Closed(act) = desk.state(first.number).await else {
        panic!("it is closed");
    };
    assert_eq!(act.by, Some(actor(&closer).await));
    assert!(act.at.is_some());

    desk.client.delete_branch("signoff/ns/a").await.unwrap();
    let (second, pull) = desk.put().await;
    merger.merge(&pull).await;
    let PullRequestState::Merged { act, commit } = desk.state(second.number).await else {
        panic!("it is merged");
    };
    assert_eq!(act.by, Some(actor(&merger).await));
    let main = desk.owner.head(&desk.repo, "main").await;
    assert_eq!(commit.map(|commit| commit.to_string()), main);
    let listed = desk.client.pull_requests_from("signoff/ns/a").await.unwrap();
    let by = |pull: &PullRequest| match &pull.state {
        PullRequestState::Merged { act, .. } | PullRequestState::Closed(act) => act.by.clone(),
        PullRequestState::Open => None,
    };
    let by: Vec<_> = listed.iter().filter_map(by).collect();
    assert_eq!(by, [actor(&merger).await, actor(&closer).await]);
}

#[tokio::test]
async fn reviews_are_told_with_who_what_and_of_which_commit() {
    let Some(desk) = Desk::open().await else { return };
    let (alice, bob) = (desk.colleague("alice").await, desk.colleague("bob").await);
    let (request, pull) = desk.put().await;
    assert_eq!(desk.client.reviews(request.number).await.unwrap(), []);
    bob.review(&pull, "REQUEST_CHANGES", "half, please").await;
    alice.review(&pull, "APPROVED", "good").await;
    let reviews = desk.client.reviews(request.number).await.unwrap();
    let told: Vec<_> = reviews
        .iter()
        .map(|review| (review.by.login.as_str(), review.opinion, review.body.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (bob.login.as_str(), Opinion::ChangesRequested, "half, please"),
            (alice.login.as_str(), Opinion::Approved, "good")
        ]
    );
    let head = desk.owner.head(&desk.repo, "signoff/ns/a").await.unwrap();
    for review in &reviews {
        assert_eq!(review.commit, CommitId::parse(&head));
        assert!(review.at.is_some());
    }
    assert_eq!(reviews[0].by, actor(&bob).await);
    assert_ne!(reviews[0].id, reviews[1].id);
}

#[tokio::test]
async fn comments_are_added_and_edited_and_statuses_replace_one_another() {
    let Some(desk) = Desk::open().await else { return };
    let (request, pull) = desk.put().await;
    desk.owner.comment(&pull, "why?").await;
    let added = desk.client.add_comment(request.number, "because").await.unwrap();
    desk.client
        .edit_comment(request.number, added, "because of that")
        .await
        .unwrap();
    let comments = desk.client.comments(request.number).await.unwrap();
    let told: Vec<_> = comments
        .iter()
        .map(|comment| (comment.by.as_str(), comment.body.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (desk.owner.login.as_str(), "why?"),
            (desk.bot.login.as_str(), "because of that")
        ]
    );
    assert_eq!(comments[1].id, added);

    let head = request.head_commit.unwrap();
    for (state, description) in [
        (CommitState::Pending, "1 of 2".to_owned()),
        (CommitState::Success, "d".repeat(200)),
    ] {
        let status = CommitStatus {
            context: "signoff/quorum".into(),
            state,
            description,
            target: None,
        };
        desk.client.set_commit_status(head, &status).await.unwrap();
    }
    let (context, state, description) = desk.owner.statuses(&desk.repo, &head.to_string()).await.remove(0);
    assert_eq!((context.as_str(), state.as_str()), ("signoff/quorum", "success"));
    assert_eq!(description.chars().count(), 140);
}

#[tokio::test]
async fn an_account_is_in_the_teams_that_the_token_may_look_into() {
    let Some(desk) = Desk::open().await else { return };
    let (alice, bob) = (desk.forge.user("alice").await, desk.forge.user("bob").await);
    let shop = desk.forge.name("shop");
    desk.owner.create_organisation(&shop).await;
    desk.owner.create_team(&shop, "finance", "write", &[&alice]).await;
    desk.owner
        .create_team(&shop, "flows", "write", &[&alice, &desk.bot])
        .await;
    let repo = desk.owner.create_repository_of(&shop, "flows").await;
    let client = client(desk.forge, &repo, &desk.bot.token);
    let told = client
        .account(&Login::new(alice.login.to_uppercase()))
        .await
        .unwrap();
    assert_eq!(told.login, Login::new(&alice.login));
    assert_eq!(told.kind, AccountKind::User);
    // into `finance` the bot, which is not in it, may not look
    assert_eq!(client.groups(&told).await.unwrap(), [format!("{shop}/flows")]);
    let bob = client.account(&Login::new(&bob.login)).await.unwrap();
    assert_eq!(client.groups(&bob).await.unwrap(), [""; 0]);
    let own = client.own_account().await.unwrap();
    assert_eq!(
        (own.login, own.kind),
        (Login::new(&desk.bot.login), AccountKind::User)
    );
    let of_a_person = desk.client.account(&Login::new(&alice.login)).await.unwrap();
    let teams = desk.client.groups(&of_a_person).await.unwrap();
    assert_eq!(teams, [""; 0], "a person's project has no teams");
    for nobody in ["nobody-of-that-name", "", ".."] {
        let error = client.account(&Login::new(nobody)).await.unwrap_err();
        assert!(matches!(error, ForgeError::NotFound { .. }), "{nobody}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_token_a_narrow_one_and_a_missing_project_are_told_apart() {
    let Some(desk) = Desk::open().await else { return };
    let wrong = client(desk.forge, &desk.repo, "0123456789012345678901234567890123456789");
    let error = wrong.own_account().await.unwrap_err();
    assert!(matches!(error, ForgeError::Forbidden { .. }), "{error}");
    let (_, narrow) = desk
        .forge
        .token(&desk.bot.login, &["read:repository", "read:user"])
        .await;
    let narrow = client(desk.forge, &desk.repo, &narrow);
    narrow.own_account().await.unwrap();
    let error = narrow.propose_file(&Desk::file("x")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Forbidden { .. }), "{error}");
    let missing = Repo {
        owner: desk.repo.owner.clone(),
        name: "nothing".into(),
    };
    let missing = client(desk.forge, &missing, &desk.bot.token);
    let error = missing.pull_requests_from("a").await.unwrap_err();
    assert!(matches!(error, ForgeError::NotFound { .. }), "{error}");
    let error = desk
        .client
        .pull_request(PullRequestNumber(4711))
        .await
        .unwrap_err();
    assert!(matches!(error, ForgeError::NotFound { .. }), "{error}");
}
