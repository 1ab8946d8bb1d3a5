//! SSH signatures.

use russh::keys::ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey};

use super::{PAYLOAD, check, refused};
use crate::git::verify::{SignatureError, TrustedKeys};

fn key(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), algorithm).unwrap()
}

fn trusting(name: &str, key: &PrivateKey) -> TrustedKeys {
    let mut keys = TrustedKeys::default();
    keys.add_ssh(name, &key.public_key().to_openssh().unwrap())
        .unwrap();
    keys
}

fn sign(key: &PrivateKey, namespace: &str, hash: HashAlg) -> String {
    let signature = key.sign(namespace, hash, PAYLOAD).unwrap();
    signature.to_pem(LineEnding::LF).unwrap()
}

#[test]
fn every_kind_of_key_and_hash_that_git_uses_is_verified() {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let ecdsa = curves.map(|curve| Algorithm::Ecdsa { curve });
    for algorithm in [Algorithm::Ed25519].into_iter().chain(ecdsa) {
        let key = key(algorithm);
        for hash in [HashAlg::Sha256, HashAlg::Sha512] {
            let found = check(&trusting("dev", &key), &sign(&key, "git", hash), PAYLOAD).unwrap();
            assert_eq!(found.key, "dev");
            assert_eq!(
                found.fingerprint,
                key.public_key().fingerprint(HashAlg::Sha256).to_string()
            );
        }
    }
}

#[test]
fn a_changed_payload_is_refused() {
    let key = key(Algorithm::Ed25519);
    let signature = sign(&key, "git", HashAlg::Sha512);
    let found = check(&trusting("dev", &key), &signature, b"something else");
    assert!(matches!(found, Err(SignatureError::Mismatch { .. })), "{found:?}");
}

#[test]
fn a_signature_for_another_purpose_is_refused() {
    let key = key(Algorithm::Ed25519);
    let why = refused(&trusting("dev", &key), &sign(&key, "file", HashAlg::Sha512));
    assert_eq!(
        why,
        "the SSH signature was made for the namespace \"file\", not for \"git\""
    );
}

#[test]
fn a_key_that_is_not_trusted_is_named_by_its_fingerprint() {
    let (trusted, stranger) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
    let print = stranger.public_key().fingerprint(HashAlg::Sha256);
    assert_eq!(
        refused(
            &trusting("dev", &trusted),
            &sign(&stranger, "git", HashAlg::Sha512)
        ),
        format!("it is signed by the key {print}, which is not among spec.verify.keys")
    );
}

#[test]
fn a_signature_that_names_a_trusted_key_but_is_anothers_is_refused() {
    use russh::keys::ssh_key::SshSig;
    let (trusted, stranger) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
    let of_stranger = stranger.sign("git", HashAlg::Sha512, PAYLOAD).unwrap();
    let forged = SshSig::new(
        trusted.public_key().key_data().clone(),
        "git",
        HashAlg::Sha512,
        of_stranger.signature().clone(),
    );
    let forged = forged.unwrap().to_pem(LineEnding::LF).unwrap();
    let found = check(&trusting("dev", &trusted), &forged, PAYLOAD);
    assert!(matches!(found, Err(SignatureError::Mismatch { .. })), "{found:?}");
}

#[test]
fn weak_and_unknown_kinds_of_keys_are_not_trusted() {
    // 1024 bits, made by `ssh-keygen -t rsa -b 1024`
    let weak = include_str!("made_by_git/weak.pub");
    let why = TrustedKeys::default()
        .add_ssh("dev", weak)
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("an RSA key of 1024 bits is too weak; it takes 2048"),
        "{why}"
    );
    let why = TrustedKeys::default().add_ssh("dev", "ssh-dss AAAA").unwrap_err();
    assert!(why.to_string().contains("it is not an SSH public key"), "{why}");
}
