//! Protocol buffers as they are on the wire, as much of them as a check needs.
//!
//! ```text
//!  message  = field*
//!  field    = tag (number · 8 + kind), value
//!  value    = varint | 8 bytes | length, bytes | 4 bytes
//! ```
//!
//! The library for protocol buffers makes a tree of owned texts, of which most are never looked at. This reads the same bytes
//! in place. What the library refuses is refused here too, but for how deep groups that nobody knows may be nested. An entry
//! of a map that has another kind than a message is refused here alone: the library does not look at its kind.

use std::fmt;

/// Bytes that are no message of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// The fields of a message, as they come.
pub(super) struct Fields<'m> {
    rest: &'m [u8],
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'m> {
    /// A number, `int64` and the like.
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(&'m [u8]),
    /// Something that no field of a check is: eight bytes, four bytes, or a group.
    Other,
}

/// How deep groups may be nested, which nobody has sent for many years.
const MOST_NESTED: usize = 100;

impl<'m> Fields<'m> {
    /// The fields of a message.
    pub(super) fn of(message: &'m [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field: its number and its value.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'m>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.tag()?;
        let value = match kind {
            2 => Value::Bytes(self.bytes()?),
            0 => Value::Number(self.varint()?),
            kind => {
                self.skip(number, kind, MOST_NESTED)?;
                Value::Other
            }
        };
        Ok(Some((number, value)))
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed("a tag is too large"))?;
        match (tag >> 3, (tag & 7) as u8) {
            (0, _) => Err(Malformed("a field has the number 0")),
            field => Ok(field),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            Some((&byte @ 0..0x80, rest)) => {
                self.rest = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed("a number has no end"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if shift == 63 && byte > 1 { Err(Malformed("a number is too large")) } else { Ok(value) };
            }
        }
        Err(Malformed("a number is too long"))
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'m [u8], Malformed> {
        let length = self.varint()?;
        usize::try_from(length).ok().and_then(|length| self.take(length)).ok_or(Malformed("a field has no end"))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'m [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn skip(&mut self, number: u32, kind: u8, depth: usize) -> Result<(), Malformed> {
        let skipped = match kind {
            0 => return self.varint().map(|_| ()),
            1 => self.take(8),
            2 => return self.bytes().map(|_| ()),
            3 => return self.skip_group(number, depth),
            5 => self.take(4),
            _ => return Err(Malformed("a field has no known kind")),
        };
        skipped.map(|_| ()).ok_or(Malformed("a field has no end"))
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed("groups are nested too deep"))?;
        loop {
            let (inner, kind) = self.tag()?;
            if kind == 4 {
                return if inner == number { Ok(()) } else { Err(Malformed("a group has no end")) };
            }
            self.skip(inner, kind, depth)?;
        }
    }
}

impl<'m> Value<'m> {
    /// The fields of a message.
    #[inline]
    pub(super) fn message(self) -> Result<Fields<'m>, Malformed> {
        self.bytes().map(Fields::of)
    }

    /// Bytes.
    #[inline]
    pub(super) fn bytes(self) -> Result<&'m [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Other => Err(UNEXPECTED),
        }
    }

    /// A text, which is always UTF-8.
    #[inline]
    pub(super) fn text(self) -> Result<&'m str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// A number of type `int64` or `uint64`.
    pub(super) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) | Self::Other => Err(UNEXPECTED),
        }
    }

    /// A number of type `int32`, `uint32` or `enum`: the lower half, as protocol buffers have it.
    pub(super) fn short_number(self) -> Result<u32, Malformed> {
        Ok((self.number()? & 0xffff_ffff) as u32)
    }
}

const UNEXPECTED: Malformed = Malformed("a field has an unexpected kind");

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        let mut fields = Fields::of(message);
        std::iter::from_fn(|| fields.next().transpose()).collect()
    }

    #[test]
    fn fields_of_every_kind() {
        let message = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 2, b'h', b'i'],
            &[0x19, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x23, 0x08, 1, 0x2b, 0x2c, 0x12, 1, 9, 0x24],
            &[0x2d, 1, 2, 3, 4],
        ]
        .concat();
        let expected = [
            (1, Value::Number(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Other),
            (4, Value::Other),
            (5, Value::Other),
        ];
        assert_eq!(read(&message).unwrap(), expected);
        assert_eq!(read(&[]).unwrap(), []);
        assert_eq!(Value::Bytes(b"hi").text(), Ok("hi"));
        assert_eq!(Value::Number(u64::MAX).short_number(), Ok(u32::MAX));
    }

    #[test]
    fn numbers_have_64_bits() {
        let all = [&[0x08][..], &[0xff; 9], &[1]].concat();
        assert_eq!(read(&all).unwrap(), [(1, Value::Number(u64::MAX))]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let deep = [0x0b; 101];
        for (message, problem) in [
            (&[0x08][..], "a number has no end"),
            (&[0x08, 0x80], "a number has no end"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "a number is too large"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81], "a number is too long"),
            (&[0x80, 0x80, 0x80, 0x80, 0x10, 0], "a tag is too large"),
            (&[0x02, 0], "a field has the number 0"),
            (&[0x0a, 2, 0], "a field has no end"),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "a field has no end"),
            (&[0x09, 0], "a field has no end"),
            (&[0x0d, 0], "a field has no end"),
            (&[0x0c], "a field has no known kind"),
            (&[0x0e, 0], "a field has no known kind"),
            (&[0x0b, 0x14], "a group has no end"),
            (&[0x0b, 0x08, 1], "a number has no end"),
            (&deep, "groups are nested too deep"),
        ] {
            assert_eq!(read(message), Err(Malformed(problem)), "{message:?}");
        }
        assert_eq!(Value::Bytes(b"\xff").text(), Err(Malformed("a text is not UTF-8")));
        for other in [Value::Other, Value::Number(1)] {
            assert_eq!(other.text(), Err(UNEXPECTED));
        }
        assert_eq!(Value::Bytes(b"").number(), Err(UNEXPECTED));
    }
}
