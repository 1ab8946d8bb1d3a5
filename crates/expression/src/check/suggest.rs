//! What somebody may have meant who wrote a name that is not there.

/// Longest name that is compared, in bytes.
const MAX_NAME: usize = 64;

/// `; did you mean 'x'?`, where a known name is close enough.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(written, known).map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// The known name that is most like what was written.
fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > MAX_NAME {
        return None;
    }
    let length = written.chars().count();
    // of a name of one letter nothing would be left
    let most = (length / 3).clamp(1, 3).min(length.saturating_sub(1));
    let near = known.into_iter().filter(|name| name.len() <= MAX_NAME);
    let near = near.filter_map(|name| {
        let distance = distance(&written.to_lowercase(), &name.to_lowercase());
        (distance <= most).then_some((distance, name))
    });
    near.min().map(|(_, name)| name)
}

/// How many letters are to be added, left out, changed or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_close_is_named_and_no_other() {
        let known = ["amount", "order", "currency", "startsWith"];
        for (written, meant) in [
            ("amout", Some("amount")),
            ("oredr", Some("order")),
            ("startswith", Some("startsWith")),
            ("price", None),
            ("x", None),
        ] {
            assert_eq!(closest(written, known), meant, "{written}");
        }
        assert_eq!(did_you_mean("amout", known), "; did you mean 'amount'?");
        assert_eq!(did_you_mean("price", known), "");
    }
}
