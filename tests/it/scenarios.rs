//! Which tests are played on a real API server too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{controlplane::say_not_run, support::real};

const LIST: &str = "tests/controlplane/scenarios.sh";
/// What opens the server that `SIGNOFF_TEST_SERVER` chooses.
const OPENINGS: [&str; 5] = [
    "Rig::open()",
    "World::start",
    "Server::open(",
    "Stage::open(",
    "Parlour::",
];
/// What tests stand on, without any of their own.
const GROUND: [&str; 5] = ["support", "world", "forge::stage", "forge::parlour", "scenarios"];

#[test]
fn every_test_that_can_choose_its_server_is_in_the_list_of_those_played_on_a_real_one() {
    let list = fs::read_to_string(LIST).unwrap();
    let (_, list) = list.split_once("modules=(").unwrap();
    let (list, _) = list.split_once(')').unwrap();
    let listed: BTreeSet<String> = list.split_whitespace().map(str::to_owned).collect();
    let mut choosing = BTreeSet::new();
    collect(Path::new("tests/it"), &mut choosing);
    assert_eq!(listed, choosing);
    if !real::is_wanted() && std::env::var_os("SIGNOFF_REQUIRE_CONTROLPLANE").is_none() {
        say_not_run(
            "the scenarios on a real API server",
            &format!("{LIST} plays them there"),
        );
    }
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let (module, text) = (module(&path), fs::read_to_string(&path).unwrap());
            let chooses = OPENINGS.iter().any(|opening| text.contains(opening));
            if chooses && !GROUND.iter().any(|ground| module.starts_with(ground)) {
                found.insert(module);
            }
        }
    }
}

fn module(path: &Path) -> String {
    let inside: PathBuf = path.strip_prefix("tests/it").unwrap().with_extension("");
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("::")
}
