//! Connections that the embedded control plane refuses, as Kubernetes does.

use kube::api::{Api, PostParams};
use serde_json::json;
use signoff_api::Connection;

use crate::local_support::{Local, refusal};

#[tokio::test]
async fn a_connection_whose_fields_would_break_its_requests_is_refused_when_written() {
    let local = Local::start().await;
    let connections: Api<Connection> = Api::default_namespaced(local.client());
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let create = async |fields: &serde_json::Value| {
        let mut http = json!({"baseURL": "https://shop.example.com/v1"});
        http.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let connection = json!({"metadata": {"name": "c"}, "spec": {"http": http}});
        let connection: Connection = serde_json::from_value(connection).unwrap();
        connections.create(&params, &connection).await
    };
    let auth = |name: &str| json!({"auth": {"header": {"name": name, "value": {"name": "s", "key": "k"}}}});
    for fields in [
        json!({"baseURL": "https://shop.example.com/?a=1"}),
        json!({"baseURL": "https://shop.example.com/#a"}),
        json!({"headers": {"Host": "x"}}),
        json!({"headers": {"te": "x"}}),
        json!({"headers": {"Authorization": "x"}}),
        json!({"headers": {"Idempotency-Key": "x"}}),
        json!({"headers": {"X-Id": "x"}, "idempotencyHeader": "X-Id"}),
        json!({"idempotencyHeader": "content-LENGTH"}),
        json!({"idempotencyHeader": "Authorization"}),
        auth("Transfer-encoding"),
        auth("idempotency-key"),
    ] {
        assert_eq!(refusal(create(&fields).await).0, 422, "{fields}");
    }
    for fields in [
        json!({"headers": {"X-Version": "2", "Accept": "text/plain"}, "idempotencyHeader": "X-Id"}),
        auth("Authorization"),
        auth("X-Api-Key"),
    ] {
        create(&fields).await.unwrap();
    }
}
