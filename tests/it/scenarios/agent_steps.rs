//! `agent` steps, with a model that says what it is told to: people approve the exact call of a tool, and whatever
//! breaks, nothing is called twice that must not be.

use serde_json::{Value, json};
use signoff_api::Approval;

use super::models::{connect, says};
use crate::support::{
    faults::{Cut, cut, cut_at_each_write},
    rig::Rig,
    shop::Shop,
};

const MODEL: &str = "/v1/chat/completions";

/// An agent with a tool that looks, and one that pays after people approved it and never twice.
fn helper(shop: &Shop) -> Value {
    let schema =
        json!({"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}});
    let tool = |name: &str, more: Value| {
        let mut tool = json!({"name": name, "description": "Does something", "schema": schema,
            "http": {"method": "POST", "url": shop.url(&format!("/{name}")), "body": {"amount": "${args.amount}"}}});
        for (field, value) in more.as_object().unwrap() {
            tool[field] = value.clone();
        }
        tool
    };
    let tools = json!([
        tool("look", json!({})),
        tool(
            "pay",
            json!({"delivery": "AtMostOnce", "approval": {"editable": true}})
        ),
    ]);
    let step = json!({"name": "help", "agent": {"connection": "model", "model": "small-1", "prompt": "Pay what is due", "tools": tools},
        "retry": {"attempts": 3}});
    json!({"steps": [step], "output": {"said": "${steps.help.output}"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn people_approve_the_exact_call_of_a_tool_and_the_model_is_told_what_came_of_it() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    connect(&rig, &shop).await;
    let operator = rig.operator().await;
    rig.flow("f", helper(&shop)).await;
    let due = crate::support::shop::Answer::Status(200, json!({"due": 250}));
    shop.will_answer([
        says(
            "",
            &[("look", json!({"amount": 1})), ("pay", json!({"amount": 250}))],
        ),
        due,
    ]);
    rig.start("r", json!({"flow": "f"})).await;
    let question = rig.asked("r-help-call-2").await;
    assert!(shop.asked("/pay").is_empty());
    let shown = |name: &str| {
        let item = question.spec.show.iter().find(|item| item.name == name).unwrap();
        serde_json::from_str::<Value>(&item.inline).unwrap()
    };
    assert_eq!(shown("arguments"), json!({"amount": 250}));
    assert_eq!(shown("effect")["body"], json!({"amount": 250}));
    let paid = crate::support::shop::Answer::Status(200, json!({"receipt": 7}));
    shop.will_answer([paid, says("paid 250", &[])]);
    rig.decide("alice", "r-help-call-2", "Approve").await;
    let status = rig.phase("r", "Succeeded").await.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"said": "paid 250"}));
    let asked = shop.asked("/pay");
    assert_eq!((asked.len(), &asked[0].body), (1, &json!({"amount": 250})));
    let told = shop.asked(MODEL)[1].body["messages"].clone();
    assert_eq!(told[2]["content"], "{\"due\":250}");
    assert_eq!(told[3]["content"], "{\"receipt\":7}");
    assert_eq!(status.usage.unwrap().calls, 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_goes_to_the_model_with_the_comment_and_an_edit_becomes_the_arguments() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    connect(&rig, &shop).await;
    let operator = rig.operator().await;
    rig.flow("f", helper(&shop)).await;
    let pay = |amount: i64| says("", &[("pay", json!({"amount": amount}))]);
    shop.will_answer([pay(900), pay(300)]);
    rig.start("r", json!({"flow": "f"})).await;
    let question = rig.asked("r-help-call-1").await;
    let spec = json!({"approval": rig.known("r-help-call-1"), "digest": question.spec.digest, "verdict": "Reject", "comment": "too much"});
    rig.decide_with("alice", spec).await.unwrap();
    let question = rig.asked("r-help-call-2").await;
    let told = shop.asked(MODEL)[1].body["messages"].clone();
    assert_eq!(told[2]["content"], "People rejected this call: too much");
    shop.will_answer([
        crate::support::shop::Answer::Status(200, json!({})),
        says("done", &[]),
    ]);
    let spec = json!({"approval": rig.known("r-help-call-2"), "digest": question.spec.digest, "verdict": "Approve",
        "shown": {"arguments": {"amount": 250}}});
    // one changes it, another approves that
    let changed = rig.decide_with("alice", spec.clone()).await.unwrap();
    assert_eq!(rig.judged(&changed).await.1, "AmendmentProposed");
    assert!(shop.asked("/pay").is_empty());
    rig.decide_with("bob", spec).await.unwrap();
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/pay")[0].body, json!({"amount": 250}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_repeats_no_call_that_must_not_be() {
    cut_at_each_write(Cut::Before, 4, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_repeats_no_call_that_must_not_be() {
    cut_at_each_write(Cut::After, 4, one).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let (rig, shop, model) = (Rig::open().await, Shop::open().await, Shop::open().await);
    connect(&rig, &model).await;
    let operator = rig.operator().await;
    rig.flow("f", helper(&shop)).await;
    operator.stop().await;
    // what the model says depends on what it was told, as that of a real one does
    model.will_say(|body| {
        let told = body["messages"].as_array().unwrap().len();
        match told {
            1 => says(
                "",
                &[("look", json!({"amount": 1})), ("pay", json!({"amount": 250}))],
            ),
            _ => says("done", &[]),
        }
    });

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = play(&rig, &shop);
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;

    let asked_a_person = rig.is_asked("r-help-outcome").await;
    let paid = shop.asked("/pay").len();
    assert!(
        paid == 1 || (paid == 0 && asked_a_person),
        "{at:?}: paid {paid} times, asked: {asked_a_person}"
    );
    let looked = shop.asked("/look");
    assert!(
        looked
            .iter()
            .all(|one| one.idempotency_key == looked[0].idempotency_key),
        "{at:?}"
    );
    // once a call has begun, the answer that asked for it is never asked for again
    let answers = model.asked(MODEL);
    let first_turn = answers
        .iter()
        .filter(|asked| asked.body["messages"].as_array().unwrap().len() == 1);
    let keys: Vec<_> = first_turn.map(|asked| asked.idempotency_key.clone()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{at:?}: {keys:?}");
    assert_eq!(
        run.status.unwrap().output.unwrap().0,
        json!({"said": "done"}),
        "{at:?}"
    );
    reached
}

/// What people do, whichever operator is there to see it.
async fn play(rig: &Rig, shop: &Shop) {
    rig.until::<Approval>("r-help-call-2", |_| true).await;
    rig.decide("alice", "r-help-call-2", "Approve").await;
    let answer = async {
        let approval = rig.until_ever::<Approval>("r-help-outcome").await;
        let spec = json!({"approval": rig.known("r-help-outcome"), "digest": approval.spec.digest, "verdict": "Approve",
            "values": {"happened": !shop.asked("/pay").is_empty(), "output": "{}"}});
        rig.decide_with("alice", spec).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = rig.phase("r", "Succeeded") => {}
        () = answer => {}
    }
}
