//! Messages of the admin API as JSON and YAML.
//!
//! In: any message. Out: an object with the field names of the .proto file in their order, every field present: enums as
//! lower-case words without their prefix, instants as RFC 3339, durations as `25h`, bytes as base64, absent messages as
//! null. It walks the descriptors, so a field that is new in the protocol appears without a change here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, Kind, MapKey, ReflectMessage, Value};
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use crate::exit::{Exit, Failure};
use crate::{duration, moment};

/// A message of the admin API that knows its name there.
pub(crate) trait Message: prost::Message {
    /// The name within `vigilmon.admin.v1`.
    const NAME: &'static str;
}

macro_rules! messages {
    ($($name:ident)+) => { $(
        impl Message for proto::admin::v1::$name {
            const NAME: &'static str = stringify!($name);
        }
    )+ };
}

messages! { Monitor Explanation ReplayMonitorResponse RunCheckResponse Result Heartbeat Ping Run PingKey Badge Incident IncidentCapture Agent CreateAgentResponse Region Channel ChannelKindDescription TestChannelResponse Delivery StatusPage Maintenance Policy Silence }

/// The word of an enum's value: `MONITOR_STATUS_UP` is `up`. The prefix is what comes before the zero value's
/// `UNSPECIFIED`.
pub(crate) fn enum_word(value: &str, unspecified: &str) -> String {
    let prefix = unspecified.strip_suffix("UNSPECIFIED").unwrap_or_default();
    value.strip_prefix(prefix).unwrap_or(value).to_ascii_lowercase()
}

/// One message as a JSON object.
pub(super) fn json<M: Message>(message: &M) -> Result<String, Failure> {
    to_json(&Object(dynamic(message)?))
}

/// Messages as a JSON array.
pub(super) fn json_array<M: Message>(messages: &[M]) -> Result<String, Failure> {
    to_json(&objects(messages)?)
}

/// One message as a YAML mapping.
pub(super) fn yaml<M: Message>(message: &M) -> Result<String, Failure> {
    to_yaml(&Object(dynamic(message)?))
}

/// Messages as a YAML sequence.
pub(super) fn yaml_array<M: Message>(messages: &[M]) -> Result<String, Failure> {
    to_yaml(&objects(messages)?)
}

/// The descriptors are compiled into the program: decoding them again for each message would only cost time.
static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).map_err(|error| error.to_string()));

fn objects<M: Message>(messages: &[M]) -> Result<Vec<Object>, Failure> {
    messages.iter().map(|message| dynamic(message).map(Object)).collect()
}

fn dynamic<M: Message>(message: &M) -> Result<DynamicMessage, Failure> {
    let name = format!("vigilmon.admin.v1.{}", M::NAME);
    let pool = POOL.as_ref().map_err(|error| cannot_tell(M::NAME, error))?;
    let descriptor =
        pool.get_message_by_name(&name).ok_or_else(|| cannot_tell(M::NAME, "it is not described"))?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| cannot_tell(M::NAME, &error.to_string()))
}

fn cannot_tell(name: &str, why: &str) -> Failure {
    Failure::new(Exit::Negative, format!("cannot print the {name}: {why}"))
}

fn to_json<T: Serialize>(document: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|error| cannot_tell("JSON", &error.to_string()))
}

fn to_yaml<T: Serialize>(document: &T) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(document).map_err(|error| cannot_tell("YAML", &error.to_string()))?;
    Ok(text.trim_end().to_owned() + "\n")
}

struct Object(DynamicMessage);

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        message(&self.0, serializer)
    }
}

/// A value with the kind its field gives it.
struct Typed<'a>(&'a Value, &'a Kind);

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(it) => serializer.serialize_bool(*it),
            Value::I32(it) => serializer.serialize_i32(*it),
            Value::I64(it) => serializer.serialize_i64(*it),
            Value::U32(it) => serializer.serialize_u32(*it),
            Value::U64(it) => serializer.serialize_u64(*it),
            Value::F32(it) => serializer.serialize_f32(*it),
            Value::F64(it) => serializer.serialize_f64(*it),
            Value::String(it) => serializer.serialize_str(it),
            Value::Bytes(it) => serializer.serialize_str(&BASE64_STANDARD.encode(it)),
            Value::EnumNumber(it) => match self.1 {
                Kind::Enum(kind) => serializer.serialize_str(&word(kind, *it)),
                _ => serializer.serialize_i32(*it),
            },
            Value::Message(it) => message(it, serializer),
            Value::List(items) => serializer.collect_seq(items.iter().map(|item| Typed(item, self.1))),
            Value::Map(entries) => {
                let Kind::Message(entry) = self.1 else {
                    return Err(S::Error::custom("a map's kind is its entry"));
                };
                let kind = entry.map_entry_value_field().kind();
                #[expect(clippy::disallowed_methods, reason = "they are sorted before they show")]
                let sorted: BTreeMap<String, Typed<'_>> =
                    entries.iter().map(|(key, value)| (key_text(key), Typed(value, &kind))).collect();
                serializer.collect_map(sorted)
            }
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(it) => it.to_string(),
        MapKey::I32(it) => it.to_string(),
        MapKey::I64(it) => it.to_string(),
        MapKey::U32(it) => it.to_string(),
        MapKey::U64(it) => it.to_string(),
        MapKey::String(it) => it.clone(),
    }
}

fn message<S: Serializer>(message: &DynamicMessage, serializer: S) -> Result<S::Ok, S::Error> {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let instant: prost_types::Timestamp = message.transcode_to().map_err(S::Error::custom)?;
            serializer.collect_str(&moment::from_wire(&instant))
        }
        "google.protobuf.Duration" => {
            let span: prost_types::Duration = message.transcode_to().map_err(S::Error::custom)?;
            serializer.serialize_str(&duration::wire_text(&span))
        }
        _ => {
            let descriptor = message.descriptor();
            let mut map = serializer.serialize_map(Some(descriptor.fields().len()))?;
            for field in descriptor.fields() {
                if field.supports_presence() && !message.has_field(&field) {
                    map.serialize_entry(field.name(), &())?;
                } else {
                    map.serialize_entry(field.name(), &Typed(&message.get_field(&field), &field.kind()))?;
                }
            }
            map.end()
        }
    }
}

/// The value's word, or its number if a newer coordinator knows more values than this program.
fn word(kind: &EnumDescriptor, number: i32) -> String {
    let unspecified = kind.default_value();
    kind.get_value(number)
        .map_or_else(|| number.to_string(), |value| enum_word(value.name(), unspecified.name()))
}

#[cfg(test)]
mod tests {
    use proto::admin::v1::{Monitor, Region};

    use super::*;

    #[test]
    fn yaml_keeps_texts_texts() {
        for id in ["no", "1e3", "0x1f", "null", "2026-11-22", "a: b", "- x", ""] {
            let region = Region { id: id.to_owned(), ..Region::default() };
            let text = yaml(&region).unwrap();
            let first = text.lines().next().unwrap();
            assert_eq!(first, format!("id: \"{id}\""), "a YAML 1.1 reader takes it for something else");
        }
    }

    #[test]
    fn values_of_newer_coordinators_are_numbers() {
        let text = json(&Monitor { status: 99, ..Monitor::default() }).unwrap();
        assert!(text.contains(r#""status": "99""#), "{text}");
        let text = json(&Monitor::default()).unwrap();
        assert!(
            text.contains(r#""status": "unspecified""#) && text.contains(r#""interval": null"#),
            "{text}"
        );
    }
}
