//! Images of the object store, and the memory that they take.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::sync::Barrier;

use super::*;
use crate::{
    perform::memory::Memory,
    store::{Settings, Store},
};
use signoff_api::Resource;

/// More than what needs no room.
const BYTES: usize = 300_000;

struct Stage {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::folder(dir.path()).unwrap();
        let store = Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap();
        Self { _dir: dir, store }
    }

    fn executor(&self, connection: Value, memory: Memory) -> LlmExecutor {
        let LlmExecutor { http } = executor(connection);
        let http = http.keeping_in(Some(self.store.clone())).with_memory(memory);
        LlmExecutor { http }
    }

    /// An image that the run has kept.
    async fn image(&self, byte: u8) -> Resource {
        let run = Owner {
            namespace: "default".into(),
            run: "r".into(),
            uid: "u".into(),
        };
        let stored = self.store.put(&run, vec![byte; BYTES].into()).await.unwrap();
        let resource = json!({
            "ref": "res://default/r/fetch/body", "size": stored.size, "mediaType": "image/png; x=y", "sha256": stored.sha256,
        });
        serde_json::from_value(resource).unwrap()
    }

    /// A question about two images.
    async fn asked(&self) -> LlmRequest {
        let images = vec![self.image(1).await, self.image(2).await];
        request(|request| {
            request.messages = vec![Message::User {
                content: "what is this?".into(),
                images: images.into_iter().map(Image::Resource).collect(),
            }];
        })
    }
}

#[tokio::test]
async fn images_of_the_store_are_sent_each_in_its_place() {
    let stage = Stage::new();
    let [one, two] = [1, 2].map(|byte| STANDARD.encode(vec![byte; BYTES]));
    let (model, address) = Model::open([completion("dogs")]).await;
    let executor = stage.executor(open_ai(address), Memory::default());
    executor.ask_for(stage.asked().await).await.unwrap();
    let sent = model.asked().remove(0).2;
    let parts = &sent["messages"][1]["content"];
    for (at, content) in [(1, &one), (2, &two)] {
        let url = parts[at]["image_url"]["url"].as_str().unwrap();
        assert!(url == format!("data:image/png;base64,{content}"));
    }
    let (model, address) = Model::open([message("dogs")]).await;
    let executor = stage.executor(anthropic(address), Memory::default());
    executor.ask_for(stage.asked().await).await.unwrap();
    let sent = model.asked().remove(0).2;
    let parts = &sent["messages"][0]["content"];
    for (at, content) in [(0, &one), (1, &two)] {
        let source = &parts[at]["source"];
        assert_eq!(
            (&source["type"], &source["media_type"]),
            (&json!("base64"), &json!("image/png"))
        );
        assert!(source["data"].as_str() == Some(content));
    }
}

#[tokio::test]
async fn images_count_as_often_as_they_are_sent() {
    let stage = Stage::new();
    let (model, address) = Model::open([completion("dogs")]).await;
    let mut image = stage.image(1).await;
    image.size = 7 << 20;
    let asked = request(|request| {
        request.messages = vec![Message::User {
            content: "what is this?".into(),
            images: vec![Image::Resource(image); 3],
        }];
    });
    let executor = stage.executor(open_ai(address), Memory::default());
    let refused = executor.ask_for(asked).await.unwrap_err();
    assert_eq!(refused.reason, StepReason::ResourceTooLarge);
    assert!(model.asked().is_empty());
}

#[tokio::test]
async fn what_waits_for_an_answer_holds_no_content_any_more() {
    let stage = Stage::new();
    // neither is answered before both were asked
    let both = Arc::new(Barrier::new(2));
    let router = Router::new().fallback(move |Json(_): Json<Value>| {
        let both = Arc::clone(&both);
        async move {
            both.wait().await;
            Json(completion("dogs").1)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let executor = stage.executor(open_ai(address), Memory::for_calls(1));
    let (one, two) = tokio::join!(
        executor.ask_for(stage.asked().await),
        executor.ask_for(stage.asked().await)
    );
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
}

#[tokio::test]
async fn the_wait_for_memory_is_no_part_of_the_time_of_an_attempt() {
    let stage = Stage::new();
    let (model, address) = Model::open([completion("dogs")]).await;
    let memory = Memory::for_calls(1);
    let executor = stage.executor(open_ai(address), memory.clone());
    let asked = stage.asked().await;
    let held = memory.room("default", BYTES as u64).await;
    let asking = tokio::spawn(async move { executor.ask_for(asked).await });
    tokio::time::pause();
    tokio::time::sleep(Duration::from_hours(1)).await;
    tokio::time::resume();
    assert!(!asking.is_finished() && model.asked().is_empty());
    drop(held);
    asking.await.unwrap().unwrap();
}
