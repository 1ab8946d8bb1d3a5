//! How many files this process may have open. A connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// More than that is of no use, and some systems have no bound at all.
const ENOUGH: u64 = 65_536;

/// Raises the limit on open files as far as this process may. Gives how many it may have open; nothing if there is no bound.
pub fn raise_limit() -> Option<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if limit.current.is_some_and(|current| current < wanted) {
        let before = limit.current;
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit on open files could not be raised");
            limit.current = before;
        }
    }
    limit
        .current
        .map(|current| usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_lets_us_within_reason() {
        let raised = raise_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(
            raised,
            now.current.map(|current| usize::try_from(current).unwrap())
        );
        let most = now.maximum.unwrap_or(u64::MAX).min(ENOUGH);
        assert!(now.current.is_none_or(|current| current >= most), "{now:?}");
    }
}
