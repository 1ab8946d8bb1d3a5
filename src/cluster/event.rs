//! Events as the API takes them: who reports, and how long a note may be.
//!
//! Each tells of a transition, so none is told twice and nothing has to be remembered of those before it.

use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{api::ObjectMeta, runtime::events::EventType};

use signoff_api::{names, text::visible};

/// Longest note the API server accepts, in bytes.
const MAX_NOTE: usize = 1_024;
/// Longest name of an object, in bytes.
const MAX_NAME: usize = 253;
/// Longest reason the API server accepts, in bytes.
const MAX_REASON: usize = 128;

/// How many Events this process has named: what happens in the same moment does not collide.
static NAMED: AtomicU64 = AtomicU64::new(0);

/// A name that no other Event has: as kubectl's own it begins like the object and goes on with the time. Another process may have named one in
/// the same nanosecond; whoever writes it takes another name then.
fn unique_name(about: &ObjectReference, now: Timestamp) -> String {
    let nth = NAMED.fetch_add(1, Ordering::Relaxed);
    let end = format!(".{:x}.{nth:x}", now.as_nanosecond());
    let name = about.name.as_deref().unwrap_or(names::FIELD_MANAGER);
    let begin = cut(name, MAX_NAME - end.len()).trim_end_matches(['.', '-']);
    format!("{begin}{end}")
}

/// An event about an object whose texts fit, from the process `instance`.
pub fn event(
    about: ObjectReference,
    instance: &str,
    type_: EventType,
    reason: &str,
    note: &str,
    now: Timestamp,
) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(unique_name(&about, now)),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        type_: Some(
            match type_ {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            }
            .to_owned(),
        ),
        reason: Some(cut(reason, MAX_REASON).to_owned()),
        note: Some(cut(&visible(note), MAX_NOTE).to_owned()),
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(about),
        reporting_controller: Some(names::FIELD_MANAGER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// The longest beginning of at most this many bytes that ends at a character.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_same_moment_about_the_longest_name_have_names_of_their_own() {
        let about = ObjectReference {
            name: Some(format!("{}-{}", "a".repeat(229), "b".repeat(23))),
            ..ObjectReference::default()
        };
        let now = Timestamp::MAX;
        let named: std::collections::BTreeSet<String> =
            (0..1_000).map(|_| unique_name(&about, now)).collect();
        assert_eq!(named.len(), 1_000);
        for name in named {
            assert!(name.len() <= MAX_NAME, "{name}");
            assert!(!name.contains("-.") && !name.contains(".."), "{name}");
        }
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        let about = ObjectReference::default();
        let note = "é".repeat(1_000);
        let event = event(
            about,
            "me",
            EventType::Normal,
            "Synced",
            &note,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(event.note.unwrap().len(), MAX_NOTE);
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("a", 2), "a");
    }
}
