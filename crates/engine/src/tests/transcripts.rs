//! Golden transcripts: what each turn of a run decides, word for word. A change of them is a change of behaviour.

use std::fmt::Write as _;

use super::{
    jobs::{failed, wrote},
    retried_children::{ended, knows},
    retries::{earlier, pinned, retry_of},
    *,
};
use signoff_api::run::{EventRecord, HeartbeatRecord};

impl Scenario {
    fn describe(&self) -> String {
        let mut out = String::new();
        let state = &self.state;
        let _ = writeln!(
            out,
            "  run: {}{}",
            state.phase,
            state
                .waiting_on
                .as_ref()
                .map(|on| format!(", waiting on {on}"))
                .unwrap_or_default()
        );
        for step in &state.steps {
            let outcome = step
                .outcome
                .map(|outcome| format!(" → {outcome:?}"))
                .unwrap_or_default();
            let error = step
                .error
                .as_ref()
                .map(|error| format!(" ({}: {})", error.reason, error.message))
                .unwrap_or_default();
            let item = step.item.map(|item| format!("[{item}]")).unwrap_or_default();
            let ended = step.items.iter().flat_map(|items| &items.ended);
            let ended = ended.map(|ended| format!(", {} {}", ended.items, ended.outcome));
            let ended: String = ended.collect();
            let _ = writeln!(
                out,
                "    {}{item}.{} {:?}, attempt {}{ended}{outcome}{error}",
                step.name, step.iteration, step.phase, step.attempt
            );
        }
        for effect in &self.effects {
            let told = match effect {
                Effect::Call(call) => format!(
                    "call {} with key {}{}",
                    call.key,
                    call.idempotency_key,
                    if call.fenced { ", fenced" } else { "" }
                ),
                Effect::Open(OwnedObject::Approval(open)) => {
                    format!("open {}: {}", called(&open.name), open.spec.title)
                }
                Effect::Open(OwnedObject::WorkItem(open)) => {
                    format!("queue {} for {}", called(&open.name), open.spec.queue)
                }
                Effect::Open(OwnedObject::Job(open)) => {
                    let image = open.spec["template"]["spec"]["containers"][0]["image"].as_str();
                    format!("create {} of {}", called(&open.name), image.unwrap_or_default())
                }
                Effect::Open(OwnedObject::Run(run)) => format!(
                    "start {} of flow {} on {} with {}{}",
                    called(&run.name),
                    run.flow,
                    run.release,
                    run.inputs.to_value(),
                    run.retry_of
                        .as_ref()
                        .map(|run| format!(", which goes on from {}", called(run)))
                        .unwrap_or_default()
                ),
                Effect::Close(close) => {
                    format!(
                        "close {} as {}: {}",
                        called(&close.key.name),
                        close.closing,
                        close.message
                    )
                }
                Effect::Abort(key) => format!("abort {key}"),
            };
            let _ = writeln!(out, "  do: {told}");
        }
        if let Some(error) = &state.error {
            let _ = writeln!(out, "  error: {}: {}", error.reason, error.message);
        }
        if let Some(at) = self.wake_at {
            let _ = writeln!(out, "  wake in {}s", at.duration_since(self.now).as_secs());
        }
        out
    }

    fn play(&mut self, script: &[&str]) -> String {
        let mut out = String::new();
        for line in script {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["tick"] => self.tick(),
                ["answer", step, status] => {
                    self.answer(step, status.parse().unwrap(), json!({ "from": step }))
                }
                ["says", step, done] => {
                    let done: bool = done.parse().unwrap();
                    self.answer(step, 200, json!({ "done": done }))
                }
                ["approve", name] => self.decide(name, ApprovalPhase::Approved),
                ["reject", name] => self.decide(name, ApprovalPhase::Rejected),
                ["changes", name] => self.decide(name, ApprovalPhase::ChangesRequested),
                ["expire", name] => self.decide(name, ApprovalPhase::Expired),
                ["pass", seconds] => self.pass(seconds.parse().unwrap()),
                ["restart"] => self.restart(),
                ["cancel"] => {
                    self.facts.run.cancel = true;
                    self.tick()
                }
                ["terminate"] => {
                    self.facts.run.terminate = true;
                    self.tick()
                }
                ["happened", name, happened] => {
                    let happened: bool = happened.parse().unwrap();
                    let status = self.open(name);
                    status.values = Some(JsonObject(
                        json!({ "happened": happened }).as_object().cloned().unwrap(),
                    ));
                    self.decide(name, ApprovalPhase::Approved)
                }
                ["callback", key] => {
                    let record = CallbackRecord {
                        received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now),
                        sha256: Digest::of(b"{}"),
                        webhook_id: None,
                        body: json!({ "receipt": "R1" }).into(),
                    };
                    self.state.callbacks.insert((*key).to_owned(), record);
                    self.tick()
                }
                ["event", key] => {
                    let record = EventRecord {
                        received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now),
                        name: "f-0123456789".into(),
                        body: Some(json!({ "amount": 250 }).into()),
                    };
                    self.state.events.insert((*key).to_owned(), record);
                    self.tick()
                }
                ["heartbeat", key] => {
                    let received_at = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now);
                    let record = HeartbeatRecord { received_at };
                    self.state.heartbeats.insert((*key).to_owned(), record);
                    self.tick()
                }
                ["child", step, phase] => {
                    let phase = serde_json::from_value(json!(phase)).unwrap();
                    self.child(step, phase)
                }
                ["item", step, item, phase] => {
                    let phase = serde_json::from_value(json!(phase)).unwrap();
                    self.item(step, item.parse().unwrap(), phase)
                }
                ["job", "there"] => self.are_there(),
                ["job", "wrote", output] => self.job_is(wrote(output)),
                ["job", "failed"] => self.job_is(failed()),
                ["gone"] => {
                    self.facts.objects.clear();
                    self.tick()
                }
                other => panic!("no such line: {other:?}"),
            };
            let _ = write!(out, "{line}\n{}", self.describe());
        }
        out
    }
}

/// The name of a question without the hash at its end.
fn called(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(called, _)| called)
}

fn golden(name: &str, transcript: &str) {
    insta::with_settings!({ snapshot_path => "../../golden/transcripts", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, transcript);
    });
}

fn play(flow: Value, inputs: &Value, script: &[&str]) -> String {
    Scenario::of(flow, inputs).play(script)
}

#[test]
fn refund_to_its_good_end() {
    let script = [
        "tick",
        "answer propose 200",
        "approve r-review",
        "answer pay 200",
        "callback settled.1",
    ];
    golden("refund", &play(refund(), &json!({ "amount": 250 }), &script));
}

#[test]
fn refund_with_an_early_callback_and_changes() {
    let script = [
        "tick",
        "callback settled.1",
        "answer propose 200",
        "changes r-review",
        "answer propose 200",
        "approve r-review",
        "answer pay 200",
    ];
    golden(
        "refund-changes",
        &play(refund(), &json!({ "amount": 250 }), &script),
    );
}

#[test]
fn refund_rejected() {
    golden(
        "refund-rejected",
        &play(
            refund(),
            &json!({ "amount": 250 }),
            &["tick", "answer propose 200", "reject r-review"],
        ),
    );
}

#[test]
fn refund_that_nobody_decides() {
    golden(
        "refund-expired",
        &play(
            refund(),
            &json!({ "amount": 250 }),
            &["tick", "answer propose 200", "expire r-review"],
        ),
    );
}

#[test]
fn a_job_is_retried_and_its_output_used() {
    let flow = json!({ "steps": [
        { "name": "build", "retry": { "attempts": 2, "backoff": { "initial": "10s" } }, "job": { "image": "app:${inputs.tag}" } },
        { "name": "tell", "http": { "url": "http://x/", "body": { "size": "${steps.build.output}" } } },
    ] });
    let script = [
        "tick",
        "restart",
        "job there",
        "job failed",
        "pass 10",
        "job there",
        "job wrote 3",
        "answer tell 200",
    ];
    golden("job", &play(flow, &json!({ "tag": "1" }), &script));
}

#[test]
fn a_job_is_deleted_when_its_run_is_cancelled() {
    let flow = json!({ "steps": [{ "name": "build", "job": { "image": "app:1" } }] });
    let script = ["tick", "job there", "cancel"];
    golden("job-cancelled", &play(flow, &json!({}), &script));
}

#[test]
fn payment_interrupted_by_a_crash() {
    golden(
        "crash-at-most-once",
        &play(
            refund(),
            &json!({ "amount": 50 }),
            &[
                "tick",
                "restart",
                "answer propose 200",
                "restart",
                "reject r-pay-outcome",
            ],
        ),
    );
}

#[test]
fn server_errors_then_success() {
    let flow =
        json!({ "steps": [{ "name": "a", "http": { "url": "http://x/" }, "retry": { "attempts": 4 } }] });
    golden(
        "retries",
        &play(
            flow,
            &json!({}),
            &[
                "tick",
                "answer a 500",
                "pass 1",
                "answer a 503",
                "pass 1",
                "pass 1",
                "answer a 200",
            ],
        ),
    );
}

#[test]
fn changes_in_a_graph_supersede_what_is_open_beside() {
    let flow = json!({ "steps": [
        { "name": "draft", "needs": [], "http": { "url": "http://x/" } },
        { "name": "legal", "needs": ["draft"], "approval": { "title": "legal?" } },
        { "name": "finance", "needs": ["draft"], "approval": { "title": "finance?", "changes": { "backTo": "draft" } } },
        { "name": "send", "needs": ["legal", "finance"], "http": { "url": "http://x/send" } },
    ] });
    let script = [
        "tick",
        "answer draft 200",
        "changes r-finance",
        "answer draft 200",
        "approve r-legal",
        "approve r-finance",
        "answer send 200",
    ];
    golden("graph-changes", &play(flow, &json!({}), &script));
}

#[test]
fn cancelled_while_a_question_and_a_call_are_open() {
    let flow = json!({ "steps": [
        { "name": "ask", "needs": [], "approval": { "title": "?" } },
        { "name": "call", "needs": [], "http": { "url": "http://x/" } },
    ] });
    golden("cancel", &play(flow, &json!({}), &["tick", "cancel"]));
}

#[test]
fn cancelled_while_a_payment_is_under_way() {
    let steps = json!([
        { "name": "pay", "needs": [], "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
        { "name": "call", "needs": [], "http": { "url": "http://x/" } },
        { "name": "after", "needs": ["pay"], "http": { "url": "http://x/" } },
    ]);
    golden(
        "cancel-at-most-once",
        &play(
            json!({ "steps": steps }),
            &json!({}),
            &["tick", "cancel", "answer pay 200"],
        ),
    );
    golden(
        "cancel-at-most-once-crash",
        &play(
            json!({ "steps": steps }),
            &json!({}),
            &["tick", "cancel", "restart", "happened r-pay-outcome false"],
        ),
    );
}

#[test]
fn a_step_fails_while_a_payment_is_under_way_and_a_server_fails_it() {
    let steps = json!([
        { "name": "pay", "needs": [], "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
        { "name": "call", "needs": [], "http": { "url": "http://x/" } },
    ]);
    golden(
        "failure-beside-at-most-once",
        &play(
            json!({ "steps": steps }),
            &json!({}),
            &[
                "tick",
                "answer call 404",
                "answer pay 500",
                "happened r-pay-outcome true",
            ],
        ),
    );
}

#[test]
fn changes_wait_for_a_payment_that_is_under_way() {
    let steps = json!([
        { "name": "draft", "needs": [], "http": { "url": "http://x/" } },
        { "name": "pay", "needs": ["draft"], "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
        { "name": "ask", "needs": ["draft"], "approval": { "title": "?", "changes": { "backTo": "draft" } } },
    ]);
    golden(
        "changes-beside-at-most-once",
        &play(
            json!({ "steps": steps }),
            &json!({}),
            &["tick", "answer draft 200", "changes r-ask", "answer pay 200"],
        ),
    );
}

#[test]
fn a_step_that_ends_the_run_settles_what_was_sent_and_stops_the_rest() {
    let steps = |outcome: &str| {
        json!([
            { "name": "check", "needs": [], "http": { "url": "http://x/check" } },
            { "name": "pay", "needs": [], "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
            { "name": "ask", "needs": [], "approval": { "title": "?" } },
            { "name": "enough", "needs": ["check"], "when": "${steps.check.output.from == 'check'}",
                "end": { "outcome": outcome, "message": "${steps.check.output.from} says so", "output": { "why": "checked" } } },
            { "name": "after", "needs": ["enough"], "http": { "url": "http://x/after" } },
        ])
    };
    let script = ["tick", "answer check 200", "answer pay 200"];
    for outcome in ["Succeeded", "Failed"] {
        let flow = json!({ "steps": steps(outcome), "output": { "all": "${steps.after.output}" } });
        let mut run = Scenario::of(flow, &json!({}));
        let transcript = run.play(&script);
        golden(&format!("end-{}", outcome.to_lowercase()), &transcript);
        assert_eq!(run.state.output.as_ref().unwrap().0, json!({ "why": "checked" }));
        let condition = signoff_api::condition::get(&run.state.conditions, "Succeeded").unwrap();
        assert_eq!(condition.message, "check says so");
    }
}

#[test]
fn a_wait_for_the_first_of_several() {
    let flow = json!({ "steps": [{ "name": "w", "wait": { "callback": {}, "duration": "1h", "respondWithin": "30m", "onTimeout": { "outcome": "Continue" } } }] });
    golden("wait", &play(flow, &json!({}), &["tick", "pass 1799", "pass 1"]));
}

#[test]
fn a_wait_with_heartbeats_that_stop() {
    let flow = json!({ "steps": [{ "name": "w", "wait": { "callback": { "heartbeat": "5m" } } }] });
    let script = ["tick", "pass 200", "heartbeat w.1", "pass 200", "pass 100"];
    golden("wait-heartbeat", &play(flow, &json!({}), &script));
}

#[test]
fn a_wait_for_an_event_or_a_callback() {
    let webhook = json!({ "auth": { "bearer": { "name": "s", "key": "k" } }, "key": "${body.order}" });
    let flow = json!({
        "triggers": [{ "name": "paid", "webhook": webhook }],
        "steps": [{ "name": "w", "wait": { "callback": {}, "event": { "trigger": "paid", "keys": ["81"] }, "respondWithin": "30m" } }],
    });
    golden(
        "wait-event",
        &play(flow, &json!({}), &["tick", "pass 60", "event w.1"]),
    );
}

#[test]
fn a_no_and_a_failure_with_which_the_run_goes_on() {
    let flow = || {
        json!({ "steps": [
            { "name": "check", "needs": [], "onFailure": { "outcome": "Continue" }, "http": { "url": "http://x/check" } },
            { "name": "ask", "needs": ["check"], "approval": { "title": "check: ${steps.check.outcome}", "onReject": { "outcome": "Continue" } } },
            { "name": "pay", "needs": ["ask.Approved"], "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
            { "name": "thank", "needs": ["pay"], "http": { "url": "http://x/thank" } },
            { "name": "sorry", "needs": ["ask.Rejected"], "http": { "url": "http://x/sorry" } },
        ] })
    };
    let no = ["tick", "answer check 404", "reject r-ask", "answer sorry 200"];
    golden("going-on-rejected", &play(flow(), &json!({}), &no));
    let yes = [
        "tick",
        "answer check 200",
        "approve r-ask",
        "restart",
        "happened r-pay-outcome true",
        "answer thank 200",
    ];
    golden("going-on-approved", &play(flow(), &json!({}), &yes));
}

#[test]
fn last_steps_after_a_rejection_and_after_a_payment_that_was_cancelled() {
    let flow = || {
        json!({
            "steps": [
                { "name": "ask", "approval": { "title": "?" } },
                { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
            ],
            "finally": [
                { "name": "tell", "when": "${run.outcome != 'Succeeded'}", "http": { "url": "http://x/tell" } },
                { "name": "clean", "http": { "url": "http://x/clean" } },
            ],
        })
    };
    let rejected = [
        "tick",
        "reject r-ask",
        "restart",
        "answer tell 404",
        "answer clean 200",
    ];
    golden("finally-rejected", &play(flow(), &json!({}), &rejected));
    let cancelled = [
        "tick",
        "approve r-ask",
        "cancel",
        "restart",
        "happened r-pay-outcome true",
        "answer tell 200",
        "terminate",
    ];
    golden("finally-cancelled", &play(flow(), &json!({}), &cancelled));
    let failed = ["tick", "approve r-ask", "answer pay 200", "answer clean 404"];
    golden("finally-failed", &play(flow(), &json!({}), &failed));
}

#[test]
fn a_run_of_another_flow() {
    let flow = || {
        json!({
            "steps": [
                { "name": "ask", "approval": { "title": "go?" } },
                { "name": "apply", "flow": { "name": "child", "inputs": { "for": "${run.name}" } } },
                call("after"),
            ],
            "finally": [{ "name": "last", "set": { "outcome": "${run.outcome}" } }],
            "output": { "receipt": "${steps.apply.output.receipt}" },
        })
    };
    let play = |script: &[&str]| Scenario::of(flow(), &json!({})).play(script);
    let succeeds = [
        "tick",
        "approve r-ask",
        "restart",
        "child apply Pending",
        "restart",
        "child apply Succeeded",
        "answer after 200",
    ];
    golden("flow", &play(&succeeds));
    let rejected = [
        "tick",
        "approve r-ask",
        "child apply Running",
        "child apply Rejected",
    ];
    golden("flow-rejected", &play(&rejected));
    let cancelled = [
        "tick",
        "approve r-ask",
        "child apply Running",
        "cancel",
        "restart",
        "terminate",
        "child apply Cancelled",
    ];
    golden("flow-cancelled", &play(&cancelled));
    let deleted = ["tick", "approve r-ask", "child apply Running", "gone"];
    golden("flow-deleted", &play(&deleted));
}

#[test]
fn a_poll_and_a_loop_of_several_steps_with_a_question() {
    let poll = json!({ "steps": [{
        "name": "poll", "http": { "url": "http://x/job" },
        "repeat": { "until": "${steps.poll.output.done}", "every": "30s", "max": 3 },
    }] });
    let script = [
        "tick",
        "says poll false",
        "pass 30",
        "restart",
        "says poll false",
        "pass 30",
        "says poll false",
    ];
    golden("repeat-poll", &play(poll, &json!({}), &script));
    let review = json!({ "steps": [
        { "name": "draft", "http": { "url": "http://x/draft" } },
        { "name": "ask", "approval": { "title": "pass ${steps.ask.pass}?", "onReject": { "outcome": "Continue" } },
            "repeat": { "from": "draft", "until": "${steps.ask.outcome == 'Approved'}", "max": 5 } },
        { "name": "send", "when": "${steps.ask.outcome == 'Approved'}", "http": { "url": "http://x/send" } },
    ] });
    let script = [
        "tick",
        "answer draft 200",
        "reject r-ask",
        "answer draft 200",
        "reject r-ask",
        "answer draft 200",
        "approve r-ask",
        "answer send 200",
    ];
    golden("repeat-review", &play(review, &json!({}), &script));
}

#[test]
fn a_run_whose_child_failed_and_its_retry() {
    let flow = json!({ "steps": [
        call("quote"),
        { "name": "apply", "flow": { "name": "child" } },
        call("thank"),
    ] });
    let mut first = Scenario::of(flow.clone(), &json!({}));
    let script = [
        "tick",
        "answer quote 200",
        "child apply Running",
        "child apply Failed",
    ];
    let story = first.play(&script);
    let first = pinned(first);
    let mut earlier = earlier(&first);
    knows(&mut earlier, "apply", 1, ended(RunPhase::Failed));
    let mut next = retry_of(&earlier, &first, flow, None).unwrap();
    let script = [
        "tick",
        "child apply Running",
        "child apply Succeeded",
        "answer thank 200",
    ];
    golden("retried-child", &format!("{story}retry\n{}", next.play(&script)));
}

#[test]
fn items_of_which_one_is_tried_again_and_one_fails() {
    let pay = json!({ "name": "pay", "http": { "url": "http://bank/${item}", "method": "POST" },
        "retry": { "attempts": 2 }, "forEach": { "items": ["a", "b", "c", "d", "e"], "maxParallel": 2 } });
    let script = [
        "tick",
        "answer pay[1] 500",
        "answer pay[0] 200",
        "pass 1",
        "restart",
        "answer pay[1] 200",
        "answer pay[2] 404",
        "answer pay[3] 200",
    ];
    golden("items", &play(json!({ "steps": [pay] }), &json!({}), &script));
}

#[test]
fn a_run_of_another_flow_for_each_item() {
    let deliver = json!({ "name": "deliver", "forEach": { "items": ["a", "b", "c", "d"], "maxParallel": 2 },
        "flow": { "name": "child", "inputs": { "to": "${item}", "nr": "${index}" } } });
    let script = [
        "tick",
        "item deliver 0 Running",
        "item deliver 1 Running",
        "item deliver 1 Succeeded",
        "restart",
        "item deliver 2 Running",
        "item deliver 0 Rejected",
        "item deliver 2 Succeeded",
    ];
    golden(
        "items-runs",
        &play(json!({ "steps": [deliver] }), &json!({}), &script),
    );
}

#[test]
fn an_approval_for_each_item() {
    let ask = json!({ "name": "ask", "forEach": { "items": [7, 8, 9], "maxParallel": 2 },
        "approval": { "title": "Pay invoice ${item}?", "approvers": { "groups": ["finance"] } } });
    let script = [
        "tick",
        "approve r-ask-1",
        "restart",
        "approve r-ask-2",
        "reject r-ask-0",
    ];
    golden(
        "items-approved",
        &play(json!({ "steps": [ask] }), &json!({}), &script),
    );
}

#[test]
fn items_interrupted_by_a_crash_and_cancelled() {
    let pay = json!({ "name": "pay", "http": { "url": "http://bank/${item}", "method": "POST" },
        "delivery": "AtMostOnce", "forEach": { "items": ["a", "b", "c"], "maxParallel": 2 } });
    let script = [
        "tick",
        "answer pay[0] 200",
        "restart",
        "cancel",
        "reject r-pay-outcome",
    ];
    golden(
        "items-crash",
        &play(json!({ "steps": [pay] }), &json!({}), &script),
    );
}
