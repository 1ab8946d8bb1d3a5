//! One watch as a stream of lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handlers::events;
use crate::handlers::negotiate::{Form, partial, render_table};
use crate::handlers::selector::Filter;
use crate::registry::ResourceKind;
use crate::status::ApiError;
use crate::store::{Change, ChangeKind, Entry, Store};

/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);
/// How long before its end a watch tells once more how far it has come, so that the next one goes on from there.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Events put into one chunk of the body at most.
const CHUNK: usize = 256;

/// Where a watch starts.
#[derive(Debug)]
pub enum Start {
    /// After this revision.
    After(u64),
    /// With the objects as of a revision, shown as added, then what comes after it.
    With {
        /// The objects.
        objects: Vec<Arc<Entry>>,
        /// The revision.
        revision: u64,
        /// Whether a bookmark marks the end of the initial objects.
        mark_end: bool,
    },
}

/// What a watch was asked for.
#[derive(Debug)]
pub struct Wanted {
    /// The kind to watch.
    pub kind: Arc<ResourceKind>,
    /// Which objects.
    pub filter: Filter,
    /// In which form.
    pub form: Form,
    /// Whether to tell now and then how far the watch has come.
    pub bookmarks: bool,
    /// How long to last.
    pub timeout: Duration,
}

/// A watch.
pub struct Watch {
    store: Arc<Store>,
    kind: Arc<ResourceKind>,
    resource: String,
    filter: Filter,
    form: Form,
    deadline: Instant,
    next_bookmark: Option<Instant>,
    position: u64,
    initial: VecDeque<Arc<Entry>>,
    mark_end: bool,
    columns_sent: bool,
    ended: bool,
    wake: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Watch {
    /// Prepares a watch; it runs as its lines are asked for, and ends at the latest with `stop`.
    pub fn new(store: Arc<Store>, wanted: Wanted, start: Start, stop: CancellationToken) -> Self {
        let resource = events::stored_as(&wanted.kind);
        let wake = store.subscribe(&resource);
        let (position, initial, mark_end) = match start {
            Start::After(revision) => (revision, VecDeque::new(), false),
            Start::With {
                objects,
                revision,
                mark_end,
            } => (revision, objects.into(), mark_end),
        };
        let now = Instant::now();
        Self {
            store,
            kind: wanted.kind,
            resource,
            filter: wanted.filter,
            form: wanted.form,
            deadline: now + wanted.timeout,
            next_bookmark: wanted.bookmarks.then(|| now + until_bookmark(wanted.timeout)),
            position,
            initial,
            mark_end,
            columns_sent: false,
            ended: false,
            wake,
            stop,
        }
    }

    /// The lines of the watch, several to a chunk when they are there.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> {
        futures::stream::unfold(self, |mut watch| async move {
            let chunk = watch.next_chunk().await?;
            Some((chunk, watch))
        })
    }

    async fn next_chunk(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while !self.ended {
            self.initial_objects(&mut out);
            // Changes that do not concern this watch make no lines, and there may be more after them.
            let behind = out.is_empty() && self.changes(&mut out);
            if !out.is_empty() {
                return Some(out.freeze());
            }
            if behind {
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => self.ended = true,
                () = tokio::time::sleep_until(self.deadline) => self.ended = true,
                () = tokio::time::sleep_until(self.next_bookmark.unwrap_or(self.deadline)),
                    if self.next_bookmark.is_some() =>
                {
                    let now = Instant::now();
                    self.next_bookmark = Some(now + until_bookmark(self.deadline - now));
                    self.bookmark(&mut out, false);
                    return Some(out.freeze());
                }
                changed = self.wake.changed() => self.ended = changed.is_err(),
            }
        }
        None
    }

    fn initial_objects(&mut self, out: &mut BytesMut) {
        for _ in 0..CHUNK {
            let Some(entry) = self.initial.pop_front() else {
                break;
            };
            self.line(out, "ADDED", &entry);
        }
        if self.initial.is_empty() && std::mem::take(&mut self.mark_end) {
            self.bookmark(out, true);
        }
    }

    /// Takes the next changes; whether there were any.
    fn changes(&mut self, out: &mut BytesMut) -> bool {
        match self.store.changes(&self.resource, self.position) {
            Err(expired) => {
                let error = ApiError::expired(expired.to_string()).to_value();
                put(out, "ERROR", error.to_string().as_bytes());
                self.ended = true;
                false
            }
            Ok((changes, upto)) => {
                for change in &changes {
                    self.change(out, change);
                }
                self.position = upto;
                !changes.is_empty()
            }
        }
    }

    /// What a change means to this watch: objects enter and leave a selection.
    fn change(&mut self, out: &mut BytesMut, change: &Change) {
        let before = change.previous.as_ref().filter(|entry| self.filter.admits(entry));
        let after = change.kind == ChangeKind::Put && self.filter.admits(&change.current);
        match (before, after) {
            (Some(_), true) => self.line(out, "MODIFIED", &change.current),
            (None, true) => self.line(out, "ADDED", &change.current),
            (Some(_), false) if change.kind == ChangeKind::Delete => {
                self.line(out, "DELETED", &change.current);
            }
            (Some(before), false) => {
                // It left the selection: its last state inside, at the revision of the change.
                let mut last = before.value();
                last["metadata"]["resourceVersion"] = Value::from(change.current.revision.to_string());
                self.object_line(out, "DELETED", last);
            }
            (None, false) => {}
        }
    }

    fn line(&mut self, out: &mut BytesMut, event: &str, entry: &Entry) {
        if self.form == Form::Object && !events::is_alias(&self.kind) {
            put(out, event, &entry.json);
        } else {
            self.object_line(out, event, entry.value());
        }
    }

    fn object_line(&mut self, out: &mut BytesMut, event: &str, object: Value) {
        let object = events::shown(&self.kind, object);
        let shown = match self.form {
            Form::Object => object,
            Form::Metadata => partial(object),
            Form::Table(include) => {
                let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let first = !std::mem::replace(&mut self.columns_sent, true);
                render_table(&self.kind, vec![object], &meta, include, first)
            }
        };
        put(out, event, shown.to_string().as_bytes());
    }

    fn bookmark(&mut self, out: &mut BytesMut, end_of_initial: bool) {
        let mut meta = json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if end_of_initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            Form::Object => {
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": meta})
            }
            Form::Table(include) => render_table(&self.kind, Vec::new(), &meta, include, false),
        };
        put(out, "BOOKMARK", object.to_string().as_bytes());
    }
}

/// Time until the next bookmark of a watch that lasts so long still.
fn until_bookmark(left: Duration) -> Duration {
    match left.checked_sub(LAST_BOOKMARK) {
        Some(until_last) if !until_last.is_zero() => until_last.min(BOOKMARK_EVERY),
        // that was the last
        _ => BOOKMARK_EVERY,
    }
}

fn put(out: &mut BytesMut, event: &str, object: &[u8]) {
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(event.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
