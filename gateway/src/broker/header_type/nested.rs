//! Tables and arrays in JSON, read along with their types.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::HeaderType;

/// What is done with the parts of a table or an array, in order.
pub trait NestedVisitor {
    /// The name of what comes next, in a table.
    fn name(&mut self, name: &str);
    /// A value that is neither table nor array, as text; false if it is none of the type.
    fn value(&mut self, of: &HeaderType, text: &str) -> bool;
    /// A table or an array begins.
    fn begin(&mut self, of: &HeaderType);
    /// It ends.
    fn end(&mut self);
}

/// Shows a table or an array to `visitor`; false if the text is none of that type. It may have been shown a part then.
#[must_use]
pub fn visit_nested(of: &HeaderType, json: &str, visitor: &mut impl NestedVisitor) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // Nothing may be before or after it, not even a blank: what is stored is what is shown.
    let is_trimmed = json.trim_ascii().len() == json.len();
    is_trimmed && Typed { of, visitor }.deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
}

/// Whether a text is a table or an array of the type.
pub(super) fn accepts(of: &HeaderType, json: &str) -> bool {
    struct Accepts;

    impl NestedVisitor for Accepts {
        fn name(&mut self, _name: &str) {}
        fn value(&mut self, of: &HeaderType, text: &str) -> bool {
            of.accepts_text(text)
        }
        fn begin(&mut self, _of: &HeaderType) {}
        fn end(&mut self) {}
    }

    visit_nested(of, json, &mut Accepts)
}

struct Typed<'a, V> {
    of: &'a HeaderType,
    visitor: &'a mut V,
}

impl<'de, V: NestedVisitor> DeserializeSeed<'de> for Typed<'_, V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.of {
            HeaderType::Table(_) => deserializer.deserialize_map(self),
            HeaderType::Array(_) => deserializer.deserialize_seq(self),
            _ => {
                let raw = <&RawValue>::deserialize(deserializer)?.get();
                let text = scalar(self.of, raw).ok_or_else(|| D::Error::custom("a value is not of its type"))?;
                match self.visitor.value(self.of, &text) {
                    true => Ok(()),
                    false => Err(D::Error::custom("a value is not of its type")),
                }
            }
        }
    }
}

/// The text of a JSON value that is neither object nor array.
fn scalar<'a>(of: &HeaderType, raw: &'a str) -> Option<Cow<'a, str>> {
    match (raw.as_bytes().first()?, of) {
        (b'{' | b'[', _) => None,
        (b'"', HeaderType::Void) => None,
        (b'"', _) => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        (b'n', HeaderType::Void) => Some(raw.into()),
        (b'n', _) => None,
        _ => Some(raw.into()),
    }
}

/// An object's name, borrowed where it can be.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, V: NestedVisitor> Visitor<'de> for Typed<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of.name())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let HeaderType::Table(types) = self.of else { return Err(A::Error::custom("not a table")) };
        self.visitor.begin(self.of);
        let mut types = types.iter();
        while let Some(Name(name)) = map.next_key()? {
            let of = types.next().ok_or_else(|| A::Error::custom("more fields than types"))?;
            self.visitor.name(&name);
            map.next_value_seed(Typed { of, visitor: self.visitor })?;
        }
        self.visitor.end();
        if types.next().is_none() { Ok(()) } else { Err(A::Error::custom("more types than fields")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let HeaderType::Array(types) = self.of else { return Err(A::Error::custom("not an array")) };
        self.visitor.begin(self.of);
        for of in types {
            let shown = array.next_element_seed(Typed { of, visitor: self.visitor })?;
            shown.ok_or_else(|| A::Error::custom("more types than elements"))?;
        }
        self.visitor.end();
        // Elements that are left over are not read, and so they are an error of the reader.
        Ok(())
    }
}
