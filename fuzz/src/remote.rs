//! What a git remote may send.

use std::sync::{Arc, LazyLock, Mutex};

use axum::{
    Router,
    http::{Method, header},
    response::IntoResponse as _,
};
use signoff::git::{Credentials, Limits, Mirror, RefSelector, Remote};
use signoff::net::{AddressPolicy, Network};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::gateway::serve;

/// A remote whose one ref is at this commit, which sends the input where a pack should be. Its mirror takes it or refuses it, and is usable after.
pub fn pack(input: &[u8]) -> bool {
    let stage = &*STAGE;
    *stage.pack.lock().unwrap() = input.to_vec();
    stage.runtime.block_on(async {
        let mut taken = false;
        for _ in 0..2 {
            let remote = Remote {
                url: stage.url.parse().unwrap(),
                credentials: Credentials::default(),
            };
            let refs = vec![RefSelector::Name("main".parse().unwrap())];
            let synced = stage.mirror.sync(remote, refs, CancellationToken::new()).await;
            if let Ok(Some(at)) = synced.map(|synced| synced.refs.into_values().next().flatten()) {
                taken = stage.mirror.read(at.commit, "").await.is_ok();
            }
        }
        stage.mirror.remove().await.unwrap();
        taken
    })
}

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::open);

struct Stage {
    runtime: Runtime,
    url: String,
    pack: Arc<Mutex<Vec<u8>>>,
    mirror: Mirror,
    _folder: TempDir,
}

impl Stage {
    fn open() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pack = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::clone(&pack);
        let router = Router::new().fallback(move |method: Method| {
            let sent = Arc::clone(&sent);
            async move {
                let (kind, body) = match method {
                    Method::GET => ("advertisement", refs()),
                    _ => (
                        "result",
                        [packet(b"NAK\n"), sent.lock().unwrap().clone()].concat(),
                    ),
                };
                (
                    [(
                        header::CONTENT_TYPE,
                        format!("application/x-git-upload-pack-{kind}"),
                    )],
                    body,
                )
                    .into_response()
            }
        });
        let url = runtime.block_on(async { format!("{}/x.git", serve(router).await) });
        let limits = Limits {
            fetch_bytes: 4 << 20,
            ..Limits::default()
        };
        let mirror = Mirror::new(
            folder.path().join("mirror"),
            Network::new(AddressPolicy::local()),
            limits,
        );
        Self {
            runtime,
            url,
            pack,
            mirror,
            _folder: folder,
        }
    }
}

/// The commit of the pack that the corpus begins with.
const COMMIT: &str = include_str!("../corpus/pack.commit");

fn refs() -> Vec<u8> {
    let line = format!("{} refs/heads/main\0ofs-delta\n", COMMIT.trim());
    [
        packet(b"# service=git-upload-pack\n"),
        b"0000".to_vec(),
        packet(line.as_bytes()),
        b"0000".to_vec(),
    ]
    .concat()
}

fn packet(content: &[u8]) -> Vec<u8> {
    [format!("{:04x}", content.len() + 4).as_bytes(), content].concat()
}
