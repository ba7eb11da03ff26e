//! A JSON tree in which every key stands once.
//!
//! Of a key that stands twice, readers differ in which they take (RFC 8259 §4), so that a failing component could hide
//! behind a healthy one of the same name: such a text is refused. Nesting is bounded by `serde_json`, at 128 levels.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use model::health::MAX_NAME_CHARS;
use model::result::clean;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Object(Object),
    List(Vec<Self>),
    Text(String),
    Number(Number),
    Bool(bool),
    Null,
}

/// A JSON object.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Object(BTreeMap<String, Json>);

impl Object {
    /// The member of this name, in any case if there is none in exactly this: .NET services write `Status`.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        let in_any_case = || self.members().find(|(key, _)| key.eq_ignore_ascii_case(name));
        self.0.get(name).or_else(|| in_any_case().map(|(_, value)| value))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// All members in the order of their names.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Json {
    pub(super) const fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            Self::List(_) | Self::Text(_) | Self::Number(_) | Self::Bool(_) | Self::Null => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object(_) | Self::List(_) | Self::Number(_) | Self::Bool(_) | Self::Null => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            match members.entry(name) {
                Entry::Vacant(free) => free.insert(value),
                Entry::Occupied(taken) => {
                    let name = clean(taken.key(), MAX_NAME_CHARS);
                    return Err(A::Error::custom(format_args!("`{name}` appears twice")));
                }
            };
        }
        Ok(Json::Object(Object(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
}
