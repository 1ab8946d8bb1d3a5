//! How often people were asked about a release before.

use std::collections::HashSet;

use super::GATES;
use signoff_api::names;

/// The first round in which no question about a release is closed. `closed` has the names of the questions that are.
#[expect(clippy::implicit_hasher, reason = "nobody has another hasher")]
pub fn round_after(release: &str, closed: &HashSet<String>) -> i64 {
    let asked = |round: i64| {
        let mut names = GATES
            .iter()
            .map(|gate| names::promotion_approval_name(release, round, gate));
        names.any(|name| closed.contains(&name))
    };
    (1..=i64::from(u16::MAX))
        .find(|round| !asked(*round))
        .unwrap_or(1)
}
