//! Takes out of what kubectl prints what no two runs share: ids, times, revisions, names of temporary files, widths of columns.

use super::super::mask::is_age;

/// The lines of a text, as both servers should make kubectl print them.
pub fn masked(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(line).collect();
    // the causes of a refusal come in any order
    for causes in lines.chunk_by_mut(|a, b| a.starts_with("* ") && b.starts_with("* ")) {
        causes.sort();
    }
    lines
}

fn line(line: &str) -> String {
    for header in ["diff -u", "--- /", "+++ /"] {
        if line.starts_with(header) {
            return format!("{header}<file>");
        }
    }
    let versioned = line.contains("resourceVersion") || line.contains("Resource Version");
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if is_part(first) {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            out.push_str(&word(&rest[..end], versioned));
            rest = &rest[end..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    columns(&out)
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-:._".contains(c)
}

fn word(word: &str, versioned: bool) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let masked = if is_uid(word) {
        "<uid>"
    } else if word.len() > 18 && word.parse::<jiff::Timestamp>().is_ok() {
        "<time>"
    } else if is_age(word) {
        "<age>"
    } else if versioned && digits(word) {
        "<revision>"
    } else if let Some(port) = word.strip_prefix("127.0.0.1:").filter(|port| digits(port)) {
        return word.replace(port, "<port>");
    } else {
        word
    };
    masked.to_owned()
}

fn is_uid(word: &str) -> bool {
    let lengths: Vec<usize> = word.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && word.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Columns are as wide as what is in them: two spaces or more become two, but for those at the start.
fn columns(line: &str) -> String {
    let indent = line.len() - line.trim_start_matches(['+', '-', ' ']).len();
    let (start, mut rest) = line.split_at(indent);
    let mut out = start.to_owned();
    while let Some(at) = rest.find("  ") {
        out.push_str(&rest[..at]);
        out.push_str("  ");
        rest = rest[at..].trim_start_matches(' ');
    }
    out.push_str(rest);
    out.trim_end().to_owned()
}
