//! Title and description of a pull request that puts a question.

use std::fmt::Write as _;

use super::{PutAs, Question, binary};
use crate::markdown::{block, code, unlinked};
use signoff_api::{ApprovalSpec, Digest, Verdict, approval::ShownItem, step::Approvers};

/// Longest title, in characters, which is what forges take.
const MAX_TITLE: usize = 200;
/// Longest description, in bytes.
const MAX_BODY: usize = 58_000;
/// Kept free for the digits of counts that differ in length, in bytes.
const DIGITS: usize = 16;

/// Begins the line that says which question it is.
const MARK: &str = "- approval: ";

impl Question<'_> {
    /// The title of its pull request.
    pub fn title(&self) -> String {
        let question: String = unlinked(&self.spec.title).chars().take(MAX_TITLE).collect();
        format!("Sign off: {question}")
    }

    /// The message of the commit that puts it. Nothing of a flow or a run is in it: forges close and mention what a message names.
    pub fn message(&self) -> String {
        format!("Put the question {}/{}", self.namespace, self.name)
    }

    /// The description: the question and its digest, what is shown, who may decide until when, and what each act means.
    pub fn body(&self) -> String {
        let spec = self.spec;
        let mut text = format!("{}\n\n", code(&spec.title));
        let mut fact = |label: &str, value: String| {
            // a String takes all that is written to it
            let _ = writeln!(text, "- {label}: {value}");
        };
        let subject = &spec.subject;
        if let (Some(run), Some(step)) = (&subject.run, &subject.step) {
            let pass = subject.iteration.filter(|pass| *pass > 1);
            let pass = pass.map(|pass| format!(", pass {pass}")).unwrap_or_default();
            let item = subject
                .item
                .map(|item| format!("item {item} of "))
                .unwrap_or_default();
            fact(
                "about",
                format!("{item}step {} of run {}{pass}", code(step), code(run)),
            );
        }
        if let Some(release) = &subject.release {
            fact("about", format!("release {}", code(release)));
        }
        fact("digest of what is shown", code(&spec.digest.to_string()));
        if let Some(by) = &spec.requested_by {
            fact("asked for by", code(by));
        }
        if !spec.earlier_requesters.is_empty() {
            let all = spec.earlier_requesters.iter().map(|by| code(by));
            fact("asked for before by", all.collect::<Vec<_>>().join(", "));
        }
        for above in &spec.parents {
            let by = above.requested_by.as_ref();
            let by = by
                .map(|by| format!(", asked for by {}", code(by)))
                .unwrap_or_default();
            fact(
                "started by",
                format!("run {} of flow {}{by}", code(&above.run), code(&above.flow)),
            );
        }
        if let Some(author) = &spec.author {
            fact("written by", code(author));
        }
        fact("who may decide", who(spec));
        if let Some(deadline) = &spec.expires_at {
            fact("until", code(&deadline.0.to_string()));
        }
        let _ = writeln!(text, "{}", self.mark());
        text.push_str("\n#### What each act means\n\n");
        let acts = match self.put {
            PutAs::PullRequest => acts(spec),
            PutAs::Branch(into) => commits(spec, into),
        };
        for line in acts {
            let _ = writeln!(text, "- {line}");
        }
        shown(&mut text, spec, self.namespace, self.name);
        text
    }

    /// The line that says which question it is: of those that had one name after the other, too.
    fn mark(&self) -> String {
        let name = code(&format!("{}/{}", self.namespace, self.name));
        format!("{MARK}{name} ({})", code(self.uid))
    }

    /// Whether a description is that of another question, as one of the same name had it before.
    pub fn is_not_of(&self, body: &str) -> bool {
        let mut marks = body.lines().filter(|line| line.starts_with(MARK));
        marks.next().is_some_and(|mark| mark.trim_end() != self.mark())
    }
}

fn acts(spec: &ApprovalSpec) -> Vec<String> {
    let mut acts = Vec::new();
    if spec.quorum > 1 {
        acts.push(format!(
            "**{} people** must approve: each approving review counts for one, and so does the merge. Merge last.",
            spec.quorum
        ));
    } else {
        acts.push("**Merge** to approve.".to_owned());
    }
    if spec.verdicts.contains(&Verdict::Reject) {
        acts.push("**Close** without merging to reject.".to_owned());
    }
    if spec.verdicts.contains(&Verdict::RequestChanges) {
        acts.push(
            "**Request changes** in a review to have it done differently; the review's text says how."
                .to_owned(),
        );
    }
    if spec.form.is_some() {
        acts.push(
            "Fill in `values` in the file on this branch before that, if the question asks for them."
                .to_owned(),
        );
    }
    acts.push("Change nothing else on this branch: a merge that brings more does not count.".to_owned());
    acts
}

fn commits(spec: &ApprovalSpec, into: &str) -> Vec<String> {
    let into = code(into);
    let mut acts = vec![format!(
        "**Merge** this branch into {into} to approve, with a merge commit that you sign and that brings nothing else: `git merge --no-ff -S`."
    )];
    let others: Vec<String> = spec
        .verdicts
        .iter()
        // who decides instead is not said in a file
        .filter(|verdict| !matches!(verdict, Verdict::Approve | Verdict::Delegate))
        .map(|verdict| code(&verdict.to_string()))
        .collect();
    if !others.is_empty() {
        acts.push(format!(
            "Write {} as the `verdict`, and say why in `comment`, in the merge or in a signed commit on {into} for another answer.",
            others.join(" or ")
        ));
    }
    if spec.quorum > 1 {
        acts.push(format!(
            "**{} people** must approve: whoever comes after the first changes the `comment` in a signed commit on {into}.",
            spec.quorum
        ));
    }
    if spec.form.is_some() {
        acts.push("Fill in `values` if the question asks for them.".to_owned());
    }
    acts.push("The newest answer of a person counts. Change nothing else in this file.".to_owned());
    acts
}

fn who(spec: &ApprovalSpec) -> String {
    let verb = "whoever has the verb `approve` on it in the cluster";
    let mut who = match &spec.approvers {
        None => verb.to_owned(),
        Some(approvers) => format!("{}, of {verb}", list(approvers)),
    };
    for step in &spec.escalate {
        let _ = write!(
            who,
            "; after {} also {}",
            code(&step.after.to_string()),
            list(&step.to)
        );
    }
    if !spec.self_approval {
        who.push_str("; not who asked for it or wrote it");
    }
    who
}

fn list(approvers: &Approvers) -> String {
    let users = approvers.users.iter().map(|user| code(user));
    let groups = approvers
        .groups
        .iter()
        .map(|group| format!("the group {}", code(group)));
    let accounts = approvers.service_accounts.iter();
    let accounts = accounts.map(|account| format!("the service account {}", code(account)));
    let all: Vec<String> = users.chain(groups).chain(accounts).collect();
    let named = if approvers.is_everybody_else() {
        "everybody".to_owned()
    } else if all.is_empty() {
        "nobody".to_owned()
    } else {
        all.join(", ")
    };
    let excluded: Vec<String> = approvers.exclude.iter().map(|user| code(user)).collect();
    if excluded.is_empty() {
        named
    } else {
        format!("{named} but {}", excluded.join(", "))
    }
}

/// What is shown: whole if there is room for all of it, else the beginning of what is larger than its share.
fn shown(text: &mut String, spec: &ApprovalSpec, namespace: &str, name: &str) {
    let whole: Vec<String> = spec
        .show
        .iter()
        .map(|item| section(item, "", &item.inline))
        .collect();
    let sizes: Vec<usize> = whole.iter().map(String::len).collect();
    let room = MAX_BODY.saturating_sub(text.len());
    if sizes.iter().sum::<usize>() <= room {
        text.extend(whole);
        return;
    }
    let command = code(&format!("kubectl get approval {name} -n {namespace} -o yaml"));
    let end = |missing: usize| match missing {
        0 => format!("\nAll of it: {command}\n"),
        missing => format!("\nThere is no room here for {missing} more. All of it: {command}\n"),
    };
    let share = fair_share(sizes, room.saturating_sub(end(spec.show.len()).len()));
    let mut missing = 0;
    for (item, whole) in spec.show.iter().zip(whole) {
        if whole.len() <= share {
            text.push_str(&whole);
        } else if let Some(beginning) = beginning(item, share) {
            text.push_str(&beginning);
        } else {
            missing += 1;
        }
    }
    text.push_str(&end(missing));
}

fn section(item: &ShownItem, note: &str, inline: &str) -> String {
    // a forge does not show it, and its text says nothing
    if let Some(told) = binary(item) {
        return format!("\n#### {}\n\n{}\n", code(&item.name), code(&told));
    }
    let (name, block) = (code(&item.name), block(colour(item), inline));
    format!("\n#### {name}\n\n{note}{block}")
}

/// The most that each may have so that all fit into the room: what the small ones leave is for the others.
fn fair_share(mut sizes: Vec<usize>, mut room: usize) -> usize {
    sizes.sort_unstable();
    let mut left = sizes.len();
    for size in sizes {
        let share = room / left;
        if size > share {
            return share;
        }
        room -= size;
        left -= 1;
    }
    usize::MAX
}

/// As much of the beginning of an item as fits, in whole lines unless they are very long; none if not even that it is there can be said.
fn beginning(item: &ShownItem, room: usize) -> Option<String> {
    let (inline, size) = (&*item.inline, item.inline.len());
    let digest = code(&Digest::of(inline.as_bytes()).to_string());
    let up_to = |end: usize| {
        let left_out = size - end;
        let note = format!(
            "**Only the beginning is shown:** {end} of {size} bytes. {left_out} are left out; the digest of all of it is {digest}.\n\n"
        );
        section(item, &note, &inline[..end])
    };
    let fits = |end: usize| up_to(end).len() + DIGITS <= room;
    // escaping and the fence make each text longer in its own way, so it is tried
    let (mut end, mut beyond) = (0, size.min(room));
    while beyond - end > 1 {
        let mut middle = end.midpoint(beyond);
        while !inline.is_char_boundary(middle) {
            middle -= 1;
        }
        if middle > end && fits(middle) {
            end = middle;
        } else if middle > end {
            beyond = middle;
        } else {
            break;
        }
    }
    let line = inline[..end].rfind('\n').map_or(0, |at| at + 1);
    let end = if line >= end / 2 { line } else { end };
    fits(end).then(|| up_to(end))
}

/// What colours an item as what it is.
fn colour(item: &ShownItem) -> &'static str {
    match item.media_type.as_str() {
        "application/json" => "json",
        "text/x-diff" | "text/x-patch" => "diff",
        "application/yaml" => "yaml",
        "text/markdown" => "markdown",
        // a patch of git says so in its first line
        _ if item.inline.starts_with("diff --git ") || item.inline.starts_with("--- ") => "diff",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(more: &Value) -> ApprovalSpec {
        let mut spec = json!({
            "subject": {"run": "r", "step": "review", "iteration": 2}, "purpose": "Step",
            "digest": format!("sha256:{}", "0".repeat(64)), "title": "Refund 250 for `81`?", "quorum": 1, "selfApproval": false,
            "requestedBy": "dev@example.com", "verdicts": ["Approve", "Reject", "RequestChanges"],
            "approvers": {"groups": ["finance"]}, "expiresAt": "2026-11-23T10:00:00Z",
            "show": [{"name": "quote", "mediaType": "application/json", "inline": "{\n  \"amount\": 250\n}"},
                {"name": "patch", "mediaType": "text/plain", "inline": "--- a\n+++ b\n-```\n+x\n"}],
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn put<'a>(spec: &'a ApprovalSpec, name: &'a str) -> Question<'a> {
        Question {
            spec,
            namespace: "shop",
            name,
            uid: "0b9c",
            put: PutAs::PullRequest,
        }
    }

    #[test]
    fn a_question_reads_like_this() {
        insta::assert_snapshot!(put(&spec(&json!({})), "r-review-2").body());
    }

    #[test]
    fn a_description_says_of_which_question_it_is_even_of_those_of_one_name() {
        let spec = spec(&json!({}));
        let ours = put(&spec, "r-review");
        let before = Question { uid: "a111", ..ours };
        assert!(!ours.is_not_of(&ours.body().replace('\n', "\r\n")));
        assert!(ours.is_not_of(&before.body()));
        assert!(!ours.is_not_of("Refund 1, as always"), "nobody can tell");
    }

    #[test]
    fn neither_the_title_nor_the_message_closes_or_mentions_anything() {
        let spec = spec(&json!({"title": "Closes #57 @alice\nFixes GH-58"}));
        let asked = put(&spec, "r-review");
        assert_eq!(asked.title(), "Sign off: Closes # 57 @ alice␊Fixes GH- 58");
        assert_eq!(asked.message(), "Put the question shop/r-review");
    }

    #[test]
    fn a_quorum_is_explained() {
        let text = put(&spec(&json!({"quorum": 3})), "r-review").body();
        assert!(text.contains("**3 people** must approve"), "{text}");
    }

    #[test]
    fn nothing_of_a_flow_becomes_markdown_of_ours() {
        let hostile = "x\n# Approved\n<!-- signoff --> @everybody";
        let spec = spec(&json!({"title": hostile, "requestedBy": hostile}));
        let text = put(&spec, "r").body();
        assert!(!text.lines().any(|line| line.starts_with("# ")), "{text}");
        assert!(!text.contains("<!--"), "{text}");
        assert!(!put(&spec, "r").title().contains('\n'));
    }

    /// A body that shows these texts under these names.
    fn showing(items: &[(&str, &str)]) -> String {
        let show: Vec<Value> = items
            .iter()
            .map(|(name, text)| json!({"name": name, "mediaType": "text/plain", "inline": text}))
            .collect();
        put(&spec(&json!({"show": show})), "r").body()
    }

    /// What stands in the block under a name.
    fn block_of<'a>(text: &'a str, name: &str) -> &'a str {
        let (_, section) = text.split_once(&format!("#### `{name}`\n")).unwrap();
        let (_, block) = section.split_once("```\n").unwrap();
        block.split_once("```\n").unwrap().0
    }

    #[test]
    fn of_what_does_not_fit_the_beginning_is_shown_in_whole_lines_with_size_and_digest() {
        let lines: Vec<String> = (1..=4_000).map(|n| format!("line {n} of many\n")).collect();
        let large = lines.concat();
        let text = showing(&[("large", &large), ("small", "s\n")]);
        assert!(
            text.len() <= MAX_BODY && text.len() > MAX_BODY - 200,
            "{}",
            text.len()
        );
        let shown = block_of(&text, "large");
        assert!(large.starts_with(shown) && shown.ends_with("many\n"));
        let said = format!(
            "**Only the beginning is shown:** {} of {} bytes. {} are left out; the digest of all of it is `{}`.\n",
            shown.len(),
            large.len(),
            large.len() - shown.len(),
            Digest::of(large.as_bytes())
        );
        assert!(text.contains(&said), "{said}");
        assert_eq!(block_of(&text, "small"), "s\n");
        assert!(text.ends_with("\nAll of it: `kubectl get approval r -n shop -o yaml`\n"));
        assert_eq!(text, showing(&[("large", &large), ("small", "s\n")]));
    }

    #[test]
    fn each_item_has_a_fair_share_and_leaves_to_the_others_what_it_does_not_need() {
        assert_eq!(fair_share(vec![10, 10], 20), usize::MAX);
        assert_eq!(fair_share(vec![90, 10, 90], 100), 45);
        assert_eq!(fair_share(vec![], 0), usize::MAX);
        let (first, second) = ("a\n".repeat(30_000), "b\n".repeat(20_000));
        let text = showing(&[("first", &first), ("middle", "m\n"), ("second", &second)]);
        let shown = |name| block_of(&text, name).len();
        assert_eq!(shown("middle"), 2);
        assert!(
            shown("first").abs_diff(shown("second")) < 50,
            "{}",
            shown("first")
        );
        assert!(shown("second") > 27_000, "{}", shown("second"));
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        for large in [
            "x".repeat(60_000),
            "é".repeat(30_000),
            format!("\n{}", "日".repeat(21_000)),
        ] {
            let text = showing(&[("large", &large)]);
            assert!(text.len() <= MAX_BODY, "{}", text.len());
            let shown = block_of(&text, "large");
            let shown = shown.strip_suffix('\n').unwrap();
            assert!(
                large.starts_with(shown) && shown.len() > 50_000,
                "{}",
                shown.len()
            );
        }
    }

    #[test]
    fn the_beginning_of_a_hostile_text_stays_in_its_block() {
        let fences = format!("{}\n# Approved\n<!-- signoff -->\n", "`".repeat(5));
        for large in [fences.repeat(2_000), "<!--".repeat(16_000), "`".repeat(65_000)] {
            let text = showing(&[("large", &large), ("after", "a")]);
            assert!(text.len() <= MAX_BODY, "{}", text.len());
            assert!(!text.contains("<!--"));
            let mut lines = text.lines().skip_while(|line| !line.starts_with("```"));
            let fence = lines.next().unwrap();
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != fence).collect();
            let shown = inside.join("\n").replace(r"\u{3c}!--", "<!--");
            assert!(
                large.starts_with(&shown) && shown.len() > 9_000,
                "{}",
                shown.len()
            );
            let after: Vec<&str> = lines.collect();
            let all = "All of it: `kubectl get approval r -n shop -o yaml`";
            assert_eq!(after, ["", "#### `after`", "", "```", "a", "```", "", all]);
        }
    }

    #[test]
    fn however_much_is_shown_and_whoever_may_decide_it_fits() {
        let large = "x\n".repeat(32_768);
        let names: Vec<String> = (0..32).map(|n| format!("item-{n}")).collect();
        let items: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*large)).collect();
        let text = showing(&items);
        assert!(text.len() <= MAX_BODY, "{}", text.len());
        assert_eq!(text.matches("**Only the beginning is shown:**").count(), 32);
        let show: Vec<Value> = items
            .iter()
            .map(|(name, text)| json!({"name": name, "mediaType": "text/plain", "inline": text}))
            .collect();
        let users = vec!["u".repeat(200); 270];
        let text = put(&spec(&json!({"show": show, "approvers": {"users": users}})), "r").body();
        assert!(text.len() <= MAX_BODY, "{}", text.len());
        assert!(text.contains("There is no room here for 32 more."));
    }
}
