//! Base64 as far as it goes.

/// The bytes of a text in the standard alphabet, with or without padding, up to the first character that does not
/// belong there. Line breaks are passed over.
pub(super) fn decode_leniently(text: &str) -> Vec<u8> {
    if text.len().is_multiple_of(4)
        && let Some(bytes) = decode_padded(text)
    {
        return bytes;
    }
    decode_unpadded(text)
}

/// All bytes, or `None` if anything is wrong.
fn decode_padded(text: &str) -> Option<Vec<u8>> {
    let characters: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let padding = characters.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = characters.get(..characters.len() - padding)?;
    let complete = padding <= 2 && characters.len().is_multiple_of(4);
    (complete && digits.iter().all(|byte| digit(*byte).is_some()))
        .then(|| digits.chunks(4).flat_map(bytes_of).collect())
}

/// The bytes of all groups of four before the first that has a wrong character, and of an incomplete last one.
fn decode_unpadded(text: &str) -> Vec<u8> {
    let characters: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    characters
        .chunks(4)
        .take_while(|group| group.iter().all(|byte| digit(*byte).is_some()))
        .flat_map(bytes_of)
        .collect()
}

/// The whole bytes of up to four digits.
fn bytes_of(digits: &[u8]) -> impl Iterator<Item = u8> + use<> {
    let bits = digits.iter().fold(0_u32, |bits, byte| bits << 6 | digit(*byte).unwrap_or_default());
    let aligned = bits << (6 * (4 - digits.len().min(4)));
    let [_, first, second, third] = aligned.to_be_bytes();
    [first, second, third].into_iter().take(digits.len() * 6 / 8)
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_can() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("am9obg==", b"john"),
            ("am9obg", b"john"),
            ("YQ", b"a"),
            ("YWI", b"ab"),
            ("YWJj", b"abc"),
            ("am9o\r\nbg\r\n", b"john"),
            ("john", &[0x8e, 0x88, 0x67]),
            ("am9o!g==", b"joh"),
            ("am9obg==am9o", b"joh"),
            ("am9oY", b"joh"),
            ("a-_a", b""),
            ("=", b""),
            ("é", b""),
        ] {
            assert_eq!(decode_leniently(text), bytes, "{text}");
        }
    }

    #[test]
    fn agrees_with_a_strict_decoder() {
        use base64::Engine as _;
        for length in 0..64_u8 {
            let bytes: Vec<u8> = (0..length).map(|index| index.wrapping_mul(41)).collect();
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            assert_eq!(decode_leniently(&text), bytes);
            assert_eq!(decode_leniently(text.trim_end_matches('=')), bytes);
        }
    }
}
