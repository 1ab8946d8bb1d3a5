//! Content passes through memory that does not grow with it.

use std::process::Command;

use bytes::Bytes;
use futures::TryStreamExt as _;
use signoff::{
    net::{AddressPolicy, Network},
    store::{Settings, Store},
};
use signoff_api::Digest;

use crate::server::{Server, owner};

/// Length of the content.
const LENGTH: u64 = 1 << 30;
/// How much memory it may take on its way.
const MOST: u64 = 64 << 20;
/// Tells the process that measures from the one that asks for it.
const MEASURES: &str = "SIGNOFF_TEST_MEASURES_MEMORY";

#[test]
fn a_gibibyte_passes_through_a_folder_in_64_mebibytes() {
    measured(
        "memory::a_gibibyte_passes_through_a_folder_in_64_mebibytes",
        || {
            let dir = tempfile::tempdir().unwrap();
            let settings = Settings::folder(dir.path()).unwrap();
            let store = Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap();
            pass_through(&store);
        },
    );
}

#[test]
fn a_gibibyte_passes_through_s3_in_64_mebibytes() {
    measured("memory::a_gibibyte_passes_through_s3_in_64_mebibytes", || {
        if let Some(server) = Server::start("memory on S3") {
            pass_through(&server.store());
        }
    });
}

/// Runs a test in a process of its own, where nothing else takes memory.
fn measured(name: &str, test: impl FnOnce()) {
    if std::env::var_os(MEASURES).is_some() {
        return test();
    }
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MEASURES, "1")
        .status()
        .unwrap();
    assert!(ended.success());
}

fn pass_through(store: &Store) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let before = peak();
    runtime.block_on(async {
        let mut writer = store.write(&owner(), LENGTH);
        let piece = Bytes::from(vec![7; 64 << 10]);
        for _ in 0..LENGTH / piece.len() as u64 {
            writer.write(piece.clone()).await.unwrap();
        }
        let stored = writer.finish().await.unwrap();
        assert_eq!(stored.size, LENGTH);
        let content = store.read(&owner(), &stored.sha256, LENGTH).await.unwrap();
        let pieces = content.into_stream();
        let read = pieces.try_fold(0, |read, piece| std::future::ready(Ok(read + piece.len() as u64)));
        assert_eq!(read.await.unwrap(), LENGTH);
        assert_ne!(stored.sha256, Digest::of(b""));
    });
    let took = peak() - before;
    assert!(took < MOST, "it took {} MiB", took >> 20);
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}
