//! Names of objects as people write them: alone, or after the kind as `-o name` and kubectl print them.

use signoff_api::name::ObjectName;

/// The name of a run: `NAME`, `run/NAME` or `run.signoff.dev/NAME`.
pub(super) fn run(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["run", "runs"])
}

/// The name of an approval, written in the same ways.
pub(super) fn approval(text: &str) -> Result<ObjectName, String> {
    of_kind(text, &["approval", "approvals", "appr"])
}

fn of_kind(text: &str, kinds: &[&str]) -> Result<ObjectName, String> {
    let name = match text.split_once('/') {
        None => text,
        Some((kind, name)) => {
            if !kinds.contains(&kind.strip_suffix(".signoff.dev").unwrap_or(kind)) {
                return Err(format!("it is no {}", kinds[0]));
            }
            name
        }
    };
    name.parse()
        .map_err(|error: signoff_api::name::NameError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_after_its_kind_and_after_no_other() {
        for text in ["a-1", "run/a-1", "runs/a-1", "run.signoff.dev/a-1"] {
            assert_eq!(run(text).unwrap().as_str(), "a-1", "{text}");
        }
        for text in ["approval/a", "run/", "run/a/b", "run.apps/a", "/a", "A b"] {
            assert!(run(text).is_err(), "{text}");
        }
        assert_eq!(approval("approval.signoff.dev/a").unwrap().as_str(), "a");
    }
}
