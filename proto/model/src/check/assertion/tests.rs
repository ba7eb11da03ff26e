use proptest::prelude::*;

use super::*;
use crate::Phases;

const BODY: &[u8] = br#"{"queue": 12, "ratio": 0.5, "state": "ok", "up": true, "big": 18446744073709551615,
    "jobs": [{"name": "a", "late": 0}, {"name": "b", "late": 7}], "nothing": null}"#;

fn facts(body: &[u8]) -> Facts<'_> {
    let phases = Phases { connect: Some(Duration::from_millis(40)), ..Phases::default() };
    Facts {
        status: Some(503),
        header: &|name| (name == "x-version").then(|| "v1.2.3".to_owned()),
        body,
        latency: Duration::from_millis(512),
        phases,
        certificate_days: Some(20),
    }
}

fn judge(text: &str) -> Option<String> {
    let assertion = Assertion::parse(text).unwrap_or_else(|error| panic!("{error}"));
    assertion.judge(&facts(BODY)).map(|failure| failure.detail)
}

#[test]
fn what_holds_holds() {
    for text in [
        "status == 503",
        "status in [200, 503] && latency < 600ms",
        "latency >= 0.5s && latency < 1m && connect <= 40ms && tls == 0s",
        "latency > connect * 2 + 10ms",
        "certificate_days > 14",
        "header(\"X-Version\") matches \"^v1[.]\"",
        "header('x-version').matches(r'^v\\d+[.]')",
        "header(\"x-absent\") == \"\"",
        "json(\"$.queue\") < 13 && json(\"$.queue\") > 11.5 && json('$.ratio') < 1",
        "json(\"$.state\") == \"ok\" && json('$.up')",
        "json(\"$.nothing\") == null && json(\"$.absent\") == null",
        "json(\"$.big\") > 1000",
        "json(\"$.jobs\").all(job, job.late < 10)",
        "json(\"$.jobs[*].late\").exists(late, late > 5)",
        "size(json(\"$.jobs\")) == 2 && json('$.jobs')[1].name == 'b'",
        "body.contains(\"queue\") && !body.contains(\"error && fatal\")",
        "status == 200 || json(\"$.queue\") == 12 && status > 500",
        "(status == 503 ? latency < 1s : latency < 2s)",
        "status + 1 == 504 && size(json('$.jobs')) / 2 + 1 == 2",
    ] {
        assert_eq!(judge(text), None, "{text}");
    }
}

#[test]
fn what_does_not_hold_is_told_with_what_was_found() {
    for (text, told) in [
        ("status == 200", "status is 503, wanted status == 200"),
        ("status == 503 && latency < 300ms", "latency is 512 ms, wanted latency < 300ms"),
        ("json(\"$.queue\") < 10", "json(\"$.queue\") is 12, wanted json(\"$.queue\") < 10"),
        ("json('$.absent') < 10", "json(\"$.absent\") is not there, wanted json('$.absent') < 10"),
        ("json('$.state') < 10", "json(\"$.state\") is \"ok\", wanted json('$.state') < 10"),
        (
            "header('x-version') == 'v2'",
            "header(\"x-version\") is \"v1.2.3\", wanted header('x-version') == 'v2'",
        ),
        (
            "status < 500 || latency < 100ms",
            "status is 503, latency is 512 ms, wanted status < 500 || latency < 100ms",
        ),
        (
            "json('$.jobs').all(j, j.late < 5)",
            "json(\"$.jobs\") is a list of 2, wanted json('$.jobs').all(j, j.late < 5)",
        ),
        ("json('$.queue') / 0 == 1", "json(\"$.queue\") is 12, wanted json('$.queue') / 0 == 1"),
    ] {
        assert_eq!(judge(text).as_deref(), Some(told));
    }
    let not_json = Assertion::parse("json('$.a') == 1").unwrap().judge(&facts(b"<html>")).unwrap();
    assert_eq!(not_json.detail, "the body is not JSON, wanted json('$.a') == 1");
}

#[test]
fn late_answers_may_be_noise_and_wrong_ones_are_not() {
    for (text, kind) in [
        ("latency < 1ms", FailureKind::Timeout),
        ("status == 200", FailureKind::Status),
        ("certificate_days > 30", FailureKind::Certificate),
        ("status == 200 && body == ''", FailureKind::Status),
        ("body == ''", FailureKind::Body),
        ("json('$.queue') == 0", FailureKind::Body),
    ] {
        assert_eq!(Assertion::parse(text).unwrap().judge(&facts(BODY)).unwrap().kind, kind, "{text}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_when_it_is_saved() {
    let long = format!("status == {}1", "1 + ".repeat(220));
    for (text, word) in [
        ("", "1 to 1000"),
        ("status ==", ""),
        ("status = 200", "compare with =="),
        ("stat == 200", "`stat` is not known"),
        ("status", "a number, not something that holds"),
        ("1 == 1", "says nothing"),
        ("status == \"200\"", "a number cannot be compared with a text"),
        ("latency < 300", "needs a unit"),
        ("latency < 300parsecs", ""),
        ("status < 500 && 'x' && latency < 1s", "a text, not something that holds"),
        ("(status < 500 && 'x') && latency < 1s", "does not hold or not"),
        ("status % 100 == 3", "`%` is not known for a number and a number"),
        ("status == 200u", "without `u`"),
        ("body < 10", "cannot be compared"),
        ("body + body == 'x'", "cannot be added"),
        ("header(body) == 'x'", "one text in quotes"),
        ("header('x', 'y') == 'x'", "one text in quotes"),
        ("json('queue') == 1", "is not a JSON path"),
        ("json('$..a..b') == 1", "more than one"),
        ("body.matches('(')", "the pattern cannot be used"),
        ("body.matches('(a{1000}){1000}')", "the pattern cannot be used"),
        ("body.matches(header('x'))", "a pattern is a text"),
        ("body == 'unended", "does not end"),
        ("body == '''x'''", "three quotes"),
        ("json('$.a').all(x, json('$.b').all(y, x == y))", "for each element of another"),
        ("json('$.a').all(x, body.contains(x))", "`body` cannot"),
        ("{'a': status}.a == 1", ""),
        ("body.frobnicate() == 1", "`frobnicate` is not known for a text"),
        ("status.x == 1", "a number has no `.x`"),
        ("duration('x') < latency", "is not a duration"),
        ("b'x' == body", "bytes"),
        (&long, ""),
    ] {
        let error = Assertion::parse(text).map(|_| ()).expect_err(text).to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn depth_overwhelms_neither_the_reader_nor_the_judge() {
    for text in [
        format!("status > {}1", "-".repeat(46)),
        format!("{}json('$.up')", "!".repeat(40)),
        format!("json('$.jobs') == {}{}", "[".repeat(18), "]".repeat(18)),
        format!("status == {}1{}", "(".repeat(22), ")".repeat(22)),
        format!("json('$.jobs'){} == 1", ".a".repeat(38)),
        format!("status == {}1", "1 + ".repeat(45)),
        format!("{}true", "status == 1 ? false : ".repeat(12)),
        format!("status == {}1{}", "(".repeat(490), ")".repeat(490)),
        format!("{}json('$.up')", "!".repeat(980)),
        format!("status > {}1", "-".repeat(980)),
        format!("json('$.jobs') == {}{}", "[".repeat(480), "]".repeat(480)),
        format!("json('$.jobs'){} == 1", ".a".repeat(480)),
        format!("json('$.jobs'){} == 1", "[0]".repeat(320)),
        format!("{}true{}", "(status == 1 || ".repeat(60), ")".repeat(60)),
        format!("{}true", "status == 1 ? false : ".repeat(44)),
    ] {
        if let Ok(assertion) = Assertion::parse(&text) {
            let _ = assertion.judge(&facts(BODY));
        }
    }
}

#[test]
fn a_check_is_asked_for_what_it_can_tell() {
    for (target, text, is_valid) in [
        ("https://a.com", "status == 200 && certificate_days > 3", true),
        ("http://a.com", "certificate_days > 3", false),
        ("tls://a.com", "certificate_days > 3 && tls < 1s", true),
        ("tcp://a.com:1", "connect < 1s", true),
        ("tcp://a.com:1", "status == 200", false),
        ("dns://a.com", "latency < 50ms", true),
        ("icmp://a.com", "body == ''", false),
    ] {
        let check = Check::from_target(target).unwrap();
        let validated = Assertion::parse(text).unwrap().validate(&check);
        assert_eq!(
            validated.map_err(|error| error.field),
            is_valid.then_some(()).ok_or("assertions"),
            "{target} {text}"
        );
    }
    let Ok(Check::Http(mut head)) = Check::from_target("https://a.com") else { panic!("it is HTTP") };
    head.method = Method::Head;
    assert!(Assertion::parse("body == ''").unwrap().validate(&Check::Http(head)).is_err());
}

#[test]
fn large_json_is_not_looked_at_for_ever() {
    let body = format!("[{}1]", "1,".repeat(6_000));
    let assertion = Assertion::parse("json('$[*]').all(x, x == 1)").unwrap();
    let failure = assertion.judge(&facts(body.as_bytes())).unwrap();
    assert!(failure.detail.contains("more than 5000 values"), "{}", failure.detail);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9 ()\\[\\]{}?:&|<>=!.,'\"\\\\+*/$@-]{0,60}") {
        let _ = Assertion::parse(&text);
    }

    #[test]
    fn what_is_read_is_judged_without_panic(
        left in "(status|latency|body|json\\('\\$\\.[a-z]{1,5}'\\)|header\\('x'\\)|json\\('\\$\\.\\.\\*'\\))",
        operator in "( == | < | >= | != | in |\\.contains\\(|\\+|&&|\\|\\|)",
        right in "(1|2\\.5|'x'|300ms|null|true|\\[1, 'x'\\]|'x'\\))",
        body in prop_oneof![Just(BODY.to_vec()), proptest::collection::vec(any::<u8>(), 0..50)],
    ) {
        if let Ok(assertion) = Assertion::parse(&format!("{left}{operator}{right}")) {
            let _ = assertion.judge(&facts(&body));
            prop_assert_eq!(Assertion::parse(assertion.as_str()), Ok(assertion));
        }
    }
}
