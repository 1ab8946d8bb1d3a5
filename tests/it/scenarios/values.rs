//! Values of flows that outlive their runs: two runs that write at once, an operator that is cut off, and people at the gateway.

use serde_json::{Value, json};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::Rig,
};

/// Reads a list, appends `inputs.note` to it, and does so again if another run was quicker.
fn remembers() -> Value {
    json!({
        "inputs": {"type": "object", "required": ["note"], "properties": {"note": {"type": "string"}}},
        "steps": [
            {"name": "latest", "store": {"get": "notes"}},
            {"name": "remember", "onFailure": {"outcome": "Continue"}, "store": {
                "put": "notes", "ifVersion": "${steps.latest.output.?version.orValue('0')}",
                "value": "${steps.latest.output.?value.orValue([]) + [inputs.note]}"},
             "repeat": {"from": "latest", "until": "${steps.remember.outcome == 'Succeeded'}", "every": "1s", "max": 20}},
        ],
        "output": {"version": "${steps.remember.?output.version.orValue('none')}"},
    })
}

async fn remember(rig: &Rig, name: &str) {
    rig.start(name, json!({"flow": "f", "inputs": {"note": name}}))
        .await;
}

/// What a run reads that does nothing else.
async fn notes(rig: &Rig, run: &str) -> Value {
    rig.start(run, json!({"flow": "g-reads-f"})).await;
    let run = rig.phase(run, "Succeeded").await;
    run.status.unwrap().output.unwrap().0["found"].clone()
}

async fn ask(
    rig: &Rig,
    method: reqwest::Method,
    path: &str,
    user: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("http://{}/v1/values/{}/{path}", rig.gateway(), rig.namespace());
    let mut request = reqwest::Client::new().request(method, url);
    if !user.is_empty() {
        request = request.bearer_auth(rig.server.token(user));
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (
        response.status().as_u16(),
        response.json().await.unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_write_at_the_same_time_lose_nothing_and_the_next_one_reads_all_of_it() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", remembers()).await;
    let names = ["a", "b", "c", "d"];
    for name in names {
        remember(&rig, name).await;
    }
    for name in names {
        rig.phase(name, "Succeeded").await;
    }
    let (status, found) = ask(&rig, reqwest::Method::GET, "f/notes", "dev", None).await;
    assert_eq!((status, &found["version"]), (200, &json!("4")));
    let mut notes: Vec<&str> = found["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note.as_str().unwrap())
        .collect();
    notes.sort_unstable();
    assert_eq!(notes, names);
    // of a flow of its own, nothing
    rig.flow("g-reads-f", json!({"steps": [{"name": "read", "store": {"get": "notes"}}], "output": {"found": "${steps.read.output}"}})).await;
    assert_eq!(self::notes(&rig, "x").await, json!({}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_writes_a_value_once() {
    cut_around_each_write(2, survives).await;
}

/// Says whether the cut was reached.
async fn survives(at: Cut) -> bool {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", remembers()).await;
    operator.stop().await;
    remember(&rig, "a").await;
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    let story = async { rig.phase("a", "Succeeded").await };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let (_, found) = ask(&rig, reqwest::Method::GET, "f/notes", "dev", None).await;
    assert_eq!(
        (&found["value"], &found["version"]),
        (&json!(["a"]), &json!("1")),
        "{at:?}"
    );
    second.stop().await;
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_and_write_values_at_the_gateway_as_their_rights_are() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", remembers()).await;
    let (get, put) = (reqwest::Method::GET, reqwest::Method::PUT);
    let (status, _) = ask(&rig, get.clone(), "f/notes", "dev", None).await;
    assert_eq!(status, 404);
    let first = json!({"value": ["by hand"], "ifVersion": 0});
    let (status, written) = ask(&rig, put.clone(), "f/notes", "dev", Some(first.clone())).await;
    assert_eq!(
        (status, &written["version"], &written["user"]),
        (200, &json!("1"), &json!("dev"))
    );
    // a step that reads it has it one level deeper
    let deepest = (0..32).fold(json!(1), |inner, _| json!([inner]));
    let deep = (0..33).fold(json!(1), |inner, _| json!([inner]));
    for (path, user, body, wanted) in [
        ("f/notes", "dev", first.clone(), 409),
        ("f/notes", "agent", first.clone(), 403),
        ("f/notes", "", first.clone(), 401),
        ("nothing/notes", "dev", first.clone(), 404),
        ("f/No%2Fname", "dev", first, 404),
        ("f/notes", "dev", json!({"value": 1, "version": 1}), 400),
        ("f/notes", "dev", json!({"value": deep}), 422),
        ("f/notes", "dev", json!({"value": deepest}), 422),
        ("f/notes", "dev", json!({"value": 1, "ifVersion": null}), 400),
        ("f/notes", "dev", json!({"value": 1, "ifVersion": "new"}), 400),
        ("f/notes", "dev", json!({"value": 1, "ifVersion": "7"}), 409),
        ("f/notes", "dev", json!({"value": "x".repeat(61 << 10)}), 422),
        ("f/notes", "dev", json!({"value": "x".repeat(300 << 10)}), 413),
    ] {
        let (status, problem) = ask(&rig, put.clone(), path, user, Some(body)).await;
        assert_eq!(status, wanted, "{path} {user}: {problem}");
        assert!(problem["detail"].is_string(), "{problem}");
    }
    remember(&rig, "a").await;
    let run = rig.phase("a", "Succeeded").await;
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"version": "2"}));
    let (_, found) = ask(&rig, get.clone(), "f/notes", "alice", None).await;
    assert_eq!(
        (&found["value"], &found["run"]),
        (&json!(["by hand", "a"]), &json!("a"))
    );
    let (_, listed) = ask(&rig, get, "f", "alice", None).await;
    assert_eq!(
        (&listed[0]["name"], &listed[0]["version"]),
        (&json!("notes"), &json!("2"))
    );
    operator.stop().await;
}
