//! Reads a body as a structured health report. Pure and total: anything that is not a report is `None`.
//!
//! Shapes understood:
//! - FastAPI services: `{"status":"degraded","checks":{"database":{"status":"error","detail":"…"}}}`, and components
//!   beside `status`: every top-level object with a `status` is one. Either may be wrapped in the `{"detail":{…}}` of
//!   an `HTTPException`.
//! - Spring Boot Actuator (`components`, with `details.error`), ASP.NET Core (`entries`, `results`), MicroProfile
//!   (`checks` as a list with names), `application/health+json` (`checks` with lists of measurements, `output`).

use model::health::{MAX_COMPONENTS, MAX_DETAIL_CHARS, MAX_NAME_CHARS};
use model::result::clean;
use model::{Component, HealthReport, HealthWord};
use serde_json::{Map, Value};

/// Longer bodies are not considered. (Nesting is bounded by the JSON reader, at 128 levels.)
pub(super) const MAX_REPORT_BYTES: usize = 64 * 1024;

/// Members that hold components by name or as a list.
const GROUPS: [&str; 6] = ["checks", "components", "entries", "results", "dependencies", "services"];
/// Where a component explains itself, the best first.
const EXPLANATIONS: [&str; 8] =
    ["detail", "error", "message", "output", "reason", "description", "exception", "details"];

/// The report in a body, if it is one: it has an understandable `status`, or components with one.
pub(super) fn parse(body: &[u8]) -> Option<HealthReport> {
    if body.len() > MAX_REPORT_BYTES {
        return None;
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return None };
    let report = match body.get("detail") {
        Some(Value::Object(wrapped)) if word(&body).is_none() => wrapped,
        _ => &body,
    };
    let mut components = Vec::new();
    for name in GROUPS {
        match report.get(name) {
            Some(Value::Object(group)) => {
                components.extend(group.iter().filter_map(|(name, value)| component(name, value)));
            }
            Some(Value::Array(group)) => components.extend(group.iter().filter_map(named)),
            _ => {}
        }
    }
    let beside = report.iter().filter(|(name, value)| value.is_object() && !GROUPS.contains(&name.as_str()));
    components.extend(beside.filter_map(|(name, value)| component(name, value)));
    // Of many, those that are not well are the ones to keep.
    components.sort_by_key(|component| !component.status.is_bad());
    components.truncate(MAX_COMPONENTS);

    let status = match word(report) {
        Some(HealthWord::Other) | None if components.is_empty() => return None,
        Some(status) => status,
        None => worst(components.iter().map(|component| component.status)),
    };
    Some(HealthReport { status, components })
}

/// A member of a group: an object with a `status`, a list of measurements, a bare word or a yes and no.
fn component(name: &str, value: &Value) -> Option<Component> {
    let (status, detail) = match value {
        Value::Object(object) => (word(object)?, detail(object)),
        Value::Array(measurements) => {
            let objects = || measurements.iter().filter_map(Value::as_object);
            let status = worst(objects().filter_map(word));
            let telling = objects().find(|object| word(object) == Some(status))?;
            (status, detail(telling))
        }
        Value::String(text) => match HealthWord::parse(text) {
            HealthWord::Other => return None,
            status => (status, None),
        },
        Value::Bool(true) => (HealthWord::Healthy, None),
        Value::Bool(false) => (HealthWord::Unhealthy, None),
        Value::Null | Value::Number(_) => return None,
    };
    Some(Component { name: clean(name, MAX_NAME_CHARS), status, detail })
}

/// A member of a list, which carries its own name.
fn named(value: &Value) -> Option<Component> {
    let name = ["name", "component", "key"].iter().find_map(|key| value.get(key)?.as_str())?;
    component(name, value)
}

fn word(object: &Map<String, Value>) -> Option<HealthWord> {
    object.get("status").and_then(Value::as_str).map(HealthWord::parse)
}

fn worst(words: impl Iterator<Item = HealthWord>) -> HealthWord {
    let rank = |word: &HealthWord| match word {
        HealthWord::Unhealthy => 3,
        HealthWord::Degraded => 2,
        HealthWord::Other => 1,
        HealthWord::Healthy => 0,
    };
    words.max_by_key(rank).unwrap_or(HealthWord::Other)
}

/// The component's explanation: the first member that has one, which may sit one level deeper.
fn detail(object: &Map<String, Value>) -> Option<String> {
    EXPLANATIONS.iter().find_map(|name| match object.get(*name)? {
        Value::String(text) => explanation(text),
        Value::Object(inner) => EXPLANATIONS.iter().find_map(|name| explanation(inner.get(*name)?.as_str()?)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    })
}

fn explanation(text: &str) -> Option<String> {
    Some(clean(text, MAX_DETAIL_CHARS)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Status and the failing components as `name: detail`.
    fn read(body: &str) -> Option<(HealthWord, Vec<String>)> {
        let report = parse(body.as_bytes())?;
        let failing = report
            .failing()
            .map(|component| format!("{}: {}", component.name, component.detail.as_deref().unwrap_or("-")));
        Some((report.status, failing.collect()))
    }

    #[test]
    fn every_shape_names_the_failing_component_and_why() {
        let expected = |status| Some((status, vec!["database: could not connect".to_owned()]));
        for (shape, status, body) in [
            (
                "FastAPI, checks",
                HealthWord::Degraded,
                r#"{"status":"degraded","checks":{"cache":{"status":"ok"},"database":{"status":"error","detail":"could not connect"}}}"#,
            ),
            (
                "FastAPI, beside status",
                HealthWord::Unhealthy,
                r#"{"status":"not_ready","version":"1.2","uptime":{"seconds":4},"database":{"status":"error","error":"could not connect"},"cache":{"status":"ok"}}"#,
            ),
            (
                "HTTPException",
                HealthWord::Unhealthy,
                r#"{"detail":{"status":"unhealthy","checks":{"database":{"status":"down","message":"could not connect"}}}}"#,
            ),
            (
                "Spring Boot",
                HealthWord::Unhealthy,
                r#"{"status":"DOWN","components":{"database":{"status":"DOWN","details":{"error":"could not connect"}},"ping":{"status":"UP"}}}"#,
            ),
            (
                "ASP.NET Core",
                HealthWord::Unhealthy,
                r#"{"status":"Unhealthy","totalDuration":"00:00:01","entries":{"database":{"data":{},"description":"could not connect","status":"Unhealthy"}}}"#,
            ),
            (
                "MicroProfile",
                HealthWord::Unhealthy,
                r#"{"status":"DOWN","checks":[{"name":"database","status":"DOWN","data":{}, "error":"could not connect"},{"name":"disk","status":"UP"}]}"#,
            ),
            (
                "health+json",
                HealthWord::Degraded,
                r#"{"status":"warn","checks":{"database":[{"status":"pass"},{"status":"fail","output":"could not connect"}]}}"#,
            ),
            (
                "no status of its own",
                HealthWord::Unhealthy,
                r#"{"checks":{"database":{"status":"error","detail":"could not connect"}}}"#,
            ),
        ] {
            assert_eq!(read(body), expected(status), "{shape}");
        }
    }

    #[test]
    fn a_report_may_have_no_components_and_components_may_be_words() {
        assert_eq!(read(r#"{"status":"ok"}"#), Some((HealthWord::Healthy, vec![])));
        let words = read(r#"{"status":"error","checks":{"db":"down","cache":true,"queue":false}}"#);
        assert_eq!(words, Some((HealthWord::Unhealthy, vec!["db: -".into(), "queue: -".into()])));
    }

    #[test]
    fn what_is_not_a_report_is_none() {
        for body in [
            "",
            "null",
            "[]",
            "OK",
            "{",
            "{}",
            r#"{"status":200}"#,
            r#"{"status":"shipped"}"#,
            r#"{"detail":"Not Found"}"#,
            r#"{"data":{"id":1}}"#,
            "<html>",
            "\u{0}",
            r#"{"status":"ok"} x"#,
        ] {
            assert_eq!(parse(body.as_bytes()), None, "{body}");
        }
        let deep = format!(r#"{{"status":"ok","checks":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(parse(deep.as_bytes()), None);
        let long = format!(r#"{{"status":"ok","x":"{}"}}"#, "x".repeat(MAX_REPORT_BYTES));
        assert_eq!(parse(long.as_bytes()), None);
    }

    #[test]
    fn of_very_many_components_the_failing_ones_are_kept() {
        let many: Vec<_> = (0..500).map(|n| format!(r#""a{n}":{{"status":"ok"}}"#)).collect();
        let body =
            format!(r#"{{"status":"error","checks":{{{},"z":{{"status":"error"}}}}}}"#, many.join(","));
        let report = parse(body.as_bytes()).unwrap();
        assert_eq!(report.components.len(), MAX_COMPONENTS);
        assert_eq!(report.components[0].name, "z");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body);
        }

        #[test]
        fn arbitrary_json_stays_within_bounds(
            status in "[a-z]{0,6}|ok|error", name in ".{0,90}", detail in ".{0,300}", list in any::<bool>(),
        ) {
            let one = serde_json::json!({"name": name, "status": status, "detail": detail});
            let checks = if list { serde_json::json!([one]) } else { serde_json::json!({ name: one }) };
            let body = serde_json::json!({"status": status, "checks": checks});
            if let Some(report) = parse(body.to_string().as_bytes()) {
                for component in report.components {
                    prop_assert!(component.name.chars().count() <= MAX_NAME_CHARS);
                    prop_assert!(component.detail.unwrap_or_default().chars().count() <= MAX_DETAIL_CHARS);
                }
            }
        }
    }
}
