//! OpenPGP signatures, and certificates that expire, are revoked or are put together by somebody else.

use pgp::{
    composed::{
        ArmorOptions, Deserializable as _, DetachedSignature, KeyType, SecretKeyParamsBuilder,
        SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder, SubpacketConfig,
    },
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, RevocationCode, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData},
    ser::Serialize as _,
    types::{Duration, Fingerprint, KeyDetails, Password, SigningKey, Tag, Timestamp},
};

use super::{NOW, PAYLOAD, check, refused};
use crate::git::verify::{SignatureError, TrustedKeys};

const DAY: i64 = 86_400;
/// When all keys are made.
const MADE: i64 = NOW - 100 * DAY;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(u32::try_from(seconds).unwrap())
}

fn lasting(seconds: i64) -> Duration {
    Duration::from_secs(u32::try_from(seconds).unwrap())
}

/// A certificate of a primary key with one subkey, with the signatures that the test makes.
struct Holder {
    secret: SignedSecretKey,
    public: SignedPublicKey,
}

/// What a binding signature says of a key.
#[derive(Clone, Copy)]
struct Says {
    at: i64,
    lasts: Option<i64>,
    signs: bool,
}

/// It signs and does not expire.
const GOOD: Says = Says {
    at: MADE,
    lasts: None,
    signs: true,
};

impl Holder {
    /// A primary key and a subkey that both sign and never expire.
    fn new() -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .created_at(at(MADE))
            .build()
            .unwrap();
        let secret = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(at(MADE))
            .primary_user_id("Dev <dev@example.com>".to_owned())
            .subkey(subkey)
            .build()
            .unwrap()
            .generate(rand_08::thread_rng())
            .unwrap();
        let public = secret.to_public_key();
        let mut holder = Self { secret, public };
        holder.public.details.users[0].signatures = vec![];
        holder.certify(GOOD);
        holder.public.public_subkeys[0].signatures = vec![];
        holder.bind(GOOD, true);
        holder
    }

    fn config(&self, typ: SignatureType, says: Says, more: Vec<SubpacketData>) -> SignatureConfig {
        let key = &self.secret.primary_key;
        let mut flags = KeyFlags::default();
        flags.set_sign(says.signs);
        let mut packets = vec![
            SubpacketData::SignatureCreationTime(at(says.at)),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
            SubpacketData::KeyFlags(flags),
        ];
        packets.extend(
            says.lasts
                .map(|lasts| SubpacketData::KeyExpirationTime(lasting(lasts))),
        );
        packets.extend(more);
        config(typ, key, packets)
    }

    /// The primary key says this of itself, for its user id.
    fn certify(&mut self, says: Says) {
        let key = &self.secret.primary_key;
        let id = self.public.details.users[0].id.clone();
        let signature = self
            .config(SignatureType::CertPositive, says, vec![])
            .sign_certification(key, key.public_key(), &Password::empty(), Tag::UserId, &id)
            .unwrap();
        self.public.details.users[0].signatures.push(signature);
    }

    /// The primary key says this of the subkey, which agrees or not.
    fn bind(&mut self, says: Says, agreed: bool) {
        let (key, subkey) = (&self.secret.primary_key, &self.secret.secret_subkeys[0].key);
        let of_subkey = vec![
            SubpacketData::SignatureCreationTime(at(says.at)),
            SubpacketData::IssuerFingerprint(subkey.fingerprint()),
        ];
        let back = config(SignatureType::KeyBinding, subkey, of_subkey)
            .sign_primary_key_binding(subkey, subkey.public_key(), &Password::empty(), key.public_key())
            .unwrap();
        let more = agreed.then(|| SubpacketData::EmbeddedSignature(Box::new(back)));
        let signature = self.binding(SignatureType::SubkeyBinding, says, more.into_iter().collect());
        self.public.public_subkeys[0].signatures.push(signature);
    }

    fn binding(&self, typ: SignatureType, says: Says, more: Vec<SubpacketData>) -> Signature {
        let (key, subkey) = (&self.secret.primary_key, &self.secret.secret_subkeys[0].key);
        self.config(typ, says, more)
            .sign_subkey_binding(key, key.public_key(), &Password::empty(), subkey.public_key())
            .unwrap()
    }

    fn revocation(&self, why: RevocationCode, text: &'static str) -> Signature {
        let key = &self.secret.primary_key;
        self.config(SignatureType::KeyRevocation, GOOD, vec![reason(why, text)])
            .sign_key(key, &Password::empty(), key.public_key())
            .unwrap()
    }

    fn trusted(&self) -> TrustedKeys {
        let mut keys = TrustedKeys::default();
        keys.add_openpgp("dev", &self.certificate()).unwrap();
        keys
    }

    fn certificate(&self) -> String {
        self.public.to_armored_string(ArmorOptions::default()).unwrap()
    }

    fn by_primary(&self, made: i64) -> String {
        sign(&self.secret.primary_key, made, None, HashAlgorithm::Sha256)
    }

    fn by_subkey(&self, made: i64) -> String {
        sign(
            &self.secret.secret_subkeys[0].key,
            made,
            None,
            HashAlgorithm::Sha256,
        )
    }

    fn subkey(&self) -> String {
        print(&self.secret.secret_subkeys[0].key.fingerprint())
    }

    fn primary(&self) -> String {
        print(&self.secret.primary_key.fingerprint())
    }
}

fn print(fingerprint: &Fingerprint) -> String {
    format!("{fingerprint:X}")
}

fn config(typ: SignatureType, key: &impl SigningKey, packets: Vec<SubpacketData>) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = packets
        .into_iter()
        .map(|data| Subpacket::regular(data).unwrap())
        .collect();
    config
}

fn reason(why: RevocationCode, text: &'static str) -> SubpacketData {
    SubpacketData::RevocationReason(why, text.as_bytes().into())
}

fn sign(key: &impl SigningKey, made: i64, lasts: Option<i64>, hash: HashAlgorithm) -> String {
    let mut hashed = vec![
        SubpacketData::SignatureCreationTime(at(made)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    hashed.extend(lasts.map(|lasts| SubpacketData::SignatureExpirationTime(lasting(lasts))));
    let hashed = hashed
        .into_iter()
        .map(|data| Subpacket::regular(data).unwrap())
        .collect();
    let packets = SubpacketConfig::UserDefined {
        hashed,
        unhashed: vec![],
    };
    let signature = DetachedSignature::sign_binary_data_with_subpackets(
        rand_08::thread_rng(),
        key,
        &Password::empty(),
        hash,
        PAYLOAD,
        packets,
    );
    signature
        .unwrap()
        .to_armored_string(ArmorOptions::default())
        .unwrap()
}

/// The signature with another hash named in it: the library does not make unsafe ones.
fn relabelled(armoured: &str, hash: HashAlgorithm) -> String {
    let (signature, _) = DetachedSignature::from_string(armoured).unwrap();
    let mut bytes = signature.to_bytes().unwrap();
    // packet header of two bytes, then version, type, public key algorithm and hash (RFC 9580, section 5.2.3)
    assert_eq!((bytes[2], bytes[5]), (4, u8::from(HashAlgorithm::Sha256)));
    bytes[5] = hash.into();
    let signature = DetachedSignature::from_bytes(bytes.as_slice()).unwrap();
    signature.to_armored_string(ArmorOptions::default()).unwrap()
}

#[test]
fn the_primary_key_and_a_signing_subkey_are_verified_and_named() {
    let holder = Holder::new();
    for (signature, print) in [
        (holder.by_primary(NOW - DAY), holder.primary()),
        (holder.by_subkey(NOW - DAY), holder.subkey()),
    ] {
        let found = check(&holder.trusted(), &signature, PAYLOAD).unwrap();
        assert_eq!((found.key.as_str(), found.fingerprint), ("dev", print));
        let changed = check(&holder.trusted(), &signature, b"something else");
        assert!(
            matches!(changed, Err(SignatureError::Mismatch { .. })),
            "{changed:?}"
        );
    }
}

#[test]
fn a_key_that_is_not_trusted_is_named_by_its_fingerprint() {
    let (holder, stranger) = (Holder::new(), Holder::new());
    assert_eq!(
        refused(&holder.trusted(), &stranger.by_subkey(NOW)),
        format!(
            "it is signed by the key {}, which is not among spec.verify.keys",
            stranger.subkey()
        )
    );
}

#[test]
fn a_signature_that_names_a_trusted_key_but_is_anothers_is_refused() {
    let (holder, stranger) = (Holder::new(), Holder::new());
    let packets = vec![
        SubpacketData::SignatureCreationTime(at(NOW)),
        SubpacketData::IssuerFingerprint(holder.secret.primary_key.fingerprint()),
    ];
    let key = &stranger.secret.primary_key;
    let signature = config(SignatureType::Binary, key, packets).sign(key, &Password::empty(), PAYLOAD);
    let forged = DetachedSignature::new(signature.unwrap()).to_armored_string(ArmorOptions::default());
    let found = check(&holder.trusted(), &forged.unwrap(), PAYLOAD);
    assert!(matches!(found, Err(SignatureError::Mismatch { .. })), "{found:?}");
}

#[test]
fn an_expired_key_vouches_for_nothing_whenever_it_claims_to_have_signed() {
    let mut holder = Holder::new();
    holder.certify(Says {
        at: MADE + 1,
        lasts: Some(50 * DAY),
        ..GOOD
    });
    let keys = holder.trusted();
    let after = refused(&keys, &holder.by_primary(NOW - DAY));
    assert!(
        after.contains("which had expired at 2026-11-26T08:00:00Z when it signed at"),
        "{after}"
    );
    let before = refused(&keys, &holder.by_primary(MADE + DAY));
    assert!(
        before.ends_with("which expired at 2026-11-26T08:00:00Z"),
        "{before}"
    );
    let by_subkey = refused(&keys, &holder.by_subkey(MADE + DAY));
    let expected = format!(
        "belongs to the primary key {}, which expired at",
        holder.primary()
    );
    assert!(by_subkey.contains(&expected), "{by_subkey}");

    // the newest word counts, so a key can be renewed, here or in another entry
    holder.certify(Says {
        at: NOW - DAY,
        lasts: Some(200 * DAY),
        ..GOOD
    });
    check(&holder.trusted(), &holder.by_primary(NOW - DAY), PAYLOAD).unwrap();
    let mut both = keys;
    both.add_openpgp("dev, renewed", &holder.certificate()).unwrap();
    let found = check(&both, &holder.by_primary(NOW - DAY), PAYLOAD).unwrap();
    assert_eq!(found.key, "dev, renewed");
}

#[test]
fn an_expired_subkey_is_refused_and_the_primary_key_is_not() {
    let mut holder = Holder::new();
    let short = Says {
        at: MADE + 1,
        lasts: Some(50 * DAY),
        ..GOOD
    };
    holder.bind(short, true);
    let why = refused(&holder.trusted(), &holder.by_subkey(MADE + DAY));
    assert_eq!(
        why,
        format!(
            "it is signed by the key dev ({}), which expired at 2026-11-26T08:00:00Z",
            holder.subkey()
        )
    );
    check(&holder.trusted(), &holder.by_primary(NOW), PAYLOAD).unwrap();
}

#[test]
fn a_signature_older_than_its_key_is_refused() {
    let holder = Holder::new();
    let why = refused(&holder.trusted(), &holder.by_primary(MADE - 1));
    assert!(why.contains("after the signature"), "{why}");
}

#[test]
fn a_signature_that_has_expired_is_refused() {
    let holder = Holder::new();
    let key = &holder.secret.primary_key;
    let past = sign(key, NOW - 2 * DAY, Some(DAY), HashAlgorithm::Sha256);
    assert!(refused(&holder.trusted(), &past).contains("the signature itself expired at"));
    let to_come = sign(key, NOW - 2 * DAY, Some(3 * DAY), HashAlgorithm::Sha256);
    check(&holder.trusted(), &to_come, PAYLOAD).unwrap();
}

#[test]
fn a_revoked_key_is_refused_with_the_reason_and_its_subkeys_with_it() {
    let mut holder = Holder::new();
    let revocation = holder.revocation(RevocationCode::KeyCompromised, "laptop stolen");
    holder.public.details.revocation_signatures.push(revocation);
    let keys = holder.trusted();
    let why = refused(&keys, &holder.by_primary(MADE + DAY));
    assert!(
        why.ends_with("which is revoked (KeyCompromised: \"laptop stolen\")"),
        "{why}"
    );
    let why = refused(&keys, &holder.by_subkey(MADE + DAY));
    assert!(why.contains("which belongs to the primary key"), "{why}");
}

#[test]
fn a_revocation_by_somebody_else_is_none() {
    let (mut holder, stranger) = (Holder::new(), Holder::new());
    let revocation = stranger.revocation(RevocationCode::KeyCompromised, "ha");
    holder.public.details.revocation_signatures.push(revocation);
    check(&holder.trusted(), &holder.by_primary(NOW), PAYLOAD).unwrap();
}

#[test]
fn a_revoked_subkey_is_refused_whatever_binds_it_anew() {
    let mut holder = Holder::new();
    let why = vec![reason(RevocationCode::KeyRetired, "")];
    let revocation = holder.binding(SignatureType::SubkeyRevocation, GOOD, why);
    holder.public.public_subkeys[0].signatures.push(revocation);
    holder.bind(
        Says {
            at: NOW - DAY,
            ..GOOD
        },
        true,
    );
    let why = refused(&holder.trusted(), &holder.by_subkey(NOW));
    assert!(why.ends_with("which is revoked (KeyRetired)"), "{why}");
    check(&holder.trusted(), &holder.by_primary(NOW), PAYLOAD).unwrap();
}

#[test]
fn a_subkey_that_is_not_for_signing_or_never_agreed_is_refused() {
    let mut holder = Holder::new();
    let later = Says {
        at: NOW - DAY,
        ..GOOD
    };
    holder.bind(
        Says {
            signs: false,
            ..later
        },
        true,
    );
    let why = refused(&holder.trusted(), &holder.by_subkey(NOW));
    assert!(why.ends_with("which is not for signing"), "{why}");
    holder.public.public_subkeys[0].signatures = vec![];
    holder.bind(later, false);
    let why = refused(&holder.trusted(), &holder.by_subkey(NOW));
    assert!(
        why.contains("which does not say itself that it belongs to its primary key"),
        "{why}"
    );
}

#[test]
fn a_subkey_that_somebody_put_into_the_certificate_is_refused() {
    let (mut holder, mut stranger) = (Holder::new(), Holder::new());
    let foreign = stranger.public.public_subkeys.remove(0);
    holder.public.public_subkeys.push(foreign);
    let why = refused(&holder.trusted(), &stranger.by_subkey(NOW));
    assert!(why.contains("which is not bound to its primary key"), "{why}");
}

#[test]
fn a_primary_key_that_only_certifies_is_refused() {
    let mut holder = Holder::new();
    holder.certify(Says {
        at: NOW - DAY,
        signs: false,
        ..GOOD
    });
    let why = refused(&holder.trusted(), &holder.by_primary(NOW));
    assert!(why.ends_with("which is not for signing"), "{why}");
    check(&holder.trusted(), &holder.by_subkey(NOW), PAYLOAD).unwrap();
}

#[test]
fn a_certificate_that_does_not_sign_itself_is_not_trusted() {
    let (mut holder, stranger) = (Holder::new(), Holder::new());
    holder.public.details.users = stranger.public.details.users;
    let added = TrustedKeys::default().add_openpgp("dev", &holder.certificate());
    assert!(added.unwrap_err().to_string().contains("does not sign itself"));
}

#[test]
fn several_certificates_are_read_from_one_text() {
    let (one, other) = (Holder::new(), Holder::new());
    let mut keys = TrustedKeys::default();
    keys.add_openpgp("team", &format!("{}\n{}", one.certificate(), other.certificate()))
        .unwrap();
    for holder in [one, other] {
        let found = check(&keys, &holder.by_primary(NOW), PAYLOAD).unwrap();
        assert_eq!(found.fingerprint, holder.primary());
    }
}

#[test]
fn a_signature_with_an_unsafe_hash_or_for_another_use_is_refused() {
    let holder = Holder::new();
    let key = &holder.secret.primary_key;
    let certification = holder.public.details.users[0].signatures[0].clone();
    let armoured = DetachedSignature::new(certification).to_armored_string(ArmorOptions::default());
    let why = refused(&holder.trusted(), &armoured.unwrap());
    assert!(why.contains("it is not a signature of a document"), "{why}");
    let weak = relabelled(
        &sign(key, NOW, None, HashAlgorithm::Sha256),
        HashAlgorithm::Sha224,
    );
    let why = refused(&holder.trusted(), &weak);
    assert!(why.contains("a hash that is not safe any more"), "{why}");
}
