//! JSON of records, byte for byte as serde_json writes it. What nearly all of a record is, members with known names and
//! texts without anything to escape, is written here, some bytes at a time where serde_json writes each mark and looks at
//! each byte for itself: a record has sixty members, and writing them was a fifth of what the threads that serve execute for
//! a cached decision. Whatever else there is, serde_json writes. Pure. Called by `envelope`.

use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, Serializer};
use serde_json::Error;

use crate::wire::plain::plain_length;

/// Appends `value`. Fails where serde_json would, and for what no record has: tuples, enums with content that have no tag
/// of their own, names in a map that are no texts, and JSON that is written already (`RawValue`).
pub fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    value.serialize(Writer { out })
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    if plain_length(text.as_bytes()) < text.len() {
        return serde_json::to_writer(out, text);
    }
    quoted(text, out);
    Ok(())
}

fn quoted(plain: &str, out: &mut Vec<u8>) {
    out.reserve(plain.len() + 2);
    out.push(b'"');
    out.extend_from_slice(plain.as_bytes());
    out.push(b'"');
}

/// Where one value goes.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    fn nested(self, open: u8, close: u8) -> Nested<'o> {
        self.out.push(open);
        Nested { out: self.out, is_first: true, close }
    }
}

fn no_record<T>(has: &str) -> Result<T, Error> {
    Err(Error::custom(format_args!("no record has {has}")))
}

macro_rules! left_to_serde_json {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            serde_json::to_writer(self.out, &value)
        })*
    };
}

impl<'o> Serializer for Writer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Nested<'o>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Nested<'o>;
    type SerializeStruct = Nested<'o>;
    type SerializeStructVariant = Impossible<(), Error>;

    left_to_serde_json! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_bytes: &[u8]
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        text(value, self.out)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        text(variant, self.out)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        no_record("a variant with content")
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Nested<'o>, Error> {
        Ok(self.nested(b'[', b']'))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self::SerializeTuple, Error> {
        no_record("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        no_record("a tuple")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        no_record("a variant with content")
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Nested<'o>, Error> {
        Ok(self.nested(b'{', b'}'))
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Nested<'o>, Error> {
        // How serde_json tells itself of a `RawValue`.
        if name.starts_with('$') {
            return no_record("JSON that is written already");
        }
        Ok(self.nested(b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        no_record("a variant with content")
    }
}

/// An array or object that is open.
struct Nested<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
    close: u8,
}

impl Nested<'_> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn close(self) {
        self.out.push(self.close);
    }
}

impl SerializeSeq for Nested<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Nested<'_> {
    type Ok = ();
    type Error = Error;

    /// The name is a field's of ours, in which nothing is to be escaped.
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        debug_assert_eq!(plain_length(name.as_bytes()), name.len(), "a field with a name to be escaped");
        self.comma();
        quoted(name, self.out);
        self.out.push(b':');
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeMap for Nested<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma();
        let start = self.out.len();
        key.serialize(Writer { out: self.out })?;
        if self.out.get(start) != Some(&b'"') {
            return no_record("a name that is no text");
        }
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use proptest::prelude::*;
    use serde_json::{Value, json, to_string};
    use uuid::Uuid;

    use super::*;

    fn written<T: Serialize>(value: &T) -> Result<String, Error> {
        let mut out = Vec::new();
        write(value, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// One of each kind that records have, and what serde makes of attributes that they may have.
    #[derive(Debug, Clone, Serialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    enum Every {
        Unit,
        Plain(Box<Plain>),
        Flat {
            #[serde(flatten)]
            rest: BTreeMap<String, u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            absent: Option<u8>,
        },
        Any {
            value: Value,
        },
    }

    #[derive(Debug, Clone, Serialize)]
    struct Plain {
        #[serde(rename = "its name é")]
        name: Cow<'static, str>,
        signed: Signed,
        large: Large,
        flags: Vec<Option<bool>>,
        word: Word,
        id: Uuid,
        address: Option<IpAddr>,
        nothing: (),
        letter: char,
        either: Vec<Either>,
    }

    #[derive(Debug, Clone, Serialize)]
    struct Signed(i64);
    #[derive(Debug, Clone, Serialize)]
    struct Large(u128);

    #[derive(Debug, Clone, Copy, Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        NoneOf,
        All,
    }

    #[derive(Debug, Clone, Serialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(f64),
    }
    /// Also texts with what is escaped: quotes, backslashes, control characters, and what only looks like it.
    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-z]{0,30}", "[\\x00-\\x21\"\\\\\\x7f\u{80}\u{2028}a]{0,20}"]
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let texts = (any_text(), any_text());
        let word = prop_oneof![Just(Word::NoneOf), Just(Word::All)];
        let others = (any::<Vec<Option<bool>>>(), any::<Option<IpAddr>>(), any::<char>(), any::<f64>());
        (texts, any::<(i64, u128)>(), word, others).prop_map(|((name, text), (signed, large), word, others)| {
            let (flags, address, letter, number) = others;
            Plain {
                name: name.into(),
                signed: Signed(signed),
                large: Large(large),
                flags,
                word,
                id: Uuid::from_u128(large),
                address,
                nothing: (),
                letter,
                either: vec![Either::Text(text), Either::Number(number)],
            }
        })
    }

    fn every() -> impl Strategy<Value = Every> {
        prop_oneof![
            Just(Every::Unit),
            plain().prop_map(|plain| Every::Plain(Box::new(plain))),
            (prop::collection::btree_map(any_text(), any::<u16>(), 0..3), any::<Option<u8>>())
                .prop_map(|(rest, absent)| Every::Flat { rest, absent }),
            any_text()
                .prop_map(|text| Every::Any { value: json!({"a": [text, 1, -1.5, null, true, {}, []], "b": {}}) }),
        ]
    }

    proptest! {
        #[test]
        fn every_kind_is_written_as_serde_json_writes_it(value in every(), plain in plain()) {
            for (ours, theirs) in [(written(&value), to_string(&value)), (written(&plain), to_string(&plain))] {
                prop_assert_eq!(ours.unwrap(), theirs.unwrap());
            }
        }
    }

    #[test]
    fn what_no_record_has_is_refused() {
        #[derive(Serialize)]
        enum Untagged {
            New(u8),
            Tuple(u8, u8),
            Struct { a: u8 },
        }
        let raw = serde_json::value::RawValue::from_string("1".to_owned()).unwrap();
        for (refused, what) in [
            (written(&raw), "JSON that is written already"),
            (written(&BTreeMap::from([(1, 2)])), "a name that is no text"),
            (written(&(1, 2)), "a tuple"),
            (written(&Untagged::New(1)), "a variant with content"),
            (written(&Untagged::Tuple(1, 2)), "a variant with content"),
            (written(&Untagged::Struct { a: 1 }), "a variant with content"),
        ] {
            assert_eq!(refused.unwrap_err().to_string(), format!("no record has {what}"));
        }
    }
}
