//! Pure: which refs of the remote are followed, and which folders of them are read.

use crate::{
    git::{RefSelector, Tree},
    remotes::RepositoryError,
};
use signoff_api::{
    RepositorySpec,
    repository::{Decisions, LiveRef, LiveSource},
};

/// A ref and the folder of it that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) at: RefSelector,
    pub(crate) folder: String,
    /// Folders in it that are read for something else.
    without: Vec<String>,
}

/// Where drafts come from, and what is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) draft: Source,
    pub(crate) live: Option<Source>,
}

impl Sources {
    pub(crate) fn of(spec: &RepositorySpec) -> Result<Self, RepositoryError> {
        let draft = RefSelector::Name(spec.draft.name.parse()?);
        let (of_draft, of_live) = (spec.draft_folder(), spec.live_folder());
        let draft = source(spec, draft, of_draft, of_live);
        let live = match &spec.live {
            None => None,
            Some(live) => Some(source(spec, selector(live)?, of_live, of_draft)),
        };
        Ok(Self { draft, live })
    }

    /// What to ask the remote for.
    pub(super) fn selectors(&self) -> Vec<RefSelector> {
        let live = self.live.as_ref().filter(|live| live.at != self.draft.at);
        let live = live.map(|live| live.at.clone());
        std::iter::once(self.draft.at.clone()).chain(live).collect()
    }
}

fn source(spec: &RepositorySpec, at: RefSelector, folder: &str, other: &str) -> Source {
    // questions that were answered lie there, and are no flows
    let decisions = spec.decisions.as_ref().map(Decisions::folder);
    // one of the folders may lie in the other
    let other = (!other.is_empty() && other != folder).then_some(other);
    Source {
        at,
        folder: folder.to_owned(),
        without: decisions.into_iter().chain(other).map(str::to_owned).collect(),
    }
}

fn selector(live: &LiveSource) -> Result<RefSelector, RepositoryError> {
    Ok(match &live.at {
        LiveRef::Name(name) => RefSelector::Name(name.parse()?),
        LiveRef::Tag(pattern) => RefSelector::HighestTag(pattern.parse()?),
    })
}

impl Source {
    /// Leaves out of a tree what is read for something else.
    pub(crate) fn trim(&self, tree: &mut Tree) {
        for folder in &self.without {
            tree.leave_out(folder);
        }
    }

    /// What the remote does not have, for people: the ref, or else its folder.
    pub(super) fn missing(&self, has_ref: bool) -> String {
        let named = match &self.at {
            RefSelector::Name(name) => name.to_string(),
            RefSelector::HighestTag(pattern) => format!("tag of a version like {pattern}"),
        };
        if has_ref {
            format!("folder {} at {named}", self.folder)
        } else {
            named
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sources(spec: Value) -> Result<Sources, String> {
        let mut spec = spec;
        spec["url"] = json!("https://example.com/a.git");
        let spec: RepositorySpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
        Sources::of(&spec).map_err(|error| error.to_string())
    }

    #[test]
    fn live_is_a_branch_a_version_or_a_folder() {
        let all =
            sources(json!({"draft": {"ref": "main"}, "live": {"ref": "live"}, "path": "/flows/"})).unwrap();
        assert_eq!(all.draft.missing(true), "folder flows at refs/heads/main");
        assert_eq!(all.live.unwrap().missing(false), "refs/heads/live");

        let all = sources(json!({"draft": {"ref": "main"}, "live": {"tag": "v*"}})).unwrap();
        assert_eq!(all.live.unwrap().missing(false), "tag of a version like v*");

        let one = json!({"draft": {"ref": "main", "path": "draft"}, "live": {"ref": "main", "path": "live"}});
        let all = sources(one).unwrap();
        assert_eq!(all.selectors().len(), 1, "one branch is asked for once");
        assert_eq!(
            (&*all.draft.folder, &*all.live.unwrap().folder),
            ("draft", "live")
        );
    }

    #[test]
    fn a_folder_within_the_other_is_read_for_one_of_them_only() {
        let all = sources(json!({
            "draft": {"ref": "main"},
            "live": {"ref": "main", "path": "live"},
            "decisions": {"propose": "PullRequest", "path": "asked"},
        }))
        .unwrap();
        assert_eq!(all.draft.without, ["asked", "live"]);
        assert_eq!(all.live.unwrap().without, ["asked"]);
    }

    #[test]
    fn what_is_neither_a_ref_nor_a_pattern_is_refused() {
        for (live, said) in [
            (json!({"tag": "v**"}), "not a pattern for tags"),
            (json!({"ref": "a b"}), "not a ref"),
            (json!({}), ""),
        ] {
            let error = sources(json!({"draft": {"ref": "main"}, "live": live})).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
