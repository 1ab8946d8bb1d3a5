//! Pure: one line beside a commit, no longer than every forge takes.

/// Longest line, in characters: what GitHub takes.
pub(super) const LONGEST: usize = 140;

/// `lead one, two and 3 more`: as many of the items as fit into `room` characters, the first of them in any case.
pub(super) fn listed<T: AsRef<str>>(lead: &str, items: &[T], room: usize) -> String {
    let mut line = lead.to_owned();
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { " " } else { ", " };
        let left = items.len() - index - 1;
        let tail = and_more(left).chars().count();
        let grown = line.chars().count() + separator.len() + item.as_ref().chars().count();
        if index > 0 && grown + tail > room {
            return line + &and_more(items.len() - index);
        }
        line.push_str(separator);
        line.push_str(item.as_ref());
    }
    line
}

/// The first of several, cut so that the count of the others is still read.
pub(super) fn first_of(first: &str, more: usize) -> String {
    let tail = if more == 0 {
        String::new()
    } else {
        format!(" (+{more} more)")
    };
    let room = LONGEST.saturating_sub(tail.chars().count());
    if first.chars().count() <= room {
        return first.to_owned() + &tail;
    }
    let kept: String = first.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…{tail}")
}

fn and_more(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" and {count} more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_ends_with_a_count() {
        assert_eq!(listed("cut", &["a-1", "b-2"], 12), "cut a-1, b-2");
        assert_eq!(listed("cut", &["a-1", "b-2", "c-3"], 20), "cut a-1 and 2 more");
        let many: Vec<String> = (0..1_000).map(|n| format!("flow-{n:010}")).collect();
        let line = listed("cut", &many, LONGEST);
        assert!(line.chars().count() <= LONGEST, "{line}");
        assert!(line.ends_with("more"), "{line}");
    }

    #[test]
    fn the_count_of_the_others_outlives_a_long_first() {
        assert_eq!(first_of("a.yaml: no", 0), "a.yaml: no");
        assert_eq!(first_of("a.yaml: no", 2), "a.yaml: no (+2 more)");
        let line = first_of(&"é".repeat(300), 2);
        assert_eq!(line.chars().count(), LONGEST);
        assert!(line.ends_with("é… (+2 more)"), "{line}");
    }
}
