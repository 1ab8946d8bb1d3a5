//! Events as the API takes them: who reports, and how long a note may be.

use kube::runtime::events::{Event, EventType, Reporter};

use crate::api::names;

/// Longest note the API server accepts, in bytes.
const MAX_NOTE: usize = 1_024;
/// Longest reason the API server accepts, in bytes.
const MAX_REASON: usize = 128;

/// Who reports.
pub(super) fn reporter() -> Reporter {
    Reporter {
        controller: names::FIELD_MANAGER.to_owned(),
        instance: std::env::var("HOSTNAME").ok(),
    }
}

/// An event whose texts fit.
pub(super) fn event(type_: EventType, reason: &str, note: &str) -> Event {
    Event {
        type_,
        reason: cut(reason, MAX_REASON).to_owned(),
        note: Some(cut(note, MAX_NOTE).to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
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
    fn a_long_note_is_cut_at_a_character() {
        let event = event(EventType::Normal, "Synced", &"é".repeat(1_000));
        assert_eq!(event.note.unwrap().len(), MAX_NOTE);
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("a", 2), "a");
    }
}
