//! What a command wrote, as much of it as the status takes.

use serde_json::{Value, json};

/// Most bytes of the output, as JSON: less than a step may have, for what is around it.
const MOST: usize = 60 * 1024;
/// What is left out is cut in steps of this many bytes.
const CUT: usize = 1_024;

/// The output of a command: the ends of what it wrote, if all of it is too large.
pub(super) fn fitting(exit_code: i64, stdout: &str, stderr: &str) -> Value {
    let written = |text: &str| Value::from(text).to_string().len();
    let (mut out, mut err) = (stdout, stderr);
    while written(out) + written(err) > MOST {
        // the longer one has more that is old
        let longer = if out.len() >= err.len() {
            &mut out
        } else {
            &mut err
        };
        let begins = longer.ceil_char_boundary(CUT.min(longer.len()));
        *longer = &longer[begins..];
    }
    json!({
        "exitCode": exit_code,
        "stdout": marked(stdout, out),
        "stderr": marked(stderr, err),
    })
}

fn marked(all: &str, kept: &str) -> String {
    match all.len() - kept.len() {
        0 => kept.to_owned(),
        cut => format!("[{cut} more bytes before this]\n{kept}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_long_texts_are_kept_and_short_ones_are_whole() {
        assert_eq!(
            fitting(0, "a\n", "é"),
            json!({ "exitCode": 0, "stdout": "a\n", "stderr": "é" })
        );
        for long in ["é".repeat(64 * 1024), "\u{1}".repeat(64 * 1024)] {
            let long = format!("{long}end");
            let output = fitting(1, &long, "short");
            assert!(output.to_string().len() <= 64 * 1024);
            assert!(output["stdout"].as_str().unwrap().ends_with("end"));
            assert!(output["stdout"].as_str().unwrap().starts_with('['));
            assert_eq!(output["stderr"], "short");
        }
    }
}
