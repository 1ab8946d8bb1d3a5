//! Signatures by keys that are made here, and some that git, gpg and ssh-keygen made.

mod object;
mod openpgp;
mod ssh;

use k8s_openapi::jiff::Timestamp;

use super::{SignatureError, Signed, TrustedKeys};
use signoff_api::release::{SignedObject, Verified};

/// The time of all tests, in seconds since 1970.
const NOW: i64 = 1_800_000_000;
const PAYLOAD: &[u8] = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\na change\n";

fn check(keys: &TrustedKeys, signature: &str, payload: &[u8]) -> Result<Verified, SignatureError> {
    let signed = Signed {
        object: SignedObject::Commit,
        signature: signature.as_bytes().to_vec(),
        payload: payload.to_vec(),
    };
    keys.verify(&signed, Timestamp::from_second(NOW).unwrap())
}

/// Why a signature of [`PAYLOAD`] is refused.
#[track_caller]
fn refused(keys: &TrustedKeys, signature: &str) -> String {
    check(keys, signature, PAYLOAD).unwrap_err().to_string()
}

#[test]
fn what_is_no_signature_of_a_known_kind_is_refused() {
    let keys = TrustedKeys::default();
    for text in [
        "",
        "hello",
        "-----BEGIN SIGNED MESSAGE-----\nMIIE\n-----END SIGNED MESSAGE-----\n",
    ] {
        assert_eq!(check(&keys, text, PAYLOAD), Err(SignatureError::Format), "{text}");
    }
    for text in [
        "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
        "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n",
        "-----BEGIN PGP SIGNATURE-----",
    ] {
        let found = check(&keys, text, PAYLOAD);
        assert!(
            matches!(found, Err(SignatureError::Unusable(_))),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn the_text_of_a_secret_is_read_as_what_it_is() {
    let mut keys = TrustedKeys::default();
    keys.add("dev", include_str!("made_by_git/key.asc")).unwrap();
    keys.add("dev", include_str!("made_by_git/key.pub")).unwrap();
    assert_eq!((keys.openpgp.len(), keys.ssh.len()), (1, 1));
    let why = keys.add("ops", "# nobody yet\n").unwrap_err().to_string();
    assert_eq!(
        why,
        "the key \"ops\" of spec.verify.keys cannot be used: there is no key in it"
    );
    let why = keys.add("ops", "hello").unwrap_err().to_string();
    assert!(why.contains("it is not an SSH public key such as"), "{why}");
    let certificate = include_str!("made_by_git/key.asc");
    let cut = &certificate[..certificate.len() / 2];
    assert!(
        keys.add("ops", cut)
            .unwrap_err()
            .to_string()
            .contains("OpenPGP certificate")
    );
    let why = keys.add_openpgp("ops", include_str!("made_by_git/key.pub"));
    assert!(
        why.unwrap_err()
            .to_string()
            .contains("it is not an OpenPGP certificate")
    );
}
