//! Regular expressions with the syntax of RE2, compiled and matched within the budget.
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "what is pushed is small, and measured before"
)]

use std::{collections::HashMap, sync::Arc};

use regex::{Regex, RegexBuilder};

use crate::{budget::Budget, error::Error, evaluate::Call};

/// Patterns that an evaluation has compiled.
#[derive(Default)]
pub(crate) struct Patterns {
    compiled: HashMap<String, (Arc<Regex>, Size)>,
}

/// How large a compiled pattern may be; a pattern is tried with the smallest first. Matching takes, at worst, time in proportion to the
/// size of both the pattern and the text.
#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    compiling: u64,
    bytes_a_step: usize,
}

const SIZES: [Size; 3] = [
    Size {
        bytes: 32 << 10,
        compiling: 500,
        bytes_a_step: 8,
    },
    Size {
        bytes: 256 << 10,
        compiling: 10_000,
        bytes_a_step: 1,
    },
    Size {
        bytes: 2 << 20,
        compiling: 100_000,
        bytes_a_step: 0,
    },
];

/// A pattern that is matched with a text of some length, with the steps for it taken.
pub(crate) fn get(call: &mut Call<'_>, pattern: &str, text: usize) -> Result<Arc<Regex>, Error> {
    let known = call.patterns.compiled.get(pattern).cloned();
    let (regex, size) = if let Some(known) = known {
        known
    } else {
        let compiled = compile(pattern, call.budget)?;
        let key = pattern.to_owned();
        call.patterns.compiled.insert(key, compiled.clone());
        compiled
    };
    let steps = match size.bytes_a_step {
        0 => text as u64 * 16,
        bytes => (text / bytes) as u64,
    };
    call.budget.step(1 + steps)?;
    Ok(regex)
}

fn compile(pattern: &str, budget: &mut Budget) -> Result<(Arc<Regex>, Size), Error> {
    let invalid = |why: &str| Error::failed(format!("error parsing regexp: {why}"));
    budget.scan(pattern.len())?;
    let translated = translate(pattern).map_err(invalid)?;
    for size in SIZES {
        budget.step(size.compiling)?;
        budget.allocate(size.bytes)?;
        let built = RegexBuilder::new(&translated)
            .size_limit(size.bytes)
            .dfa_size_limit(size.bytes)
            .nest_limit(100)
            .build();
        match built {
            Ok(regex) => return Ok((Arc::new(regex), size)),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => {
                let text = error.to_string();
                return Err(invalid(text.lines().last().unwrap_or_default().trim()));
            }
        }
    }
    Err(invalid("expression too large"))
}

/// From RE2's syntax to that of the library: classes are of ASCII, and what only the library knows is refused or taken literally.
fn translate(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    // whether what came before may be repeated, and whether it is a repetition already
    let mut is_repetition = false;
    while let Some(c) = chars.next() {
        let was_repetition = std::mem::take(&mut is_repetition);
        match c {
            '\\' => match chars.next() {
                None => return Err("trailing backslash at end of expression"),
                Some('Q') => {
                    let rest: String = chars.clone().collect();
                    let literal = rest.split("\\E").next().unwrap_or_default();
                    out.push_str(&regex::escape(literal));
                    for _ in 0..literal.chars().count() {
                        chars.next();
                    }
                    if rest.len() > literal.len() {
                        chars.next();
                        chars.next();
                    }
                }
                Some('b') => out.push_str("(?-u:\\b)"),
                Some('C') => return Err("invalid escape sequence: `\\C`"),
                Some(octal @ '0'..='7') => octal_escape(octal, &mut chars, &mut out)?,
                Some(named @ ('p' | 'P' | 'x')) => {
                    out.push('\\');
                    out.push(named);
                    braces(&mut chars, &mut out);
                }
                Some('<') => out.push('<'),
                Some('>') => out.push('>'),
                Some(escaped) => out.push_str(&class_escape(escaped)?),
            },
            '[' => class(&mut chars, &mut out)?,
            '(' => {
                out.push('(');
                if chars.peek() == Some(&'?') {
                    let mut ahead = chars.clone();
                    ahead.next();
                    for flag in ahead {
                        match flag {
                            'i' | 'm' | 's' | 'U' | '-' => {}
                            ':' | ')' | 'P' | '<' => break,
                            _ => return Err("invalid or unsupported Perl syntax"),
                        }
                    }
                    out.push('?');
                    chars.next();
                }
            }
            '*' | '+' | '?' | '{' => {
                let counted = if c == '{' {
                    counted(chars.clone())?
                } else {
                    Some(0)
                };
                let Some(length) = counted else {
                    out.push_str("\\{");
                    continue;
                };
                if was_repetition {
                    return Err("invalid nested repetition operator");
                }
                out.push(c);
                for _ in 0..length {
                    out.extend(chars.next());
                }
                if chars.peek() == Some(&'?') {
                    out.push('?');
                    chars.next();
                }
                is_repetition = true;
            }
            '}' => out.push_str("\\}"),
            ']' => out.push_str("\\]"),
            other => out.push(other),
        }
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What is between braces, if they follow.
fn braces(chars: &mut Chars<'_>, out: &mut String) {
    if chars.peek() == Some(&'{') {
        for c in chars.by_ref() {
            out.push(c);
            if c == '}' {
                break;
            }
        }
    }
}

/// `\0` or `\141`; a digit alone that is not zero would refer to a group.
fn octal_escape(first: char, chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    let mut digits = String::from(first);
    while digits.len() < 3
        && let Some(digit) = chars.peek().filter(|c| matches!(c, '0'..='7'))
    {
        digits.push(*digit);
        chars.next();
    }
    if digits.len() == 1 && first != '0' {
        return Err("invalid escape sequence");
    }
    let code = u32::from_str_radix(&digits, 8).map_err(|_| "invalid escape sequence")?;
    *out += &format!("\\x{{{code:x}}}");
    Ok(())
}

/// How many characters follow `{` in a repetition; none if the brace is taken literally.
fn counted(rest: impl Iterator<Item = char>) -> Result<Option<usize>, &'static str> {
    let body: String = rest.take_while(|c| *c != '}').take(16).collect();
    let bounds: Vec<&str> = body.split(',').collect();
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let fits = match bounds.as_slice() {
        [exact] => is_number(exact),
        [least, most] => is_number(least) && (most.is_empty() || is_number(most)),
        _ => false,
    };
    if !fits {
        return Ok(None);
    }
    let too_many = |text: &&str| !text.is_empty() && text.parse::<u32>().map_or(true, |count| count > 1000);
    if bounds.iter().any(too_many) {
        return Err("invalid repeat count");
    }
    Ok(Some(body.len() + 1))
}

fn class_escape(escaped: char) -> Result<String, &'static str> {
    Ok(match escaped {
        'd' => "[0-9]".to_owned(),
        'D' => "[^0-9]".to_owned(),
        'w' => "[0-9A-Za-z_]".to_owned(),
        'W' => "[^0-9A-Za-z_]".to_owned(),
        's' => "[\\t\\n\\x0C\\r ]".to_owned(),
        'S' => "[^\\t\\n\\x0C\\r ]".to_owned(),
        'a' => "\\x07".to_owned(),
        'Z' | 'u' | 'U' | 'G' | 'k' | '8' | '9' => return Err("invalid escape sequence"),
        other => format!("\\{other}"),
    })
}

/// What is between brackets.
fn class(chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    out.push('[');
    if chars.peek() == Some(&'^') {
        out.push('^');
        chars.next();
    }
    let mut is_first = true;
    loop {
        let c = chars.next().ok_or("missing closing ]")?;
        match c {
            ']' if !is_first => break,
            ']' => out.push_str("\\]"),
            '[' => {
                let rest: String = chars.clone().take(12).collect();
                if rest.starts_with(':') && rest.contains(":]") {
                    let end = rest.find(":]").unwrap_or_default() + 2;
                    out.push('[');
                    for _ in 0..end {
                        out.extend(chars.next());
                    }
                } else {
                    out.push_str("\\[");
                }
            }
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => {
                let escaped = chars.next().ok_or("missing closing ]")?;
                match escaped {
                    'b' => return Err("invalid escape sequence"),
                    '0'..='7' => octal_escape(escaped, chars, out)?,
                    'p' | 'P' | 'x' => {
                        out.push('\\');
                        out.push(escaped);
                        braces(chars, out);
                    }
                    other => out.push_str(&class_escape(other)?),
                }
            }
            other => out.push(other),
        }
        is_first = false;
    }
    out.push(']');
    Ok(())
}
