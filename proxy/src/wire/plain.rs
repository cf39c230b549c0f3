//! How much of a text JSON has as it stands: up to what is escaped or ends a string. Eight bytes at a time, since every
//! byte of a question is looked at once and every byte of its record. Called by `strict` and by `audit::json`.

/// Bytes before the first quote, backslash or control character; all of them where there is none.
pub fn plain_length(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let special = specials(u64::from_le_bytes(*word));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    // Most texts are short, and end within a word.
    if text.last_chunk::<8>().is_some_and(|last| specials(u64::from_le_bytes(*last)) == 0) {
        return text.len();
    }
    length + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len())
}

/// The highest bit of the lowest byte that is a quote, a backslash or a control character is the lowest one set; what is
/// set above that means nothing. A byte below `limit`, which is at most 128, is found by what it borrows when that is taken
/// from each; one that equals another is zero over it.
fn specials(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let below = |bytes: u64, limit: u64| bytes.wrapping_sub(EACH * limit) & !bytes & (EACH << 7);
    let equal = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    below(word, 0x20) | equal(b'"') | equal(b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(text: &[u8]) -> usize {
        text.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\').unwrap_or(text.len())
    }

    /// Every byte in every place of a word, and in the rest, beside neighbours that borrow.
    #[test]
    fn every_byte_in_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..12 {
                for around in [b'a', 0x20, 0x7f, 0x80, 0xff, b'!', b'#', b'['] {
                    let mut text = [around; 12];
                    text[place] = byte;
                    assert_eq!(plain_length(&text), one_by_one(&text), "{byte} at {place} of {around}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn as_one_by_one(text in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(plain_length(&text), one_by_one(&text));
        }
    }
}
