//! Holds the map in `src/lib.rs`: what each crate depends on, which room may use which, and that the engine is pure.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const CLI: &str = "cli";

/// What each room and each crate of ours may use, read from the tables in `src/lib.rs`.
fn allowed() -> BTreeMap<String, Vec<String>> {
    let map = fs::read_to_string("src/lib.rs").unwrap();
    let rows = map
        .lines()
        .filter(|line| line.starts_with("//! | [`") || line.starts_with("//! | `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_start_matches("//! ").split('|').map(str::trim).collect();
        let uses = cells[3]
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        (cells[1].trim_matches(['[', ']', '`']).to_owned(), uses)
    })
    .collect()
}

fn is_crate(name: &str) -> bool {
    name.starts_with("signoff_")
}

/// The keys below `[dependencies]` of a crate's manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a source names after `crate::`, whether in a `use` line or in the middle of code, and the crates of ours.
fn rooms_used(text: &str, rooms: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            // the first level of a group: names that follow an opening brace or a comma at depth one
            Some(group) => top_level_names(group),
            None => vec![
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default(),
            ],
        };
        used.extend(
            names
                .into_iter()
                .filter(|name| rooms.contains_key(*name))
                .map(str::to_owned),
        );
    }
    let crates = rooms.keys().filter(|name| is_crate(name));
    used.extend(crates.filter(|name| text.contains(&format!("{name}::"))).cloned());
    used
}

fn top_level_names(group: &str) -> Vec<&str> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names
        .into_iter()
        .map(|name| name.trim().split("::").next().unwrap_or_default())
        .collect()
}

#[test]
fn every_room_uses_only_the_rooms_and_crates_that_the_map_allows() {
    let rooms = allowed();
    assert!(
        rooms.len() >= 10,
        "the tables in src/lib.rs could not be read: {rooms:?}"
    );
    let mut wrong = Vec::new();
    for (room, uses) in rooms.iter().filter(|(room, _)| *room != CLI && !is_crate(room)) {
        let mut files = Vec::new();
        sources(&Path::new("src").join(room), &mut files);
        for file in files {
            for used in rooms_used(&fs::read_to_string(&file).unwrap(), &rooms) {
                if used != *room && used != "signoff_api" && !uses.contains(&used) {
                    wrong.push(format!("{} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these uses are not in the table of src/lib.rs; move the code to the room it belongs to, or, if the map itself is wrong, \
         change the table and say why:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_folder_below_src_is_a_room_of_the_map() {
    let rooms = allowed();
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            !path.is_dir() || rooms.contains_key(&name),
            "{name} is not in the table of src/lib.rs"
        );
    }
}

#[test]
fn every_crate_depends_on_what_the_map_says_and_the_engine_on_nothing_that_touches_the_world() {
    let map = allowed();
    let crates: Vec<&String> = map.keys().filter(|name| is_crate(name)).collect();
    assert_eq!(
        crates.len(),
        fs::read_dir("crates").unwrap().count(),
        "the table of crates in src/lib.rs could not be read: {crates:?}"
    );
    for name in crates {
        let folder = Path::new("crates").join(name.trim_start_matches("signoff_"));
        let found = dependencies(&fs::read_to_string(folder.join("Cargo.toml")).unwrap());
        let ours: Vec<&String> = found.iter().filter(|name| is_crate(name)).collect();
        assert_eq!(ours, map[name].iter().collect::<Vec<_>>(), "{name}");
        if name == "signoff_engine" {
            for banned in [
                "tokio", "futures", "kube", "hyper", "axum", "reqwest", "rand", "git2",
            ] {
                assert!(
                    !found.iter().any(|name| name == banned),
                    "the engine depends on {banned}"
                );
            }
        }
    }
}

#[test]
fn the_engine_reads_no_clock_and_touches_nothing() {
    let mut files = Vec::new();
    sources(Path::new("crates/engine/src"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for banned in [
            "tokio",
            "async ",
            "std::fs",
            "std::env",
            "std::net",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "rand::",
            "kube::",
        ] {
            if text.contains(banned) {
                wrong.push(format!("{} has {banned:?}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the engine is pure: what it needs to know comes in as a fact, what is to be done goes out as an effect:\n{}",
        wrong.join("\n")
    );
}

/// What is printed for people goes through one place, which makes text of others visible. `demo` and `dev` print what they made themselves.
#[test]
fn the_command_line_prints_through_one_place() {
    let mut files = Vec::new();
    sources(Path::new("src/cli"), &mut files);
    let free = ["lines.rs", "answer.rs", "error.rs", "dev.rs"];
    let is_free =
        |file: &Path| free.iter().any(|name| file.ends_with(name)) || file.starts_with("src/cli/demo");
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !is_free(file)) {
        let text = fs::read_to_string(file).unwrap();
        for banned in ["stdout()", "stderr()", "print!(", "println!(", "eprint"] {
            if text.contains(banned) {
                wrong.push(format!("{} has {banned:?}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "print with cli::lines or an Answer:\n{}",
        wrong.join("\n")
    );
}

/// One list says which characters are hidden: whoever needs it asks `api::text`.
#[test]
fn no_other_list_of_hidden_characters_is_made() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    sources(Path::new("crates"), &mut files);
    let tests =
        |file: &Path| file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
    let mut wrong = Vec::new();
    for file in files
        .iter()
        .filter(|file| !tests(file) && !file.ends_with("api/src/text.rs"))
    {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for character in [
            "\\u{200b}",
            "\\u{200e}",
            "\\u{202e}",
            "\\u{2066}",
            "\\u{ad}",
            "\\u{2060}",
            "\\u{e0000}",
        ] {
            if code.contains(character) {
                wrong.push(format!("{} has {character}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "ask signoff_api::text::is_hidden:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_net_makes_clients_and_connections() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    sources(Path::new("crates"), &mut files);
    let tests = |file: &Path| file.iter().any(|part| part == "tests" || part == "tests.rs");
    let mut wrong = Vec::new();
    for file in files
        .iter()
        .filter(|file| !file.starts_with("src/net") && !tests(file))
    {
        let text = fs::read_to_string(file).unwrap();
        for banned in [
            "Client::builder()",
            "Client::new()",
            "lookup_host(",
            "TcpStream::connect(",
        ] {
            if text.contains(banned) {
                wrong.push(format!("{} has {banned:?}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "what calls out goes through `net::Network`, which knows what may be called:\n{}",
        wrong.join("\n")
    );
}
