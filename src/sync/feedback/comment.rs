//! Pure: what is said on a pull request of what it would change.

use std::fmt::Write as _;

use super::line::first_of;
use crate::{forge::CommitState, git::Problem, sync::summary};
use signoff_api::flow::Definition;
use signoff_engine::difference::{Difference, difference, quoted};

/// Longest comment, in bytes, as every forge takes it; the mark comes on top.
const LONGEST: usize = 60_000;
/// Least that is shown of a flow, in bytes, before fewer of them are shown.
const LEAST: usize = 2_048;
/// Kept free for the count of what is left out, in bytes.
const TAIL: usize = 128;
/// Most errors listed.
const MAX_ERRORS: usize = 50;

/// What merging into a branch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It promotes.
    Live(String),
    /// It cuts releases, which may be promoted later.
    Draft(String),
}

impl Target {
    /// The branch.
    pub(super) fn branch(&self) -> &str {
        match self {
            Self::Live(branch) | Self::Draft(branch) => branch,
        }
    }
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// Markdown.
    pub(super) text: String,
    /// Whether it says more than that nothing changes.
    pub(super) is_news: bool,
    /// Beside the commit.
    pub(super) state: CommitState,
    pub(super) description: String,
}

/// What the head of a pull request would change.
#[derive(Clone, Debug, Default)]
pub(super) struct Proposed {
    /// What is wrong with its files.
    pub(super) problems: Vec<Problem>,
    /// Flows that can run and are not live like that.
    pub(super) changed: Vec<Changed>,
    /// Flows of which something is live or wanted so, and which it does not have any more.
    pub(super) gone: Vec<String>,
}

/// A flow that is not live like that. Both definitions can run.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    pub(super) flow: String,
    /// What is live now; nothing before the first promotion.
    pub(super) live: Option<Definition>,
    pub(super) proposed: Definition,
}

/// What is said of the head of a pull request.
pub(super) fn of_head(target: &Target, proposed: &Proposed) -> Comment {
    let Proposed { problems, gone, .. } = proposed;
    let changed = changes(&proposed.changed);
    let changes = changed.len() + gone.len();
    let errors = problems.len();
    let mut page = Page::default();
    if errors > 0 {
        page.errors(problems);
    }
    if changes > 0 {
        page.push(&format!("{}\n", heading(target)));
        page.differences(&changed, gone);
    } else {
        page.push("Nothing that is live changes.\n");
    }
    let (state, description) = match problems.first() {
        Some(first) => (
            CommitState::Failure,
            first_of(&summary::told(first), errors.saturating_sub(1)),
        ),
        None if changes == 0 => (CommitState::Success, "nothing that is live changes".to_owned()),
        None => {
            let what = if changes == 1 { "flow" } else { "flows" };
            let loosens = changed.iter().any(|change| change.difference.loosens_control());
            let loosens = if loosens { "; loosens control" } else { "" };
            (
                CommitState::Success,
                format!("would change {changes} {what}{loosens}"),
            )
        }
    };
    Comment {
        text: page.text,
        is_news: changes + errors > 0,
        state,
        description,
    }
}

/// A head that cannot be read, and why.
pub(super) fn of_unreadable(why: &str) -> Comment {
    Comment {
        text: format!("**This cannot be read:** {}\n", quoted(why)),
        is_news: true,
        state: CommitState::Failure,
        description: first_of(&format!("cannot be read: {why}"), 0),
    }
}

fn heading(target: &Target) -> String {
    let branch = quoted(target.branch());
    match target {
        Target::Live(_) => format!("Merged into {branch}, this changes what is live:"),
        Target::Draft(_) => {
            format!("Merged into {branch}, this becomes the draft. Compared with what is live now:")
        }
    }
}

/// A flow and how it changes.
struct Change<'a> {
    flow: &'a str,
    difference: Difference,
}

fn changes(changed: &[Changed]) -> Vec<Change<'_>> {
    let changes = changed.iter().map(|changed| Change {
        flow: &changed.flow,
        difference: difference(changed.live.as_ref(), &changed.proposed),
    });
    changes.filter(|change| !change.difference.is_empty()).collect()
}

/// Text that stops growing before it is too long for a forge.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn room(&self) -> usize {
        (LONGEST - TAIL).saturating_sub(self.text.len())
    }

    fn errors(&mut self, problems: &[Problem]) {
        self.push("**There are errors; what they are in does not go live:**\n\n");
        let mut told = 0;
        for problem in problems.iter().take(MAX_ERRORS) {
            let line = format!("- {}\n", quoted(&summary::told(problem)));
            // the other half is for what changes
            if line.len() > self.room().saturating_sub(LONGEST / 2) {
                break;
            }
            self.push(&line);
            told += 1;
        }
        let more = problems.len() - told;
        if more > 0 {
            // writing to a text cannot fail
            let _ = writeln!(self.text, "- … and {more} more");
        }
        self.push("\n");
    }

    /// Those that loosen control come first, and all of them before what is gone.
    fn differences(&mut self, changed: &[Change<'_>], gone: &[String]) {
        let all = changed.len() + gone.len();
        let share = (self.room() / all.max(1)).max(LEAST);
        let (loosening, others): (Vec<_>, Vec<_>) = changed
            .iter()
            .partition(|change| change.difference.loosens_control());
        let differences = loosening.into_iter().chain(others).map(|change| {
            let limit = share.saturating_sub(change.flow.len() + 16);
            format!(
                "\n### `{}`\n\n{}",
                change.flow,
                change.difference.to_markdown(limit)
            )
        });
        let gone = gone.iter().map(|flow| {
            format!(
                "\n### `{flow}`\n\nis not in it any more. The flow is deleted once neither the draft nor the live ref has it.\n"
            )
        });
        let mut shown = 0;
        for section in differences.chain(gone) {
            if section.len() > self.room() {
                break;
            }
            self.push(&section);
            shown += 1;
        }
        if shown < all {
            let _ = writeln!(self.text, "\n… and {} more flows", all - shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sync::files::{
        self, Defined,
        tests::{GOOD, tree},
    };

    fn into_live() -> Target {
        Target::Live("live".to_owned())
    }

    fn defined(files: &[(&str, &str)]) -> Defined {
        files::read(tree(files), "default")
    }

    /// All flows of a head beside those that are live.
    fn proposed(head: &[(&str, &str)], live: &[(&str, &str)]) -> Proposed {
        let (head, live) = (defined(head), defined(live));
        let changed = head.flows.into_iter().map(|(flow, wanted)| Changed {
            live: live.flows.get(&flow).map(|live| live.spec.definition.clone()),
            proposed: wanted.spec.definition,
            flow,
        });
        Proposed {
            changed: changed.collect(),
            problems: head.problems,
            gone: vec![],
        }
    }

    fn told(proposed: &Proposed) -> Comment {
        let comment = of_head(&into_live(), proposed);
        assert!(comment.text.len() <= LONGEST, "{}", comment.text.len());
        assert!(comment.description.chars().count() <= 140, "{comment:?}");
        comment
    }

    #[test]
    fn what_changes_is_shown_flow_by_flow() {
        let changed = GOOD.replace("x: 1", "x: 2");
        let proposed = proposed(&[("a.yaml", &changed)], &[("a.yaml", GOOD)]);
        let comment = told(&proposed);
        assert_eq!(
            (comment.is_news, comment.state, comment.description.as_str()),
            (true, CommitState::Success, "would change 1 flow")
        );
        for said in [
            "Merged into `live`, this changes what is live:",
            "### `good`",
            "`1` → `2`",
        ] {
            assert!(comment.text.contains(said), "{said}: {}", comment.text);
        }
        let draft = of_head(&Target::Draft("main".to_owned()), &proposed);
        let heading = "Merged into `main`, this becomes the draft. Compared with what is live now:";
        assert!(draft.text.starts_with(heading), "{}", draft.text);
    }

    #[test]
    fn nothing_that_changes_is_no_news() {
        let comment = told(&proposed(&[("a.yaml", GOOD)], &[("a.yaml", GOOD)]));
        assert_eq!(
            (comment.is_news, comment.text.as_str()),
            (false, "Nothing that is live changes.\n")
        );
    }

    #[test]
    fn errors_are_listed_with_their_places_before_what_the_good_files_change() {
        let changed = GOOD.replace("x: 1", "x: 2");
        let head = [
            ("a.yaml", changed.as_str()),
            ("bad.yaml", "apiVersion: signoff.dev/v1alpha1\nb: [1, 2\nc: 3\n"),
        ];
        let comment = told(&proposed(&head, &[("a.yaml", GOOD)]));
        assert_eq!(comment.state, CommitState::Failure);
        assert!(comment.description.starts_with("bad.yaml:3:"), "{comment:?}");
        let (error, change) = (
            comment.text.find("- `bad.yaml:3:"),
            comment.text.find("### `good`"),
        );
        assert!(error.is_some() && error < change, "{}", comment.text);
    }

    #[test]
    fn a_flow_that_is_gone_is_told() {
        let comment = told(&Proposed {
            gone: vec!["good".to_owned()],
            ..Proposed::default()
        });
        assert_eq!(comment.description, "would change 1 flow");
        let said = "### `good`\n\nis not in it any more";
        assert!(comment.text.contains(said), "{}", comment.text);
    }

    #[test]
    fn a_thousand_changed_flows_and_as_many_errors_fit_with_what_loosens_control_first() {
        let flow = |n: usize, title: &str, quorum: i64| {
            let step = json!({"name": "review", "approval": {"title": title, "quorum": quorum}});
            let definition = json!({"steps": [step], "description": n.to_string()});
            serde_json::from_value::<Definition>(definition).unwrap()
        };
        let mut many = Proposed {
            changed: (0..1_000)
                .map(|n| Changed {
                    flow: format!("flow-{n:04}"),
                    live: Some(flow(n, "before", 2)),
                    proposed: flow(n, "after", if n == 999 { 1 } else { 2 }),
                })
                .collect(),
            ..Proposed::default()
        };
        let comment = told(&many);
        assert_eq!(comment.description, "would change 1000 flows; loosens control");
        let first = comment.text.find("###").unwrap();
        assert!(comment.text[first..].starts_with("### `flow-0999`"));
        assert!(comment.text.ends_with(" more flows\n"));

        many.problems = (0..1_000)
            .map(|n| Problem::of_file(format!("{n}.yaml"), "é".repeat(1_024)))
            .collect();
        let comment = told(&many);
        assert!(comment.text.contains("- … and "), "{}", comment.text);
        let change = comment.text.contains("### `flow-0999`");
        assert!(change, "half is for what changes");
    }

    #[test]
    fn nothing_of_a_file_becomes_markdown_of_ours() {
        let comment = told(&Proposed {
            problems: vec![Problem::of_file(
                "a`b.yaml\n# x",
                "<!-- signoff:difference --> @all [x](y)",
            )],
            ..Proposed::default()
        });
        let line = r"- ``a`b.yaml\n# x: \u{3c}!-- signoff:difference --> @all [x](y)``";
        assert!(comment.text.contains(line), "{}", comment.text);
    }
}
