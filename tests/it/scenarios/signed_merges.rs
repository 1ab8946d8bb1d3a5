//! Questions put as branches of a git remote without a forge, and answered by signed commits.

use git2::{Oid, Repository as Git, Signature, build::TreeUpdateBuilder};
use kube::api::{ListParams, PostParams};
use russh::keys::{
    Algorithm,
    ssh_key::{HashAlg, LineEnding, PrivateKey},
};
use serde_json::{Value, json};
use signoff_api::{Approval, Decision, Repository, Run, Verdict};

use crate::support::rig::{PATIENCE, PAUSE, Rig, Running, eventually};

const FLOW: &str = "\
apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {name: refund}
spec:
  inputs: {type: object, required: [amount], properties: {amount: {type: number}}}
  steps:
  - name: review
    approval:
      title: \"Refund ${inputs.amount}?\"
";

/// A remote, people with keys, and a run that waits for an answer.
struct Study {
    rig: Rig,
    git: Git,
    _dir: tempfile::TempDir,
    alice: PrivateKey,
    bob: PrivateKey,
    dev: PrivateKey,
    mallory: PrivateKey,
}

fn key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

impl Study {
    async fn open(approval: &str) -> (Self, Running) {
        let rig = Rig::open().await;
        let dir = tempfile::tempdir().unwrap();
        let git = Git::init_bare(dir.path().join("flows.git")).unwrap();
        let operator = rig.operator().await;
        let [alice, bob, dev, mallory] = [(); 4].map(|()| key());
        let study = Self {
            rig,
            git,
            _dir: dir,
            alice,
            bob,
            dev,
            mallory,
        };
        let flow = format!("{FLOW}{approval}");
        study.commit("main", None, &[("refund.yaml", &flow)], Some(&study.dev));
        study.repository().await;
        let live =
            |flow: &signoff_api::Flow| flow.status.as_ref().is_some_and(|status| status.live.is_some());
        study.rig.until("refund", live).await;
        study
            .rig
            .start("r", json!({"flow": "refund", "inputs": {"amount": 250}}))
            .await;
        study.rig.until::<Approval>("r-review", |_| true).await;
        eventually("the question is put", || {
            study.git.find_reference(&study.branch()).is_ok()
        })
        .await;
        (study, operator)
    }

    async fn repository(&self) {
        let public = |key: &PrivateKey| key.public_key().to_openssh().unwrap();
        let keys = [("alice", &self.alice), ("bob", &self.bob), ("dev", &self.dev)];
        let verify: Vec<Value> = keys
            .iter()
            .map(|(name, key)| json!({"name": name, "ssh": public(key)}))
            .collect();
        let people: Vec<Value> = keys
            .iter()
            .map(|(name, _)| json!({"key": name, "user": name}))
            .collect();
        let spec = json!({
            "url": format!("file://{}", self.git.path().display()),
            "interval": "1s",
            "draft": {"ref": "main"},
            "live": {"ref": "main"},
            "verify": {"keys": verify},
            "identities": {"keys": people},
            "decisions": {"propose": "Branch"},
        });
        let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"}, "spec": spec});
        let repository: Repository = serde_json::from_value(repository).unwrap();
        self.rig
            .api::<Repository>()
            .create(&PostParams::default(), &repository)
            .await
            .unwrap();
    }

    fn branch(&self) -> String {
        format!(
            "refs/heads/signoff/{}/{}",
            self.rig.namespace(),
            self.rig.known("r-review")
        )
    }

    fn file(&self) -> String {
        format!(
            "decisions/{}/{}.yaml",
            self.rig.namespace(),
            self.rig.known("r-review")
        )
    }

    fn head(&self, branch: &str) -> Option<git2::Commit<'_>> {
        let head = self.git.find_reference(&format!("refs/heads/{branch}")).ok()?;
        Some(head.peel_to_commit().unwrap())
    }

    /// Commits files on top of a branch, as a merge of another commit where one is given, signed or not.
    fn commit(
        &self,
        branch: &str,
        merged: Option<Oid>,
        files: &[(&str, &str)],
        key: Option<&PrivateKey>,
    ) -> Oid {
        let before = self.head(branch);
        let empty = self.git.treebuilder(None).unwrap().write().unwrap();
        let base = before.as_ref().map_or_else(
            || self.git.find_tree(empty).unwrap(),
            |before| before.tree().unwrap(),
        );
        let mut update = TreeUpdateBuilder::new();
        for (path, content) in files {
            let blob = self.git.blob(content.as_bytes()).unwrap();
            update.upsert(*path, blob, git2::FileMode::Blob);
        }
        let tree = update.create_updated(&self.git, &base).unwrap();
        let tree = self.git.find_tree(tree).unwrap();
        let merged = merged.map(|id| self.git.find_commit(id).unwrap());
        let parents: Vec<&git2::Commit<'_>> = before.iter().chain(&merged).collect();
        // whose name it carries proves nothing
        let who = Signature::now("Alice", "alice@example.com").unwrap();
        let id = match key {
            None => self
                .git
                .commit(None, &who, &who, "a change", &tree, &parents)
                .unwrap(),
            Some(key) => {
                let text = self
                    .git
                    .commit_create_buffer(&who, &who, "a change", &tree, &parents)
                    .unwrap();
                let text = text.as_str().unwrap();
                let signature = key.sign("git", HashAlg::Sha512, text.as_bytes()).unwrap();
                let signature = signature.to_pem(LineEnding::LF).unwrap();
                self.git.commit_signed(text, &signature, None).unwrap()
            }
        };
        self.git
            .reference(&format!("refs/heads/{branch}"), id, true, "test")
            .unwrap();
        id
    }

    /// The text of the question's file on its branch, and the branch's commit.
    fn asked(&self) -> (String, Oid) {
        self.found().unwrap()
    }

    /// The same, unless the branch is being made anew.
    fn found(&self) -> Option<(String, Oid)> {
        let head = self.git.find_reference(&self.branch()).ok()?;
        let commit = head.peel_to_commit().unwrap();
        let entry = commit.tree().unwrap().get_path(self.file().as_ref()).unwrap();
        let blob = self.git.find_blob(entry.id()).unwrap();
        Some((String::from_utf8(blob.content().to_vec()).unwrap(), commit.id()))
    }

    /// `git merge --no-ff -S` of the question.
    fn merge(
        &self,
        edit: impl FnOnce(String) -> String,
        more: &[(&str, &str)],
        key: Option<&PrivateKey>,
    ) -> Oid {
        let (text, asked) = self.asked();
        let text = edit(text);
        let file = self.file();
        let files: Vec<(&str, &str)> = std::iter::once((file.as_str(), text.as_str()))
            .chain(more.iter().copied())
            .collect();
        self.commit("main", Some(asked), &files, key)
    }

    async fn decisions(&self) -> Vec<Decision> {
        let decisions = self.rig.api::<Decision>().list(&ListParams::default()).await;
        decisions.unwrap().items
    }

    /// Waits for an Event on the question that says why a commit decides nothing.
    async fn refused(&self, commit: Oid, why: &str) {
        let begin = format!("commit {} decides nothing", &commit.to_string()[..10]);
        let is_told = async || {
            let events = self.rig.events("r-review").await;
            let mut notes = events.iter().filter_map(|event| event.note.as_deref());
            notes.any(|note| note.starts_with(&begin) && note.contains(why))
        };
        let wait = async {
            while !is_told().await {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, wait).await;
        let events = self.rig.events("r-review").await;
        assert!(told.is_ok(), "nobody says {why:?} of {commit}: {events:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_merge_of_the_branch_approves_as_who_holds_the_key() {
    let (study, operator) = Study::open("").await;
    let (text, _) = study.asked();
    for said in [
        "Refund 250?",
        "git merge --no-ff -S",
        "verdict: Approve",
        "digest: \"sha256:",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let merged = study.merge(|text| text, &[], Some(&study.alice));
    study.rig.phase("r", "Succeeded").await;
    let [decision] = study.decisions().await.try_into().unwrap();
    let via = decision.spec.via.unwrap();
    assert_eq!(
        (decision.spec.by.as_deref(), decision.spec.verdict),
        (Some("alice"), Verdict::Approve)
    );
    let fingerprint = study.alice.public_key().fingerprint(HashAlg::Sha256).to_string();
    for (name, value) in [
        ("commit", merged.to_string()),
        ("key", "alice".to_owned()),
        ("fingerprint", fingerprint),
    ] {
        assert_eq!(via.evidence.get(name), Some(&value), "{name}");
    }
    eventually("the branch goes", || {
        study.git.find_reference(&study.branch()).is_err()
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_somebody_who_may_or_signs_something_else_decides_nothing() {
    let (study, operator) = Study::open("").await;
    // moved along, so that the newest commit is the operator's own
    let (_, asked) = study.asked();
    study
        .git
        .reference("refs/heads/main", asked, true, "push")
        .unwrap();
    study.refused(asked, "not signed").await;

    let unsigned = study.commit("main", None, &[(&study.file(), &study.answer("unsigned"))], None);
    study.refused(unsigned, "not signed").await;
    let stranger = study.commit(
        "main",
        None,
        &[(&study.file(), &study.answer("stranger"))],
        Some(&study.mallory),
    );
    study.refused(stranger, "not among").await;
    let (file, text) = (study.file(), study.answer("along"));
    let along = [(file.as_str(), text.as_str()), ("other.txt", "x")];
    let along = study.commit("main", None, &along, Some(&study.alice));
    study.refused(along, "changes other files").await;
    let altered = study
        .answer("altered")
        .replace("digest: \"sha256:", "digest: \"sha256:0");
    let altered = study.commit("main", None, &[(&study.file(), &altered)], Some(&study.alice));
    study.refused(altered, "was changed in line").await;
    // the right question and digest, under another text
    let harmless = study.answer("harmless").replace("Refund 250?", "Refund 2?");
    let harmless = study.commit("main", None, &[(&study.file(), &harmless)], Some(&study.alice));
    study.refused(harmless, "was changed in line 1:").await;
    // a signature on top vouches for the branch, but answers nothing
    study.commit("main", None, &[("notes.txt", "x")], Some(&study.alice));
    // who asked for the run has a key, and no say
    let own = study.commit(
        "main",
        None,
        &[(&study.file(), &study.answer("my own"))],
        Some(&study.dev),
    );
    study.refused(own, "").await;
    let run = study.rig.api::<Run>().get("r").await.unwrap();
    assert_eq!(run.status.unwrap().phase.to_string(), "Waiting");

    study.commit(
        "main",
        None,
        &[(&study.file(), &study.answer("yes"))],
        Some(&study.bob),
    );
    study.rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_would_fill_any_memory_is_refused_by_an_operator_that_lives_on() {
    let (study, operator) = Study::open("").await;
    let flood = |each: usize| {
        let (zeros, aliases) = (vec!["0"; each].join(","), vec!["*a "; each].join(","));
        format!("values: {{a: &a [{zeros}], b: [{aliases}]}}\nverdict:")
    };
    let (text, _) = study.asked();
    for (each, why) in [
        (30_000, "larger than"),
        (10_000, "the aliases make far too much of this text"),
    ] {
        // anybody may push it, to `main` or to the question's branch
        let text = text.replace("verdict:", &flood(each));
        let commit = study.commit("main", None, &[(&study.file(), &text)], None);
        study.refused(commit, why).await;
    }
    operator.stop().await;
    let branch = study.branch();
    let branch = branch.strip_prefix("refs/heads/").unwrap();
    let hostile = text.replace("verdict:", &flood(10_000));
    study.commit(branch, None, &[(&study.file(), &hostile)], None);
    let operator = study.rig.operator().await;
    eventually("the question is as it was", || {
        study.found().is_some_and(|(found, _)| found == text)
    })
    .await;
    study.merge(|text| text, &[], Some(&study.alice));
    study.rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_verdict_and_its_reason_are_in_the_file_that_is_signed() {
    let (study, operator) = Study::open("").await;
    let rejected = |text: String| {
        text.replace("verdict: Approve", "verdict: Reject")
            .replace("comment: \"\"", "comment: too much")
    };
    study.merge(rejected, &[], Some(&study.alice));
    study.rig.phase("r", "Rejected").await;
    let [decision] = study.decisions().await.try_into().unwrap();
    assert_eq!(
        (decision.spec.verdict, decision.spec.comment.as_deref()),
        (Verdict::Reject, Some("too much"))
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_reached_by_signed_commits_and_an_operator_that_was_away_finds_them() {
    let (study, operator) = Study::open("      quorum: 2\n").await;
    let alice = study.merge(|text| text, &[], Some(&study.alice));
    let counted = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.counted.len() == 1)
    };
    study.rig.until("r-review", counted).await;
    operator.stop().await;

    study.commit(
        "main",
        None,
        &[(&study.file(), &study.answer("me too"))],
        Some(&study.bob),
    );
    let operator = study.rig.operator().await;
    study.rig.phase("r", "Succeeded").await;
    let by: Vec<_> = study
        .decisions()
        .await
        .into_iter()
        .map(|one| one.spec.by)
        .collect();
    assert_eq!(by.len(), 2, "{alice}: {by:?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_shows_another_text_when_the_operator_comes_is_made_anew() {
    let (study, operator) = Study::open("").await;
    operator.stop().await;
    let (asked, _) = study.asked();
    let branch = study.branch();
    let branch = branch.strip_prefix("refs/heads/").unwrap();
    let harmless = asked.replace("Refund 250?", "Refund 2?");
    study.commit(branch, None, &[(&study.file(), &harmless)], None);
    let operator = study.rig.operator().await;
    eventually("the question is as it was", || {
        study.found().is_some_and(|(found, _)| found == asked)
    })
    .await;
    study.merge(|text| text, &[], Some(&study.alice));
    study.rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_answers_found_in_one_look_the_one_that_is_earlier_on_the_branch_counts() {
    let (study, operator) = Study::open("").await;
    operator.stop().await;
    let rejected = study.answer("no").replace("verdict: Approve", "verdict: Reject");
    let approved = study.answer("yes");
    let file = study.file();
    study.commit("main", None, &[(&file, &rejected)], Some(&study.alice));
    study.commit("main", None, &[(&file, &approved)], Some(&study.bob));

    let operator = study.rig.operator().await;
    study.rig.phase("r", "Rejected").await;
    for decision in study.decisions().await {
        assert_eq!(
            decision.spec.by.as_deref(),
            Some("alice"),
            "the other one was late"
        );
    }
    operator.stop().await;
}

impl Study {
    /// The file with an approval and this comment.
    fn answer(&self, comment: &str) -> String {
        self.asked()
            .0
            .replace("comment: \"\"", &format!("comment: {comment:?}"))
    }
}
