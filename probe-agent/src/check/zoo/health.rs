//! Targets that report on their own health, well and badly.

use std::time::Duration;

use model::{Check, FailureKind, HealthPolicy, HealthWord, Outcome};

use super::{AddressPolicy, Checker, Finding, TIMEOUT, Target, fail, moved, ok};

const JSON: &str = "application/json; charset=utf-8";
const DEGRADED: &str = r#"  {"status":"degraded","checks":{"cache":{"status":"warn","detail":"slow"}}}"#;
const UNHEALTHY: &str =
    r#"{"status":"not_ready","database":{"status":"error","detail":"could not connect"}}"#;

fn answer(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

async fn check(target: &Target, policy: HealthPolicy) -> Finding {
    let mut check = Check::from_target(&target.url()).unwrap();
    let Check::Http(http) = &mut check else { panic!("it is HTTP") };
    http.health = policy;
    Checker::new(AddressPolicy::default(), None).unwrap().run(Some(&check), TIMEOUT).await
}

/// Outcome and the overall word under each policy, the laxest first.
async fn under_each_policy(answer: Vec<u8>) -> [(Outcome, Option<HealthWord>); 4] {
    let target = Target::answering(answer).await;
    let mut found = [const { (Outcome::Pass, None) }; 4];
    for (place, policy) in found.iter_mut().zip(HealthPolicy::ALL) {
        let finding = check(&target, policy).await;
        *place = (finding.outcome, finding.health.map(|report| report.status));
    }
    found
}

fn says(word: &str) -> Outcome {
    fail(FailureKind::Body, &format!("health report says {word}"))
}

#[tokio::test]
async fn a_degraded_report_beside_a_passing_status_is_a_pass_unless_the_user_wants_it_to_fail() {
    let word = Some(HealthWord::Degraded);
    let expected =
        [(Outcome::Pass, None), (Outcome::Pass, word), (Outcome::Pass, word), (says("degraded"), word)];
    assert_eq!(under_each_policy(answer(200, JSON, DEGRADED.as_bytes())).await, expected);
    // Some services forget to say that it is JSON.
    assert_eq!(under_each_policy(ok(DEGRADED).into_bytes()).await, expected);
}

#[tokio::test]
async fn an_unhealthy_report_beside_a_passing_status_fails_where_a_report_is_expected() {
    let word = Some(HealthWord::Unhealthy);
    assert_eq!(
        under_each_policy(answer(200, JSON, UNHEALTHY.as_bytes())).await,
        [(Outcome::Pass, None), (Outcome::Pass, word), (says("unhealthy"), word), (says("unhealthy"), word)]
    );
}

#[tokio::test]
async fn a_failing_status_is_told_rather_than_its_report_which_is_kept() {
    for policy in [HealthPolicy::Read, HealthPolicy::Expect, HealthPolicy::Strict] {
        let target = Target::answering(answer(503, JSON, UNHEALTHY.as_bytes())).await;
        let finding = check(&target, policy).await;
        assert_eq!(finding.outcome, fail(FailureKind::Status, "503 Service Unavailable"));
        let report = finding.health.unwrap();
        assert_eq!(report.status, HealthWord::Unhealthy);
        assert_eq!(report.components[0].name, "database");
        assert_eq!(report.components[0].detail.as_deref(), Some("could not connect"));
    }
}

#[tokio::test]
async fn a_body_that_is_no_report_fails_only_where_one_is_expected_and_never_as_an_error() {
    for (kind, body, why) in [
        (JSON, &b""[..], "the body is empty"),
        (JSON, b"<h1>It works!</h1>", "the body is not a JSON object"),
        (JSON, b"{\"items\":[]}", "the body has no `status`"),
        (JSON, b"{\"status\":\"\xff\"}", "the body is not UTF-8"),
        (
            "application/health+json",
            b"{\"status\":\"pass\"",
            "the body's JSON cannot be read: EOF while parsing an object at line 1 column 16",
        ),
    ] {
        let failed = fail(FailureKind::Body, &format!("no health report: {why}"));
        assert_eq!(
            under_each_policy(answer(200, kind, body)).await,
            [(Outcome::Pass, None), (Outcome::Pass, None), (failed.clone(), None), (failed, None)]
        );
    }
}

#[tokio::test]
async fn the_plain_text_of_aspnet_core_counts_where_a_report_is_expected() {
    let word = Some(HealthWord::Degraded);
    assert_eq!(
        under_each_policy(answer(200, "text/plain", b"Degraded")).await,
        [(Outcome::Pass, None), (Outcome::Pass, None), (Outcome::Pass, word), (says("degraded"), word)]
    );
}

#[tokio::test]
async fn the_report_behind_a_redirect_is_the_one_that_counts() {
    let end = Target::answering(answer(200, JSON, DEGRADED.as_bytes())).await;
    let finding = check(&Target::answering(moved(&end.url())).await, HealthPolicy::Strict).await;
    assert_eq!(finding.outcome, says("degraded"));
    assert_eq!(finding.health.unwrap().components[0].name, "cache");
}

#[tokio::test]
async fn a_report_that_breaks_off_or_never_ends_is_a_failure_too() {
    let cut = format!("HTTP/1.1 200 x\r\ncontent-length: 999\r\n\r\n{DEGRADED}");
    let finding = check(&Target::answering(cut).await, HealthPolicy::Expect).await;
    let broken = "connection closed before the answer was complete";
    assert_eq!(finding.outcome, fail(FailureKind::Protocol, broken));

    let head = b"HTTP/1.1 200 x\r\ncontent-length: 1073741824\r\n\r\n{\"status\":\"ok\",\"x\":\"";
    let endless = Target::endless(head, &[b'x'; 8_192], Duration::ZERO).await;
    let finding = check(&endless, HealthPolicy::Expect).await;
    let why = "no health report: the body is longer than 64 KiB";
    assert_eq!(finding.outcome, fail(FailureKind::Body, why));
    assert_eq!(finding.health, None);
}
