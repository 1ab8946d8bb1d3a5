//! Whom a folder is trusted from: the state of `signoff dev`, and the kubeconfig that a folder holds.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::support::dev::Dev;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The command in a folder, by a user who has no kubeconfig of their own.
fn signoff(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signoff"));
    command
        .args(args)
        .current_dir(folder)
        .env("HOME", folder.join("home"))
        .env("NO_COLOR", "1")
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_its_owners_alone_and_the_folder_of_a_running_server_is_used_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join(".signoff");
    let dev = Dev::with_state(&state);
    let mut child = dev.start().await;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(fs::read_to_string(state.join(".gitignore")).unwrap(), "*\n");
    let mut seen = Vec::new();
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        let expected = if entry.file_type().unwrap().is_dir() {
            0o700
        } else {
            0o600
        };
        let name = entry.file_name().into_string().unwrap();
        if name != "git" {
            assert_eq!(mode(&entry.path()), expected, "{name}");
        }
        seen.push(name);
    }
    for secret in ["kubeconfig", "tokens.json", "ca.json", "store.redb"] {
        assert!(seen.iter().any(|name| name == secret), "{secret} in {seen:?}");
    }

    let found = signoff(dir.path(), &["runs", "-o", "json"]).output().unwrap();
    assert!(found.status.success(), "{}", said(&found));
    assert!(
        said(&found).contains("using .signoff/kubeconfig"),
        "{}",
        said(&found)
    );
    serde_json::from_slice::<serde_json::Value>(&found.stdout).unwrap();
    // who names one is not told of it
    let named = signoff(dir.path(), &["runs"])
        .env("KUBECONFIG", state.join("kubeconfig"))
        .output()
        .unwrap();
    assert!(
        named.status.success() && !said(&named).contains("using"),
        "{}",
        said(&named)
    );

    child.kill().await.unwrap();
    set_mode(&state, 0o755);
    let refused = signoff(
        dir.path(),
        &["dev", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"],
    )
    .output()
    .unwrap();
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("chmod -R go= .signoff"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_kubeconfig_that_came_with_a_folder_runs_no_program_and_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join(".signoff");
    fs::create_dir(&state).unwrap();
    let (file, ran) = (state.join("kubeconfig"), dir.path().join("ran"));
    let config = |server: &str, user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters:\n- name: c\n  cluster: {{server: '{server}', certificate-authority-data: Y2E=}}\n\
             users:\n- name: u\n  user: {user}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\n"
        )
    };
    let program = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: touch, args: ['{}']}}}}",
        ran.display()
    );
    let runs = |args: &[&str]| {
        let output = signoff(dir.path(), args).output().unwrap();
        assert!(!output.status.success());
        said(&output)
    };
    for (text, why) in [
        (config("https://127.0.0.1:1", &program), "signoff dev wrote"),
        (
            config("https://cluster.example.com", "{token: t}"),
            "not to a server on this machine",
        ),
    ] {
        fs::write(&file, &text).unwrap();
        set_mode(&file, 0o600);
        set_mode(&state, 0o755);
        assert!(runs(&["runs"]).contains(why), "{}", runs(&["runs"]));
        set_mode(&file, 0o644);
        assert!(runs(&["runs"]).contains("open to other users"));
        set_mode(&file, 0o600);
        set_mode(&state, 0o777);
        assert!(runs(&["runs"]).contains("open to other users"));
    }
    assert!(!ran.exists());
    // whoever names it means it
    set_mode(&state, 0o755);
    fs::write(&file, config("https://127.0.0.1:1", &program)).unwrap();
    runs(&["runs", "--kubeconfig", ".signoff/kubeconfig"]);
    assert!(ran.exists());
}
