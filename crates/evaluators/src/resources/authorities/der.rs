//! Reads DER (ITU-T X.690), as far as certificates need it: strictly, so that no two readers can understand the same
//! bytes differently. Lengths are definite and in their shortest form, tags take one byte, and nothing may follow where
//! the end is due.

use bytes::Bytes;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const NUMERIC_STRING: u8 = 0x12;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const TELETEX_STRING: u8 = 0x14;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const BMP_STRING: u8 = 0x1e;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The bytes are not what they should be. Why does not matter to anybody: whoever made them knows better tools to find
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// One value: its tag and its content.
pub(crate) struct Element {
    pub(crate) tag: u8,
    pub(crate) content: Bytes,
    /// The content with tag and length before it.
    pub(crate) whole: Bytes,
}

/// Reads values that stand one after the other. What it returns are parts of the same memory.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Reads what is in the one value that `bytes` are.
    pub(crate) fn within(bytes: Bytes, tag: u8) -> Result<Self, Malformed> {
        let mut reader = Self::new(bytes);
        let content = reader.content(tag)?;
        reader.end()?;
        Ok(Self::new(content))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// The next value, whatever it is.
    pub(crate) fn element(&mut self) -> Result<Element, Malformed> {
        let (tag, header, length) = header(&self.rest)?;
        let end = header.checked_add(length).filter(|end| *end <= self.rest.len()).ok_or(Malformed)?;
        let whole = self.rest.split_to(end);
        Ok(Element { tag, content: whole.slice(header..), whole })
    }

    /// The content of the next value, which must have this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Result<Bytes, Malformed> {
        let element = self.element()?;
        if element.tag == tag { Ok(element.content) } else { Err(Malformed) }
    }

    /// The next value, which must have this tag, with tag and length.
    pub(crate) fn whole(&mut self, tag: u8) -> Result<Bytes, Malformed> {
        let element = self.element()?;
        if element.tag == tag { Ok(element.whole) } else { Err(Malformed) }
    }

    /// The content of the next value, if there is one and it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Bytes>, Malformed> {
        if self.rest.first() == Some(&tag) { self.content(tag).map(Some) } else { Ok(None) }
    }
}

/// The tag at the beginning, how many bytes tag and length take, and how many the content has.
fn header(bytes: &[u8]) -> Result<(u8, usize, usize), Malformed> {
    let [tag, first, rest @ ..] = bytes else { return Err(Malformed) };
    if tag & 0x1f == 0x1f {
        return Err(Malformed);
    }
    if *first < 0x80 {
        return Ok((*tag, 2, usize::from(*first)));
    }
    let count = usize::from(first & 0x7f);
    let digits = rest.get(..count).filter(|digits| digits.len() <= 4).ok_or(Malformed)?;
    let length = digits.iter().fold(0_usize, |length, digit| (length << 8) | usize::from(*digit));
    if digits.first().is_none_or(|digit| *digit == 0) || length < 0x80 {
        return Err(Malformed);
    }
    Ok((*tag, 2 + count, length))
}

/// The truth of a BOOLEAN.
pub(crate) fn boolean(content: &[u8]) -> Result<bool, Malformed> {
    match content {
        [0x00] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Malformed),
    }
}

/// The number of an INTEGER that is not negative and fits.
pub(crate) fn small_integer(content: &[u8]) -> Result<u32, Malformed> {
    let digits = match content {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => return Err(Malformed),
        [0, digits @ ..] if !digits.is_empty() => digits,
        digits => digits,
    };
    if digits.len() > 4 {
        return Err(Malformed);
    }
    Ok(digits.iter().fold(0, |number, digit| (number << 8) | u32::from(*digit)))
}

/// The bytes of a BIT STRING that has whole ones.
pub(crate) fn octets(content: &Bytes) -> Result<Bytes, Malformed> {
    if content.first() == Some(&0) { Ok(content.slice(1..)) } else { Err(Malformed) }
}

/// The numbers of an OBJECT IDENTIFIER, none of which may have more than 31 bits.
pub(crate) fn object_identifier(content: &[u8]) -> Result<Vec<u32>, Malformed> {
    let mut numbers = Vec::new();
    let mut number: u32 = 0;
    let mut begun = false;
    for byte in content {
        if !begun && *byte == 0x80 {
            return Err(Malformed);
        }
        number = number.checked_mul(0x80).filter(|number| *number <= 0x7fff_ff80).ok_or(Malformed)?;
        number |= u32::from(byte & 0x7f);
        begun = byte & 0x80 != 0;
        if begun {
            continue;
        }
        if numbers.is_empty() {
            let first = (number / 40).min(2);
            numbers.push(first);
            number -= first * 40;
        }
        numbers.push(number);
        number = 0;
    }
    if begun || numbers.is_empty() { Err(Malformed) } else { Ok(numbers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(bytes: &'static [u8]) -> Result<(u8, Bytes), Malformed> {
        Reader::new(Bytes::from_static(bytes)).element().map(|element| (element.tag, element.content))
    }

    #[test]
    fn lengths_are_definite_and_short() {
        assert_eq!(element(&[0x04, 0]), Ok((4, Bytes::new())));
        assert_eq!(element(&[0x04, 2, 7, 8, 9]), Ok((4, Bytes::from_static(&[7, 8]))));
        let long = [&[0x04, 0x82, 1, 0][..], &[1; 256]].concat();
        assert_eq!(Reader::new(long.into()).element().unwrap().content.len(), 256);
        let wrong: [&[u8]; 11] = [
            &[],
            &[0x04],
            &[0x04, 2, 7],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x7f],
            &[0x04, 0x81, 1, 7],
            &[0x04, 0x82, 0, 0x80],
            &[0x04, 0x82, 1],
            &[0x04, 0x85, 1, 0, 0, 0, 0],
            &[0x04, 0xff],
            &[0x1f, 0x81, 0, 0],
        ];
        for bytes in wrong {
            assert_eq!(element(bytes), Err(Malformed), "{bytes:?}");
        }
        assert!(element(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn nothing_may_follow_the_one_value() {
        assert!(Reader::within(Bytes::from_static(&[0x30, 2, 5, 0]), SEQUENCE).is_ok());
        assert!(Reader::within(Bytes::from_static(&[0x30, 2, 5, 0, 0]), SEQUENCE).is_err());
        assert!(Reader::within(Bytes::from_static(&[0x31, 2, 5, 0]), SEQUENCE).is_err());
    }

    #[test]
    fn small_values() {
        assert_eq!(
            [boolean(&[0]), boolean(&[255]), boolean(&[1]), boolean(&[])],
            [Ok(false), Ok(true), Err(Malformed), Err(Malformed)]
        );
        let integers: [(&[u8], _); 9] = [
            (&[0], Ok(0)),
            (&[5], Ok(5)),
            (&[0, 200], Ok(200)),
            (&[0, 255, 255, 255, 255], Ok(u32::MAX)),
            (&[], Err(Malformed)),
            (&[0x80], Err(Malformed)),
            (&[0, 5], Err(Malformed)),
            (&[0, 0, 200], Err(Malformed)),
            (&[1, 0, 0, 0, 0], Err(Malformed)),
        ];
        for (content, expected) in integers {
            assert_eq!(small_integer(content), expected, "{content:?}");
        }
        let identifiers: [(&[u8], Result<&[u32], _>); 9] = [
            (&[0x55, 4, 6], Ok(&[2, 5, 4, 6])),
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], Ok(&[1, 2, 840, 113_549, 1, 9, 1])),
            (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], Ok(&[0, 9, 2342, 19_200_300, 100, 1, 25])),
            (&[0x88, 0x37, 3], Ok(&[2, 999, 3])),
            (&[0x55, 0x87, 0xff, 0xff, 0xff, 0x7f], Ok(&[2, 5, 0x7fff_ffff])),
            (&[0x55, 0x88, 0x80, 0x80, 0x80, 0x00], Err(Malformed)),
            (&[], Err(Malformed)),
            (&[0x55, 0x80, 1], Err(Malformed)),
            (&[0x55, 0x81], Err(Malformed)),
        ];
        for (content, expected) in identifiers {
            assert_eq!(object_identifier(content).as_deref(), expected.as_deref(), "{content:?}");
        }
    }
}
