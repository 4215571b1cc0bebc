//! Texts in JSON as serde reads them: borrowed where nothing in them is escaped, and in maps of a bounded size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Most headers of a message in JSON.
const HEADERS_MAX: usize = 256;

/// A text. Serde by itself would copy one that is optional, or in a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Reading)
    }
}

/// Headers by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs<'a>(pub(crate) BTreeMap<Text<'a>, Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Pairs<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = BTreeMap::new();
                for count in 0.. {
                    let Some((name, value)) = map.next_entry()? else {
                        break;
                    };
                    // Many small headers take much longer than their bytes suggest.
                    if count == HEADERS_MAX {
                        return Err(A::Error::custom("a message has more than 256 headers"));
                    }
                    pairs.insert(name, value);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_borrowed_where_they_can_be() {
        let read = |json: &'static str| serde_json::from_str::<Text<'_>>(json).expect("a text");
        assert!(matches!(read(r#""plain""#).0, Cow::Borrowed("plain")));
        assert!(matches!(read(r#""\u0061""#).0, Cow::Owned(_)));
        let pairs: Pairs<'_> = serde_json::from_str(r#"{"b":"2","a":"1","b":"3"}"#).expect("pairs");
        let pairs: Vec<(&str, &str)> = pairs
            .0
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(pairs, [("a", "1"), ("b", "3")]);
    }

    #[test]
    fn a_message_has_a_bounded_number_of_headers() {
        for (count, is_read) in [(HEADERS_MAX, true), (HEADERS_MAX + 1, false)] {
            let pairs: Vec<String> = (0..count).map(|name| format!("\"{name}\":\"\"")).collect();
            let json = format!("{{{}}}", pairs.join(","));
            assert_eq!(serde_json::from_str::<Pairs<'_>>(&json).is_ok(), is_read);
        }
    }
}
