//! Times as people read them: how long ago or until when, with the exact time beside it.

use k8s_openapi::jiff::Timestamp;

/// A time and how far it is from now.
#[derive(Clone, Debug)]
pub(super) struct When {
    /// RFC 3339, for machines and on hover.
    pub(super) exact: String,
    /// `3 min ago`, `in 2 h`.
    pub(super) words: String,
}

impl When {
    pub(super) fn of(at: Timestamp, now: Timestamp) -> Self {
        let seconds = at.duration_since(now).as_secs();
        let span = span(seconds.unsigned_abs());
        let words = match seconds {
            -4..=4 => "now".to_owned(),
            5.. => format!("in {span}"),
            _ => format!("{span} ago"),
        };
        let exact = Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
        Self { exact, words }
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_says_how_far_it_is() {
        let now: Timestamp = "2026-11-23T10:00:00.5Z".parse().unwrap();
        for (at, words) in [
            ("2026-11-23T10:00:01Z", "now"),
            ("2026-11-23T09:59:00Z", "60 s ago"),
            ("2026-11-23T09:48:00Z", "12 min ago"),
            ("2026-11-23T13:00:01Z", "in 3 h"),
            ("2026-12-23T10:00:01Z", "in 30 d"),
        ] {
            assert_eq!(When::of(at.parse().unwrap(), now).words, words, "{at}");
        }
        assert_eq!(When::of(now, now).exact, "2026-11-23T10:00:00Z");
    }
}
