//! Addresses as people write them, and what must not stand in them: credentials. What an object holds is stored and shown to whoever may
//! read it.

/// Why an address with credentials is refused.
pub const CREDENTIALS: &str =
    "the address must not hold credentials; put them into a Secret that a Connection or token names";

// The rules are those of the object that has the address: a refusal of the address itself would repeat it.

/// CEL: whether `url` is without credentials, the address of an HTTP API, which may begin with the literal part of a template.
pub const URL_RULE: &str = "!has(self.url) || !self.url.matches('^[hH][tT][tT][pP][sS]?:/*[^/?#$]*@')";

/// CEL: the same of `baseURL`.
pub const BASE_URL_RULE: &str = "!self.baseURL.matches('^[hH][tT][tT][pP][sS]?:/*[^/?#$]*@')";

/// CEL: whether `baseURL` has neither query nor fragment, behind which the path of a step would be lost.
pub const BASE_RULE: &str = "!self.baseURL.contains('?') && !self.baseURL.contains('#')";

/// CEL: as [`BASE_URL_RULE`], if there is one.
pub const OPTIONAL_BASE_URL_RULE: &str =
    "!has(self.baseURL) || !self.baseURL.matches('^[hH][tT][tT][pP][sS]?:/*[^/?#$]*@')";

/// CEL: as [`BASE_RULE`], if there is a base address.
pub const OPTIONAL_BASE_RULE: &str =
    "!has(self.baseURL) || !self.baseURL.contains('?') && !self.baseURL.contains('#')";

/// CEL: as [`BASE_RULE`], of `url`.
pub const WEBHOOK_URL_RULE: &str = "!self.url.contains('?') && !self.url.contains('#')";

/// Why a base address with one is refused.
pub const BASE_MESSAGE: &str = "the base address has neither a query nor a fragment";

/// As [`BASE_RULE`], the other way round.
pub fn has_query_or_fragment(text: &str) -> bool {
    text.contains(['?', '#'])
}

/// CEL: the same of `tokenURL`.
pub const TOKEN_URL_RULE: &str = "!self.tokenURL.matches('^[hH][tT][tT][pP][sS]?:/*[^/?#$]*@')";

/// CEL: the same of `stsURL`.
pub const STS_URL_RULE: &str =
    "!has(self.stsURL) || !self.stsURL.matches('^[hH][tT][tT][pP][sS]?:/*[^/?#$]*@')";

/// CEL: whether `url` is without credentials, the address of a git remote. A user name is none in `ssh://user@host/path` and `user@host:path`.
pub const REMOTE_RULE: &str = "!self.url.matches('^[hH][tT][tT][pP][sS]?:/*[^/?#]*@') && \
    !self.url.matches('^[sS][sS][hH]:/*[^/?#]*:[^/?#]*@') && !self.url.matches('^[^/:]*:[^/@]*@[^/]*:')";

/// As [`URL_RULE`], the other way round.
pub fn http_holds_credentials(text: &str) -> bool {
    let Some(rest) = after_scheme(text, "https").or_else(|| after_scheme(text, "http")) else {
        return false;
    };
    authority(rest, &['/', '?', '#', '$']).contains('@')
}

/// As [`REMOTE_RULE`], the other way round.
pub fn remote_holds_credentials(text: &str) -> bool {
    let ends = ['/', '?', '#'];
    let web = after_scheme(text, "https").or_else(|| after_scheme(text, "http"));
    if web.is_some_and(|rest| authority(rest, &ends).contains('@')) {
        return true;
    }
    let login = |rest| authority(rest, &ends).rsplit_once('@').map(|(login, _)| login);
    if after_scheme(text, "ssh")
        .and_then(login)
        .is_some_and(|login| login.contains(':'))
    {
        return true;
    }
    // user:password@host:path
    let first = authority(text, &['/']);
    first
        .split_once(':')
        .and_then(|(_, rest)| rest.split_once('@'))
        .is_some_and(|(_, rest)| rest.contains(':'))
}

/// The address without credentials, for whoever may see it.
pub fn without_credentials(text: &str) -> String {
    let login = if let Some(rest) = after_scheme(text, "https").or_else(|| after_scheme(text, "http")) {
        authority(rest, &['/', '?', '#', '\\'])
            .rfind('@')
            .map(|at| (rest, at))
    } else if remote_holds_credentials(text) {
        let rest = after_scheme(text, "ssh").unwrap_or(text);
        rest.rfind('@').map(|at| (rest, at))
    } else {
        None
    };
    match login {
        Some((rest, at)) => {
            let before = text.len() - rest.len();
            format!("{}[redacted]{}", &text[..before], &rest[at..])
        }
        None => text.to_owned(),
    }
}

/// Whether an address, or the path of one, has a segment `.` or `..`. It would take away what stands before it, and a
/// segment that came from data is not what the author meant. Escaped dots, back slashes and the characters that parsers
/// pass over count too.
pub fn has_dot_segment(text: &str) -> bool {
    let text: String = text
        .chars()
        .filter(|c| !matches!(c, '\t' | '\r' | '\n'))
        .collect();
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.split(['/', '\\']).any(|segment| {
        matches!(
            segment
                .trim_matches(' ')
                .to_ascii_lowercase()
                .replace("%2e", ".")
                .as_str(),
            "." | ".."
        )
    })
}

/// What follows a scheme and its slashes, however many there are.
fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = text.split_once(':')?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_start_matches(['/', '\\']))
}

fn authority<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_in_addresses_of_the_web() {
        for text in [
            "https://token@h/x",
            "https://user:token@h/x",
            "HTTP://user:token@h",
            "https:/token@h/x",
            "https:token@h",
            "https:///token@h/x",
            "https://a@b@h/x",
        ] {
            assert!(
                http_holds_credentials(text) && remote_holds_credentials(text),
                "{text}"
            );
            let shown = without_credentials(text);
            assert!(
                shown.contains("[redacted]@h") && !shown.contains("token"),
                "{shown}"
            );
        }
        for text in [
            "https://h/a@b",
            "https://h?x=a@b",
            "https://h/#@",
            "https://${inputs.host}/@x",
            "https://${inputs.mail.split('@')[1]}/x",
            "https://h",
            "${inputs.url}",
        ] {
            assert!(!http_holds_credentials(text), "{text}");
        }
    }

    #[test]
    fn dot_segments_are_found_however_they_are_written() {
        for text in [
            "https://h/a/../b",
            "https://h/..",
            "https://h/./b",
            "/a/%2e%2E/b",
            "..\\x",
            "/a/.\t./b",
            "/a/.. ",
        ] {
            assert!(has_dot_segment(text), "{text:?}");
        }
        for text in [
            "https://h/a..b/.c",
            "https://h/a?to=../b",
            "/a#/../",
            "https://h",
            "/.../x",
        ] {
            assert!(!has_dot_segment(text), "{text:?}");
        }
    }

    #[test]
    fn credentials_are_found_in_addresses_of_git_remotes() {
        for text in [
            "ssh://user:token@h/x",
            "SSH://u:token@h:22/x",
            "user:token@h:path",
            "user:token@h:a/b",
        ] {
            assert!(remote_holds_credentials(text), "{text}");
            let shown = without_credentials(text);
            assert!(
                shown.contains("[redacted]@h") && !shown.contains("token"),
                "{shown}"
            );
        }
        for text in [
            "git@h:team/x",
            "ssh://git@h/x",
            "ssh://git@h:2222/x",
            "a@b@h:x",
            "h:path@v1",
            "git@h:path@v1",
            "https://h/team/x@v1",
            "file:///srv/a:b@c:d",
            "ssh://[::1]/x",
        ] {
            assert!(!remote_holds_credentials(text), "{text}");
            assert_eq!(without_credentials(text), text);
        }
    }
}
