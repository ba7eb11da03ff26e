//! What is known of an answer, as the library's values, and as people read it.

use std::time::Duration;

use cel::Value;

use super::{Facts, MAX_TOLD_CHARS, Source};

/// The most values of one piece of JSON that are looked at.
const MAX_VALUES: usize = 5_000;

/// What a source gives; why there is nothing to give otherwise.
pub(super) fn of(source: &Source, facts: &Facts<'_>) -> Result<Value, String> {
    let missing = |what: &str| format!("there is no {what}");
    Ok(match source {
        Source::Status => Value::Float(facts.status.ok_or_else(|| missing("status"))?.into()),
        Source::Header(name) => (facts.header)(name).unwrap_or_default().into(),
        Source::Body => String::from_utf8_lossy(facts.body).into_owned().into(),
        Source::Json { path, finds_several } => {
            let json: serde_json::Value =
                serde_json::from_slice(facts.body).map_err(|_| "the body is not JSON".to_owned())?;
            let found = path.query(&json);
            let mut left = MAX_VALUES;
            let values: Option<Vec<Value>> = found.iter().map(|json| converted(json, &mut left)).collect();
            let mut values =
                values.ok_or_else(|| format!("the JSON has more than {MAX_VALUES} values there"))?;
            if *finds_several { values.into() } else { values.pop().unwrap_or(Value::Null) }
        }
        Source::Latency => millis(Some(facts.latency)),
        Source::Dns => millis(facts.phases.dns),
        Source::Connect => millis(facts.phases.connect),
        Source::Tls => millis(facts.phases.tls),
        Source::FirstByte => millis(facts.phases.first_byte),
        Source::CertificateDays => {
            Value::Float(facts.certificate_days.ok_or_else(|| missing("certificate"))?.into())
        }
    })
}

fn millis(span: Option<Duration>) -> Value {
    Value::Float(span.unwrap_or_default().as_secs_f64() * 1e3)
}

fn converted(json: &serde_json::Value, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(1)?;
    Some(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => text.clone().into(),
        serde_json::Value::Array(list) => {
            list.iter().map(|json| converted(json, left)).collect::<Option<Vec<_>>>()?.into()
        }
        serde_json::Value::Object(map) => {
            let mut entries = std::collections::HashMap::new();
            for (key, json) in map {
                entries.insert(key.clone(), converted(json, left)?);
            }
            entries.into()
        }
    })
}

/// A value in a few words.
pub(super) fn told(source: &Source, value: &Value) -> String {
    let text = match value {
        Value::Float(millis) if source.is_time() => {
            if *millis < 1_000.0 {
                format!("{millis:.0} ms")
            } else {
                format!("{:.1} s", millis / 1e3)
            }
        }
        Value::Null => "not there".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => {
            let clean = crate::result::clean(text, MAX_TOLD_CHARS);
            format!("\"{clean}\"")
        }
        Value::List(list) => format!("a list of {}", list.len()),
        Value::Map(map) => format!("an object of {}", map.map.len()),
        _ => "something else".to_owned(),
    };
    crate::result::clean(&text, MAX_TOLD_CHARS + 2)
}
