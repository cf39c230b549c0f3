//! JSON of records, byte for byte as serde_json writes it. What nearly all of a record is, members with known names and
//! texts without anything to escape, is written here, some bytes at a time where serde_json writes each mark and looks at
//! each byte for itself: a record has sixty members, and writing them was a fifth of what the threads that serve execute for
//! a cached decision. Whatever else there is, serde_json writes. Pure. Called by `envelope`.

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

use crate::wire::plain::plain_length;

/// Appends `value`. Fails where serde_json would; also where a name in a map is no text, and where JSON that is written
/// already (`RawValue`) is to be taken over: no record has either.
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
    fn nested(self, open: u8, close: &'static [u8]) -> Nested<'o> {
        self.out.push(open);
        Nested { out: self.out, is_first: true, close }
    }

    /// `{"variant":`, whose brace is closed by whoever writes what follows.
    fn variant(self, variant: &str) -> Result<Self, Error> {
        self.out.push(b'{');
        text(variant, self.out)?;
        self.out.push(b':');
        Ok(self)
    }
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
    type SerializeTuple = Nested<'o>;
    type SerializeTupleStruct = Nested<'o>;
    type SerializeTupleVariant = Nested<'o>;
    type SerializeMap = Nested<'o>;
    type SerializeStruct = Nested<'o>;
    type SerializeStructVariant = Nested<'o>;

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
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let Writer { out } = self.variant(variant)?;
        value.serialize(Writer { out: &mut *out })?;
        out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Nested<'o>, Error> {
        Ok(self.nested(b'[', b"]"))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Nested<'o>, Error> {
        Ok(self.nested(b'[', b"]"))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Nested<'o>, Error> {
        Ok(self.nested(b'[', b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Nested<'o>, Error> {
        Ok(self.variant(variant)?.nested(b'[', b"]}"))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Nested<'o>, Error> {
        Ok(self.nested(b'{', b"}"))
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Nested<'o>, Error> {
        // How serde_json tells itself of a `RawValue`.
        if name.starts_with('$') {
            return Err(Error::custom("a record holds no JSON that is written already"));
        }
        Ok(self.nested(b'{', b"}"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Nested<'o>, Error> {
        Ok(self.variant(variant)?.nested(b'{', b"}}"))
    }
}

/// An array or object that is open.
struct Nested<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
    close: &'static [u8],
}

impl Nested<'_> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        value.serialize(Writer { out: self.out })
    }

    /// The name is a field's of ours, in which nothing is to be escaped.
    fn member<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        debug_assert_eq!(plain_length(name.as_bytes()), name.len(), "a field with a name to be escaped");
        self.comma();
        quoted(name, self.out);
        self.out.push(b':');
        value.serialize(Writer { out: self.out })
    }

    fn close(self) {
        self.out.extend_from_slice(self.close);
    }
}

macro_rules! nested {
    ($($of:ident $method:ident $(($name:ident))?),*) => {
        $(impl $of for Nested<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Error> {
                nested!(@write self value $($name)?)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
    (@write $self:ident $value:ident) => { $self.element($value) };
    (@write $self:ident $value:ident $name:ident) => { $self.member($name, $value) };
}

nested! {
    SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field, SerializeStruct serialize_field (name), SerializeStructVariant serialize_field (name)
}

impl SerializeMap for Nested<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma();
        let start = self.out.len();
        key.serialize(Writer { out: self.out })?;
        if self.out.get(start) != Some(&b'"') {
            return Err(Error::custom("a name that is no text"));
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn ours<T: Serialize>(value: &T) -> String {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// One of each kind that serde knows.
    #[derive(Debug, Clone, Serialize)]
    enum Every {
        Unit,
        New(Box<Every>),
        Tuple(u8, String),
        Struct { first: Option<i64>, second: (bool, char) },
        Numbers(i128, u128, f32, f64),
        Flat(Flat),
        Unknown(()),
        Map(BTreeMap<String, Vec<Every>>),
        Any(Value),
    }

    #[derive(Debug, Clone, Serialize)]
    struct Flat {
        #[serde(rename = "its name é")]
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<u8>,
        pair: Pair,
        nothing: Nothing,
        wrapped: Wrapped,
    }

    #[derive(Debug, Clone, Serialize)]
    struct Pair(i8, u32);
    #[derive(Debug, Clone, Serialize)]
    struct Nothing;
    #[derive(Debug, Clone, Serialize)]
    struct Wrapped(Option<String>);

    /// Also texts with what is escaped: quotes, backslashes, control characters, and what only looks like it.
    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-z]{0,30}", "[\\x00-\\x21\"\\\\\\x7f\u{80}\u{2028}a]{0,20}"]
    }

    fn every() -> impl Strategy<Value = Every> {
        let flat = (any_text(), prop::collection::btree_map(any_text(), any::<u16>(), 0..3), any::<Option<u8>>())
            .prop_map(|(name, rest, absent)| Flat {
                wrapped: Wrapped(absent.map(|_| name.clone())),
                name,
                rest,
                absent,
                pair: Pair(-1, 7),
                nothing: Nothing,
            });
        let leaf = prop_oneof![
            Just(Every::Unit),
            Just(Every::Unknown(())),
            (any::<u8>(), any_text()).prop_map(|(number, text)| Every::Tuple(number, text)),
            (any::<Option<i64>>(), any::<(bool, char)>()).prop_map(|(first, second)| Every::Struct { first, second }),
            (any::<i128>(), any::<u128>(), any::<f32>(), any::<f64>())
                .prop_map(|(a, b, c, d)| Every::Numbers(a, b, c, d)),
            flat.prop_map(Every::Flat),
            any_text().prop_map(|text| Every::Any(json!({"a": [text, 1, -1.5, null, true, {}, []]}))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| Every::New(Box::new(inner))),
                prop::collection::btree_map(any_text(), prop::collection::vec(inner, 0..4), 0..4).prop_map(Every::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_kind_is_written_as_serde_json_writes_it(value in every()) {
            prop_assert_eq!(ours(&value), serde_json::to_string(&value).unwrap());
        }
    }

    #[test]
    fn what_no_record_has_is_refused() {
        let refused = |result: Result<(), Error>| result.unwrap_err().to_string();
        let raw = serde_json::value::RawValue::from_string("1".to_owned()).unwrap();
        assert_eq!(refused(write(&raw, &mut Vec::new())), "a record holds no JSON that is written already");
        assert_eq!(refused(write(&BTreeMap::from([(1, 2)]), &mut Vec::new())), "a name that is no text");
    }
}
