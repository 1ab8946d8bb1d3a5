//! `format`: text with clauses such as `%s` and `%.2f`.
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "what is pushed is small, and measured before"
)]

use super::{Function, core, method, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{List, String},
    value::{Key, Value, number},
};

pub(super) const FUNCTIONS: &[Function] = &[method("format", &[String, List], String, format)];

/// Most digits after the point.
const MAX_PRECISION: usize = 1_000;
const DEFAULT_PRECISION: usize = 6;

type Text = std::string::String;

fn format<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::String(template), Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    call.budget.scan(template.len())?;
    call.budget.allocate(template.len())?;
    let mut out = Text::new();
    let mut rest: &str = template;
    let mut index = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let value = list
            .get(index)
            .ok_or_else(|| Error::failed(format!("index {index} out of range")))?;
        index += 1;
        let (precision, after) = precision(rest)?;
        let mut chars = after.chars();
        let clause = chars
            .next()
            .ok_or_else(|| Error::failed("unexpected end of string"))?;
        rest = chars.as_str();
        let before = out.len();
        clause_text(call, clause, precision, &value, &mut out)?;
        call.budget.step(1)?;
        call.budget.allocate(out.len() - before)?;
    }
    out.push_str(rest);
    Ok(Value::text(out))
}

fn precision(text: &str) -> Result<(usize, &str), Error> {
    let Some(after) = text.strip_prefix('.') else {
        return Ok((DEFAULT_PRECISION, text));
    };
    let end = after
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| Error::failed("could not find end of precision specifier"))?;
    let precision = after[..end]
        .parse()
        .ok()
        .filter(|precision| *precision <= MAX_PRECISION);
    match precision {
        Some(precision) => Ok((precision, &after[end..])),
        None => Err(Error::failed("error while converting precision to integer")),
    }
}

fn clause_text(
    call: &mut Call<'_>,
    clause: char,
    precision: usize,
    value: &Value<'_>,
    out: &mut Text,
) -> Result<(), Error> {
    let wrong = |what: &str| {
        Err(Error::failed(format!(
            "error during formatting: {what}, was given {}",
            value.type_of().name()
        )))
    };
    match clause {
        's' => match value {
            Value::List(_) | Value::Map(_) => return nested(call, value, out),
            Value::Null => out.push_str("null"),
            other => match core::text_of(other) {
                Some(text) => {
                    call.budget.allocate(text.len())?;
                    out.push_str(&text);
                }
                None => return wrong("string clause can only be used on values that have a text"),
            },
        },
        'd' => match value {
            Value::Int(int) => out.push_str(&int.to_string()),
            Value::Uint(uint) => out.push_str(&uint.to_string()),
            _ => return wrong("decimal clause can only be used on integers"),
        },
        'f' | 'e' => {
            let Some(double) = floating(value) else {
                return wrong("fixed-point and scientific clauses can only be used on doubles");
            };
            out.push_str(&if clause == 'f' {
                fixed(double, precision)
            } else {
                scientific(double)
            });
        }
        'b' => match value {
            Value::Int(int) => out.push_str(&signed(*int, |magnitude| format!("{magnitude:b}"))),
            Value::Uint(uint) => out.push_str(&format!("{uint:b}")),
            Value::Bool(truth) => out.push(if *truth { '1' } else { '0' }),
            _ => return wrong("only integers and bools can be formatted as binary"),
        },
        'o' => match value {
            Value::Int(int) => out.push_str(&signed(*int, |magnitude| format!("{magnitude:o}"))),
            Value::Uint(uint) => out.push_str(&format!("{uint:o}")),
            _ => return wrong("octal clause can only be used on integers"),
        },
        'x' | 'X' => {
            let hex = match value {
                Value::Int(int) => signed(*int, |magnitude| format!("{magnitude:x}")),
                Value::Uint(uint) => format!("{uint:x}"),
                Value::String(text) => hex_of(call, text.as_bytes())?,
                Value::Bytes(bytes) => hex_of(call, bytes)?,
                _ => {
                    return wrong("only integers, bytes, and strings can be formatted as hex");
                }
            };
            out.push_str(&if clause == 'X' { hex.to_uppercase() } else { hex });
        }
        other => {
            return Err(Error::failed(format!(
                "unrecognized formatting clause \"{other}\""
            )));
        }
    }
    Ok(())
}

fn hex_of(call: &mut Call<'_>, bytes: &[u8]) -> Result<Text, Error> {
    call.budget.allocate(2 * bytes.len())?;
    call.budget.step(bytes.len() as u64 / 4)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn signed(int: i64, digits: impl Fn(u64) -> Text) -> Text {
    let sign = if int < 0 { "-" } else { "" };
    format!("{sign}{}", digits(int.unsigned_abs()))
}

fn floating(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(double) => Some(*double),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn unending(double: f64) -> Option<&'static str> {
    match number::special(double)? {
        "+Inf" => Some("∞"),
        "-Inf" => Some("-∞"),
        other => Some(other),
    }
}

/// With commas between thousands, as in English.
fn fixed(double: f64, precision: usize) -> Text {
    if let Some(text) = unending(double) {
        return text.to_owned();
    }
    let plain = format!("{double:.precision$}");
    let (sign, plain) = plain
        .strip_prefix('-')
        .map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = plain.split_once('.').map_or((plain, None), |(w, f)| (w, Some(f)));
    let mut out = Text::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// With the exponent as a power of ten, as in English. The precision is taken for a width in the version of the library that
/// Kubernetes has, and changes nothing.
fn scientific(double: f64) -> Text {
    if let Some(text) = unending(double) {
        return text.to_owned();
    }
    let plain = format!("{double:.DEFAULT_PRECISION$e}");
    let (digits, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (sign, exponent) = exponent
        .strip_prefix('-')
        .map_or(("", exponent), |rest| ("\u{207b}", rest));
    let raised = format!("{exponent:0>2}");
    let raised = raised.chars().map(|digit| match digit {
        '1' => '\u{b9}',
        '2' => '\u{b2}',
        '3' => '\u{b3}',
        digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    });
    format!("{digits}×10{sign}{}", raised.collect::<Text>())
}

/// A list or map, with its texts quoted.
fn nested(call: &mut Call<'_>, value: &Value<'_>, out: &mut Text) -> Result<(), Error> {
    stacker::maybe_grow(64 << 10, 1 << 20, || written(call, value, out))
}

fn written(call: &mut Call<'_>, value: &Value<'_>, out: &mut Text) -> Result<(), Error> {
    call.budget.step(1)?;
    let before = out.len();
    match value {
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                nested(call, &item, out)?;
            }
            out.push(']');
            return Ok(());
        }
        Value::Map(map) => {
            let mut pairs = Vec::new();
            for (key, value) in map.entries() {
                let key = match key {
                    Key::String(text) => quoted(call, &text)?,
                    Key::Bool(truth) => truth.to_string(),
                    Key::Int(int) => int.to_string(),
                    Key::Uint(uint) => uint.to_string(),
                };
                let mut text = Text::new();
                nested(call, &value, &mut text)?;
                call.budget.allocate(key.len() + text.len() + 64)?;
                pairs.push((key, text));
            }
            pairs.sort();
            let pairs: Vec<Text> = pairs
                .into_iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            out.push('{');
            out.push_str(&pairs.join(", "));
            out.push('}');
            return Ok(());
        }
        Value::String(text) => out.push_str(&quoted(call, text)?),
        Value::Bytes(bytes) => {
            let text = Text::from_utf8_lossy(bytes).into_owned();
            out.push('b');
            out.push_str(&quoted(call, &text)?);
        }
        Value::Double(double) => match number::special(*double) {
            Some(special) => out.push_str(&format!("\"{special}\"")),
            None => out.push_str(&format!("{double:.6}")),
        },
        Value::Null => out.push_str("null"),
        Value::Timestamp(at) => out.push_str(&format!("timestamp(\"{at}\")")),
        Value::Duration(_) => {
            let text = core::text_of(value).unwrap_or_else(|| "".into());
            out.push_str(&format!("duration(\"{}\")", &*text));
        }
        other => match core::text_of(other) {
            Some(text) => out.push_str(&text),
            None => {
                return Err(Error::failed(format!(
                    "no formatting function for {}",
                    other.type_of().name()
                )));
            }
        },
    }
    call.budget.allocate(out.len() - before)
}

/// As Go's `%q`.
fn quoted(call: &mut Call<'_>, text: &str) -> Result<Text, Error> {
    call.budget.allocate(2 * text.len() + 2)?;
    let mut out = Text::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}
