//! An address to listen on, and a listener's section around it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// An address to listen on, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Listen {
    /// Not started.
    Off,
    /// Started here; port 0 takes a free one.
    At(SocketAddr),
}

impl Listen {
    /// This machine's loopback address with a port.
    #[must_use]
    pub const fn loopback(port: u16) -> Self {
        Self::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The address, unless it is off.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let spelled = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        spelled.as_deref().unwrap_or(text).parse().map(Self::At).map_err(|_| {
            format!(
                "'{}' is no address to listen on: write IP:PORT, such as 127.0.0.1:9092, or off",
                text.escape_debug()
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One listener: where it listens, and its own settings beside that.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Section<T> {
    /// Address and port, or `off`. An address that is not loopback needs `--insecure`.
    pub listen: Listen,
    /// The listener's own settings.
    #[serde(flatten)]
    pub settings: T,
}

impl<T: Default> Section<T> {
    pub(super) fn new(listen: Listen) -> Self {
        Self { listen, settings: T::default() }
    }
}

impl<T> Section<T> {
    pub(super) fn overlaid(self, written: Option<Written<T>>) -> Self {
        match written {
            None => self,
            Some(Written { listen, settings }) => Self { listen: listen.unwrap_or(self.listen), settings },
        }
    }
}

// `flatten` would silently drop `deny_unknown_fields` and lose the path of a mistake, so `listen` is picked out of the
// map by hand and everything else goes to the listener's own settings untouched.

/// A section as written: `listen` may be missing and then follows from the default.
pub(super) struct Written<T> {
    listen: Option<Listen>,
    settings: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WrittenVisitor(std::marker::PhantomData))
    }
}

struct WrittenVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for WrittenVisitor<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a listener's settings, such as { listen: 127.0.0.1:9092 }")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut listen = None;
        let rest = WithoutListen { map, listen: &mut listen };
        let settings = T::deserialize(de::value::MapAccessDeserializer::new(rest))?;
        Ok(Written { listen, settings })
    }
}

struct WithoutListen<'a, A> {
    map: A,
    listen: &'a mut Option<Listen>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutListen<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.map.next_key_seed(KeySeed(seed))? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Listen(unused)) => {
                    *self.listen = Some(self.map.next_value()?);
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

struct KeySeed<K>(K);

enum Key<K, V> {
    Listen(K),
    Other(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == "listen" {
            return Ok(Key::Listen(self.0));
        }
        self.0.deserialize(key.into_deserializer()).map(Key::Other)
    }
}
