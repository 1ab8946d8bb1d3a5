//! What the embedded control plane refuses, fills in and keeps apart: schemas, ownership, admission, events.

use k8s_openapi::api::core::v1::{Event as CoreEvent, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, ValidationDirective,
};
use kube::discovery::Discovery;
use serde_json::json;
use signoff_api::{Connection, Decision, Flow, Repository, Run, names};
use signoff_local::Identity;

use crate::local_support::{Local, Widget, map, refusal, widget};

#[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
fn applied(spec: serde_json::Value) -> Patch<serde_json::Value> {
    let object =
        json!({"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec});
    Patch::Apply(object)
}

#[tokio::test]
async fn apply_creates_merges_removes_and_refuses_to_take_over() {
    let local = Local::start().await;
    let widgets = local.widgets();
    let git = PatchParams::apply("git");
    widgets
        .patch("a", &git, &applied(json!({"color": "red", "size": 7})))
        .await
        .unwrap();
    let smaller = widgets
        .patch("a", &git, &applied(json!({"color": "red"})))
        .await
        .unwrap();
    assert_eq!((smaller.spec.size, smaller.metadata.generation), (0, Some(2)));
    let again = widgets
        .patch("a", &git, &applied(json!({"color": "red"})))
        .await
        .unwrap();
    assert_eq!(
        again.resource_version(),
        smaller.resource_version(),
        "nothing changed"
    );
    let edit = Patch::Merge(json!({"spec": {"color": "blue"}}));
    widgets
        .patch(
            "a",
            &PatchParams {
                field_manager: Some("edit".to_owned()),
                ..PatchParams::default()
            },
            &edit,
        )
        .await
        .unwrap();
    let (code, reason, message) = refusal(widgets.patch("a", &git, &applied(json!({"color": "red"}))).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"edit\" using test.dev/v1: .spec.color"
    );
    let forced = widgets
        .patch("a", &git.clone().force(), &applied(json!({"color": "red"})))
        .await
        .unwrap();
    assert_eq!(forced.spec.color, "red");
}

#[tokio::test]
async fn an_object_that_breaks_its_schema_is_refused_with_every_cause() {
    let local = Local::start().await;
    let widgets: Api<Widget> = local.widgets();
    widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let wrong = Patch::Merge(json!({"spec": {"size": "big", "color": null}}));
    let (code, reason, message) = refusal(widgets.patch("a", &PatchParams::default(), &wrong).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert!(
        message.starts_with("Widget.test.dev \"a\" is invalid: ["),
        "{message}"
    );
    assert!(
        message.contains("spec.size: Invalid value: \"string\": spec.size in body must be of type integer"),
        "{message}"
    );
    assert!(message.contains("spec.color: Required value"), "{message}");
}

#[tokio::test]
async fn unknown_fields_are_refused_dropped_or_warned_of_as_asked() {
    let local = Local::start().await;
    let widgets = local.widgets();
    widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let unknown = Patch::Merge(json!({"spec": {"colour": "red"}}));
    let strict = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let (code, _, message) = refusal(widgets.patch("a", &strict, &unknown).await);
    // as a real server has it for a patch; of a whole object it is 400
    assert_eq!(code, 422);
    assert!(
        message.ends_with("strict decoding error: unknown field \"spec.colour\""),
        "{message}"
    );
    widgets
        .patch("a", &PatchParams::default(), &unknown)
        .await
        .unwrap();
    let body = serde_json::to_vec(&json!({"spec": {"colour": "red"}})).unwrap();
    let request = http::Request::patch("/apis/test.dev/v1/namespaces/default/widgets/a")
        .header("content-type", "application/merge-patch+json")
        .body(body.into())
        .unwrap();
    let response = local.client().send(request).await.unwrap();
    assert_eq!(
        response.headers()["warning"],
        "299 - \"unknown field \\\"spec.colour\\\"\""
    );
}

fn decision(by: Option<&str>) -> Decision {
    let spec = json!({
        "approval": "a", "digest": format!("sha256:{}", "0".repeat(64)), "verdict": "Approve", "by": by,
    });
    let mut decision = Decision::new("d", serde_json::from_value(spec).unwrap());
    decision.metadata = ObjectMeta {
        generate_name: Some("d-".to_owned()),
        ..ObjectMeta::default()
    };
    decision
}

#[tokio::test]
async fn who_decides_and_who_asks_is_what_the_server_saw() {
    let local = Local::start().await;
    let client = |name: &str| local.plane.client(&Identity::Named(name.to_owned()));
    let made = Api::<Decision>::default_namespaced(client("alice"))
        .create(&PostParams::default(), &decision(None))
        .await
        .unwrap();
    assert_eq!(made.spec.by.as_deref(), Some("alice"));
    assert!(
        made.spec
            .groups
            .as_ref()
            .is_some_and(|groups| groups.contains(&"finance".to_owned()))
    );
    let forged = Api::<Decision>::default_namespaced(client("alice"));
    let (code, _, message) = refusal(
        forged
            .create(&PostParams::default(), &decision(Some("bob")))
            .await,
    );
    assert_eq!(code, 403);
    assert!(
        message.contains("nobody can decide in another's name"),
        "{message}"
    );
    let agent = Api::<Decision>::default_namespaced(client("agent"));
    let (code, _, message) = refusal(agent.create(&PostParams::default(), &decision(None)).await);
    assert_eq!(code, 403);
    assert!(
        message.contains("the verb approve on approvals.signoff.dev"),
        "{message}"
    );
    let run = Run::new("r", serde_json::from_value(json!({"flow": "f"})).unwrap());
    let run = Api::<Run>::default_namespaced(client("dev"))
        .create(&PostParams::default(), &run)
        .await
        .unwrap();
    assert_eq!(run.spec.requested_by.as_deref(), Some("dev"));
    let change = Patch::Merge(json!({"spec": {"verdict": "Reject"}}));
    let admin = Api::<Decision>::default_namespaced(client("admin"));
    let (code, _, message) = refusal(
        admin
            .patch(&made.name_any(), &PatchParams::default(), &change)
            .await,
    );
    assert_eq!(code, 422);
    assert!(message.contains("a decision never changes"), "{message}");
}

#[tokio::test]
async fn what_the_operator_writes_down_is_changed_by_nobody_else() {
    let local = Local::start().await;
    let admin: Api<Flow> = Api::default_namespaced(local.client());
    let flow: Flow = serde_json::from_value(
        json!({"metadata": {"name": "refund"}, "spec": {"steps": [{"name": "a", "set": {"a": 1}}]}}),
    )
    .unwrap();
    admin.create(&PostParams::default(), &flow).await.unwrap();
    let params = PatchParams::default();
    for status in [
        json!({"live": {"release": "refund-0000000000", "digest": format!("sha256:{}", "0".repeat(64))}}),
        json!({}),
    ] {
        let patch = Patch::Merge(json!({ "status": status }));
        let (code, _, message) = refusal(admin.patch_status("refund", &params, &patch).await);
        assert_eq!(code, 403);
        assert!(
            message.contains("ValidatingAdmissionPolicy 'signoff-records' with binding 'signoff-records' denied request: the status of a flow is written only by the operator"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_flow_does_not_make_up_where_it_came_from() {
    let local = Local::start().await;
    let admin: Api<Flow> = Api::default_namespaced(local.client());
    let operator: Api<Flow> = Api::default_namespaced(local.plane.client(&Identity::Operator));
    let claim = r#"{"repository":"flows","commit":"1111111111111111111111111111111111111111"}"#;
    let flow = |annotations: serde_json::Value| -> Flow {
        let flow = json!({
            "metadata": {"name": "refund", "annotations": annotations},
            "spec": {"steps": [{"name": "a", "set": {"a": 1}}]},
        });
        serde_json::from_value(flow).unwrap()
    };
    let forged = flow(json!({"signoff.dev/source": claim}));
    let (code, _, message) = refusal(admin.create(&PostParams::default(), &forged).await);
    assert_eq!(code, 403);
    assert!(
        message.contains("where a flow came from is written only by the operator: leave the annotation signoff.dev/source out"),
        "{message}"
    );
    operator.create(&PostParams::default(), &forged).await.unwrap();
    let patch = async |annotations: serde_json::Value| {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        admin.patch("refund", &PatchParams::default(), &patch).await
    };
    let (code, ..) = refusal(patch(json!({"signoff.dev/source": claim.replace('1', "2")})).await);
    assert_eq!(code, 403);
    let applied = Patch::Apply(json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Flow",
        "metadata": {"name": "refund", "annotations": {"signoff.dev/source-digest": "sha256:1"}},
    }));
    let (code, ..) = refusal(
        admin
            .patch("refund", &PatchParams::apply("dev").force(), &applied)
            .await,
    );
    assert_eq!(code, 403);
    patch(json!({"example.com/ticket": "81"})).await.unwrap();
    patch(json!({"signoff.dev/source": null})).await.unwrap();
    let (code, ..) = refusal(patch(json!({"signoff.dev/source": claim})).await);
    assert_eq!(code, 403);
}

#[tokio::test]
async fn an_event_of_the_new_group_is_found_where_kubectl_looks() {
    let local = Local::start().await;
    let events: Api<Event> = Api::default_namespaced(local.client());
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "signoff",
        "reportingInstance": "x", "action": "Test", "reason": "Tested", "type": "Normal", "note": "hello",
        "regarding": {"kind": "Run", "name": "r", "namespace": "default"},
    }))
    .unwrap();
    let made = events.create(&PostParams::default(), &event).await.unwrap();
    assert_eq!(made.note.as_deref(), Some("hello"));
    let core: Api<CoreEvent> = Api::default_namespaced(local.client());
    let about = ListParams::default().fields("involvedObject.name=r,involvedObject.kind=Run");
    let found = core.list(&about).await.unwrap();
    assert_eq!(found.items[0].message.as_deref(), Some("hello"));
    let about = ListParams::default().fields("regarding.name=r");
    assert_eq!(
        events.list(&about).await.unwrap().items[0]
            .regarding
            .as_ref()
            .unwrap()
            .name
            .as_deref(),
        Some("r")
    );
    let changed = Patch::Merge(
        json!({"note": "again", "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
    );
    let changed = events
        .patch("e", &PatchParams::default(), &changed)
        .await
        .unwrap();
    assert_eq!(changed.note.as_deref(), Some("again"));
}

#[tokio::test]
async fn discovery_shows_every_kind() {
    let local = Local::start().await;
    let discovery = Discovery::new(local.client()).run_aggregated().await.unwrap();
    let ours = discovery.get("signoff.dev").unwrap();
    let kinds: Vec<_> = ours
        .recommended_resources()
        .into_iter()
        .map(|(resource, _)| resource.kind)
        .collect();
    for kind in [
        "Approval",
        "Connection",
        "Decision",
        "Flow",
        "Release",
        "Repository",
        "Run",
    ] {
        assert!(kinds.iter().any(|k| k == kind), "{kinds:?}");
    }
    assert!(
        Discovery::new(local.client())
            .run()
            .await
            .unwrap()
            .has_group("signoff.dev")
    );
    let version = local.client().apiserver_version().await.unwrap();
    assert_eq!(version.major, "1");
}

#[tokio::test]
async fn a_strategic_merge_is_for_core_kinds_only() {
    let local = Local::start().await;
    let secrets: Api<Secret> = Api::default_namespaced(local.client());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("s".to_owned()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let patch = Patch::Strategic(json!({"stringData": {"k": "v"}}));
    let patched = secrets.patch("s", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap()["k"].0, b"v");
    let widgets = local.widgets();
    widgets
        .create(&PostParams::default(), &widget("a", "red"))
        .await
        .unwrap();
    let patch = Patch::Strategic(json!({"spec": {"size": 2}}));
    assert_eq!(
        refusal(widgets.patch("a", &PatchParams::default(), &patch).await).0,
        415
    );
}

#[tokio::test]
async fn who_edits_repositories_does_not_say_who_decides() {
    let local = Local::start().await;
    let admin: Api<Repository> = Api::default_namespaced(local.client());
    let dev: Api<Repository> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let spec = json!({"url": "https://forge.example.com/acme/flows.git", "draft": {"ref": "main"}});
    let plain: Repository =
        serde_json::from_value(json!({"metadata": {"name": "flows"}, "spec": spec})).unwrap();
    dev.create(&PostParams::default(), &plain).await.unwrap();
    let mapped =
        Patch::Merge(json!({"spec": {"identities": {"users": [{"login": "dev", "user": "alice"}]}}}));
    let (code, _, message) = refusal(dev.patch("flows", &PatchParams::default(), &mapped).await);
    assert_eq!(code, 403);
    assert!(message.contains("\"dev\" lacks the verb identify"), "{message}");
    admin
        .patch("flows", &PatchParams::default(), &mapped)
        .await
        .unwrap();
    let other = Patch::Merge(json!({"spec": {"interval": "5m"}}));
    dev.patch("flows", &PatchParams::default(), &other).await.unwrap();
    let mut claims = plain;
    claims.metadata.name = Some("mine".into());
    claims.spec.identities = Some(serde_json::from_value(json!({"expression": "'alice'"})).unwrap());
    assert_eq!(refusal(dev.create(&PostParams::default(), &claims).await).0, 403);
}

#[tokio::test]
async fn the_gate_of_a_repository_is_lowered_only_by_who_says_who_decides() {
    let local = Local::start().await;
    let admin: Api<Repository> = Api::default_namespaced(local.client());
    let dev: Api<Repository> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let spec = json!({"url": "https://forge.example.com/acme/flows.git", "draft": {"ref": "main"},
        "promotion": {"approval": {"quorum": 2}}});
    let gated: Repository =
        serde_json::from_value(json!({"metadata": {"name": "flows"}, "spec": spec})).unwrap();
    assert_eq!(refusal(dev.create(&PostParams::default(), &gated).await).0, 403);
    admin.create(&PostParams::default(), &gated).await.unwrap();
    let why = "say who decides: \"dev\" lacks the verb identify";
    let patch = async |patch: serde_json::Value| {
        dev.patch("flows", &PatchParams::default(), &Patch::Merge(patch))
            .await
    };
    for spec in [
        json!({"promotion": null}),
        json!({"url": "https://mine.example.com/f.git"}),
        json!({"connection": "mine"}),
    ] {
        let (code, _, message) = refusal(patch(json!({"spec": spec})).await);
        assert!(code == 403 && message.contains(why), "{message}");
    }
    patch(json!({"spec": {"interval": "5m"}})).await.unwrap();
    let (_, _, message) = refusal(dev.delete("flows", &DeleteParams::default()).await);
    assert!(message.contains(why), "{message}");
    let all = dev
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await;
    assert!(all.is_err_and(|error| error.to_string().contains(why)));
    let mut plain = gated;
    plain.metadata.name = Some("plain".into());
    plain.spec.promotion = None;
    dev.create(&PostParams::default(), &plain).await.unwrap();
    dev.delete("plain", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_flow_that_is_live_behind_a_gate_is_not_deleted_and_made_anew_without_it() {
    let local = Local::start().await;
    let admin: Api<Flow> = Api::default_namespaced(local.client());
    let dev: Api<Flow> = Api::default_namespaced(local.plane.client(&Identity::Named("dev".into())));
    let flow: Flow = serde_json::from_value(
        json!({"metadata": {"name": "refund"}, "spec": {"steps": [{"name": "a", "set": {"a": 1}}]}}),
    )
    .unwrap();
    dev.create(&PostParams::default(), &flow).await.unwrap();
    let gated = Patch::Merge(
        json!({"status": {"live": {"release": "refund-0000000000", "digest": format!("sha256:{}", "0".repeat(64))}, "gated": true}}),
    );
    let operator: Api<Flow> = Api::default_namespaced(local.plane.client(&Identity::Operator));
    operator
        .patch_status("refund", &PatchParams::default(), &gated)
        .await
        .unwrap();
    let (code, _, message) = refusal(dev.delete("refund", &DeleteParams::default()).await);
    assert_eq!(code, 403);
    assert!(
        message.contains("flow \"refund\" has a release live behind a gate, which would be gone with it: \"dev\" lacks the verb delete on"),
        "{message}"
    );
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]);
    let owned = Patch::Merge(json!({"metadata": {"ownerReferences": owner}}));
    let (_, _, message) = refusal(dev.patch("refund", &PatchParams::default(), &owned).await);
    assert!(message.contains("a flow goes with its owners"), "{message}");
    let map = local
        .maps()
        .create(&PostParams::default(), &map("owner", "a"))
        .await
        .unwrap();
    let owned = |name: &str| {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": map.metadata.uid});
        Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}))
    };
    admin
        .patch("refund", &PatchParams::default(), &owned("owner"))
        .await
        .unwrap();
    let turned = owned("gone");
    let (_, _, message) = refusal(dev.patch("refund", &PatchParams::default(), &turned).await);
    assert!(message.contains("a flow goes with its owners"), "{message}");
    admin.delete("refund", &DeleteParams::default()).await.unwrap();
    dev.create(&PostParams::default(), &flow).await.unwrap();
    dev.delete("refund", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_flow_says_who_last_changed_it_and_who_promotes_it_whatever_is_sent() {
    let local = Local::start().await;
    let flows = |user: &str| -> Api<Flow> {
        Api::default_namespaced(local.plane.client(&Identity::Named(user.to_owned())))
    };
    let flow: Flow = serde_json::from_value(
        json!({"metadata": {"name": "refund"}, "spec": {"steps": [{"name": "a", "set": {"a": 1}}]}}),
    )
    .unwrap();
    flows("dev").create(&PostParams::default(), &flow).await.unwrap();
    let operator: Api<Flow> = Api::default_namespaced(local.plane.client(&Identity::Operator));
    let said = async |api: Api<Flow>, patch: serde_json::Value| {
        let patched = api
            .patch("refund", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let annotations = patched.unwrap().annotations().clone();
        [names::CHANGED_BY, names::PROMOTED_BY].map(|key| annotations.get(key).cloned().unwrap_or_default())
    };
    let claim = json!({"metadata": {"annotations": {"signoff.dev/changed-by": "alice", "signoff.dev/promoted-by": "alice"}}});
    assert_eq!(said(flows("dev"), claim).await, ["dev", ""]);
    assert_eq!(
        said(flows("alice"), json!({"spec": {"live": "refund-1"}})).await,
        ["dev", "alice"]
    );
    assert_eq!(
        said(flows("bob"), json!({"spec": {"description": "his"}})).await,
        ["bob", "alice"]
    );
    assert_eq!(
        said(flows("dev"), json!({"metadata": {"annotations": null}})).await,
        ["bob", "alice"]
    );
    let brought = json!({"spec": {"description": null, "live": null}});
    assert_eq!(said(operator, brought).await, ["", ""]);
}

#[tokio::test]
async fn credentials_in_any_address_are_refused_when_written() {
    let local = Local::start().await;
    let parse = |text: &str| text.parse::<signoff::git::RemoteUrl>().map(|_| ());
    let repositories: Api<Repository> = Api::default_namespaced(local.client());
    for (url, holds) in [
        ("https://token@forge.example.com/a/b", true),
        ("https://user:token@forge.example.com/a/b", true),
        ("HTTPS://user:token@forge.example.com/a/b", true),
        ("https:/token@forge.example.com/a/b", true),
        ("ssh://git:token@forge.example.com/a/b", true),
        ("git:token@forge.example.com:a/b", true),
        ("https://forge.example.com/a/@b", false),
        ("ssh://git@forge.example.com:22/a/b", false),
        ("git@forge.example.com:a/b", false),
    ] {
        let repository: Repository = serde_json::from_value(
            json!({"metadata": {"name": "r"}, "spec": {"url": url, "draft": {"ref": "main"}}}),
        )
        .unwrap();
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let created = repositories.create(&params, &repository).await;
        if holds {
            let (code, _, message) = refusal(created);
            assert_eq!(code, 422, "{url}");
            assert!(message.contains("must not hold credentials"), "{url}: {message}");
            assert!(!message.contains("token@"), "{url}: {message}");
        } else {
            created.unwrap();
        }
        assert_eq!(parse(url).is_err(), holds, "{url}");
    }
    let objects: Api<Connection> = Api::default_namespaced(local.client());
    let connection: Connection = serde_json::from_value(
        json!({"metadata": {"name": "c"}, "spec": {"http": {"baseURL": "https://u:token@shop.example.com"}}}),
    )
    .unwrap();
    assert_eq!(
        refusal(objects.create(&PostParams::default(), &connection).await).0,
        422
    );
    let forge = json!({"kind": "Gitea", "url": "https://token@forge.example.com/api/v1", "token": {"name": "t", "key": "k"}});
    let repository: Repository = serde_json::from_value(
        json!({"metadata": {"name": "r"}, "spec": {"url": "https://h/a", "draft": {"ref": "main"}, "forge": forge}}),
    )
    .unwrap();
    assert_eq!(
        refusal(repositories.create(&PostParams::default(), &repository).await).0,
        422
    );
    let flows: Api<Flow> = Api::default_namespaced(local.client());
    for step in [
        json!({"name": "a", "http": {"url": "https://u:token@shop.example.com/"}}),
        json!({"name": "a", "notify": {"webhook": {"url": "https://token@shop.example.com/", "message": "x"}}}),
    ] {
        let flow: Flow =
            serde_json::from_value(json!({"metadata": {"name": "f"}, "spec": {"steps": [step]}})).unwrap();
        let (code, _, message) = refusal(flows.create(&PostParams::default(), &flow).await);
        assert_eq!(code, 422, "{message}");
        assert!(message.contains("must not hold credentials"), "{message}");
    }
}
