//! The request of an `ssh` step: compiled and rendered.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SshPlan;
use crate::{effect::SshRequest, expression::Template, kinds::Failure, plan::Place, turn::StepView};
use signoff_api::{reason::StepReason, step::SshStep};

/// Longest command with its arguments, in bytes: what Linux takes as one argument of a shell.
const MAX_COMMAND: usize = 120 * 1024;
/// Longest environment, in bytes.
const MAX_ENV: usize = 128 * 1024;
/// Longest standard input, in bytes.
const MAX_STDIN: usize = 1 << 20;
/// Variables that begin so are ours.
const RESERVED: &str = "SIGNOFF_";
/// Variable with the address of the callback.
const CALLBACK_URL: &str = "SIGNOFF_CALLBACK_URL";

pub(super) fn compile(step: &SshStep, place: &mut Place<'_, '_>) -> SshPlan {
    if step.command.contains("${") {
        place.problem(
            "command",
            "a command is literal text: pass values in args, env or stdin",
        );
    } else if step.command.contains('\0') {
        place.problem("command", "a command has no NUL");
    }
    if step.exit_codes.is_some() && !step.waits() {
        place.problem("exitCodes", "exitCodes needs wait: true");
    }
    if step.callback.is_some() && step.waits() {
        place.problem("callback", "a step has either callback or wait: true");
    }
    let args = step.args.as_ref().and_then(|args| {
        let args = args.iter().cloned().map(Value::String).collect();
        place.json("args", &Value::Array(args), &[])
    });
    let mut env = Vec::new();
    for (name, value) in step.env.iter().flatten() {
        let field = format!("env.{name}");
        if !is_name(name) {
            place.problem(&field, "not a name for a variable: letters, digits and `_`");
        } else if name.starts_with(RESERVED) {
            place.problem(&field, "names that start with SIGNOFF_ are reserved");
        }
        env.extend(place.template(&field, value).map(|value| (name.clone(), value)));
    }
    let host = step.host.as_ref().and_then(|host| place.template("host", host));
    let stdin = step
        .stdin
        .as_ref()
        .and_then(|stdin| place.template("stdin", stdin));
    SshPlan {
        connection: step.connection.clone(),
        host,
        command: step.command.clone(),
        args,
        env,
        stdin,
        callback: step.callback.as_ref().map(|wait| {
            let index = if place.has_items(wait) { ", index" } else { "" };
            let address = format!("${{callback('{wait}'{index}).url}}");
            (wait.to_string(), place.template("callback", &address))
        }),
        wait: step.waits(),
        exit_codes: step.exit_codes.clone().unwrap_or_else(|| vec![0]),
    }
}

fn is_name(name: &str) -> bool {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_start)
        && name.bytes().all(|byte| is_start(byte) || byte.is_ascii_digit())
}

impl SshPlan {
    pub(super) fn request(&self, step: &StepView<'_>) -> Result<SshRequest, Failure> {
        let scope = step.scope();
        let text = |template: &Option<Template>| match template {
            Some(template) => Ok::<_, Failure>(template.present_text(&scope)?),
            None => Ok(None),
        };
        let mut env = BTreeMap::new();
        for (name, value) in &self.env {
            let value = value.present_text(&scope)?;
            env.extend(value.map(|value| (name.clone(), value)));
        }
        if let Some((_, Some(address))) = &self.callback {
            env.insert(CALLBACK_URL.to_owned(), address.text(&scope)?);
        }
        let host = text(&self.host)?;
        let stdin = text(&self.stdin)?;
        let command = match &self.args {
            None => self.command.clone(),
            Some(args) => with_args(&self.command, &args.value(&scope)?)?,
        };
        if let Some(host) = host.as_ref().filter(|host| !is_host(host)) {
            return Err(invalid(format!("host: {host:?} is no host name or address")));
        }
        let of_env = env.iter().map(|(name, value)| name.len() + value.len());
        for (field, length, most) in [
            ("command", command.len(), MAX_COMMAND),
            ("env", of_env.sum(), MAX_ENV),
            ("stdin", stdin.as_ref().map_or(0, String::len), MAX_STDIN),
        ] {
            if length > most {
                return Err(invalid(format!(
                    "{field}: it has {length} bytes; at most {most} are sent"
                )));
            }
        }
        if let Some((name, _)) = env.iter().find(|(_, value)| value.contains('\0')) {
            return Err(invalid(format!("env.{name}: a variable has no NUL")));
        }
        Ok(SshRequest {
            connection: self.connection.clone(),
            bound: step.bound(&self.connection),
            host,
            process: step.process_name(),
            command,
            env,
            stdin,
            wait: self.wait,
        })
    }
}

/// Whether text can be the host of a connection. Whether it may be is for the Connection to say.
fn is_host(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    (1..=253).contains(&host.len()) && !host.starts_with('-') && host.bytes().all(is_plain)
}

/// A command with arguments, each as one word.
fn with_args(command: &str, args: &Value) -> Result<String, Failure> {
    let mut line = command.to_owned();
    for arg in args.as_array().into_iter().flatten() {
        // an argument that is one expression may give a list
        let words = match arg {
            Value::Array(words) => words.as_slice(),
            other => std::slice::from_ref(other),
        };
        for word in words {
            let word = match word {
                Value::String(word) => word.clone(),
                Value::Bool(_) | Value::Number(_) => word.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(invalid(
                        "args: an argument is a text, a number, a boolean, or a list of them",
                    ));
                }
            };
            if word.contains('\0') {
                return Err(invalid("args: an argument has no NUL"));
            }
            line.push(' ');
            line.push_str(&quoted(&word));
        }
    }
    Ok(line)
}

/// A text as one word of a shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(StepReason::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whatever_is_in_an_argument_it_is_one_word() {
        let args = json!(["a b", "it's", "$(x)", "", ["-n", 3, true], "\n;rm", "é"]);
        let line = with_args("run --", &args).unwrap();
        assert_eq!(
            line,
            "run -- 'a b' 'it'\\''s' '$(x)' '' '-n' '3' 'true' '\n;rm' 'é'"
        );
        for bad in [json!(["\0"]), json!([null]), json!([{}]), json!([[[]]])] {
            assert!(with_args("run", &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in ["vm-1.example.com", "10.0.0.1", "::1", "a_b"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "-oProxyCommand=x", "a b", "a/b", "user@host", "a\n", "ä"] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
