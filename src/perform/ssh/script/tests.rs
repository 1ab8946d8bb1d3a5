use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use super::*;

/// Evaluates a script as a host does, in this home folder. Gives the exit code and the standard output.
fn evaluated(script: &Script, home: &Path) -> (Option<i32>, String) {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script.command])
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&script.input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

fn waited<'a>(command: &'a str, env: &'a BTreeMap<String, String>) -> Start<'a> {
    Start {
        name: "p",
        mark: "MARK",
        directory: None,
        command,
        env,
        stdin: None,
        wait: true,
    }
}

fn folder(home: &Path, name: &str) -> std::path::PathBuf {
    let folder = home.join(".local/state/signoff/processes").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn no_variable_of_the_environment_changes_what_is_run() {
    let home = tempfile::tempdir().unwrap();
    let victim = home.path().join("victim");
    std::fs::write(&victim, "kept").unwrap();
    let letters = (b'a'..=b'z')
        .chain(b'A'..=b'Z')
        .map(|letter| char::from(letter).to_string());
    let ours = [
        "in", "so_d", "so_in", "so_C", "so_E", "so_w", "so_m", "so_c", "so_f", "so_e",
    ];
    let names = letters.chain(ours.map(str::to_owned));
    let mut env: BTreeMap<String, String> = names.map(|name| (name, victim.display().to_string())).collect();
    env.insert("PATH".to_owned(), "/nowhere".to_owned());
    env.insert("q".to_owned(), "it's\n\"$(exit)\"\n\n".to_owned());
    let command = "printf '%s|%s|%s|%s' harmless \"$C\" \"$PATH\" \"$q\"";
    let (code, told) = evaluated(&start(&waited(command, &env)), home.path());
    let wanted = format!(
        "MARK\nharmless|{}|/nowhere|it's\n\"$(exit)\"\n\n",
        victim.display()
    );
    assert_eq!((code, told), (Some(0), wanted));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
}

#[test]
fn what_a_command_leaves_running_is_found_and_ended() {
    let home = tempfile::tempdir().unwrap();
    let env = BTreeMap::new();
    let script = start(&waited("sleep 60 > /dev/null 2>&1 & exit 3", &env));
    assert_eq!(evaluated(&script, home.path()).0, Some(3));
    let ended = evaluated(&end("p", "MARK", 5, true), home.path());
    assert_eq!(ended, (Some(0), "MARK ended\n".to_owned()));
    // nothing starts it any more
    assert_eq!(evaluated(&start(&waited("true", &env)), home.path()).0, Some(1));
    let none = evaluated(&end("other", "MARK", 5, false), home.path());
    assert_eq!(none.1, "MARK none\n");
}

#[test]
fn a_group_of_another_start_of_the_machine_is_not_ours() {
    if !Path::new("/proc/sys/kernel/random/boot_id").exists() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    // its leader has ended
    let started = Command::new("setsid")
        .args(["sh", "-c", "sleep 60 > /dev/null & echo $$"])
        .output()
        .unwrap();
    let group = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    let folder = folder(home.path(), "p");
    std::fs::write(folder.join("pid"), format!("{group}\nanother-start 1234\n")).unwrap();
    let ended = evaluated(&end("p", "MARK", 1, true), home.path());
    assert_eq!(ended.1, "MARK gone\n");
    let signal = |signal: &str| {
        let group = format!("-{group}");
        Command::new("/bin/kill")
            .args([signal, "--", &group])
            .status()
            .unwrap()
    };
    assert!(signal("-0").success(), "it goes on");
    assert!(signal("-KILL").success());
}

#[test]
fn only_folders_of_processes_are_cleaned_up() {
    let home = tempfile::tempdir().unwrap();
    let old = folder(home.path(), "old");
    std::fs::write(old.join("process"), "").unwrap();
    let foreign = folder(home.path(), "foreign");
    let state = home.path().join(".signoff/store");
    std::fs::create_dir_all(&state).unwrap();
    for folder in [&old, &foreign, &state] {
        let aged = Command::new("touch")
            .args(["-d", "40 days ago"])
            .arg(folder)
            .status();
        assert!(aged.unwrap().success());
    }
    let env = BTreeMap::new();
    let detached = Start {
        wait: false,
        ..waited("true", &env)
    };
    let (code, told) = evaluated(&start(&detached), home.path());
    assert!(code == Some(0) && told.starts_with("MARK "), "{told}");
    assert!(!old.exists());
    assert!(foreign.exists() && state.exists());
}
