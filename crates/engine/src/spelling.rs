//! "Did you mean …?"

/// Longest word that is compared, in bytes.
const MAX_WORD: usize = 64;

/// The candidate that a word was probably meant to be: the same but for case, or few letters away.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // nobody means a name by so long a word
    if word.len() > MAX_WORD {
        return None;
    }
    let lower = word.to_lowercase();
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean approval?`, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |candidate| format!("; did you mean {candidate}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 5] = ["http", "set", "wait", "approval", "notify"];

    #[test]
    fn a_slip_is_recognised() {
        for (word, meant) in [
            ("aproval", "approval"),
            ("Approval", "approval"),
            ("sett", "set"),
            ("htpp", "http"),
            ("noftiy", "notify"),
        ] {
            assert_eq!(closest(word, KINDS), Some(meant), "{word}");
        }
    }

    #[test]
    fn another_word_is_no_slip() {
        for word in ["", "x", "colour", "script", "approvers-of-it"] {
            assert_eq!(closest(word, KINDS), None, "{word}");
            assert_eq!(did_you_mean(word, KINDS), "");
        }
    }
}
