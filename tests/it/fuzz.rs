//! Each fuzz target on its kept inputs, and on some changes of them that are the same in every run.

use std::{fs, path::Path};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// What the grammars are made of, and what often breaks readers.
const PIECES: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"${",
    b"\"",
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!str ",
    b"#",
    b"\0",
    b"\xff",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x8e\x89",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"9223372036854775808",
    b"!",
    b"||",
    b".map(x, ",
    b"size(",
    b"{}",
    b"---\n",
    b"verdict: ",
    b"values: ",
    b"webhook-signature: v1,",
    b"x-hub-signature-256: sha256=",
];

/// Plays every kept input, and so many changes of each.
fn play(target: &str, run: fn(&[u8]) -> bool, changes: usize) {
    let folder = Path::new("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(corpus.len() >= 3, "{} is nearly empty", folder.display());
    let mut taken = 0;
    for (file, input) in files.iter().zip(&corpus) {
        let name = file.file_name().unwrap().to_string_lossy();
        taken += usize::from(try_out(run, input, &format!("{target}/{name}")));
        let mut random = StdRng::seed_from_u64(0x5160_0FF5);
        for number in 0..changes {
            let changed = change(input, &corpus, &mut random);
            try_out(run, &changed, &format!("change {number} of {target}/{name}"));
        }
    }
    // else it is not the target that is tried
    assert!(
        0 < taken && taken < corpus.len(),
        "{taken} of {} are taken",
        corpus.len()
    );
}

/// Keeps the input in a file while it is tried, since an overflowing stack or an endless loop leaves no other word of it.
fn try_out(run: fn(&[u8]) -> bool, input: &[u8], what: &str) -> bool {
    let name = format!("{}-{}", what.replace(['/', ' '], "-"), std::process::id());
    let kept = std::env::temp_dir().join(format!("signoff-fuzz-{name}"));
    fs::write(&kept, input).unwrap();
    let taken = std::panic::catch_unwind(|| run(input)).unwrap_or_else(|panic| {
        eprintln!("{what} fails; the input is in {}", kept.display());
        std::panic::resume_unwind(panic)
    });
    fs::remove_file(kept).unwrap();
    taken
}

/// An input with one to four changes.
fn change(input: &[u8], corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=changed.len());
        let end = random.random_range(at..=changed.len().min(at + 64));
        match random.random_range(0..6) {
            0 => drop(changed.drain(at..end)),
            1 => {
                let piece = changed[at..end].repeat(random.random_range(1..=16));
                changed.splice(at..at, piece);
            }
            2 => {
                let piece = PIECES[random.random_range(0..PIECES.len())].repeat(random.random_range(1..=3));
                changed.splice(at..at, piece);
            }
            3 if at < changed.len() => changed[at] ^= 1 << random.random_range(0..8),
            4 if at < changed.len() => changed[at] = random.random(),
            _ => {
                let other = &corpus[random.random_range(0..corpus.len())];
                let from = random.random_range(0..=other.len());
                changed.splice(at..end, other[from..].iter().copied().take(64));
            }
        }
    }
    changed
}

#[test]
fn manifests() {
    play("manifest", targets::manifest, 100);
}

#[test]
fn expressions() {
    play("expression", targets::expression, 200);
}

#[test]
fn question_files() {
    play("question", targets::question, 300);
}

#[test]
fn callback_bodies() {
    play("callback", targets::callback, 30);
}

#[test]
fn webhook_requests() {
    play("webhook", targets::webhook, 30);
}

#[test]
fn packs() {
    play("pack", targets::pack, 10);
}
