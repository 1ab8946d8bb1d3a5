//! The file that holds a question on its branch: what it is bound to, and the values that may be filled in.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text::body;
use crate::api::{ApprovalSpec, Digest, Verdict, json::JsonObject};

/// Largest file that is read, in bytes.
const MAX_FILE: usize = 256 * 1024;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionFile {
    /// Name of the Approval.
    pub approval: String,
    /// Its namespace.
    pub namespace: String,
    /// Digest of what was shown.
    pub digest: Digest,
    /// Counts the pull requests that put this question, from 1.
    pub attempt: u32,
    /// What the form asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<JsonObject>,
    /// The answer, where it is the file that holds it; on a pull request what is done with that is the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What is said with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Where a file is put, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutAs<'a> {
    /// On the branch of a pull request, which shows the question.
    PullRequest,
    /// On a branch that is to be merged into this one; the file shows the question.
    Branch(&'a str),
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
    /// It cannot be read.
    #[error("the file with the question cannot be read: {0}")]
    Unreadable(String),
    /// It is about something else.
    #[error("the {0} in the file was changed: it is not that of the question")]
    Altered(&'static str),
}

impl QuestionFile {
    /// The text of the file, with what its reader needs to know.
    pub fn render(&self, spec: &ApprovalSpec, put: PutAs<'_>) -> String {
        let mut text = match put {
            PutAs::PullRequest => String::from(
                "# A question. Merging the pull request that adds this file approves, closing it rejects.\n\
                 # Change nothing but the values: an answer to another question does not count.\n",
            ),
            PutAs::Branch(into) => {
                commented(&body(spec, &self.namespace, &self.approval, PutAs::Branch(into)))
            }
        };
        // fails for no text: each is a scalar on one line
        let scalar = |value: &str| serde_json::to_string(value).unwrap_or_default();
        let _ = writeln!(text, "approval: {}", scalar(&self.approval));
        let _ = writeln!(text, "namespace: {}", scalar(&self.namespace));
        let _ = writeln!(text, "digest: {}", scalar(&self.digest.to_string()));
        let _ = writeln!(text, "attempt: {}", self.attempt);
        if let Some(form) = &spec.form {
            text.push_str("# What you may fill in:\n");
            for line in fields(&form.0) {
                let _ = writeln!(text, "#   {line}");
            }
            let filled = self.values.as_ref().map(JsonObject::to_value);
            let filled = on_one_line(&filled.unwrap_or_else(|| json!({})));
            let _ = writeln!(text, "values: {filled}");
        }
        if let PutAs::Branch(_) = put {
            let verdicts: Vec<String> = spec.verdicts.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "# {}", verdicts.join(", "));
            text.push_str("verdict: Approve\ncomment: \"\"\n");
        }
        text
    }

    /// Reads a file and checks that it is about this question, whatever else was changed.
    pub fn read(content: Option<&[u8]>, expected: &Self) -> Result<Self, FileProblem> {
        let content = content.ok_or(FileProblem::Missing)?;
        if content.len() > MAX_FILE {
            return Err(FileProblem::TooLarge);
        }
        let unreadable = |why: String| FileProblem::Unreadable(why.chars().take(300).collect());
        let text = std::str::from_utf8(content).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        let read: Self = serde_yaml::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let same = [
            ("approval", read.approval == expected.approval),
            ("namespace", read.namespace == expected.namespace),
            ("digest", read.digest == expected.digest),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((field, _)) => Err(FileProblem::Altered(field)),
            None => Ok(read),
        }
    }
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

/// The properties of a form, a line each.
fn fields(form: &Value) -> Vec<String> {
    let required: Vec<&str> = form["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = form["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| {
            let kind = schema["type"].as_str().unwrap_or("any");
            let needed = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            let about = schema["description"].as_str().unwrap_or_default();
            let line = format!("{name} ({kind}{needed}): {about}");
            // a text of the flow must not begin a line of its own
            line.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(500)
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> QuestionFile {
        QuestionFile {
            approval: "r-review".into(),
            namespace: "shop".into(),
            digest: Digest::of(b"shown"),
            attempt: 1,
            values: None,
            verdict: None,
            comment: None,
        }
    }

    fn spec(form: &Value) -> ApprovalSpec {
        serde_json::from_value(json!({
            "subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": "Step",
            "digest": Digest::of(b"shown"), "title": "go?", "quorum": 1, "selfApproval": false,
            "verdicts": ["Approve", "Reject"], "form": form,
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = file().render(&spec(&json!(null)), PutAs::PullRequest);
        assert_eq!(
            QuestionFile::read(Some(text.as_bytes()), &file()).unwrap(),
            file()
        );
    }

    #[test]
    fn the_form_stands_in_comments_that_its_texts_cannot_leave() {
        let about = "whether\ndigest: sha256:0";
        let form = json!({"required": ["happened"], "properties": {"happened": {"type": "boolean", "description": about}}});
        let text = file().render(&spec(&form), PutAs::PullRequest);
        assert!(
            text.contains("#   happened (boolean, required): whether digest: sha256:0\n"),
            "{text}"
        );
        let read = QuestionFile::read(Some(text.as_bytes()), &file()).unwrap();
        assert_eq!(read.values.map(|values| values.to_value()), Some(json!({})));
        let filled = text.replace("values: {}", "values: {happened: true}");
        let read = QuestionFile::read(Some(filled.as_bytes()), &file()).unwrap();
        assert_eq!(
            read.values.map(|values| values.to_value()),
            Some(json!({"happened": true}))
        );
    }

    #[test]
    fn what_others_have_filled_in_stands_there_already() {
        let form = json!({"properties": {"note": {"type": "string"}}});
        let values = json!({"note": "a: {b}\n# \u{2028}c", "amount": 5});
        let filled = QuestionFile {
            values: values.as_object().cloned().map(JsonObject),
            ..file()
        };
        let text = filled.render(&spec(&form), PutAs::PullRequest);
        assert_eq!(
            QuestionFile::read(Some(text.as_bytes()), &file()).unwrap(),
            filled
        );
    }

    #[test]
    fn a_file_that_is_merged_as_a_branch_shows_the_question_and_holds_the_answer() {
        let mut asked = spec(&json!(null));
        asked.title = "go?\u{2028}verdict: Reject".to_owned();
        let text = file().render(&asked, PutAs::Branch("main"));
        insta::assert_snapshot!(text);
        let read = QuestionFile::read(Some(text.as_bytes()), &file()).unwrap();
        assert_eq!(read.verdict, Some(Verdict::Approve));
        let other = text.replace("verdict: Approve", "verdict: Reject");
        let read = QuestionFile::read(Some(other.as_bytes()), &file()).unwrap();
        assert_eq!(read.verdict, Some(Verdict::Reject));
    }

    #[test]
    fn a_file_about_something_else_is_no_answer() {
        let text = file().render(&spec(&json!(null)), PutAs::PullRequest);
        let other = Digest::of(b"other").to_string();
        for (from, to, why) in [
            (file().digest.to_string(), other, FileProblem::Altered("digest")),
            (
                "r-review".into(),
                "r-pay".into(),
                FileProblem::Altered("approval"),
            ),
            ("shop".into(), "bank".into(), FileProblem::Altered("namespace")),
        ] {
            let altered = text.replace(&from, &to);
            assert_eq!(QuestionFile::read(Some(altered.as_bytes()), &file()), Err(why));
        }
        assert_eq!(QuestionFile::read(None, &file()), Err(FileProblem::Missing));
        for bad in ["", "approval: [", "verdict: Approve", "\u{0}"] {
            let read = QuestionFile::read(Some(bad.as_bytes()), &file());
            assert!(
                matches!(read, Err(FileProblem::Unreadable(_))),
                "{bad:?}: {read:?}"
            );
        }
        let large = vec![b'#'; MAX_FILE + 1];
        assert_eq!(
            QuestionFile::read(Some(&large), &file()),
            Err(FileProblem::TooLarge)
        );
    }
}
