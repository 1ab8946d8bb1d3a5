//! What `.ci/run-tests` makes of a run in which something fails.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// What a run of two programs prints. A failed test has printed something that looks like another run.
const ONE_FAILED: &str = "\
   Compiling signoff v0.1.0
     Running unittests src/lib.rs (target/debug/deps/signoff-1)

running 2 tests
test engine::a ... ok
test engine::b ... ignored

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/it/main.rs (target/debug/deps/it-1)

running 3 tests
test runs::slow ... FAILED
test runs::quick ... ok
test runs::panics - should panic ... ok

failures:

---- runs::slow stdout ----
test runs::of_a_child ... FAILED
test result: FAILED. 7 passed; 9 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s


failures:
    runs::slow

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s

error: 1 target failed:
";

const ALONE: &str = "\
     Running unittests src/lib.rs (target/debug/deps/signoff-1)

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s

     Running tests/it/main.rs (target/debug/deps/it-1)

running 1 test
test runs::slow ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s

";

/// Runs it on a command that prints `first` and fails, and prints `again` and ends with `code` when it has to repeat a test. Gives how
/// it ended, with the tally, and with what the command was given further.
fn run(first: &str, again: &str, code: u8) -> (Output, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("first", first);
    file("again", again);
    let script = format!(
        "cd {}\nif [ $# = 0 ]; then cat first; exit 101; fi\necho \"$@\" >>given; cat again; exit {code}\n",
        folder.path().display()
    );
    file("command", &script);
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run-tests"))
        .arg(folder.path().join("tally"))
        .arg("bash")
        .arg(folder.path().join("command"))
        .output()
        .unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    (output, read("tally"), read("given"))
}

#[test]
fn a_test_that_passes_the_second_time_is_counted_once_and_named() {
    let (output, tally, given) = run(ONE_FAILED, ALONE, 0);
    assert!(output.status.success());
    assert_eq!(tally, "repeated runs::slow\npassed 4\nfailed 0\nskipped 1\n");
    assert_eq!(given, "--exact runs::slow\n");
}

#[test]
fn a_test_that_fails_twice_fails_the_run_and_its_output_is_shown() {
    let again = ALONE.replace("slow ... ok", "slow ... FAILED").replace(
        "test result: ok. 1 passed; 0 failed",
        "test result: FAILED. 0 passed; 1 failed",
    );
    let (output, tally, _) = run(ONE_FAILED, &again, 101);
    assert!(!output.status.success());
    assert_eq!(tally, "passed 3\nfailed 1\nskipped 1\n");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.matches("test runs::slow ... FAILED").count(), 2, "{shown}");
}

#[test]
fn a_test_that_is_not_found_again_has_failed() {
    let again = ALONE.replace("1 passed", "0 passed");
    let (output, tally, _) = run(ONE_FAILED, &again, 0);
    assert!(!output.status.success());
    assert_eq!(tally, "passed 3\nfailed 1\nskipped 1\n");
}

#[test]
fn a_program_that_ends_before_its_result_fails_the_run() {
    let (aborted, _) = ONE_FAILED.split_once("test runs::slow").unwrap();
    let (output, tally, given) = run(aborted, ALONE, 0);
    assert!(!output.status.success());
    assert_eq!(tally, "passed 1\nfailed 0\nskipped 1\n");
    assert_eq!(given, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("did not come to its end: tests/it/main.rs"),
        "{said}"
    );
}

#[test]
fn sources_that_do_not_compile_fail_the_run() {
    let (output, tally, _) = run("error[E0425]: cannot find value `x`\n", ALONE, 0);
    assert!(!output.status.success());
    assert_eq!(tally, "passed 0\nfailed 0\nskipped 0\n");
}

#[test]
fn many_failures_are_not_repeated() {
    let failed = "test runs::slow ... FAILED\n".repeat(11);
    let first = ONE_FAILED.replace("test runs::slow ... FAILED\n", &failed);
    let (output, tally, given) = run(&first, ALONE, 0);
    assert!(!output.status.success());
    assert_eq!(tally, "passed 3\nfailed 11\nskipped 1\n");
    assert_eq!(given, "");
}

#[test]
fn every_test_program_is_named_in_the_ci_script() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(root.join(".ci/run")).unwrap();
    let crates = fs::read_dir(root.join("crates")).unwrap();
    let folders = crates.map(|entry| entry.unwrap().path().join("tests"));
    for folder in folders
        .chain([root.join("tests")])
        .filter(|folder| folder.exists())
    {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_program = path.extension().is_some_and(|it| it == "rs") || path.join("main.rs").exists();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(
                !is_program || script.contains(&format!("--test {name}")),
                "{} is not run by .ci/run",
                path.display()
            );
        }
    }
}
