//! The one place in this room that makes ids.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Letters of generated names: no vowels and no look-alikes, as Kubernetes has them.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest stem of a generated name.
const STEM: usize = 58;

/// A random uid (UUID version 4).
pub fn uid() -> String {
    let random: u128 = rand::random();
    let v4 = (random & !(0xf000 << 64) & !(0xc000 << 48)) | (0x4000 << 64) | (0x8000 << 48);
    let hex = format!("{v4:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// A name that starts with `stem` and ends with five random letters.
pub fn name(stem: &str) -> String {
    let mut name: String = stem.chars().take(STEM).collect();
    let mut random: u64 = rand::random();
    for _ in 0..5 {
        let letters = ALPHABET.len() as u64;
        let index = usize::try_from(random % letters).unwrap_or_default();
        name.push(char::from(ALPHABET[index]));
        random /= letters;
    }
    name
}

/// A bearer token with 256 random bits.
pub fn token() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_has_the_form_of_a_version_4_uuid() {
        let uid = uid();
        let parts: Vec<_> = uid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&uid[14..15], "4");
        assert!("89ab".contains(&uid[19..20]));
    }

    #[test]
    fn a_generated_name_keeps_its_stem_and_its_bound() {
        assert_eq!(name("run-").len(), 9);
        assert_eq!(name(&"x".repeat(100)).len(), 63);
    }
}
