//! Reports as the documentation of each framework shows them, and bodies that are none.

use proptest::prelude::*;
use serde_json::json;

use model::Component;
use model::health::{MAX_COMPONENTS, MAX_DETAIL_CHARS, MAX_NAME_CHARS};

use super::*;

fn read_as(policy: HealthPolicy, content_type: &'static str, body: &[u8]) -> Reading {
    let mut reader = Reader::new(policy, Some(&HeaderValue::from_static(content_type)));
    // In pieces, as it arrives.
    body.chunks(7).for_each(|piece| reader.push(piece));
    reader.finish()
}

fn read(policy: HealthPolicy, body: &str) -> Reading {
    read_as(policy, "application/json", body.as_bytes())
}

/// A report in one line: `overall: name word (detail), …`.
fn line(report: &HealthReport) -> String {
    let components = report.components.iter().map(|component| {
        let detail = component.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{} {}{detail}", component.name, component.status.as_str())
    });
    let components = components.collect::<Vec<_>>().join(", ");
    let colon = if components.is_empty() { "" } else { ": " };
    format!("{}{colon}{components}", report.status.as_str())
}

fn report(body: &str) -> Option<String> {
    read(HealthPolicy::Read, body).report.as_ref().map(line)
}

/// Why a body does not pass where a report is expected; empty if it passes.
fn refusal(reading: Reading) -> String {
    reading.failure.map_or_else(String::new, |failure| {
        assert_eq!(failure.kind, FailureKind::Body, "a definite wrong answer");
        failure.detail
    })
}

macro_rules! fixtures {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("fixtures/", $name, ".json")))),+] };
}

#[test]
fn reports_of_every_framework_are_understood() {
    let fixtures = fixtures![
        "fastapi_checks_healthy",
        "fastapi_checks_degraded",
        "fastapi_checks_down",
        "fastapi_beside_healthy",
        "fastapi_beside_degraded",
        "fastapi_beside_down",
        "spring_healthy",
        "spring_down",
        "spring_details_down",
        "spring_one_down",
        "spring_unknown",
        "aspnet_results_healthy",
        "aspnet_results_degraded",
        "aspnet_entries_down",
        "microprofile_healthy",
        "microprofile_down",
        "microprofile_1_down",
        "health_json_healthy",
        "health_json_warn",
        "health_json_fail",
        "terminus_error",
    ];
    let understood: String = fixtures
        .into_iter()
        .map(|(name, body)| format!("{name} = {}\n", report(body).unwrap_or_else(|| "no report".to_owned())))
        .collect();
    assert_eq!(understood, include_str!("fixtures/understood.txt"), "\n{understood}");
}

#[test]
fn each_policy_makes_of_a_report_what_it_says() {
    let (healthy, unknown) = (r#"{"status":"ok"}"#, r#"{"status":"UNKNOWN"}"#);
    let (degraded, unhealthy) = (r#"{"status":"degraded"}"#, r#"{"status":"DOWN"}"#);
    let none = r#"{"items":[]}"#;
    let verdicts = |policy| {
        [healthy, unknown, degraded, unhealthy, none].map(|body| {
            let reading = read(policy, body);
            (reading.report.is_some(), refusal(reading))
        })
    };
    let pass = |reads: bool| (reads, String::new());
    let says = |word: &str| (true, format!("health report says {word}"));
    let missing = || (false, "no health report: the body has no `status`".to_owned());
    assert_eq!(verdicts(HealthPolicy::Ignore), [false; 5].map(pass));
    assert_eq!(verdicts(HealthPolicy::Read), [true, true, true, true, false].map(pass));
    let [first, second, third] = [true; 3].map(pass);
    assert_eq!(verdicts(HealthPolicy::Expect), [first, second, third, says("unhealthy"), missing()]);
    let [first, second] = [true; 2].map(pass);
    let expected = [first, second, says("degraded"), says("unhealthy"), missing()];
    assert_eq!(verdicts(HealthPolicy::Strict), expected);
}

#[test]
fn a_failing_report_that_names_no_component_is_explained_in_the_failure() {
    for (body, detail) in [
        (r#"{"status":"fail","output":"disk is full"}"#, "health report says unhealthy: disk is full"),
        (r#"{"status":"fail","notes":["x"]}"#, "health report says unhealthy"),
        (
            r#"{"status":"fail","output":"see below","checks":{"db":{"status":"fail","output":"gone"}}}"#,
            "health report says unhealthy",
        ),
    ] {
        assert_eq!(refusal(read(HealthPolicy::Expect, body)), detail);
    }
}

#[test]
fn bodies_that_are_no_report_fail_where_one_is_expected_and_pass_elsewhere() {
    let deep = format!(r#"{{"status":"ok","checks":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let long = format!(r#"{{"status":"ok","x":"{}"}}"#, "x".repeat(MAX_REPORT_BYTES));
    let cases: [(&[u8], &str); 24] = [
        (b"", "the body is empty"),
        (b" \r\n", "the body is empty"),
        (b"\xef\xbb\xbf", "the body is empty"),
        (long.as_bytes(), "the body is longer than 64 KiB"),
        (b"{\"status\":\"ok\xff\"}", "the body is not UTF-8"),
        (b"\xff\xfe{\0}\0", "the body is not UTF-8"),
        (b"OK", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b"[{\"status\":\"ok\"}]", "the body is not a JSON object"),
        (b"<html>", "the body is not a JSON object"),
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (br#"{"status":"ok","checks":{"db":{"sta"#, "EOF while parsing a string at line 1 column 35"),
        (br#"{"status":"ok"} x"#, "trailing characters at line 1 column 17"),
        (br#"{"status":"ok","ms":NaN}"#, "expected value at line 1 column 21"),
        (br#"{"status":"ok","ms":1e999}"#, "number out of range at line 1 column 25"),
        (br#"{"status":"\ud800"}"#, "unexpected end of hex escape at line 1 column 18"),
        (deep.as_bytes(), "recursion limit exceeded at line 1 column 151"),
        (
            br#"{"status":"ok","checks":{"db":{"status":"error"},"db":{"status":"ok"}}}"#,
            "`db` appears twice at line 1 column 70",
        ),
        (b"{}", "the body has no `status`"),
        (br#"{"status":200,"detail":"Not Found"}"#, "the body has no `status`"),
        (br#"{"payment":{"status":"failed"}}"#, "the body has no `status`"),
        (br#"{"results":[{"name":"upload","status":"failed"}]}"#, "the body has no `status`"),
        (br#"{"services":{"haircut":{"status":"unavailable"}}}"#, "the body has no `status`"),
        (
            br#"{"status":"shipped","payment":{"status":"failed"}}"#,
            "its status `shipped` is not a word for health",
        ),
    ];
    for (body, why) in cases {
        let body_text = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(read_as(HealthPolicy::Read, "application/json", body), Reading::default(), "{body_text}");
        let refused = refusal(read_as(HealthPolicy::Expect, "application/json", body));
        let told = refused.strip_prefix("no health report: ").unwrap_or("passed");
        let told = told.strip_prefix("the body's JSON cannot be read: ").unwrap_or(told);
        assert_eq!(told, why, "{body_text}");
    }
}

#[test]
fn reports_a_little_out_of_form_are_understood() {
    for (body, understood) in [
        ("\u{feff} {\"status\":\"ok\"}\r\n", "healthy"),
        (r#"{"checks":{"db":{"status":"error","detail":"gone"}}}"#, "unhealthy: db unhealthy (gone)"),
        (r#"{"status":"running","checks":{"db":{"status":"warn"}}}"#, "degraded: db degraded"),
        (r#"{"status":"starting","checks":{"db":{"status":"ok"}}}"#, "unknown: db healthy"),
        (
            r#"{"status":"error","checks":{"status":"down","db_status":"down","cache":true,"queue":false,"n":3}}"#,
            "unhealthy: db_status unhealthy, queue unhealthy, cache healthy",
        ),
        (
            r#"{"status":"ok","checks":[{"name":"a","status":"ok"},{"name":"a","status":"fail"},{"status":"ok"},7]}"#,
            "healthy: a unhealthy",
        ),
        (r#"{"status":"error","checks":{"":{"status":"error"}}}"#, "unhealthy: unnamed unhealthy"),
        (r#"{"status":"ok","checks":{"a":[],"b":[{"x":1}],"c":null,"d":{}}}"#, "healthy"),
        (r#"{"status":"ok","features":{"beta":{"enabled":true}},"results":{"x":false}}"#, "healthy"),
        (
            r#"{"status":"fail","checks":{"db":{"status":"fail","error":{"code":7,"message":" no\u0000route "}}}}"#,
            "unhealthy: db unhealthy (no route)",
        ),
        (
            // The whole is worse than what it tells of its parts: it stands for itself.
            r#"{"status":"down","components":{"db":{"status":"down","components":{"a":{"status":"up"}}}}}"#,
            "unhealthy: db unhealthy, db.a healthy",
        ),
    ] {
        assert_eq!(report(body).as_deref(), Some(understood), "{body}");
    }
}

#[test]
fn plain_words_are_reports_only_where_one_is_expected_and_only_as_plain_text() {
    let kind = "text/plain; charset=utf-8";
    assert_eq!(read_as(HealthPolicy::Read, kind, b"Unhealthy"), Reading::default());
    for (body, word, why) in [
        ("Healthy", HealthWord::Healthy, ""),
        ("Degraded", HealthWord::Degraded, ""),
        ("Unhealthy\n", HealthWord::Unhealthy, "health report says unhealthy"),
    ] {
        let reading = read_as(HealthPolicy::Expect, kind, body.as_bytes());
        assert_eq!(reading.report, Some(HealthReport::new(word, [])), "{body}");
        assert_eq!(refusal(reading), why, "{body}");
        let reading = read_as(HealthPolicy::Expect, "text/html", body.as_bytes());
        assert_eq!(refusal(reading), "no health report: the body is not a JSON object");
    }
    let prose = read_as(HealthPolicy::Expect, kind, b"All is well");
    assert_eq!(refusal(prose), "no health report: the body is not a JSON object");
}

#[test]
fn every_content_type_of_json_is_read_and_so_is_what_looks_like_it() {
    let body = br#"{"status":"DOWN"}"#;
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/health+json",
        "application/vnd.spring-boot.actuator.v3+json",
        "text/plain",
        "text/html",
        "",
    ] {
        let expected = Some(HealthReport::new(HealthWord::Unhealthy, []));
        assert_eq!(read_as(HealthPolicy::Read, kind, body).report, expected, "{kind}");
    }
}

#[test]
fn a_large_body_that_nobody_asks_about_is_not_kept() {
    let mut reader = Reader::new(HealthPolicy::Read, Some(&HeaderValue::from_static("text/html")));
    reader.push(b"  <html>");
    assert!(matches!(reader.body, Body::Ignored));
    let mut reader = Reader::new(HealthPolicy::Strict, None);
    reader.push(&[b' '; MAX_REPORT_BYTES + 1]);
    assert!(matches!(reader.body, Body::TooLong));
}

#[test]
fn components_are_followed_only_so_deep() {
    let mut nested = json!({ "status": "down" });
    for _ in 0..40 {
        nested = json!({ "status": "down", "components": { "a": nested } });
    }
    assert_eq!(report(&nested.to_string()).as_deref(), Some("unhealthy: a.a.a.a.a unhealthy"));
}

#[test]
fn a_component_keeps_its_name_whatever_its_state_and_place() {
    let body = |db: &str, cache: &str| {
        format!(
            r#"{{"status":"ok","checks":{{"Db Main":{{"status":"{db}"}},"cache":{{"status":"{cache}"}}}}}}"#
        )
    };
    let names = |body: &str| {
        let components = read(HealthPolicy::Read, body).report.unwrap().components;
        let mut names: Vec<_> = components.into_iter().map(|component| component.name).collect();
        names.sort();
        names
    };
    for (db, cache) in [("ok", "ok"), ("ok", "down"), ("down", "ok"), ("warn", "busy"), ("down", "down")] {
        assert_eq!(names(&body(db, cache)), ["Db Main", "cache"]);
    }
}

/// Any JSON, made of the words that reports are made of.
fn reportlike() -> impl Strategy<Value = serde_json::Value> {
    let key = prop_oneof![
        Just("status"),
        Just("checks"),
        Just("components"),
        Just("details"),
        Just("results"),
        Just("entries"),
        Just("detail"),
        Just("data"),
        Just("error"),
        Just("output"),
        Just("name"),
        Just("db"),
        Just(""),
    ]
    .prop_map(str::to_owned);
    let key = prop_oneof![4 => key, 1 => ".{0,90}"];
    let word = prop_oneof![Just("ok"), Just("DOWN"), Just("degraded"), Just("unknown"), Just("x://a:b@c")];
    let leaf = prop_oneof![
        4 => word.prop_map(|word| json!(word)),
        1 => ".{0,300}".prop_map(|text| json!(text)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<bool>().prop_map(|truth| json!(truth)),
        1 => Just(json!(null)),
    ];
    leaf.prop_recursive(6, 80, 8, move |inner| {
        prop_oneof![
            3 => proptest::collection::btree_map(key.clone(), inner.clone(), 0..8).prop_map(|map| json!(map)),
            1 => proptest::collection::vec(inner, 0..8).prop_map(|list| json!(list)),
        ]
    })
}

fn any_policy() -> impl Strategy<Value = HealthPolicy> {
    proptest::sample::select(&HealthPolicy::ALL[..])
}

/// What holds of every reading, whatever was read.
fn assert_sound(policy: HealthPolicy, reading: &Reading) -> Result<(), TestCaseError> {
    let Reading { report, failure } = reading;
    let fails =
        report.as_ref().map_or_else(|| policy.needs_report(), |report| policy.fails_on(report.status));
    prop_assert_eq!(failure.is_some(), fails);
    let Some(report) = report else { return Ok(()) };
    prop_assert!(policy != HealthPolicy::Ignore);
    prop_assert!(report.components.len() <= MAX_COMPONENTS);
    for component in &report.components {
        prop_assert!((1..=MAX_NAME_CHARS).contains(&component.name.chars().count()));
        prop_assert!(component.detail.as_ref().is_none_or(|text| text.chars().count() <= MAX_DETAIL_CHARS));
        prop_assert!(component.detail.is_none() || component.status != HealthWord::Healthy);
        let same = Component::new(&component.name, component.status, component.detail.as_deref());
        prop_assert_eq!(&same, component, "it arrives at the coordinator as it left");
    }
    prop_assert_eq!(&HealthReport::new(report.status, report.components.clone()), report);
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_soundly(
        body in proptest::collection::vec(any::<u8>(), 0..300), policy in any_policy(), is_text in any::<bool>(),
    ) {
        let kind = if is_text { "text/plain" } else { "application/json" };
        assert_sound(policy, &read_as(policy, kind, &body))?;
    }

    #[test]
    fn arbitrary_json_is_read_soundly(value in reportlike(), policy in any_policy()) {
        assert_sound(policy, &read(policy, &value.to_string()))?;
    }

    #[test]
    fn a_report_with_a_few_bytes_changed_is_read_soundly(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<proptest::sample::Index>(),
        policy in any_policy(),
    ) {
        let mut body = include_bytes!("fixtures/spring_down.json").to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        body.truncate(body.len() - cut.index(body.len()) / 8);
        assert_sound(policy, &read_as(policy, "application/json", &body))?;
    }
}
