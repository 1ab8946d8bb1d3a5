//! The file that holds a question on its branch, and the answer in it.
//!
//! What is asked stands above what may be filled in, and is compared byte for byte: whoever signs or merges the file answers what it shows.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::{PutAs, Question};
use crate::judge::{Field, Form};
use signoff_api::{Json, Verdict, json::JsonObject, text::visible, yaml_budget};

/// Largest file that is read, in bytes.
const MAX_FILE: usize = 256 * 1024;
/// Largest answer in it, in bytes: what stands below the question.
const MAX_ANSWER: usize = 64 * 1024;
/// Begins the line that counts how often a question was put.
const ATTEMPT: &str = "attempt: ";
/// Most places of an answer that may be comments; fewer in one that is large, since it is read once more for each.
const MAX_MARKS: usize = 64;

/// What people wrote into the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What the form asks for.
    #[serde(default)]
    pub values: Option<JsonObject>,
    /// The answer, where it is the file that holds it; on a pull request what is done with that is the answer.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// What is said with it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Why a file does not answer a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// It is not there.
    #[error("the file with the question is not there any more")]
    Missing,
    /// It is too large.
    #[error("the file with the question is larger than {MAX_FILE} bytes")]
    TooLarge,
    /// What is filled in is too large.
    #[error("the answer in the file with the question is larger than {MAX_ANSWER} bytes")]
    AnswerTooLarge,
    /// It cannot be read.
    #[error("the answer in the file with the question cannot be read: {0}")]
    Unreadable(String),
    /// It shows something else.
    #[error(
        "the file with the question was changed in line {0}: it does not show what is asked, and only `values`, `verdict` and `comment` may be filled in"
    )]
    Altered(usize),
}

impl Question<'_> {
    /// The text of the file. `attempt` counts how often the question was put, from 1; `filled` is what those have filled in who have approved so far.
    pub fn file(&self, attempt: u32, filled: Option<&JsonObject>) -> String {
        let mut text = self.asked(attempt);
        if self.spec.form.is_some() {
            let filled = filled.map(|filled| on_one_line(&filled.to_value()));
            // what was decided elsewhere may be more than is read here
            let filled = filled.filter(|filled| filled.len() <= MAX_ANSWER / 2);
            let _ = writeln!(text, "values: {}", filled.as_deref().unwrap_or("{}"));
        }
        if let PutAs::Branch(_) = self.put {
            text.push_str("verdict: Approve\ncomment: \"\"\n");
        }
        text
    }

    /// What of the file nobody may change.
    fn asked(&self, attempt: u32) -> String {
        let mut text = commented(&self.body());
        // fails for no text: each is a scalar on one line
        let scalar = |value: &str| serde_json::to_string(value).unwrap_or_default();
        let _ = writeln!(text, "approval: {}", scalar(self.name));
        let _ = writeln!(text, "namespace: {}", scalar(self.namespace));
        let _ = writeln!(text, "digest: {}", scalar(&self.spec.digest.to_string()));
        let _ = writeln!(text, "{ATTEMPT}{attempt}");
        if let Some(form) = &self.spec.form {
            text.push_str("# What you may fill in as values:\n");
            for line in fields(form) {
                let _ = writeln!(text, "#   {line}");
            }
        }
        if let PutAs::Branch(_) = self.put {
            let offered = self.spec.verdicts.iter();
            let offered = offered.filter(|verdict| **verdict != Verdict::Delegate);
            let verdicts: Vec<String> = offered.map(ToString::to_string).collect();
            let _ = writeln!(text, "# The verdict is one of {}.", verdicts.join(", "));
        }
        text
    }

    /// Reads the answer in a file that asks this and nothing else. Anybody who may push may have written the file, and reading it may take
    /// some tenths of a second.
    pub fn answer(&self, content: Option<&[u8]>) -> Result<Answer, FileProblem> {
        let content = content.ok_or(FileProblem::Missing)?;
        if content.len() > MAX_FILE {
            return Err(FileProblem::TooLarge);
        }
        let unreadable = |why: String| FileProblem::Unreadable(why.chars().take(300).collect());
        let text = std::str::from_utf8(content).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        // editors of forges may end lines so
        let text = text.replace("\r\n", "\n");
        let attempt = text
            .lines()
            .find_map(|line| line.strip_prefix(ATTEMPT)?.parse().ok());
        let asked = self.asked(attempt.unwrap_or(1));
        let Some(filled_in) = text.strip_prefix(&asked) else {
            return Err(FileProblem::Altered(first_difference(&asked, &text)));
        };
        if filled_in.trim().is_empty() {
            return Ok(Answer::default());
        }
        if filled_in.len() > MAX_ANSWER {
            return Err(FileProblem::AnswerTooLarge);
        }
        let answer = parse(filled_in).map_err(unreadable)?;
        match comment_in(filled_in, &answer) {
            Some(line) => Err(FileProblem::Altered(asked.lines().count() + line)),
            None => Ok(answer),
        }
    }
}

/// Reads what was filled in, unless that would cost much more than it shows.
fn parse(filled_in: &str) -> Result<Answer, String> {
    yaml_budget::check(filled_in, 0).map_err(|error| error.to_string())?;
    serde_yaml::from_str(filled_in).map_err(|error| error.to_string())
}

/// The first line, from 1, in which a text is not another.
fn first_difference(asked: &str, found: &str) -> usize {
    let mut found = found.lines();
    let same = asked.lines().take_while(|line| found.next() == Some(line));
    same.count() + 1
}

/// The line, from 1, of a comment in what was filled in: it would be shown beside the question as if it belonged to that. It is one if nothing
/// is different without it.
fn comment_in(filled_in: &str, answer: &Answer) -> Option<usize> {
    let is_mark = |(at, _): &(usize, &str)| {
        let before = filled_in[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    };
    let marks = filled_in.match_indices('#').filter(is_mark);
    let most = MAX_MARKS.min(4 * MAX_ANSWER / filled_in.len().max(1));
    for (count, (at, _)) in marks.enumerate() {
        let end = filled_in[at..].find('\n').map_or(filled_in.len(), |end| at + end);
        let without = format!("{}{}", &filled_in[..at], &filled_in[end..]);
        let same = || parse(&without).is_ok_and(|without| without == *answer);
        if count >= most || same() {
            return Some(filled_in[..at].matches('\n').count() + 1);
        }
    }
    None
}

/// A value as JSON that is YAML as well, which takes some more characters for the end of a line or for none of its own.
fn on_one_line(value: &Value) -> String {
    let escaped = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'..='\u{ffff}');
    value.to_string().chars().fold(String::new(), |mut all, c| {
        if escaped(c) {
            let _ = write!(all, "\\u{:04x}", u32::from(c));
        } else {
            all.push(c);
        }
        all
    })
}

/// A text as the comment of a YAML file.
fn commented(text: &str) -> String {
    // also what other parsers than ours take for the end of a line
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    lines.fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{}", format!("# {line}").trim_end());
        all
    })
}

/// The fields of a form, a line each.
fn fields(form: &Json) -> Vec<String> {
    let line = |field: &Field<'_>| {
        let about = field.about().unwrap_or_default();
        let line = format!("{} ({}): {about}", field.name, field.terms());
        // a text of the flow must not begin a line of its own
        visible(&line).chars().take(500).collect()
    };
    Form::of(Some(form)).fields().iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use signoff_api::{ApprovalSpec, Digest};

    fn spec(form: &Value) -> ApprovalSpec {
        serde_json::from_value(json!({
            "subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": "Step",
            "digest": Digest::of(b"shown"), "title": "go?", "quorum": 1, "selfApproval": false,
            "verdicts": ["Approve", "Reject"], "form": form,
        }))
        .unwrap()
    }

    fn put<'a>(spec: &'a ApprovalSpec, put: PutAs<'a>) -> Question<'a> {
        Question {
            spec,
            namespace: "shop",
            name: "r-review",
            uid: "0b9c",
            put,
        }
    }

    fn form() -> Value {
        json!({"required": ["happened"], "properties": {"happened": {"type": "boolean"}}})
    }

    #[test]
    fn what_is_written_is_an_answer_however_often_it_was_put_and_its_lines_end() {
        let spec = spec(&json!(null));
        let asked = put(&spec, PutAs::PullRequest);
        for text in [
            asked.file(1, None),
            asked.file(7, None),
            asked.file(1, None).replace('\n', "\r\n"),
        ] {
            assert_eq!(asked.answer(Some(text.as_bytes())), Ok(Answer::default()));
        }
    }

    #[test]
    fn the_form_stands_in_comments_that_its_texts_cannot_leave() {
        let about = "whether\ndigest: sha256:0";
        let form = json!({"required": ["happened"], "properties": {"happened": {"type": "boolean", "description": about}}});
        let spec = spec(&form);
        let asked = put(&spec, PutAs::PullRequest);
        let text = asked.file(1, None);
        assert!(
            text.contains("#   happened (boolean, required): whether␊digest: sha256:0\n"),
            "{text}"
        );
        let read = asked.answer(Some(text.as_bytes())).unwrap();
        assert_eq!(read.values.map(|values| values.to_value()), Some(json!({})));
        let filled = text.replace("values: {}", "values: {happened: true}");
        let read = asked.answer(Some(filled.as_bytes())).unwrap();
        assert_eq!(
            read.values.map(|values| values.to_value()),
            Some(json!({"happened": true}))
        );
    }

    #[test]
    fn what_others_have_filled_in_stands_there_already() {
        let form = json!({"properties": {"note": {"type": "string"}}});
        let values = json!({"note": "a: {b}\n# \u{2028}c", "amount": 5});
        let filled = values.as_object().cloned().map(JsonObject);
        let spec = spec(&form);
        let asked = put(&spec, PutAs::PullRequest);
        let text = asked.file(2, filled.as_ref());
        assert_eq!(asked.answer(Some(text.as_bytes())).unwrap().values, filled);
    }

    #[test]
    fn a_file_that_is_merged_as_a_branch_shows_the_question_and_holds_the_answer() {
        let mut spec = spec(&json!(null));
        spec.title = "go?\u{2028}verdict: Reject".to_owned();
        let asked = put(&spec, PutAs::Branch("main"));
        let text = asked.file(1, None);
        insta::assert_snapshot!(text);
        let read = asked.answer(Some(text.as_bytes())).unwrap();
        assert_eq!(read.verdict, Some(Verdict::Approve));
        let other = text.replace("verdict: Approve", "verdict: Reject");
        let read = asked.answer(Some(other.as_bytes())).unwrap();
        assert_eq!(read.verdict, Some(Verdict::Reject));
    }

    #[test]
    fn a_file_that_shows_anything_else_is_no_answer() {
        let spec = spec(&form());
        for way in [PutAs::PullRequest, PutAs::Branch("main")] {
            let asked = put(&spec, way);
            let text = asked.file(1, None);
            let other = Digest::of(b"other").to_string();
            for (from, to) in [
                ("go?", "go? It is only one krone."),
                (&*spec.digest.to_string(), &*other),
                ("r-review", "r-pay"),
                ("shop", "bank"),
                ("0b9c", "a111"),
                ("# What you may", "# Harmless.\n# What you may"),
                ("approval: ", "approval:  "),
                ("#\n", ""),
                ("attempt: 1", "attempt: 1 # harmless"),
                ("attempt: 1", "attempt: 01"),
            ] {
                assert!(text.contains(from), "{from}");
                let altered = text.replacen(from, to, 1);
                let read = asked.answer(Some(altered.as_bytes()));
                assert!(matches!(read, Err(FileProblem::Altered(_))), "{from}: {read:?}");
            }
            let above = format!("# Harmless.\n{text}");
            assert_eq!(asked.answer(Some(above.as_bytes())), Err(FileProblem::Altered(1)));
            assert_eq!(asked.answer(Some(b"")), Err(FileProblem::Altered(1)));
            assert_eq!(asked.answer(None), Err(FileProblem::Missing));
            let large = vec![b'#'; MAX_FILE + 1];
            assert_eq!(asked.answer(Some(&large)), Err(FileProblem::TooLarge));
            let bad = asked.answer(Some(b"\xff"));
            assert!(matches!(bad, Err(FileProblem::Unreadable(_))), "{bad:?}");
        }
    }

    /// An answer of some tens of thousands of bytes that would be a thousand million values.
    fn bomb(each: usize) -> String {
        let (zeros, aliases) = (vec!["0"; each].join(","), vec!["*a "; each].join(","));
        format!("values: {{a: &a [{zeros}], b: [{aliases}]}}\n")
    }

    #[test]
    fn aliases_that_make_a_flood_of_an_answer_are_refused_before_they_are_followed() {
        let spec = spec(&form());
        let asked = put(&spec, PutAs::Branch("main"));
        let text = asked.file(1, None);
        let with = |answer: &str| {
            let altered = text.replace("values: {}\n", answer);
            asked.answer(Some(altered.as_bytes()))
        };
        assert_eq!(with(&bomb(30_000)), Err(FileProblem::AnswerTooLarge));
        let flood = |read: Result<Answer, FileProblem>| {
            let why = read.unwrap_err().to_string();
            assert!(
                why.contains("the aliases make far too much of this text"),
                "{why}"
            );
        };
        flood(with(&bomb(10_000)));
        // nor where a comment or a quote keeps them, which is looked at without it
        for quoted in ["# '\n", "comment: '#\n", "comment: \"#\n  #\n"] {
            let quote = quoted.chars().find(|c| matches!(c, '\'' | '"')).unwrap_or(' ');
            let hidden = format!(
                "{}{}{quote}\n",
                quoted,
                bomb(10_000).replace("values", "  values")
            );
            assert!(with(&hidden).is_err(), "{quoted}");
        }
        for broken in ["comment: '*\n", "values: {a: *b}\n", "values: {a: '*'\n"] {
            let read = with(broken);
            assert!(matches!(read, Err(FileProblem::Unreadable(_))), "{read:?}");
        }
        let nested = format!("values: {}\n", "[".repeat(60_000));
        assert!(matches!(with(&nested), Err(FileProblem::Unreadable(_))));
        // as little as this is as good as written out
        let few = with("values: {a: &a [1], b: *a}\n").unwrap();
        assert_eq!(
            few.values.map(|values| values.to_value()),
            Some(json!({"a": [1], "b": [1]}))
        );
        for several in ["---\nvalues: {}\n---\nvalues: {}\n", "values: {}\n...\n---\n"] {
            let read = with(several);
            assert!(matches!(read, Err(FileProblem::Unreadable(_))), "{read:?}");
        }
    }

    #[test]
    fn values_that_are_too_many_to_be_read_again_are_left_to_be_filled_in() {
        let spec = spec(&form());
        let asked = put(&spec, PutAs::PullRequest);
        let large = json!({"note": "x".repeat(MAX_ANSWER)});
        let text = asked.file(2, large.as_object().cloned().map(JsonObject).as_ref());
        assert!(text.ends_with("values: {}\n"));
        assert!(asked.answer(Some(text.as_bytes())).is_ok());
    }

    #[test]
    fn an_answer_has_no_comments_and_nothing_else_beside_it() {
        let spec = spec(&form());
        let asked = put(&spec, PutAs::Branch("main"));
        let text = asked.file(1, None);
        let line = text.lines().position(|line| line.starts_with("values:")).unwrap();
        for (more, place) in [
            ("values: {} # only one krone\n", 1),
            ("# only one krone\nvalues: {}\n", 1),
            ("values:\n  a: 1\n  # only one krone\n", 3),
            (&*"#\n".repeat(80), 1),
        ] {
            let altered = text.replace("values: {}\n", more);
            let read = asked.answer(Some(altered.as_bytes()));
            assert_eq!(read, Err(FileProblem::Altered(line + place)), "{more}");
        }
        for (comment, meant) in [
            ("\"no #1\"", "no #1"),
            ("|\n  # as it is\n", "# as it is\n"),
            ("it#is", "it#is"),
        ] {
            let said = text.replace("comment: \"\"", &format!("comment: {comment}"));
            let read = asked.answer(Some(said.as_bytes())).unwrap();
            assert_eq!(read.comment.as_deref(), Some(meant));
        }
        for bad in ["approval: [", "other: 1", "verdict: Reject", "values: 1", "- 1"] {
            let altered = text.replace("values: {}", bad);
            let read = asked.answer(Some(altered.as_bytes()));
            assert!(
                matches!(read, Err(FileProblem::Unreadable(_))),
                "{bad:?}: {read:?}"
            );
        }
    }
}
