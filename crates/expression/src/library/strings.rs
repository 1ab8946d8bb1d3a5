//! Strings, counted in code points.

use super::{Function, function, method, unfit};
use crate::{
    budget::Budget,
    error::Error,
    evaluate::{Call, Evaluated, texts},
    types::Type::{Int, List, String},
    value::{Text, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    method("charAt", &[String, Int], String, char_at),
    method("indexOf", &[String, String], Int, index_of),
    method("indexOf", &[String, String, Int], Int, index_of),
    method("lastIndexOf", &[String, String], Int, last_index_of),
    method("lastIndexOf", &[String, String, Int], Int, last_index_of),
    method("lowerAscii", &[String], String, |call, a| {
        whole(call, a, str::to_ascii_lowercase)
    }),
    method("upperAscii", &[String], String, |call, a| {
        whole(call, a, str::to_ascii_uppercase)
    }),
    method("trim", &[String], String, |call, a| whole(call, a, trim)),
    method("replace", &[String, String, String], String, replace),
    method("replace", &[String, String, String, Int], String, replace),
    method("split", &[String, String], List, split),
    method("split", &[String, String, Int], List, split),
    method("substring", &[String, Int], String, substring),
    method("substring", &[String, Int, Int], String, substring),
    method("join", &[List], String, join),
    method("join", &[List, String], String, join),
    function("strings.quote", &[String], String, quote),
];

fn made<'a>(text: std::string::String, budget: &mut Budget) -> Evaluated<'a> {
    budget.allocate(text.len())?;
    Ok(Value::text(text))
}

fn out_of_range(index: i64) -> Error {
    Error::failed(format!("index out of range: {index}"))
}

fn char_at<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::String(text), Value::Int(index)] = arguments else {
        return unfit(arguments);
    };
    call.budget.scan(text.len())?;
    let place = usize::try_from(*index).map_err(|_| out_of_range(*index))?;
    match text.chars().nth(place) {
        Some(c) => made(c.to_string(), call.budget),
        None if text.chars().count() == place => Ok(Value::text("")),
        None => Err(out_of_range(*index)),
    }
}

/// Searching takes both lengths at worst; the budget is asked before.
fn runes(text: &Text<'_>, part: &Text<'_>, budget: &mut Budget) -> Result<(Vec<char>, Vec<char>), Error> {
    budget.scan(text.len().saturating_mul(part.len().max(1)) / 4)?;
    budget.allocate(4 * (text.len() + part.len()))?;
    Ok((text.chars().collect(), part.chars().collect()))
}

#[expect(clippy::cast_possible_wrap, reason = "no text is so long")]
fn index_of<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (text, part, offset) = match arguments {
        [Value::String(text), Value::String(part)] => (text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, *offset),
        _ => return unfit(arguments),
    };
    let from = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    let (text, part) = runes(text, part, call.budget)?;
    if part.is_empty() {
        return Ok(Value::Int(from.min(text.len()) as i64));
    }
    let found = text
        .get(from..)
        .and_then(|rest| rest.windows(part.len()).position(|window| window == part));
    Ok(Value::Int(found.map_or(-1, |place| (from + place) as i64)))
}

#[expect(clippy::cast_possible_wrap, reason = "no text is so long")]
fn last_index_of<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (text, part, offset) = match arguments {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, Some(*offset)),
        _ => return unfit(arguments),
    };
    let to = offset
        .map(|offset| usize::try_from(offset).map_err(|_| out_of_range(offset)))
        .transpose()?;
    let (text, part) = runes(text, part, call.budget)?;
    if part.is_empty() {
        return Ok(Value::Int(to.unwrap_or(text.len()).min(text.len()) as i64));
    }
    if to.is_some_and(|to| to >= text.len()) {
        return Ok(Value::Int(-1));
    }
    let last = to.unwrap_or(text.len());
    let mut windows = text.windows(part.len()).enumerate().rev();
    let found = windows.find(|(place, window)| *place <= last && *window == part);
    Ok(Value::Int(found.map_or(-1, |(place, _)| place as i64)))
}

fn whole<'a>(
    call: &mut Call<'_>,
    arguments: &[Value<'a>],
    change: impl Fn(&str) -> std::string::String,
) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => {
            call.budget.scan(text.len())?;
            call.budget.allocate(text.len())?;
            Ok(Value::text(change(text)))
        }
        _ => unfit(arguments),
    }
}

fn trim(text: &str) -> std::string::String {
    text.trim().to_owned()
}

fn replace<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (text, old, new, most) = match arguments {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, -1),
        [
            Value::String(text),
            Value::String(old),
            Value::String(new),
            Value::Int(most),
        ] => (text, old, new, *most),
        _ => return unfit(arguments),
    };
    call.budget.scan(text.len() + old.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // the result may be far longer than the text, so it is measured first
    let count = text.matches(&**old).take(most).count();
    call.budget
        .allocate(text.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(Value::text(text.replacen(&**old, new, most)))
}

fn split<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (text, separator, most) = match arguments {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(most)] => (text, separator, *most),
        _ => return unfit(arguments),
    };
    call.budget.scan(text.len() + separator.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(Value::List(Vec::new().into()));
    }
    if !separator.is_empty() {
        let parts = text.splitn(most, &**separator);
        return texts(parts.map(str::to_owned), call.budget);
    }
    // by code points
    let mut rest: &str = text;
    let mut parts = Vec::new();
    while let Some(c) = rest.chars().next() {
        call.budget.allocate(size_of::<Value<'_>>() + 8)?;
        if parts.len() + 1 == most {
            call.budget.allocate(rest.len())?;
            parts.push(Value::text(rest.to_owned()));
            break;
        }
        parts.push(Value::text(c.to_string()));
        rest = &rest[c.len_utf8()..];
    }
    Ok(Value::List(parts.into()))
}

fn substring<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (text, start, end) = match arguments {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return unfit(arguments),
    };
    call.budget.scan(text.len())?;
    if let Some(end) = end
        && start > end
    {
        return Err(Error::failed(format!(
            "invalid substring range. start: {start}, end: {end}"
        )));
    }
    // the byte at which a code point begins; one past the last is where the text ends
    let byte = |index: i64| {
        let place = usize::try_from(index).map_err(|_| out_of_range(index))?;
        let begins = text.char_indices().map(|(at, _)| at);
        let mut begins = begins.chain(std::iter::once(text.len()));
        begins.nth(place).ok_or_else(|| out_of_range(index))
    };
    let (from, to) = (byte(start)?, end.map_or(Ok(text.len()), byte)?);
    match text {
        Text::Borrowed(text) => Ok(Value::text(&text[from..to])),
        Text::Shared(text) => made(text[from..to].to_owned(), call.budget),
    }
}

fn join<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (list, separator): (_, &str) = match arguments {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, separator),
        _ => return unfit(arguments),
    };
    let mut joined = std::string::String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::String(text) = item else {
            return Err(Error::failed(format!(
                "join: invalid input of type {}",
                item.type_of().name()
            )));
        };
        call.budget.step(1)?;
        call.budget.allocate(separator.len() + text.len())?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&text);
    }
    Ok(Value::text(joined))
}

fn quote<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::String(text)] = arguments else {
        return unfit(arguments);
    };
    call.budget.scan(text.len())?;
    call.budget.allocate(2 * text.len() + 2)?;
    let mut quoted = std::string::String::from('"');
    for c in text.chars() {
        let escape = match c {
            '\x07' => 'a',
            '\x08' => 'b',
            '\x0c' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\x0b' => 'v',
            '\\' => '\\',
            '"' => '"',
            plain => {
                quoted.push(plain);
                continue;
            }
        };
        quoted.push('\\');
        quoted.push(escape);
    }
    quoted.push('"');
    Ok(Value::text(quoted))
}
