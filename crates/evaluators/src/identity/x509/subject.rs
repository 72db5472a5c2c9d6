//! The subject of a certificate as an identity: the JSON that Go makes of its `pkix.Name`, which is what Authorino
//! shows.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::resources::authorities::der::{self, Malformed, Reader, object_identifier};

/// The identity of a `Name` (RFC 5280 section 4.1.2.4), and about how many bytes of memory it takes.
///
/// # Errors
/// When an attribute is not text, cannot be decoded, or holds a NUL, with which some programs would end the text.
pub(super) fn read(name: &Bytes) -> Result<(Value, usize), Malformed> {
    let mut subject = Subject::default();
    let mut sequence = Reader::within(name.clone(), der::SEQUENCE)?;
    while !sequence.is_empty() {
        let mut set = Reader::new(sequence.content(der::SET)?);
        // A set has one member at least.
        loop {
            let mut attribute = Reader::new(set.content(der::SEQUENCE)?);
            let kind = object_identifier(&attribute.content(der::OBJECT_IDENTIFIER)?)?;
            let value = attribute.element()?;
            attribute.end()?;
            subject.add(&kind, text(value.tag, &value.content)?);
            if set.is_empty() {
                break;
            }
        }
    }
    let bytes = BASE_BYTES + subject.names.len() * NAME_BYTES + name.len() * 3;
    Ok((subject.into_identity(), bytes))
}

/// What an identity takes without names, and what each name adds, in bytes.
const BASE_BYTES: usize = 2_000;
const NAME_BYTES: usize = 500;

/// The attributes that have members of their own, in the order of the members.
#[derive(Default)]
struct Subject {
    country: Vec<Value>,
    organization: Vec<Value>,
    organizational_unit: Vec<Value>,
    locality: Vec<Value>,
    province: Vec<Value>,
    street_address: Vec<Value>,
    postal_code: Vec<Value>,
    serial_number: String,
    common_name: String,
    /// All attributes.
    names: Vec<Value>,
}

impl Subject {
    fn add(&mut self, kind: &[u32], text: String) {
        self.names.push(json!({"Type": kind, "Value": text}));
        let [2, 5, 4, number] = kind else { return };
        let several = match number {
            3 => {
                self.common_name = text;
                return;
            }
            5 => {
                self.serial_number = text;
                return;
            }
            6 => &mut self.country,
            7 => &mut self.locality,
            8 => &mut self.province,
            9 => &mut self.street_address,
            10 => &mut self.organization,
            11 => &mut self.organizational_unit,
            17 => &mut self.postal_code,
            _ => return,
        };
        several.push(text.into());
    }

    fn into_identity(self) -> Value {
        let list = |values: Vec<Value>| if values.is_empty() { Value::Null } else { Value::Array(values) };
        let members = [
            ("Country", list(self.country)),
            ("Organization", list(self.organization)),
            ("OrganizationalUnit", list(self.organizational_unit)),
            ("Locality", list(self.locality)),
            ("Province", list(self.province)),
            ("StreetAddress", list(self.street_address)),
            ("PostalCode", list(self.postal_code)),
            ("SerialNumber", self.serial_number.into()),
            ("CommonName", self.common_name.into()),
            ("Names", list(self.names)),
            ("ExtraNames", Value::Null),
        ];
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }
}

/// The text of one of the string types. Teletex strings are read as Latin-1, which is what their writers mean.
fn text(tag: u8, content: &[u8]) -> Result<String, Malformed> {
    let ascii = |allowed: fn(u8) -> bool| {
        if content.iter().all(|byte| allowed(*byte)) { utf8(content) } else { Err(Malformed) }
    };
    let text = match tag {
        der::UTF8_STRING => utf8(content)?,
        der::PRINTABLE_STRING => ascii(is_printable)?,
        der::NUMERIC_STRING => ascii(|byte| byte.is_ascii_digit() || byte == b' ')?,
        der::IA5_STRING => ascii(|byte| byte.is_ascii())?,
        der::TELETEX_STRING => content.iter().map(|byte| char::from(*byte)).collect(),
        der::BMP_STRING => utf16(content)?,
        _ => return Err(Malformed),
    };
    if text.contains('\0') { Err(Malformed) } else { Ok(text) }
}

fn utf8(content: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(content).map(str::to_owned).map_err(|_| Malformed)
}

fn utf16(content: &[u8]) -> Result<String, Malformed> {
    let (units, rest) = content.as_chunks();
    if !rest.is_empty() {
        return Err(Malformed);
    }
    let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
    char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| Malformed)
}

/// `*` and `&` are not among the characters of a PrintableString, and are used all the same.
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_several_types() {
        let cases: [(u8, &[u8], Result<&str, Malformed>); 20] = [
            (der::UTF8_STRING, "Zoë 🦀".as_bytes(), Ok("Zoë 🦀")),
            (der::UTF8_STRING, &[], Ok("")),
            (der::UTF8_STRING, &[0xff], Err(Malformed)),
            (der::UTF8_STRING, b"a\0b", Err(Malformed)),
            (der::PRINTABLE_STRING, b"ACME (Inc.) *&", Ok("ACME (Inc.) *&")),
            (der::PRINTABLE_STRING, b"a@b", Err(Malformed)),
            (der::PRINTABLE_STRING, b"a\0", Err(Malformed)),
            (der::NUMERIC_STRING, b"12 3", Ok("12 3")),
            (der::NUMERIC_STRING, b"a", Err(Malformed)),
            (der::IA5_STRING, b"a@b.test", Ok("a@b.test")),
            (der::IA5_STRING, &[0x80], Err(Malformed)),
            (der::IA5_STRING, &[0], Err(Malformed)),
            (der::TELETEX_STRING, &[0x5a, 0x6f, 0xeb], Ok("Zoë")),
            (der::TELETEX_STRING, &[0x5a, 0], Err(Malformed)),
            (der::BMP_STRING, &[0, 0x5a, 0x20, 0xac], Ok("Z€")),
            (der::BMP_STRING, &[0xd8, 0x3e, 0xdd, 0x80], Ok("🦀")),
            (der::BMP_STRING, &[0, 0x5a, 0], Err(Malformed)),
            (der::BMP_STRING, &[0xd8, 0x3e], Err(Malformed)),
            (der::BMP_STRING, &[0, 0], Err(Malformed)),
            (0x1c, &[0, 0, 0, 0x5a], Err(Malformed)),
        ];
        for (tag, content, expected) in cases {
            assert_eq!(text(tag, content).as_deref(), expected.as_ref().map(|text| *text), "{tag} {content:?}");
        }
    }

    #[test]
    fn broken_names_are_refused() {
        let wrong: [&[u8]; 6] = [
            &[],
            &[0x31, 0],
            &[0x30, 2, 0x31, 0],
            &[0x30, 2, 0x30, 0],
            &[0x30, 13, 0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 3, 5, 0, 5, 0],
            &[0x30, 13, 0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 0x83, 12, 2, 65, 66],
        ];
        for name in wrong {
            assert!(read(&Bytes::from_static(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn no_name_at_all_is_a_name() {
        let (identity, _) = read(&Bytes::from_static(&[0x30, 0])).unwrap();
        assert_eq!(
            identity.to_string(),
            r#"{"Country":null,"Organization":null,"OrganizationalUnit":null,"Locality":null,"Province":null,"StreetAddress":null,"PostalCode":null,"SerialNumber":"","CommonName":"","Names":null,"ExtraNames":null}"#
        );
    }
}
