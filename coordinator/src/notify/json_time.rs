//! How instants and spans are written in public JSON: RFC 3339 text and seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use model::Timestamp;

/// `#[serde(with = …)]` for an instant: `"2026-11-22T03:04:05.25Z"`.
pub(super) mod instant {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, parse};

    pub(in crate::notify) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(in crate::notify) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        parse(&String::deserialize(from)?)
    }
}

/// `#[serde(with = …)]` for an instant that may be absent: `null`.
pub(super) mod optional_instant {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, parse};

    pub(in crate::notify) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.collect_str(at),
            None => to.serialize_none(),
        }
    }

    pub(in crate::notify) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(from)?.as_deref().map(parse).transpose()
    }
}

/// `#[serde(with = …)]` for a span in seconds: `90`, or `0.5` where it is not whole.
pub(super) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};
    use serde::de::Error as _;

    pub(in crate::notify) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        if span.subsec_nanos() == 0 {
            to.serialize_u64(span.as_secs())
        } else {
            to.serialize_f64(span.as_secs_f64())
        }
    }

    pub(in crate::notify) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// `#[serde(with = …)]` for a span that may be absent: `null`.
pub(super) mod optional_seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer, seconds};
    use serde::de::Error as _;

    pub(in crate::notify) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => seconds::serialize(span, to),
            None => to.serialize_none(),
        }
    }

    pub(in crate::notify) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let read = Option::<f64>::deserialize(from)?.map(Duration::try_from_secs_f64);
        read.transpose().map_err(D::Error::custom)
    }
}

fn parse<E: serde::de::Error>(text: &str) -> Result<Timestamp, E> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| E::custom("not an RFC 3339 instant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, Deserialize)]
    struct Times {
        #[serde(with = "instant")]
        at: Timestamp,
        #[serde(with = "optional_instant")]
        maybe: Option<Timestamp>,
        #[serde(with = "seconds")]
        span: Duration,
    }

    #[test]
    fn whole_and_broken_values_survive_in_the_form_that_people_read() {
        for json in [
            r#"{"at":"2026-11-22T03:04:05Z","maybe":null,"span":90}"#,
            r#"{"at":"2026-11-22T03:04:05.25Z","maybe":"2026-11-22T03:04:05.000001Z","span":0.5}"#,
        ] {
            let times: Times = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&times).unwrap(), json);
        }
    }

    #[test]
    fn what_is_no_instant_or_span_is_refused() {
        for json in [
            r#"{"at":"yesterday","maybe":null,"span":1}"#,
            r#"{"at":"2026-11-22T03:04:05Z","maybe":"","span":1}"#,
            r#"{"at":"2026-11-22T03:04:05Z","maybe":null,"span":-1}"#,
        ] {
            assert!(serde_json::from_str::<Times>(json).is_err(), "{json}");
        }
    }
}
