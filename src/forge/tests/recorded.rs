//! A forge that takes whatever is written, and shows it as golden files hold it.

use std::{fmt::Write as _, sync::Arc};

use serde_json::{Value, json};

use super::{contract::Made, *};
use signoff_api::text::is_hidden;

/// All kinds, with the names of their golden files.
pub const FORGES: [(ForgeKind, &str); 3] = [
    (ForgeKind::GitHub, "github"),
    (ForgeKind::GitLab, "gitlab"),
    (ForgeKind::Gitea, "gitea"),
];

/// A forge of a kind on which pull request 41 comes from our branch, without comments, and everything that is written is taken.
pub struct Recorded {
    pub forge: Arc<dyn Forge>,
    contract: Contract,
}

impl Recorded {
    pub async fn open(kind: ForgeKind) -> Self {
        let contract = Contract::open(&reads(kind)).await;
        contract.take_writes(&taken(kind));
        let forge = forge(kind, &contract.url());
        Self { forge, contract }
    }

    /// Everything that was written.
    pub fn written(&self) -> String {
        let made = self.contract.made();
        let writes = made
            .iter()
            .filter(|made| !made.line.starts_with("GET ") && !made.line.starts_with("HEAD "));
        writes.map(shown).collect::<Vec<_>>().join("\n")
    }
}

fn user(kind: ForgeKind, id: u64, login: &str) -> Value {
    match kind {
        ForgeKind::GitLab => json!({"id": id, "username": login}),
        ForgeKind::GitHub | ForgeKind::Gitea => json!({"id": id, "login": login, "type": "User"}),
    }
}

fn pull(kind: ForgeKind) -> Value {
    let end = |name: &str| json!({"label": name, "ref": name, "sha": "a".repeat(40), "repo_id": 7, "repo": {"id": 7}});
    let own = user(kind, 1, "signoff");
    match kind {
        ForgeKind::GitLab => {
            json!({"iid": 41, "web_url": "https://forge.example/41", "title": "t", "description": "",
            "author": own, "state": "opened", "source_branch": "b", "target_branch": "main",
            "source_project_id": 7, "target_project_id": 7, "sha": "a".repeat(40)})
        }
        ForgeKind::GitHub | ForgeKind::Gitea => {
            json!({"number": 41, "html_url": "https://forge.example/41", "title": "t", "body": "",
            "user": own, "state": "open", "head": end("b"), "base": end("main")})
        }
    }
}

/// What every write is answered with: a pull request and a comment at once.
fn taken(kind: ForgeKind) -> Value {
    let mut taken = pull(kind);
    taken["id"] = json!(10);
    taken["body"] = json!("");
    taken
}

fn reads(kind: ForgeKind) -> Vec<(&'static str, u16, Value)> {
    let own = ("GET /user", 200, user(kind, 1, "signoff"));
    let none = json!([]);
    match kind {
        ForgeKind::GitLab => vec![
            own,
            ("GET /users", 200, json!([user(kind, 2, "alice")])),
            ("GET /projects/acme%2Fflows/merge_requests", 200, none.clone()),
            ("GET /projects/acme%2Fflows/merge_requests/41", 200, pull(kind)),
            ("GET /projects/acme%2Fflows/merge_requests/41/notes", 200, none),
        ],
        ForgeKind::GitHub | ForgeKind::Gitea => vec![
            own,
            (
                "GET /repos/acme/flows/git/ref/heads/main",
                200,
                json!({"ref": "refs/heads/main", "object": {"sha": "b".repeat(40)}}),
            ),
            ("GET /repos/acme/flows/pulls", 200, none.clone()),
            ("GET /repos/acme/flows/pulls/41", 200, pull(kind)),
            ("GET /repos/acme/flows/issues/41/comments", 200, none),
        ],
    }
}

/// A request as people can read it: each field of its body on a line, a text of several lines in a block. What is hidden in a text shows.
fn shown(made: &Made) -> String {
    let mut text = format!("=== {}\n", made.line);
    let fields = made.body.as_object().into_iter().flatten();
    for (name, value) in fields {
        match value.as_str() {
            // the file has golden files of its own
            Some(_) if name == "content" => text.push_str("content: (the file)\n"),
            Some(value) if value.contains('\n') => {
                writeln!(text, "{name}: ({} bytes)", value.len()).unwrap();
                for line in value.split('\n') {
                    writeln!(text, "  | {}", visible(line)).unwrap();
                }
            }
            Some(value) => writeln!(text, "{name}: {}", visible(value)).unwrap(),
            None if name == "actions" => text.push_str("actions: (the file)\n"),
            None => writeln!(text, "{name}: {value}").unwrap(),
        }
    }
    text
}

/// A text in which what does not show is named; the middle of one that is very long is left out.
fn visible(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if c.is_control() || is_hidden(c) {
            write!(shown, "⟦U+{:04X}⟧", u32::from(c)).unwrap();
        } else {
            shown.push(c);
        }
    }
    let count = shown.chars().count();
    if count <= 300 {
        return shown;
    }
    let begin: String = shown.chars().take(120).collect();
    let end: String = shown.chars().skip(count - 60).collect();
    format!("{begin}[… {} …]{end}", count - 180)
}
