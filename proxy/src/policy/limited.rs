//! Text of a stranger, cut to the length a record has room for. Not redaction: what is short stays as it is. Called by
//! `actor`, `resource` and the record.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// `…sha256:` and 64 digits, in bytes.
const MARK: usize = 3 + 7 + 64;

/// `text`, or where it is longer than `max` bytes its beginning, cut on a character boundary, `…sha256:` and the
/// lower-case hex SHA-256 of the whole: two long names that begin alike stay two, and who has the name can prove it.
/// The result has at most `max` bytes, which must be more than the 74 of the mark.
pub fn limited(text: &str, max: usize) -> Cow<'_, str> {
    debug_assert!(max > MARK, "no room for the mark");
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let kept = text.get(..text.floor_char_boundary(max.saturating_sub(MARK))).unwrap_or_default();
    Cow::Owned(format!("{kept}…sha256:{}", sha256_hex(text)))
}

/// The same for one of many names: where JSON would need half as much again as `max` to write it, which only control
/// characters and quotes bring about, the hash stands alone. Many such names must not make a record too long.
pub fn limited_in_list(text: &str, max: usize) -> Cow<'_, str> {
    let cut = limited(text, max);
    if json_length(&cut) <= max + max / 2 { cut } else { Cow::Owned(format!("…sha256:{}", sha256_hex(text))) }
}

/// Bytes of the text between the quotes of a JSON string, as an upper limit.
fn json_length(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Lower-case hex SHA-256; of a text, of its UTF-8 bytes.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept_exactly() {
        assert_eq!(limited("", 256), "");
        let exact = "x".repeat(256);
        assert_eq!(limited(&exact, 256), exact);
    }

    #[test]
    fn long_text_is_cut_with_its_hash() {
        let long = format!("{}tail", "é".repeat(600));
        let cut = limited(&long, 1024);
        assert!(cut.len() <= 1024 && cut.len() >= 1023, "{}", cut.len());
        let (kept, hash) = cut.split_once("…sha256:").unwrap();
        assert!(long.starts_with(kept));
        assert_eq!(hash, sha256_hex(&long));
        assert_ne!(cut, limited(&format!("{}liat", "é".repeat(600)), 1024));
    }

    #[test]
    fn a_name_of_control_characters_is_its_hash() {
        let bells = "\u{7}".repeat(250);
        assert_eq!(limited_in_list(&bells, 256), format!("…sha256:{}", sha256_hex(&bells)));
        for kept in ["", "cn=staff,dc=example", r#"cn="a \"quoted\" name",dc=example"#] {
            assert_eq!(limited_in_list(kept, 256), kept);
        }
    }

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
