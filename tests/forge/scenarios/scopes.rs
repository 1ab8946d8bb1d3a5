//! The operator's token: it has the scopes that the documentation names, which are enough for every other test here, and none is too many.

use serde_json::json;
use signoff_api::Repository;

use crate::{Deciders, people::documented_scopes, until};

impl Deciders {
    /// Gives the operator a token without this scope, and with `instead` where that is less.
    pub async fn narrow(&self, without: &str, instead: Option<&str>) {
        let mut scopes = documented_scopes();
        scopes.retain(|scope| *scope != without);
        assert_eq!(scopes.len(), 3, "{without} is documented");
        scopes.extend(instead);
        let (_, token) = self.stage.forge.token(&self.bot.login, &scopes).await;
        self.stage.secret("api", json!({"token": token})).await;
    }

    pub async fn widen(&self) {
        self.stage.secret("api", json!({"token": self.bot.token})).await;
    }

    async fn run(&self, run: &str) {
        let asks = json!({"flow": "refund", "inputs": {"amount": 1}});
        self.stage.rig.start(run, asks).await;
    }

    /// Waits for an Event about a question that says what the token lacks, and for what.
    pub async fn lacks(&self, question: &str, scope: &str, doing: &str) {
        let question = self.stage.rig.question(question).await;
        until(doing, async || {
            let events = self.stage.rig.events(&question).await.into_iter();
            let mut refused = events.filter(|event| event.reason.as_deref() == Some("ForgeForbidden"));
            refused.find(|event| {
                let note = event.note.as_deref().unwrap_or_default();
                note.contains(doing) && note.contains(&format!("required=[{scope}]"))
            })
        })
        .await;
    }
}

#[tokio::test]
async fn a_scope_of_the_token_that_is_missing_is_named_with_what_it_is_missing_for() {
    let Some(deciders) = Deciders::open("").await else {
        return;
    };
    let stage = &deciders.stage;
    let pull = deciders.ask("r").await;
    let forge_is = |wanted: &'static str| {
        move |repository: &Repository| {
            let conditions = repository.status.as_ref().map(|status| &status.conditions);
            let ready = conditions.into_iter().flatten().find(|c| c.type_ == "ForgeReady");
            ready.is_some_and(|c| format!("{}: {}", c.reason, c.message).contains(wanted))
        }
    };

    deciders.narrow("write:repository", Some("read:repository")).await;
    let commit = stage.work.push("main", &[("notes.txt", Some("x"))]).await;
    stage.until_read(&commit).await;
    let says = forge_is("set a commit status");
    let told = stage.rig.until::<Repository>("flows", says).await;
    let conditions = told.status.unwrap().conditions;
    let ready = conditions.into_iter().find(|c| c.type_ == "ForgeReady").unwrap();
    assert_eq!(ready.reason, "ForgeForbidden");
    assert!(
        ready.message.contains("required=[write:repository]"),
        "{}",
        ready.message
    );
    deciders.run("a").await;
    deciders
        .lacks("a-review", "write:repository", "commit a file to a new branch")
        .await;

    deciders.narrow("read:user", None).await;
    deciders.run("b").await;
    deciders
        .lacks("b-review", "read:user", "read its own account")
        .await;

    deciders.narrow("write:issue", Some("read:issue")).await;
    deciders.mallory.merge(&pull).await;
    deciders
        .lacks("r-review", "write:issue", "comment on a pull request")
        .await;

    // a better one is taken up, and what was not done is done
    deciders.widen().await;
    deciders
        .told(&pull, "does not say which user of the cluster it is")
        .await;
    deciders.put("r-review", 2).await;
    deciders.put("a-review", 1).await;
    deciders.put("b-review", 1).await;
    stage.rig.until::<Repository>("flows", forge_is("Told")).await;
}
