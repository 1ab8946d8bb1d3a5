//! A report in the format that CI systems read: `JUnit` XML.

use std::fmt::Write as _;

use signoff_api::text::visible;

/// A report of scenarios, each as `(file, name, what is not as expected)`.
pub fn junit<'a>(scenarios: impl IntoIterator<Item = (&'a str, &'a str, &'a [String])>) -> String {
    let (mut cases, mut tests, mut failures) = (String::new(), 0, 0);
    for (file, name, problems) in scenarios {
        tests += 1;
        // writing to a string cannot fail
        let _ = write!(
            cases,
            "    <testcase classname=\"{}\" name=\"{}\"",
            escaped(file),
            escaped(name)
        );
        match problems {
            [] => cases.push_str("/>\n"),
            [first, ..] => {
                failures += 1;
                let _ = write!(
                    cases,
                    ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                    escaped(first),
                    escaped(&problems.join("\n"))
                );
            }
        }
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{tests}\" failures=\"{failures}\">\n  <testsuite name=\"signoff test\" \
         tests=\"{tests}\" failures=\"{failures}\">\n{cases}  </testsuite>\n</testsuites>\n"
    )
}

/// Text without the characters that XML does not take, and those that it reads as its own.
fn escaped(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| visible(line).into_owned()).collect();
    lines
        .join("\n")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_escapes() {
        let problems = ["a < \"b\" & c\u{1}".to_owned()];
        let report = junit([("f.yaml", "good", &[][..]), ("f.yaml", "bad", &problems[..])]);
        assert!(report.contains("tests=\"2\" failures=\"1\""), "{report}");
        assert!(report.contains("a &lt; &quot;b&quot; &amp; c"), "{report}");
        assert!(!report.contains('\u{1}'), "{report}");
    }
}
