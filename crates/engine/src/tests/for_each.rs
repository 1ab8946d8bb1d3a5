//! Steps with items: how they begin, what comes of them, and what is refused.

use super::{scenario::json as body, *};
use signoff_api::run::StepStatus;

pub(super) fn pay(for_each: &Value) -> Value {
    let mut step = json!({ "name": "pay", "http": {
        "url": "http://bank/pay", "method": "POST", "body": { "to": "${item}", "nr": "${index}" },
        "output": { "nr": "${index}", "paid": "${item}" } } });
    step["forEach"] = json!({ "items": ["a", "b", "c", "d"], "maxParallel": 2 });
    step["forEach"]
        .as_object_mut()
        .unwrap()
        .extend(for_each.as_object().unwrap().clone());
    step
}

pub(super) fn flow(step: &Value) -> Value {
    json!({ "steps": [step, { "name": "after", "set": { "seen": "${steps.pay.output}" } }] })
}

fn step(run: &Scenario) -> &StepStatus {
    run.state.steps.iter().find(|step| step.item.is_none()).unwrap()
}

/// The items that are under way, with their phases.
pub(super) fn open(run: &Scenario) -> Vec<(i64, StepPhase)> {
    let entries = run.state.steps.iter();
    entries
        .filter_map(|entry| Some((entry.item?, entry.phase)))
        .collect()
}

pub(super) fn ended(run: &Scenario) -> Vec<(StepOutcome, String)> {
    let items = step(run).items.as_ref().unwrap();
    items
        .ended
        .iter()
        .map(|ended| (ended.outcome, ended.items.to_string()))
        .collect()
}

#[test]
fn items_begin_in_order_as_places_become_free_and_the_outputs_keep_their_order() {
    let mut run = Scenario::of(flow(&pay(&json!({}))), &json!({}));
    run.tick();
    assert_eq!(open(&run), [(0, StepPhase::Running), (1, StepPhase::Running)]);
    let keys: Vec<String> = run
        .http()
        .iter()
        .map(|call| call.idempotency_key.clone())
        .collect();
    assert_eq!(keys, ["u/pay/1/0", "u/pay/1/1"]);
    assert_eq!(body(request(run.http()[1])), &json!({ "to": "b", "nr": 1 }));
    run.answer("pay[1]", 200, json!({}));
    assert_eq!(open(&run), [(0, StepPhase::Running), (2, StepPhase::Running)]);
    run.answer("pay[2]", 200, json!({}));
    run.answer("pay[3]", 200, json!({}));
    assert_eq!(ended(&run), [(StepOutcome::Succeeded, "1-3".to_owned())]);
    run.answer("pay[0]", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let list = json!([{ "nr": 0, "paid": "a" }, { "nr": 1, "paid": "b" }, { "nr": 2, "paid": "c" }, { "nr": 3, "paid": "d" }]);
    assert_eq!(run.state.steps[0].output.as_ref().unwrap().0, list);
    assert_eq!(
        run.state.steps[1].output.as_ref().unwrap().0,
        json!({ "seen": list })
    );
    assert_eq!((run.state.steps.len(), run.state.billable_steps), (2, 4));
}

#[test]
fn items_that_end_at_the_same_time_are_noted_in_one_decision() {
    let mut run = Scenario::of(flow(&pay(&json!({ "maxParallel": 4 }))), &json!({}));
    run.tick();
    for key in std::mem::take(&mut run.facts.in_flight) {
        let response = HttpResponse {
            status: 200,
            headers: BTreeMap::new(),
            body: json!(1),
        };
        run.facts.outcomes.push(EffectOutcome {
            key,
            at: run.now,
            result: Ok(Response::Http(response)),
        });
    }
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn when_an_item_fails_no_other_begins_and_those_under_way_finish() {
    let mut run = Scenario::of(flow(&pay(&json!({}))), &json!({}));
    run.tick();
    run.answer("pay[0]", 404, json!({}));
    assert_eq!(open(&run), [(1, StepPhase::Running)]);
    assert_eq!(run.state.phase, RunPhase::Running);
    run.answer("pay[1]", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Failed);
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::UnexpectedStatus);
    assert!(
        error.message.starts_with("step pay: item 0: "),
        "{}",
        error.message
    );
    assert_eq!(
        ended(&run),
        [
            (StepOutcome::Failed, "0".to_owned()),
            (StepOutcome::Succeeded, "1".to_owned())
        ]
    );
    assert_eq!(run.state.steps.len(), 1);
}

#[test]
fn when_the_others_go_on_after_a_failure_the_step_succeeds_and_tells_of_each_item() {
    let step = pay(&json!({ "onItemFailure": "Continue" }));
    let after = json!({ "name": "after", "set": {
        "failed": "${steps.pay.items.filter(i, i.outcome == 'Failed').map(i, i.?error.reason.orValue(''))}",
        "all": "${steps.pay.items.map(i, i.outcome)}", "outputs": "${steps.pay.output}" } });
    let flow = json!({ "steps": [step, after] });
    assert!(Plan::compile(&serde_json::from_value(flow.clone()).unwrap()).is_ok());
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    for (item, status) in [(0, 200), (1, 404), (2, 200), (3, 404)] {
        run.answer(&format!("pay[{item}]"), status, json!({}));
    }
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps[0].outcome, Some(StepOutcome::Succeeded));
    let seen = &run.state.steps[1].output.as_ref().unwrap().0;
    assert_eq!(seen["failed"], json!(["UnexpectedStatus", "UnexpectedStatus"]));
    assert_eq!(seen["all"], json!(["Succeeded", "Failed", "Succeeded", "Failed"]));
    assert_eq!(seen["outputs"][1], Value::Null);
    assert_eq!(seen["outputs"][2], json!({ "nr": 2, "paid": "c" }));
    let errors = &run.state.steps[0].items.as_ref().unwrap().errors;
    assert_eq!(errors[0].items.to_string(), "1,3");
}

#[test]
fn an_empty_list_succeeds_and_asks_nobody() {
    let run = |step: Value| {
        let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
        run.tick();
        assert_eq!(run.state.phase, RunPhase::Succeeded);
        run.state.steps[0].clone()
    };
    let called = run(pay(&json!({ "items": [] })));
    assert_eq!(called.outcome, Some(StepOutcome::Succeeded));
    assert_eq!(called.output.unwrap().0, json!([]));
    let asked =
        run(json!({ "name": "ask", "forEach": { "items": [] }, "approval": { "title": "${item}?" } }));
    assert_eq!((asked.outcome, asked.output), (Some(StepOutcome::Skipped), None));
}

#[test]
fn a_list_that_is_none_or_too_long_or_too_large_or_too_deep_fails_the_step() {
    let deep = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    for (items, told) in [
        (json!("x"), "not a list, but a string"),
        (json!({ "a": 1 }), "not a list, but an object"),
        (json!(null), "not a list, but null"),
        (json!(vec![1; 501]), "there are 501 items; at most 500 may be"),
        (json!(["x".repeat(300_000)]), "bytes; at most 262144 may be"),
        (
            json!([1, deep(33)]),
            "item 1: it is nested more than 32 levels deep",
        ),
    ] {
        let step = pay(&json!({ "items": "${inputs.items}" }));
        let mut run = Scenario::of(json!({ "steps": [step] }), &json!({ "items": items }));
        run.tick();
        assert_eq!(run.state.phase, RunPhase::Failed, "{told}");
        let error = run.state.error.as_ref().unwrap();
        assert_eq!(error.reason, StepReason::InvalidItems);
        assert!(error.message.contains(told), "{} / {told}", error.message);
        assert!(run.effects.is_empty());
    }
    for items in [json!(vec![1; 500]), json!([deep(32)])] {
        let step = pay(&json!({ "items": "${inputs.items}" }));
        let mut run = Scenario::of(json!({ "steps": [step] }), &json!({ "items": items }));
        run.tick();
        assert_eq!(run.state.phase, RunPhase::Running);
    }
}

#[test]
fn five_hundred_items_fit_into_a_small_status() {
    let items: Vec<i64> = (0..500).collect();
    let step = pay(&json!({ "items": items, "maxParallel": 50 }));
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
    run.tick();
    let mut largest = 0;
    while let Some(key) = run.facts.in_flight.first().cloned() {
        run.answer(&format!("pay[{}]", key.item.unwrap()), 200, json!({}));
        largest = largest.max(serde_json::to_vec(&run.state).unwrap().len());
        assert!(run.facts.in_flight.len() <= 50);
    }
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps.len(), 1);
    assert_eq!(ended(&run), [(StepOutcome::Succeeded, "0-499".to_owned())]);
    assert!(largest < 64 * 1024, "{largest}");
    // beside its outputs, the entry of the step is small
    let mut entry = run.state.steps[0].clone();
    entry.output = None;
    let size = serde_json::to_vec(&entry).unwrap().len();
    assert!(size < 1024, "{size}");
}

#[test]
fn items_without_any_effect_all_end_in_one_decision() {
    let items: Vec<i64> = (0..500).collect();
    let step = json!({ "name": "square", "forEach": { "items": items }, "set": { "v": "${item * item}" } });
    let flow = json!({ "steps": [step], "output": { "last": "${steps.square.output[499].v}" } });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded, "{:?}", run.state.error);
    assert_eq!(run.state.output.as_ref().unwrap().0, json!({ "last": 499 * 499 }));
}

#[test]
fn outputs_that_are_too_large_together_fail_the_step_with_one_clear_error() {
    for policy in ["Fail", "Continue"] {
        let step = json!({ "name": "get", "http": { "url": "http://x/" },
            "forEach": { "items": "${inputs.items}", "maxParallel": 1, "onItemFailure": policy } });
        let flow = json!({ "steps": [step] });
        let mut run = Scenario::of(flow, &json!({ "items": (0..20).collect::<Vec<_>>() }));
        run.tick();
        while let Some(key) = run.facts.in_flight.first().cloned() {
            run.answer(
                &format!("get[{}]", key.item.unwrap()),
                200,
                json!("x".repeat(20_000)),
            );
        }
        let error = run.state.error.as_ref().unwrap();
        assert_eq!(error.reason, StepReason::OutputTooLarge);
        let told = "step get: the outputs of its items have 80013 bytes together, with that of item 3; at most 65536 are kept";
        assert_eq!(error.message, told);
        assert!(serde_json::to_vec(&run.state).unwrap().len() < 70_000);
    }
}

#[test]
fn each_item_has_its_own_attempts() {
    let mut step = pay(&json!({ "items": ["a", "b"] }));
    step["retry"] = json!({ "attempts": 2, "backoff": { "initial": "5s" } });
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
    run.tick();
    run.answer("pay[0]", 500, json!({}));
    assert_eq!(open(&run), [(0, StepPhase::Retrying), (1, StepPhase::Running)]);
    run.answer("pay[1]", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Waiting);
    run.pass(5);
    assert_eq!(run.http()[0].key.to_string(), "pay[0].1.2");
    assert_eq!(run.http()[0].idempotency_key, "u/pay/1/0");
    run.answer("pay[0]", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.billable_steps, 2);
}

#[test]
fn what_was_interrupted_is_repeated_for_each_item_under_the_same_key() {
    let mut run = Scenario::of(flow(&pay(&json!({}))), &json!({}));
    run.tick();
    run.answer("pay[0]", 200, json!({}));
    run.restart();
    let keys: Vec<String> = run.http().iter().map(|call| call.key.to_string()).collect();
    assert_eq!(keys, ["pay[1].1.1", "pay[2].1.1"]);
}

#[test]
fn the_items_are_those_that_the_step_began_with() {
    let step = pay(&json!({ "items": "${inputs.items}" }));
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({ "items": ["a", "b", "c"] }));
    run.tick();
    run.facts
        .run
        .inputs
        .0
        .insert("items".into(), json!(["a", "b", "d"]));
    run.answer("pay[0]", 200, json!({}));
    run.answer("pay[1]", 200, json!({}));
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::InvalidItems);
    assert!(
        error
            .message
            .ends_with("they are not the items that the step began with"),
        "{}",
        error.message
    );
}

#[test]
fn nothing_begins_while_the_run_is_suspended() {
    let mut run = Scenario::of(flow(&pay(&json!({}))), &json!({}));
    run.tick();
    run.facts.run.suspend = true;
    run.answer("pay[0]", 200, json!({}));
    run.answer("pay[1]", 200, json!({}));
    assert_eq!((open(&run), run.state.phase), (vec![], RunPhase::Waiting));
    assert_eq!(
        run.state.waiting_on.as_deref(),
        Some("somebody to resume it: it is suspended")
    );
    run.facts.run.suspend = false;
    run.tick();
    assert_eq!(open(&run), [(2, StepPhase::Running), (3, StepPhase::Running)]);
}

#[test]
fn a_cancelled_run_breaks_off_its_items_and_runs_its_last_steps() {
    let last = json!([{ "name": "tell", "forEach": { "items": [1, 2, 3] }, "set": { "v": "${item} ${run.outcome}" } }]);
    let flow = json!({ "steps": [pay(&json!({}))], "finally": last });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    run.answer("pay[0]", 200, json!({}));
    run.facts.run.cancel = true;
    run.tick();
    let aborted = run
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Abort(_)));
    assert_eq!(aborted.count(), 2);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert_eq!(step(&run).phase, StepPhase::Cancelled);
    assert_eq!(
        ended(&run),
        [
            (StepOutcome::Succeeded, "0".to_owned()),
            (StepOutcome::Cancelled, "1-2".to_owned())
        ]
    );
    let told = run.state.steps.last().unwrap();
    assert_eq!(told.output.as_ref().unwrap().0[2], json!({ "v": "3 Cancelled" }));
}

#[test]
fn a_run_goes_on_after_a_step_whose_items_failed_if_it_says_so() {
    let mut step = pay(&json!({ "maxParallel": 1 }));
    step["onFailure"] = json!({ "outcome": "Continue" });
    let after = json!({ "name": "after", "set": { "v": "${steps.pay.outcome}: ${steps.pay.?items.orValue([]).map(i, i.outcome)}" } });
    let flow = json!({ "steps": [step, after] });
    assert!(Plan::compile(&serde_json::from_value(flow.clone()).unwrap()).is_ok());
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    run.answer("pay[0]", 200, json!({}));
    run.answer("pay[1]", 404, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let seen = &run.state.steps[1].output.as_ref().unwrap().0["v"];
    assert_eq!(
        seen,
        &json!(r#"Failed: ["Succeeded","Failed","Omitted","Omitted"]"#)
    );
}

#[test]
fn each_item_waits_for_a_callback_of_its_own() {
    let tell = json!({ "name": "tell", "forEach": { "items": ["a", "b"] }, "http": {
        "url": "http://x/", "body": { "answer": "${callback('wait', index).url}" } } });
    let wait = json!({ "name": "wait", "forEach": { "items": ["a", "b"] }, "wait": { "callback": {} } });
    let flow = json!({ "steps": [tell, wait] });
    assert!(Plan::compile(&serde_json::from_value(flow.clone()).unwrap()).is_ok());
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    let token = |run: &Scenario, n: usize| {
        let url = body(request(run.http()[n]))["answer"]
            .as_str()
            .unwrap()
            .to_owned();
        url.rsplit_once('/').unwrap().1.to_owned()
    };
    let tokens = [token(&run, 0), token(&run, 1)];
    let keys = &run.facts.callbacks.keys;
    let addresses = tokens.map(|token| keys.verify(&token).unwrap());
    assert_eq!(
        addresses.clone().map(|address| address.record_key()),
        ["wait.1.0", "wait.1.1"]
    );
    run.answer("tell[0]", 200, json!({}))
        .answer("tell[1]", 200, json!({}));
    for (n, address) in addresses.iter().enumerate().rev() {
        assert!(!crate::callback_token::is_over(&run.state, address));
        let record = CallbackRecord {
            received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(run.now),
            sha256: Digest::of(b"{}"),
            webhook_id: None,
            body: json!({ "n": n }).into(),
        };
        run.state.callbacks.insert(address.record_key(), record);
        run.tick();
        assert!(crate::callback_token::is_over(&run.state, address));
    }
    let step = run.state.steps.last().unwrap();
    assert_eq!(step.outcome, Some(StepOutcome::Callback));
    assert_eq!(step.output.as_ref().unwrap().0, json!([{ "n": 0 }, { "n": 1 }]));
    let beyond = super::super::callback_token::CallbackAddress {
        item: Some(2),
        ..addresses[0].clone()
    };
    assert!(crate::callback_token::is_over(&run.state, &beyond));
}

#[test]
fn a_loop_does_all_items_again_in_each_pass() {
    let mut step = pay(&json!({ "items": "${range(1, 3)}" }));
    step["forEach"]["items"] = json!(["a", "b"]);
    step["repeat"] =
        json!({ "until": "${steps.pay.items.all(i, i.outcome == 'Succeeded') && steps.pay.pass >= 2}" });
    let flow = json!({ "steps": [step] });
    let compiled = Plan::compile(&serde_json::from_value(flow.clone()).unwrap());
    assert!(compiled.is_ok(), "{compiled:?}");
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    run.answer("pay[0]", 200, json!({}))
        .answer("pay[1]", 200, json!({}));
    let keys: Vec<String> = run
        .http()
        .iter()
        .map(|call| call.idempotency_key.clone())
        .collect();
    assert_eq!(keys, ["u/pay/2/0", "u/pay/2/1"]);
    run.answer("pay[1]", 200, json!({}))
        .answer("pay[0]", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.steps.len(), 2);
}

#[test]
fn changes_do_all_items_again() {
    let review = json!({ "name": "ask", "approval": { "title": "?", "changes": { "backTo": "pay" } } });
    let mut run = Scenario::of(
        json!({ "steps": [pay(&json!({ "items": ["a"] })), review] }),
        &json!({}),
    );
    run.tick();
    run.answer("pay[0]", 200, json!({}));
    run.decide("r-ask", ApprovalPhase::ChangesRequested);
    assert_eq!(run.http()[0].idempotency_key, "u/pay/2/0");
}

#[test]
fn what_is_wrong_with_items_is_told_with_its_place_before_a_release_is_cut() {
    let told = |step: Value| {
        let inputs = json!({ "type": "object", "required": ["teams", "name"], "properties": {
            "name": { "type": "string" },
            "teams": { "type": "array", "items": { "type": "object", "required": ["slug"], "properties": { "slug": { "type": "string" } } } } } });
        let wait = json!({ "name": "each", "forEach": { "items": [1] }, "wait": { "callback": {} } });
        let one = json!({ "name": "one", "wait": { "callback": {} } });
        let definition = json!({ "inputs": inputs, "steps": [wait, one, step] });
        let problems = Plan::compile(&serde_json::from_value(definition).unwrap())
            .err()
            .unwrap_or_default();
        let problems = problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message));
        problems.collect::<Vec<_>>().join("\n")
    };
    let of =
        |items: Value, set: &str| json!({ "name": "x", "forEach": { "items": items }, "set": { "v": set } });
    for (step, expected) in [
        (of(json!("${inputs.teams}"), "${item.slug} ${index + 1}"), ""),
        (of(json!(["${inputs.name}", "b"]), "${item.size()}"), ""),
        (of(json!([1, 2]), "${item + 1}"), ""),
        (
            of(
                json!([1]),
                "${steps.each.items[0].outcome} ${steps.each.output.size()}",
            ),
            "",
        ),
        (
            of(json!("${inputs.teams}"), "${item.slg}"),
            "steps[2].set.v: there is no field slg; did you mean 'slug'?",
        ),
        (
            of(json!("${inputs.name}"), "x"),
            "steps[2].forEach.items: the items are a list, not string",
        ),
        (
            of(json!("teams"), "x"),
            "steps[2].forEach.items: the items are a list, or one ${…} expression that gives one",
        ),
        (
            of(json!({}), "x"),
            "steps[2].forEach.items: the items are a list, or one ${…} expression that gives one",
        ),
        (
            of(json!(vec![1; 501]), "x"),
            "steps[2].forEach.items: there are 501 items; at most 500 may be",
        ),
        (
            of(json!("${[callback('one').url]}"), "x"),
            "steps[2].forEach.items: callback() is not known in the items",
        ),
        (of(json!("${[item]}"), "x"), "steps[2].forEach.items: "),
        (of(json!([1]), "${callback('each').url}"), "steps[2].set.v: "),
        (
            of(json!([1]), "${callback('one', index).url}"),
            "steps[2].set.v: ",
        ),
        (
            json!({ "name": "x", "forEach": { "items": [1] },
                "http": { "url": "http://x/", "body": "${callback('each', index).url}" } }),
            "",
        ),
        (
            of(json!([1]), "${steps.one.items}"),
            "steps[2].set.v: step one has no forEach, so it has no items",
        ),
        (
            json!({ "name": "x", "when": "${item == 1}", "forEach": { "items": [1] }, "set": {} }),
            "steps[2].when: ",
        ),
        (
            json!({ "name": "x", "forEach": { "items": [1] }, "end": { "outcome": "Failed" } }),
            "steps[2].forEach: end steps have no forEach",
        ),
        (
            json!({ "name": "x", "forEach": { "items": [1] }, "flow": { "name": "other", "inputs": { "n": "${item + index}" } } }),
            "",
        ),
        (
            json!({ "name": "x", "forEach": { "items": [1] },
                "flow": { "name": "other", "detached": true, "key": "k-${item}" } }),
            "",
        ),
        (
            json!({ "name": "x", "forEach": { "items": [1] },
                "notify": { "webhook": { "url": "http://x/", "message": "${item}" } } }),
            "",
        ),
        (
            json!({ "name": "x", "forEach": { "items": [1] }, "approval": { "title": "?", "changes": { "backTo": "one" } } }),
            "steps[2].forEach: a step has either forEach or changes",
        ),
    ] {
        let told = told(step.clone());
        let first = told.lines().next().unwrap_or_default();
        let fits = if expected.is_empty() {
            told.is_empty()
        } else {
            first.starts_with(expected)
        };
        assert!(fits, "{step}\n{told}\n{expected}");
    }
}

#[test]
fn an_output_that_is_too_deep_within_the_list_fails_its_item() {
    let deep = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    for (levels, phase) in [(31, RunPhase::Succeeded), (32, RunPhase::Failed)] {
        let step = json!({ "name": "get", "http": { "url": "http://x/" }, "forEach": { "items": [1] } });
        let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
        run.tick();
        run.answer("get[0]", 200, deep(levels));
        assert_eq!(run.state.phase, phase, "{levels}");
    }
}
