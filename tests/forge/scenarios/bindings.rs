//! What binds an answer on the forge to the question: whoever may write to the repository can neither make up an answer of somebody else nor
//! have something else approved by it.

use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use reqwest::Method;
use serde_json::json;
use signoff_api::{Approval, Run, names};

use crate::{Account, Deciders, Pull, Repo, flaky::Flaky};

const QUESTION: &str = "r-review";
/// A file that nobody was asked about.
const SMUGGLED: (&str, Option<&str>) = ("smuggled.yaml", Some("x: 1\n"));

impl Deciders {
    /// Starts a run that asks, whoever has a pull request from its branch already.
    async fn start(&self, run: &str) {
        let spec = json!({"flow": "refund", "inputs": {"amount": 250}});
        self.stage.rig.start(run, spec).await;
    }

    /// Starts a run that does not ask yet, and gives the branch of its question: whoever sees the run can tell its name.
    async fn start_suspended(&self, run: &str) -> String {
        let spec = json!({"flow": "refund", "inputs": {"amount": 250}, "suspend": true});
        let uid = self.stage.rig.start(run, spec).await.uid().unwrap();
        self.branch(&names::approval_name(run, &uid, "review", 1, None))
    }

    async fn resume(&self, run: &str) {
        let resumed = Patch::Merge(json!({"spec": {"suspend": false}}));
        self.stage
            .rig
            .api::<Run>()
            .patch(run, &PatchParams::default(), &resumed)
            .await
            .unwrap();
    }

    /// Says that a pull request put the question for nothing, and gives the next one.
    async fn is_put_again(&self, pull: &Pull, why: &str, count: usize) -> Pull {
        let told = self.told(pull, "does not count as an approval").await;
        assert!(told.contains(why), "{told}");
        let next = self.put(QUESTION, count).await;
        assert!(self.is_open(QUESTION).await);
        next
    }

    /// Alice merges, and that approves.
    async fn is_approved_by(&self, pull: &Pull) {
        self.alice.merge(pull).await;
        self.stage.rig.phase("r", "Succeeded").await;
        let decisions = self.decisions(QUESTION).await.into_iter();
        let by: Vec<_> = decisions.filter_map(|decision| decision.spec.by).collect();
        assert_eq!(by, ["alice"]);
    }

    async fn has_smuggled(&self) -> bool {
        self.stage
            .owner
            .has_file(&self.stage.repo, "main", SMUGGLED.0)
            .await
    }

    /// Waits until people are told not to merge the newest commit of a question's branch.
    async fn is_warned_of(&self, pull: &Pull, why: &str) {
        let told = self.told(pull, "would not approve").await;
        assert!(told.contains(why), "{told}");
        let head = self
            .stage
            .owner
            .head(&self.stage.repo, &self.branch(QUESTION))
            .await;
        let head = head.unwrap();
        self.until("failed status", async || {
            let all = self.stage.owner.statuses(&self.stage.repo, &head).await;
            let quorum = all.into_iter().find(|(context, ..)| context == "signoff/quorum");
            quorum.filter(|(_, state, text)| state == "failure" && text.contains("do not merge"))
        })
        .await;
    }
}

impl Account {
    async fn has_file(&self, repo: &Repo, branch: &str, path: &str) -> bool {
        let path = repo.path(&format!("/contents/{path}?ref={branch}"));
        self.try_call(Method::GET, &path, json!(null)).await.is_ok()
    }

    async fn change(&self, pull: &Pull, change: serde_json::Value) {
        let path = pull.repo.path(&format!("/pulls/{}", pull.number));
        self.call(Method::PATCH, &path, change).await;
    }
}

#[tokio::test]
async fn somebody_elses_pull_request_from_the_branch_of_a_question_is_closed_and_the_question_is_put() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let (repo, branch) = (&deciders.stage.repo, deciders.start_suspended("r").await);
    let work = deciders.mallory.checkout(repo).await;
    work.point(&branch, "main").await;
    work.push(&branch, &[SMUGGLED]).await;
    let first = deciders.mallory.open_pull(repo, &branch, "main", "A typo").await;
    deciders.resume("r").await;
    deciders.told(&first, "this branch holds a question").await;
    let ours = deciders.put(QUESTION, 2).await;
    let said = deciders.stage.owner.pull(&first).await;
    assert_eq!(
        (&said["state"], &said["title"]),
        (&json!("closed"), &json!("A typo"))
    );
    assert_eq!(
        deciders.stage.owner.pull(&ours).await["user"]["login"],
        json!(deciders.bot.login)
    );
    // and so is one that comes later
    let later = deciders.mallory.open_pull(repo, &branch, "live", "A typo").await;
    deciders.told(&later, "this branch holds a question").await;
    deciders.is_approved_by(&ours).await;
    assert!(!deciders.has_smuggled().await);
}

#[tokio::test]
async fn a_branch_that_was_there_before_the_question_is_made_anew() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let branch = deciders.start_suspended("r").await;
    let work = deciders.mallory.checkout(&deciders.stage.repo).await;
    work.point(&branch, "main").await;
    work.push(&branch, &[SMUGGLED]).await;
    deciders.resume("r").await;
    let pull = deciders.put(QUESTION, 1).await;
    assert_eq!(deciders.branch(QUESTION), branch);
    deciders.is_approved_by(&pull).await;
    assert!(!deciders.has_smuggled().await);
}

#[tokio::test]
async fn another_text_that_is_pushed_over_the_question_is_warned_of_and_approves_nothing() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let text = deciders
        .text(&deciders.branch(QUESTION), &deciders.file(QUESTION))
        .await;
    assert!(text.contains("\"amount\": 250"), "{text}");
    let harmless = |text: &str| text.replace("250", "2");
    deciders.edit(&deciders.mallory, QUESTION, harmless).await;
    deciders.is_warned_of(&pull, "was changed in line 1:").await;
    deciders.alice.merge(&pull).await;
    let pull = deciders.is_put_again(&pull, "was changed in line 1:", 2).await;

    // edited and put back, it is what it was
    deciders.edit(&deciders.mallory, QUESTION, harmless).await;
    deciders.is_warned_of(&pull, "was changed in line 1:").await;
    deciders
        .edit(&deciders.mallory, QUESTION, |text| {
            text.replace("Refund 2?", "Refund 250?")
                .replace("\"amount\": 2", "\"amount\": 250")
        })
        .await;
    deciders.is_approved_by(&pull).await;
}

#[tokio::test]
async fn a_merge_that_brings_other_files_is_warned_of_and_approves_nothing() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let work = deciders.mallory.checkout(&deciders.stage.repo).await;
    work.push(&deciders.branch(QUESTION), &[SMUGGLED]).await;
    deciders.is_warned_of(&pull, "other files").await;
    deciders.alice.merge(&pull).await;
    let next = deciders
        .is_put_again(&pull, "changes other files as well", 2)
        .await;
    deciders.is_approved_by(&next).await;
}

#[tokio::test]
async fn other_files_in_a_commit_before_the_last_one_are_found_when_it_is_rebased() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let (branch, file) = (deciders.branch(QUESTION), deciders.file(QUESTION));
    let text = deciders.text(&branch, &file).await;
    let work = deciders.mallory.checkout(&deciders.stage.repo).await;
    work.point("before", "main").await;
    work.push("before", &[SMUGGLED]).await;
    work.push("before", &[(&file, Some(&text))]).await;
    work.point(&branch, "before").await;
    deciders.is_warned_of(&pull, "other files").await;
    deciders.alice.try_merge_by(&pull, "rebase").await.unwrap();
    let next = deciders
        .is_put_again(&pull, "the pull request changes other files as well", 2)
        .await;
    deciders.is_approved_by(&next).await;
}

#[tokio::test]
async fn a_pull_request_that_was_turned_to_another_branch_approves_nothing_and_is_turned_back() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let flaky = Flaky::open(&deciders.stage.forge.url()).await;
    deciders.follow(&flaky.url()).await;
    let pull = deciders.ask("r").await;
    let base = async || deciders.stage.owner.pull(&pull).await["base"]["ref"].clone();
    deciders.mallory.change(&pull, json!({"base": "live"})).await;
    deciders
        .until("the base as it was", async || {
            (base().await == "main").then_some(())
        })
        .await;

    flaky.answer(500);
    deciders.mallory.change(&pull, json!({"base": "live"})).await;
    deciders.alice.merge(&pull).await;
    flaky.answer(0);
    let next = deciders.is_put_again(&pull, "it goes into \"live\"", 2).await;
    deciders.is_approved_by(&next).await;
}

#[tokio::test]
async fn every_way_of_merging_approves_that_brings_the_question_and_nothing_else() {
    let form = "      form: {type: object, properties: {amount: {type: number}}}\n";
    let Some(deciders) = Deciders::open(form).await else {
        return;
    };
    for (at, way) in ["squash", "rebase", "rebase-merge", "fast-forward-only"]
        .into_iter()
        .enumerate()
    {
        let run = format!("r{at}");
        let pull = deciders.ask(&run).await;
        // of two commits
        deciders
            .edit(&deciders.alice, &format!("{run}-review"), |text| {
                text.replace("values: {}", "values: {amount: 100}")
            })
            .await;
        if way != "fast-forward-only" {
            // and onto a base that went on
            let more = format!("notes-{at}.txt");
            deciders.stage.work.push("main", &[(&more, Some("x"))]).await;
        }
        deciders.alice.try_merge_by(&pull, way).await.unwrap();
        deciders.stage.rig.phase(&run, "Succeeded").await;
        let decision = deciders.decisions(&format!("{run}-review")).await.remove(0);
        assert_eq!(decision.spec.by.as_deref(), Some("alice"), "{way}");
        assert_eq!(
            decision.spec.values.unwrap().to_value(),
            json!({"amount": 100}),
            "{way}"
        );
    }
}

#[tokio::test]
async fn a_pull_request_that_goes_with_its_branch_rejects_nothing_and_is_put_again() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let branch = deciders.branch(QUESTION).replace('/', "%2F");
    let path = deciders.stage.repo.path(&format!("/branches/{branch}"));
    deciders.alice.call(Method::DELETE, &path, json!(null)).await;
    let next = deciders.put(QUESTION, 2).await;
    assert_eq!(deciders.stage.owner.pull(&pull).await["state"], "closed");
    deciders.is_approved_by(&next).await;
}

#[tokio::test]
async fn the_same_file_from_a_fork_answers_nothing() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let (repo, branch, file) = (
        &deciders.stage.repo,
        deciders.branch(QUESTION),
        deciders.file(QUESTION),
    );
    let text = deciders.text(&branch, &file).await;
    deciders
        .mallory
        .call(Method::POST, &repo.path("/forks"), json!({}))
        .await;
    let fork = Repo {
        owner: deciders.mallory.login.clone(),
        name: repo.name.clone(),
    };
    let work = deciders.mallory.checkout(&fork).await;
    work.point(&branch, "main").await;
    work.push(&branch, &[(&file, Some(&text))]).await;
    let head = format!("{}:{branch}", fork.owner);
    let theirs = deciders
        .mallory
        .open_pull(repo, &head, "main", "Sign off: Refund 250?")
        .await;
    deciders.alice.merge(&theirs).await;
    // asked of the forge since then, as the edited title shows
    deciders.mallory.change(&pull, json!({"title": "edited"})).await;
    deciders
        .until("the title as it was", async || {
            (deciders.stage.owner.pull(&pull).await["title"] != "edited").then_some(())
        })
        .await;
    assert!(deciders.is_open(QUESTION).await);
    assert!(deciders.decisions(QUESTION).await.is_empty());
    deciders.bob.close(&pull).await;
    deciders.stage.rig.phase("r", "Rejected").await;
}

#[tokio::test]
async fn what_was_done_about_a_question_says_nothing_of_that_of_a_later_run_of_the_same_name() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let rig = &deciders.stage.rig;
    let old = deciders.ask("r").await;
    deciders.bob.close(&old).await;
    rig.phase("r", "Rejected").await;
    deciders.branch_is_gone(QUESTION).await;
    let text = deciders.stage.owner.pull(&old).await;
    if !rig
        .server
        .can_test("that an answer to an earlier question of the same name is none")
    {
        return;
    }
    // the question goes with the run, and what was decided with the question
    rig.delete_run("r").await;
    deciders
        .until("end of the question", async || {
            let runs = rig.api::<Run>().list(&ListParams::default()).await.unwrap();
            let approval = rig.api::<Approval>().get_opt(&rig.known(QUESTION)).await.unwrap();
            let decisions = deciders.decisions(QUESTION).await;
            (runs.items.is_empty() && approval.is_none() && decisions.is_empty()).then_some(())
        })
        .await;

    deciders.start("r").await;
    // it has a name of its own, and so a branch
    let new = deciders.put(QUESTION, 1).await;
    let body = deciders.stage.owner.pull(&new).await["body"].clone();
    assert_ne!(body, text["body"]);
    // not even where the old one is made to look like the new one
    deciders.mallory.change(&old, json!({"body": body})).await;
    deciders.until_looked_at(&new).await;
    assert!(deciders.is_open(QUESTION).await);
    deciders.is_approved_by(&new).await;
}

#[tokio::test]
async fn a_comment_of_the_operator_that_somebody_edits_hides_no_answer() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let pull = deciders.ask("r").await;
    let whole = deciders
        .text(&deciders.branch(QUESTION), &deciders.file(QUESTION))
        .await;
    deciders
        .edit(&deciders.mallory, QUESTION, |text| format!("# Harmless.\n{text}"))
        .await;
    deciders.told(&pull, "would not approve").await;
    let repo = &deciders.stage.repo;
    let comments = deciders
        .stage
        .owner
        .get(&repo.path(&format!("/issues/{}/comments", pull.number)))
        .await;
    let path = repo.path(&format!("/issues/comments/{}", comments[0]["id"]));
    let mark = |more: String| json!({"body": format!("<!-- signoff:answer merged -->\n{more}")});
    // the forge counts seconds, and so what is edited within one is not told from what was written
    deciders
        .until("an edit of the comment that shows", async || {
            let mark = mark(deciders.stage.forge.name("edited"));
            deciders.mallory.call(Method::PATCH, &path, mark).await;
            let said = deciders.stage.owner.get(&path).await;
            (said["created_at"] != said["updated_at"]).then_some(())
        })
        .await;
    deciders
        .edit(&deciders.mallory, QUESTION, |_| whole.clone())
        .await;
    deciders.is_approved_by(&pull).await;
}

#[tokio::test]
async fn a_question_that_was_put_ten_times_for_nothing_says_that_it_is_put_no_more() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    deciders.start("r").await;
    for count in 1..=10 {
        let pull = deciders.put(QUESTION, count).await;
        deciders.mallory.merge(&pull).await;
    }
    let event = deciders.stage.rig.event(QUESTION, "AnswerNotCounted").await;
    let note = event.note.unwrap_or_default();
    assert!(
        note.contains("it was put 10 times and no answer counted"),
        "{note}"
    );
    deciders.stage.rig.decide("alice", QUESTION, "Approve").await;
    deciders.stage.rig.phase("r", "Succeeded").await;
}

#[tokio::test]
async fn a_question_that_is_to_be_a_pull_request_where_there_is_no_forge_says_so() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let stage = &deciders.stage;
    let more = json!({"interval": "1s", "decisions": {"propose": "PullRequest"}});
    stage.follow(&stage.forge.http_url(&stage.repo), more).await;
    deciders.start("r").await;
    let event = stage.rig.event(QUESTION, "ForgeMissing").await;
    let note = event.note.unwrap_or_default();
    assert!(note.contains("`spec.forge`"), "{note}");
    let asked = |truth: &'static str| {
        move |approval: &Approval| {
            let status = approval.status.as_ref();
            let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
            conditions.any(|one| one.type_ == "Asked" && one.status == truth)
        }
    };
    stage.rig.until::<Approval>(QUESTION, asked("False")).await;
    deciders.follow(&stage.forge.url()).await;
    let pull = deciders.put(QUESTION, 1).await;
    stage.rig.until::<Approval>(QUESTION, asked("True")).await;
    deciders.is_approved_by(&pull).await;
}
