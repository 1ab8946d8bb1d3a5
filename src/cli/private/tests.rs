use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_is_missing_or_empty_becomes_private_and_stays_out_of_git() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("a/b/state");
    prepare_folder(&missing).unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    set_mode(&empty, 0o755);
    prepare_folder(&empty).unwrap();
    for folder in [missing, empty] {
        assert_eq!(mode(&folder), 0o700);
        let ignored = folder.join(".gitignore");
        assert_eq!(fs::read_to_string(&ignored).unwrap(), "*\n");
        assert_eq!(mode(&ignored), 0o600);
        fs::write(&ignored, "").unwrap();
        prepare_folder(&folder).unwrap();
        assert_eq!(fs::read_to_string(&ignored).unwrap(), "*\n");
    }
}

#[test]
fn what_is_in_a_private_folder_is_made_private_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    prepare_folder(&folder).unwrap();
    let (file, cache) = (folder.join("store.redb"), folder.join("git"));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&cache).unwrap();
    set_mode(&file, 0o644);
    set_mode(&cache, 0o755);
    prepare_folder(&folder).unwrap();
    assert_eq!((mode(&file), mode(&cache)), (0o600, 0o700));
}

#[test]
fn a_folder_with_something_in_it_that_others_may_use_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    prepare_folder(&folder).unwrap();
    for bits in [0o755, 0o750, 0o770, 0o702] {
        set_mode(&folder, bits);
        let why = prepare_folder(&folder).unwrap_err().to_string();
        assert!(
            why.contains("chmod -R go=") && why.contains(&format!("{bits:o}")),
            "{why}"
        );
    }
}

#[test]
fn links_and_files_in_the_place_of_a_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    prepare_folder(&elsewhere).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [&link, &file] {
        assert!(
            matches!(prepare_folder(path), Err(PrivateError::Type { .. })),
            "{path:?}"
        );
        assert!(
            matches!(check_folder(path), Err(PrivateError::Type { .. })),
            "{path:?}"
        );
    }
    std::os::unix::fs::symlink("/etc/passwd", elsewhere.join("tokens.json")).unwrap();
    assert!(matches!(
        prepare_folder(&elsewhere),
        Err(PrivateError::Type { .. })
    ));
}

#[test]
fn a_folder_of_another_user_is_refused() {
    // as root everything can be given away; otherwise the system's own folders are somebody else's
    let theirs = Path::new("/proc/1");
    let Ok(found) = fs::symlink_metadata(theirs) else {
        return;
    };
    if found.uid() != effective_user() {
        assert!(matches!(check_folder(theirs), Err(PrivateError::Owner { .. })));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
    assert!(matches!(
        check_folder(dir.path()),
        Err(PrivateError::Owner { .. })
    ));
    assert!(matches!(
        prepare_folder(dir.path()),
        Err(PrivateError::Owner { .. })
    ));
    std::os::unix::fs::chown(dir.path(), Some(effective_user()), None).unwrap();
}

#[test]
fn only_a_regular_file_that_nobody_else_may_use_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    set_mode(&file, 0o600);
    assert_eq!(read(&file).unwrap(), "text");
    for bits in [0o644, 0o620, 0o602] {
        set_mode(&file, bits);
        assert!(matches!(read(&file), Err(PrivateError::Open { .. })), "{bits:o}");
    }
    set_mode(&file, 0o600);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let pipe = dir.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [&link, &pipe, dir.path()] {
        assert!(matches!(read(path), Err(PrivateError::Type { .. })), "{path:?}");
    }
    assert!(matches!(
        read(&dir.path().join("none")),
        Err(PrivateError::Io { .. })
    ));
}
