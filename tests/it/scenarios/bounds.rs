//! What is nested too deeply, asks nothing or asks too much, and what would lead elsewhere: told to whom it concerns, and nobody else notices.

use kube::api::PostParams;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use signoff_api::{Approval, Flow, Run};

use crate::support::{
    rig::{Rig, Running},
    shop::Shop,
};

fn lists(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

async fn post(url: &str, body: String) -> reqwest::Response {
    let sent = Client::new()
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send();
    sent.await.unwrap()
}

/// Why a run failed.
async fn failed(rig: &Rig, run: &str) -> (String, String) {
    let error = rig.phase(run, "Failed").await.status.unwrap().error.unwrap();
    (error.reason.to_string(), error.message)
}

async fn with_flow(steps: Value) -> (Rig, Running) {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let inputs = json!({"type": "object", "required": ["t"], "properties": {"t": {}}});
    rig.flow("f", json!({"inputs": inputs, "steps": steps})).await;
    (rig, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_nested_too_deeply_is_refused_and_the_next_one_is_taken() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let tell =
        json!({"method": "POST", "url": shop.url("/tell"), "body": {"url": "${callback('settled').url}"}});
    let steps = json!([{"name": "tell", "http": tell}, {"name": "settled", "wait": {"callback": {}}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Run>("r", |run| {
        let steps = run.status.as_ref().map(|status| &status.steps);
        steps.is_some_and(|steps| steps.iter().any(|step| step.name == "settled"))
    })
    .await;
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    for levels in [33, 124, 8_000] {
        let refused = post(&url, lists(levels)).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{levels}");
        let told: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert!(
            told["detail"]
                .as_str()
                .unwrap()
                .contains("nested more than 32 levels"),
            "{told}"
        );
    }
    let rounded = post(&url, r#"{"id": 123456789012345678901234567890}"#.to_owned()).await;
    assert_eq!(rounded.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(post(&url, lists(32)).await.status(), StatusCode::ACCEPTED);
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_are_nested_too_deeply_fail_their_run_and_no_other() {
    let (rig, operator) = with_flow(json!([{"name": "a", "set": {"x": 1}}])).await;
    let deep: Value = serde_json::from_str(&lists(40)).unwrap();
    rig.start("deep", json!({"flow": "f", "inputs": {"t": deep}}))
        .await;
    let (reason, message) = failed(&rig, "deep").await;
    assert_eq!(reason, "InvalidInputs");
    assert!(message.contains("nested more than 32 levels"), "{message}");
    let path = format!("/apis/signoff.dev/v1alpha1/namespaces/{}/runs", rig.namespace());
    for levels in [124, 9_900] {
        // a real server takes up to 10 000, and then nobody is to mind
        let body = format!(
            r#"{{"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {{"name": "deep-{levels}"}}, "spec": {{"flow": "f", "inputs": {{"t": {}}}}}}}"#,
            lists(levels)
        );
        let request = http::Request::post(&path).header("content-type", "application/json");
        let sent = rig
            .client("admin")
            .request_text(request.body(body.into_bytes()).unwrap())
            .await;
        if let Err(error) = sent {
            assert!(error.to_string().contains("nested"), "{error}");
        }
    }
    rig.start("r", json!({"flow": "f", "inputs": {"t": 1}})).await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
    let operator = rig.operator().await;
    rig.start("r2", json!({"flow": "f", "inputs": {"t": 1}})).await;
    rig.phase("r2", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_says_nothing_or_shows_too_much_fails_its_step_with_the_reason() {
    let show = |count: usize| -> Vec<Value> {
        let item = |number| json!({"name": format!("i{number}"), "value": "${inputs.t}"});
        (0..count).map(item).collect()
    };
    let steps = json!([
        {"name": "ask", "when": "${size(inputs.t) < 10}", "approval": {"title": "${inputs.t}"}},
        {"name": "show", "approval": {"title": "go?", "show": show(8)}},
    ]);
    let (rig, operator) = with_flow(steps).await;
    for (run, title) in [("empty", ""), ("blank", "   ")] {
        rig.start(run, json!({"flow": "f", "inputs": {"t": title}})).await;
        let (reason, message) = failed(&rig, run).await;
        assert_eq!(reason, "ApprovalRefused");
        assert!(message.contains("title of the question is empty"), "{message}");
    }
    rig.start("large", json!({"flow": "f", "inputs": {"t": "x".repeat(40_000)}}))
        .await;
    let (reason, message) = failed(&rig, "large").await;
    assert_eq!(reason, "OutputTooLarge");
    assert!(message.contains("larger than 262144 bytes together"), "{message}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_whose_names_and_steps_read_the_same_each_have_their_question() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    for (flow, step, run) in [("f", "prod-check", "deploy"), ("g", "check", "deploy-prod")] {
        rig.flow(
            flow,
            json!({"steps": [{"name": step, "approval": {"title": "go?"}}]}),
        )
        .await;
        rig.start(run, json!({"flow": flow})).await;
    }
    let mut names = Vec::new();
    for run in ["deploy", "deploy-prod"] {
        let waits = rig.phase(run, "Waiting").await;
        names.push(waits.status.unwrap().steps[0].approval.clone().unwrap());
    }
    assert_ne!(names[0], names[1]);
    for (name, run) in names.iter().zip(["deploy", "deploy-prod"]) {
        rig.until::<Approval>(name, |_| true).await;
        rig.decide("alice", name, "Approve").await;
        rig.phase(run, "Succeeded").await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_name_reaches_the_api_server_neither_by_the_gateway_nor_in_an_object() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    for repository in ["repo%2Fstatus", "..%2Fother", "repo%3Fx=1", "Repo"] {
        let url = format!(
            "http://{}/v1/hooks/git/{}/{repository}",
            rig.gateway(),
            rig.namespace()
        );
        assert_eq!(
            post(&url, "{}".to_owned()).await.status(),
            StatusCode::UNAUTHORIZED,
            "{repository}"
        );
    }
    let write = async |plural: &str, kind: &str, spec: Value| {
        let path = format!(
            "/apis/signoff.dev/v1alpha1/namespaces/{}/{plural}",
            rig.namespace()
        );
        let object = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        match rig.client("admin").request_text(request).await {
            Ok(_) => panic!("{kind} was taken: {spec}"),
            Err(kube::Error::Api(status)) => assert_eq!(status.code, 422, "{status:?}"),
            Err(error) => panic!("{error}"),
        }
    };
    for name in [
        "../../other/connections/conn",
        "conn/status",
        "conn?x",
        "..",
        "Conn",
        "",
    ] {
        let call = json!({"connection": name, "path": "/x"});
        write("flows", "Flow", json!({"steps": [{"name": "a", "http": call}]})).await;
        write("runs", "Run", json!({"flow": name})).await;
        let reference = json!({"name": name, "key": "k"});
        write(
            "connections",
            "Connection",
            json!({"http": {"baseURL": "https://a.example", "auth": {"bearer": reference}}}),
        )
        .await;
        let spec = json!({"url": "https://a.example/x", "draft": {"ref": "main"}, "connection": name});
        write("repositories", "Repository", spec).await;
    }
    for duration in ["0s", "40000d", "99999999999s"] {
        let steps = json!([{"name": "pause", "wait": {"duration": duration}}]);
        write("flows", "Flow", json!({"steps": steps})).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_stay_open_for_ten_years() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let escalate = json!([{"after": "800d", "to": {"groups": ["finance"]}}]);
    let asks = json!({"title": "Go?", "respondWithin": "3650d", "escalate": escalate});
    rig.flow("f", json!({"steps": [{"name": "review", "approval": asks}]}))
        .await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_nested_too_deeply_keeps_nobody_else_from_being_told() {
    let (rig, operator) = with_flow(json!([{"name": "ask", "approval": {"title": "go?"}}])).await;
    rig.start("r", json!({"flow": "f", "inputs": {"t": 1}})).await;
    let question = rig.asked("r-ask").await;
    let deep = (0..57).fold(json!(1), |inner, _| json!({ "a": inner }));
    let deep = json!({"approval": "r-ask", "digest": question.spec.digest, "verdict": "Approve", "values": {"a": deep}});
    let taken = rig.decide_with("bob", deep).await;
    let good = rig.decide("alice", "r-ask", "Approve").await;
    assert!(rig.judged(&good).await.0);
    // what the API server takes, it can write again
    if let Ok(deep) = taken {
        assert!(!rig.judged(&deep).await.0);
    }
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

/// A chain of definitions that each refer to the next one twice.
fn doubling(levels: usize) -> Value {
    let defs = (0..levels).map(|level| {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        (format!("d{level}"), json!({"anyOf": [next, next]}))
    });
    let last = (format!("d{levels}"), json!({"type": "string"}));
    let defs: serde_json::Map<String, Value> = defs.chain([last]).collect();
    json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_could_cost_too_much_is_refused_before_a_release_is_cut() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let steps = json!([{"name": "a", "set": {"x": 1}}]);
    let wait = |schema: Value| json!([{"name": "w", "wait": {"callback": {"schema": schema}}}]);
    for (name, spec) in [
        ("inputs", json!({"inputs": doubling(30), "steps": steps})),
        ("callback", json!({"steps": wait(doubling(30))})),
        (
            "pattern",
            json!({"steps": wait(json!({"pattern": "^(((((a{1,100}){1,100}){1,100}){1,100}){1,100})$"}))}),
        ),
    ] {
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": name}, "spec": spec});
        let flow = serde_json::from_value(flow).unwrap();
        rig.api::<signoff_api::Flow>()
            .create(&PostParams::default(), &flow)
            .await
            .unwrap();
        rig.until::<signoff_api::Flow>(name, |flow| {
            let conditions = flow.status.iter().flat_map(|status| &status.conditions);
            let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
            ready.any(|ready| ready.reason == "InvalidDefinition")
        })
        .await;
    }
    rig.start("waits", json!({"flow": "inputs", "channel": "Draft"}))
        .await;
    let waits = rig
        .until::<Run>("waits", |run| {
            run.status
                .as_ref()
                .is_some_and(|status| status.waiting_on.is_some())
        })
        .await;
    let why = waits.status.unwrap().waiting_on.unwrap();
    assert!(
        why.contains("InvalidDefinition") && why.contains("parts"),
        "{why}"
    );
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_the_api_does_not_take_fail_their_step_and_the_last_one_can_be_waited_for() {
    let until = json!({"callback": {}, "until": "${inputs.t}"});
    let (rig, operator) = with_flow(json!([{"name": "w", "wait": until}])).await;
    for (run, time) in [
        ("late", "9999-12-30T00:00:00Z"),
        ("early", "-000001-01-01T00:00:00Z"),
    ] {
        rig.start(run, json!({"flow": "f", "inputs": {"t": time}})).await;
        let (reason, message) = failed(&rig, run).await;
        assert_eq!(reason, "InvalidTime");
        let bounds = "does not lie between 0000-01-01T00:00:00Z and 9998-12-31T23:59:59Z";
        assert_eq!(message, format!("step w: until: {time} {bounds}"));
    }
    let last = json!({"flow": "f", "inputs": {"t": "9998-12-31T23:59:59Z"}});
    rig.start("last", last).await;
    rig.phase("last", "Waiting").await;
    rig.start(
        "first",
        json!({"flow": "f", "inputs": {"t": "0000-01-01T00:00:00Z"}}),
    )
    .await;
    rig.phase("first", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_goes_on_while_a_condition_holds() {
    let repeat = json!({"while": "${steps.w.pass < 3}"});
    let (rig, operator) = with_flow(json!([{"name": "w", "set": {"x": 1}, "repeat": repeat}])).await;
    rig.start("r", json!({"flow": "f", "inputs": {"t": 1}})).await;
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(run.status.unwrap().loops["w"].pass, 3);
    let both = json!({"while": "${true}", "until": "${true}"});
    for wrong in [both, json!({})] {
        let steps = json!([{"name": "w", "set": {}, "repeat": wrong}]);
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "g"},
            "spec": {"steps": steps}});
        let flow: Flow = serde_json::from_value(flow).unwrap();
        let refused = rig
            .api::<Flow>()
            .create(&PostParams::default(), &flow)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("repeat has either until or while"),
            "{refused}"
        );
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_within_loops_keep_nobody_waiting_and_are_cancelled_while_they_go_on() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let inner = |name: &str| {
        let until = format!("${{steps.{name}.pass < 0}}");
        json!({"name": name, "set": {"x": 1}, "onFailure": {"outcome": "Continue"},
            "repeat": {"from": "s", "until": until, "max": 10_000}})
    };
    let steps = json!([{"name": "s", "set": {"x": 1}}, inner("a"), inner("b")]);
    rig.flow("loops", json!({"steps": steps})).await;
    rig.flow(
        "good",
        json!({"steps": [{"name": "a", "http": {"url": shop.url("/a")}}]}),
    )
    .await;
    for run in ["l1", "l2", "l3"] {
        rig.start(run, json!({"flow": "loops"})).await;
    }
    rig.until::<Run>("l3", |run| {
        let loops = run.status.as_ref().map(|status| &status.loops);
        loops.is_some_and(|loops| loops.get("a").is_some_and(|state| state.pass > 200))
    })
    .await;
    rig.start("r", json!({"flow": "good"})).await;
    rig.phase("r", "Succeeded").await;
    for run in ["l1", "l2", "l3"] {
        let going = rig.api::<Run>().get(run).await.unwrap().status.unwrap();
        assert!(!going.phase.is_finished(), "{run} is over");
        rig.patch_run(run, json!({"cancel": true})).await;
        rig.phase(run, "Cancelled").await;
    }
    operator.stop().await;
}
