//! Types of header values. Values are stored as UTF-8 text that any client can read; one more header of the record,
//! [`property::HEADER_TYPES`](super::property::HEADER_TYPES), keeps the types that the text does not tell:
//!
//! ```text
//! types = index "=" type *("," index "=" type)        index: the header's in the record, ascending
//! type  = name | "table(" [list] ")" | "array(" [list] ")"
//! list  = type *("," type)                            of the fields or elements, in order
//! ```
//!
//! A table is stored as a JSON object (its names may repeat), an array as a JSON array: `{"a":1,"b":[true,"x"]}` with
//! `table(int32,array(boolean,string))`.

mod list;
mod nested;

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

pub use list::{Types, read_header_types, typed_headers, write_header_types};
pub use nested::{NestedVisitor, visit_nested};

/// What a header's value stands for. A value without a type is text, or bytes if it is not UTF-8, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum HeaderType {
    /// `true` or `false`.
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
    /// A [`HeaderType::Float`] that is no number, with just these bits.
    FloatNan(u32),
    /// A [`HeaderType::Double`] that is no number, with just these bits.
    DoubleNan(u64),
    /// RFC 3339; or whole seconds since the Unix epoch, which can tell the years that RFC 3339 cannot.
    Timestamp,
    /// A decimal fraction that is 32 bits signed, with up to 255 digits after the point: `-1.50`. AMQP's specification has
    /// no sign there; its clients have.
    Decimal,
    /// Text or bytes. It goes without saying, except within tables and arrays, and where a header only happens to have a
    /// property's name.
    String,
    /// Bytes that are not meant as text. Within tables and arrays they are in base64.
    Bytes,
    /// A [`HeaderType::String`] that is not UTF-8, in base64. Only within tables and arrays.
    Base64,
    /// No value. Only within tables and arrays.
    Void,
    /// Named values, of these types, as a JSON object.
    Table(Box<[HeaderType]>),
    /// Values, of these types, as a JSON array.
    Array(Box<[HeaderType]>),
}

/// The types whose name says all.
const NAMED: [(&str, HeaderType); 17] = [
    ("boolean", HeaderType::Boolean),
    ("int8", HeaderType::Int8),
    ("int16", HeaderType::Int16),
    ("int32", HeaderType::Int32),
    ("int64", HeaderType::Int64),
    ("uint8", HeaderType::Uint8),
    ("uint16", HeaderType::Uint16),
    ("uint32", HeaderType::Uint32),
    ("uint64", HeaderType::Uint64),
    ("float", HeaderType::Float),
    ("double", HeaderType::Double),
    ("timestamp", HeaderType::Timestamp),
    ("decimal", HeaderType::Decimal),
    ("string", HeaderType::String),
    ("bytes", HeaderType::Bytes),
    ("base64", HeaderType::Base64),
    ("void", HeaderType::Void),
];

impl HeaderType {
    /// How deep tables and arrays may lie in one another.
    pub const MAX_DEPTH: usize = 64;

    /// Its name, as stored and as shown.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self.static_name() {
            Some(name) => name.into(),
            None => self.composed_name().into(),
        }
    }

    fn static_name(&self) -> Option<&'static str> {
        NAMED.iter().find(|(_, of)| of == self).map(|(name, _)| *name)
    }

    fn composed_name(&self) -> String {
        let list = |of: &[Self]| of.iter().map(Self::name).collect::<Vec<_>>().join(",");
        match self {
            Self::FloatNan(bits) => format!("float({bits:08x})"),
            Self::DoubleNan(bits) => format!("double({bits:016x})"),
            Self::Table(of) => format!("table({})", list(of)),
            Self::Array(of) => format!("array({})", list(of)),
            named => named.static_name().unwrap_or_default().to_owned(),
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut rest = name;
        Self::split_from(&mut rest, Self::MAX_DEPTH).filter(|_| rest.is_empty())
    }

    /// The names that can be given, for those who gave another.
    #[must_use]
    pub fn names() -> String {
        let (inside, named): (Vec<_>, Vec<_>) =
            NAMED.iter().partition(|(_, of)| matches!(of, Self::Base64 | Self::Void));
        let list = |of: Vec<&(&'static str, Self)>| of.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        format!("{}, table(…) and array(…) (there {} too)", list(named), list(inside))
    }

    /// Takes the type at the start of a text that may go on after it.
    fn split_from(rest: &mut &str, depth: usize) -> Option<Self> {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(inner) = after.strip_prefix('(') else {
            *rest = after;
            return NAMED.iter().find(|(of, _)| *of == name).map(|(_, of)| of.clone());
        };
        *rest = inner;
        let of = match name {
            "float" => Self::FloatNan(split_bits(rest, 8)?.try_into().ok()?),
            "double" => Self::DoubleNan(split_bits(rest, 16)?),
            "table" => Self::Table(Self::split_list(rest, depth)?),
            "array" => Self::Array(Self::split_list(rest, depth)?),
            _ => return None,
        };
        *rest = rest.strip_prefix(')')?;
        of.is_odd_nan().then_some(of)
    }

    fn split_list(rest: &mut &str, depth: usize) -> Option<Box<[Self]>> {
        let depth = depth.checked_sub(1)?;
        let mut list = Vec::new();
        while !rest.starts_with(')') {
            if !list.is_empty() {
                *rest = rest.strip_prefix(',')?;
            }
            list.push(Self::split_from(rest, depth)?);
        }
        Some(list.into())
    }

    /// Bits given for what is no number are such, and not the ones that go without saying.
    fn is_odd_nan(&self) -> bool {
        match *self {
            Self::FloatNan(bits) => f32::from_bits(bits).is_nan() && bits != f32::NAN.to_bits(),
            Self::DoubleNan(bits) => f64::from_bits(bits).is_nan() && bits != f64::NAN.to_bits(),
            _ => true,
        }
    }

    /// The type of a float.
    #[must_use]
    pub fn of_float(value: f32) -> Self {
        Some(Self::FloatNan(value.to_bits())).filter(|of| value.is_nan() && of.is_odd_nan()).unwrap_or(Self::Float)
    }

    /// The type of a double.
    #[must_use]
    pub fn of_double(value: f64) -> Self {
        Some(Self::DoubleNan(value.to_bits())).filter(|of| value.is_nan() && of.is_odd_nan()).unwrap_or(Self::Double)
    }

    /// Whether a header's value is one of the type.
    #[must_use]
    pub fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::String | Self::Bytes => true,
            Self::Base64 | Self::Void => false,
            _ => std::str::from_utf8(value).is_ok_and(|text| self.accepts_text(text)),
        }
    }

    /// Whether a text is a value of the type; within tables and arrays everything is text.
    fn accepts_text(&self, text: &str) -> bool {
        match self {
            Self::Boolean => matches!(text, "true" | "false"),
            Self::Int8 => text.parse::<i8>().is_ok(),
            Self::Int16 => text.parse::<i16>().is_ok(),
            Self::Int32 => text.parse::<i32>().is_ok(),
            Self::Int64 => text.parse::<i64>().is_ok(),
            Self::Uint8 => text.parse::<u8>().is_ok(),
            Self::Uint16 => text.parse::<u16>().is_ok(),
            Self::Uint32 => text.parse::<u32>().is_ok(),
            Self::Uint64 => text.parse::<u64>().is_ok(),
            Self::Float => text.parse::<f32>().is_ok(),
            Self::Double => text.parse::<f64>().is_ok(),
            Self::FloatNan(_) | Self::DoubleNan(_) => text == "NaN",
            Self::Timestamp => text.parse::<u64>().is_ok() || text.parse::<jiff::Timestamp>().is_ok(),
            Self::Decimal => parse_decimal(text).is_some(),
            Self::String => true,
            Self::Bytes | Self::Base64 => BASE64_STANDARD.decode(text).is_ok(),
            Self::Void => text == "null",
            Self::Table(_) | Self::Array(_) => nested::accepts(self, text),
        }
    }
}

/// So many hexadecimal digits.
fn split_bits(rest: &mut &str, digits: usize) -> Option<u64> {
    let (bits, after) = rest.split_at_checked(digits)?;
    *rest = after;
    let is_canonical = bits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_canonical { u64::from_str_radix(bits, 16).ok() } else { None }
}

/// How many digits a decimal has after its point, and what it is without the point: 1.50 is (2, 150), -1.50 is (2, -150).
#[must_use]
pub fn parse_decimal(text: &str) -> Option<(u8, i32)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || text.ends_with('.') || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = u8::try_from(fraction.len()).ok()?;
    let value = whole
        .bytes()
        .chain(fraction.bytes())
        .try_fold(0_i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    // Zero has no sign, so that each number has one text for each scale.
    let value = if negative { value.checked_neg().filter(|value| *value != 0)? } else { value };
    Some((scale, i32::try_from(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_type() -> impl Strategy<Value = HeaderType> {
        let scalar = prop_oneof![
            8 => (0..NAMED.len()).prop_map(|at| NAMED[at].1.clone()),
            1 => any::<u32>().prop_map(|bits| HeaderType::of_float(f32::from_bits(bits | 0x7f80_0000))),
            1 => any::<u64>().prop_map(|bits| HeaderType::of_double(f64::from_bits(bits | 0x7ff0_0000_0000_0000))),
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            let list = prop::collection::vec(inner, 0..4).prop_map(Vec::into_boxed_slice);
            prop_oneof![list.clone().prop_map(HeaderType::Table), list.prop_map(HeaderType::Array)]
        })
    }

    proptest! {
        #[test]
        fn names_are_read_back(of in any_type()) {
            prop_assert_eq!(HeaderType::from_name(&of.name()), Some(of));
        }

        #[test]
        fn any_name_is_answered(name in "[a-z0-9(),é]{0,40}", value in "\\PC{0,20}") {
            // What is read is written the same way.
            if let Some(of) = HeaderType::from_name(&name) {
                prop_assert_eq!(of.name(), name);
                let _ = of.accepts(value.as_bytes());
            }
        }
    }

    #[test]
    fn nonsense_is_no_type() {
        for name in [
            "",
            "int9",
            "table",
            "table(",
            "table(int8",
            "table(int8,)",
            "table(,int8)",
            "table()x",
            "int8()",
            "Table()",
            "float(7fc00000)",
            "float(00000000)",
            "float(7FC00001)",
            "float(7fc0000)",
            "double(7fc00001)",
            " int8",
        ] {
            assert_eq!(HeaderType::from_name(name), None, "{name}");
        }
        let deep = |depth: usize| format!("{}{}", "array(".repeat(depth), ")".repeat(depth));
        assert!(HeaderType::from_name(&deep(HeaderType::MAX_DEPTH)).is_some());
        assert!(HeaderType::from_name(&deep(HeaderType::MAX_DEPTH + 1)).is_none());
        assert!(HeaderType::from_name(&deep(1_000_000)).is_none());
    }

    #[test]
    fn values_fit_their_types_or_not() {
        for (name, value, fits) in [
            ("int8", "-128", true),
            ("int8", "128", false),
            ("uint64", "18446744073709551615", true),
            ("double", "NaN", true),
            ("float(7fc00001)", "NaN", true),
            ("float(7fc00001)", "1", false),
            ("timestamp", "2026-01-31T12:00:00Z", true),
            ("timestamp", "18446744073709551615", true),
            ("timestamp", "soon", false),
            ("decimal", "1.50", true),
            ("decimal", "2147483647", true),
            ("decimal", "2147483648", false),
            ("decimal", "-21474836.48", true),
            ("decimal", "-2147483649", false),
            ("decimal", "-0.0", false),
            ("decimal", "1.", false),
            ("decimal", ".5", false),
            ("decimal", "-1", true),
            ("decimal", "--1", false),
            ("bytes", "?", true),
            ("base64", "YQ==", false),
            ("void", "null", false),
            ("table(int32,array(boolean,void),bytes,base64)", r#"{"a":1,"b":[true,null],"c":"YQ==","a":"/w=="}"#, true),
            ("table(int32)", r#"{"a":"1"}"#, true),
            ("table(int32)", r#"{"a":1,"b":2}"#, false),
            ("table(int32,int32)", r#"{"a":1}"#, false),
            ("table(int32)", r#"{"a":1.5}"#, false),
            ("table(string)", r#"{"a":{}}"#, false),
            ("array(string)", r#"["x"] "#, false),
            ("array(string)", r#"["x"]]"#, false),
            ("array(void)", r#"["null"]"#, false),
            ("array()", "[]", true),
            ("array()", "{}", false),
            ("table(bytes)", r#"{"a":"?"}"#, false),
        ] {
            let of = HeaderType::from_name(name).unwrap_or_else(|| panic!("{name} is a type"));
            assert_eq!(of.accepts(value.as_bytes()), fits, "{value} as {name}");
        }
        let longest = format!("0.{}", "0".repeat(255));
        assert_eq!(parse_decimal(&longest), Some((255, 0)));
        assert_eq!(parse_decimal(&format!("{longest}0")), None);
        assert!(HeaderType::Bytes.accepts(b"\xff") && HeaderType::String.accepts(b"\xff"));
        assert!(!HeaderType::Boolean.accepts(b"\xff"));
    }
}
