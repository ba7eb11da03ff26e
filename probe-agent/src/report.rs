//! What `vigilmon-agent check` prints: outcome and phases as a small table, or all that was found as JSON.

use std::fmt::Write;
use std::time::Duration;

use model::handshake::{Certificate, Handshake};
use model::{Check, Component, Hop, Outcome, Phases};
use probe_agent::check::{EchoStatistics, Finding, RoundTrips};
use serde_json::{Map, Value, json};

/// How many columns the longest check takes.
const BAR: usize = 40;

/// The table, one row a line.
pub(crate) fn table(check: &Check, finding: &Finding) -> String {
    let outcome = match &finding.outcome {
        Outcome::Pass => "pass".to_owned(),
        Outcome::Fail(failure) => format!("fail: {}", failure.detail),
        Outcome::Error(why) => format!("error: {why}"),
    };
    let status = finding.http_status.map(|status| status.to_string());
    let mut rows = vec![
        ("outcome", Some(outcome)),
        ("status", status),
        ("address", finding.peer.map(|peer| peer.to_string())),
        ("certificate", finding.certificate_ends.map(|ends| format!("valid until {ends}"))),
    ];
    rows.extend(finding.echo.iter().map(|echo| ("echo", Some(series(echo)))));
    rows.extend(finding.tls.as_deref().map(handshake).unwrap_or_default());
    rows.extend(finding.hops.iter().map(|hop| ("hop", Some(line(hop)))));
    rows.extend(waterfall(&finding.phases, finding.duration));
    rows.push(("total", Some(millis(finding.duration))));
    for component in finding.health.iter().flat_map(|health| health.failing()) {
        let detail = component.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        rows.push(("failing", Some(format!("{}{detail}", component.name))));
    }
    let mut table = format!("{}\n", check.default_name());
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(table, "  {name:<11}  {value}").expect("a String can always be written to");
        }
    }
    table
}

/// What was agreed on, and the certificates in the order in which they were shown.
fn handshake(tls: &Handshake) -> Vec<(&'static str, Option<String>)> {
    let agreed = [&tls.version, &tls.cipher, &tls.alpn].into_iter().flatten().map(String::as_str);
    let staple = tls.is_stapled.then_some("OCSP stapled");
    let agreed = agreed.chain(staple).collect::<Vec<_>>().join(", ");
    let mut rows = vec![("encryption", Some(agreed).filter(|agreed| !agreed.is_empty()))];
    for Certificate { subject, issuer, names, not_before, not_after } in &tls.chain {
        rows.push(("chain", Some(format!("{subject}, issued by {issuer}, {not_before} to {not_after}"))));
        rows.push(("", Some(names.join(", ")).filter(|names| !names.is_empty())));
    }
    let left_out = tls.chain_length as usize - tls.chain.len().min(tls.chain_length as usize);
    rows.push(("", (left_out > 0).then(|| format!("and {left_out} more"))));
    rows
}

fn series(echo: &EchoStatistics) -> String {
    let lost = format!("{} of {} lost", echo.lost(), echo.sent);
    let Some(RoundTrips { min, mean, max }) = echo.times else { return lost };
    let [min, mean, max] = [min, mean, max].map(|span| millis(span).trim_start().to_owned());
    format!("{lost}, shortest {min}, mean {mean}, longest {max}")
}

/// What was asked for and what came.
fn line(hop: &Hop) -> String {
    let status = hop.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let spent = named(&hop.phases).into_iter().filter_map(|(_, span)| span).sum();
    let peer = hop.peer.map(|peer| format!(" ({peer})")).unwrap_or_default();
    format!("{}  {status:<3}  {}{peer}", millis(spent), hop.url)
}

/// The phases in their order, each with a bar that begins where the one before ended.
fn waterfall(phases: &Phases, total: Duration) -> Vec<(&'static str, Option<String>)> {
    let column = |at: Duration| {
        let share = at.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
        let column = (share.min(1.0) * BAR as f64).round() as usize;
        column
    };
    let mut begun = Duration::ZERO;
    let mut rows = vec![];
    for (name, span) in named(phases) {
        let Some(span) = span else { continue };
        let (from, to) = (column(begun), column(begun + span));
        let bar = "━".repeat((to - from).max(1));
        rows.push((name, Some(format!("{}  {}{bar}", millis(span), " ".repeat(from)))));
        begun += span;
    }
    rows
}

const fn named(phases: &Phases) -> [(&'static str, Option<Duration>); 5] {
    [
        ("dns", phases.dns),
        ("connect", phases.connect),
        ("tls", phases.tls),
        ("first byte", phases.first_byte),
        ("body", phases.body),
    ]
}

/// One JSON object, its fields named as those of the admin API's results; what was not found is absent.
pub(crate) fn document(check: &Check, finding: &Finding) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("name", check.default_name().into());
    match &finding.outcome {
        Outcome::Pass => put("outcome", "pass".into()),
        Outcome::Fail(failure) => {
            put("outcome", "fail".into());
            put("failure_kind", failure.kind.as_str().into());
            put("detail", failure.detail.clone().into())
        }
        Outcome::Error(why) => {
            put("outcome", "error".into());
            put("detail", why.clone().into())
        }
    };
    put("duration", seconds(finding.duration));
    put("phases", spans(&finding.phases));
    if let Some(status) = finding.http_status {
        put("http_status", status.into());
    }
    if let Some(peer) = finding.peer {
        put("peer", peer.to_string().into());
    }
    if let Some(echo) = finding.echo {
        let times = echo.times.map(|times| {
            json!({ "min": seconds(times.min), "mean": seconds(times.mean), "max": seconds(times.max) })
        });
        put("echo", json!({ "sent": echo.sent, "lost": echo.lost(), "round_trips": times }));
    }
    if let Some(tls) = finding.tls.as_deref() {
        let certificate = |certificate: &Certificate| {
            json!({
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "names": certificate.names,
                "not_before": certificate.not_before.to_string(),
                "not_after": certificate.not_after.to_string(),
            })
        };
        put(
            "tls",
            json!({
                "version": tls.version,
                "cipher": tls.cipher,
                "alpn": tls.alpn,
                "ocsp_stapled": tls.is_stapled,
                "chain": tls.chain.iter().map(certificate).collect::<Vec<_>>(),
                "chain_length": tls.chain_length,
            }),
        );
    }
    if !finding.hops.is_empty() {
        let hop = |hop: &Hop| {
            let peer = hop.peer.map(|peer| peer.to_string());
            json!({ "url": hop.url, "http_status": hop.status, "peer": peer, "phases": spans(&hop.phases) })
        };
        put("hops", finding.hops.iter().map(hop).collect());
    }
    if let Some(ends) = finding.certificate_ends {
        put("certificate_ends", ends.to_string().into());
    }
    if let Some(health) = finding.health.as_deref() {
        let failing = health.failing();
        let component = |component: &Component| json!({ "name": component.name, "detail": component.detail });
        put("failing_components", failing.map(component).collect());
    }
    Value::Object(fields)
}

fn spans(phases: &Phases) -> Value {
    let phases = named(phases).into_iter().filter_map(|(name, span)| Some((name, span?)));
    phases.map(|(name, span)| (name.replace(' ', "_"), seconds(span))).collect()
}

/// As protobuf's JSON writes a duration.
fn seconds(span: Duration) -> Value {
    format!("{}.{:06}s", span.as_secs(), span.subsec_micros()).into()
}

fn millis(span: Duration) -> String {
    format!("{:>8.1} ms", span.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use model::{Failure, FailureKind, HealthReport, HealthWord, Timestamp};

    use super::*;

    #[test]
    fn each_bar_begins_where_the_one_before_ended() {
        let millis = |millis| Some(Duration::from_millis(millis));
        let phases = Phases { dns: millis(10), tls: millis(20), first_byte: millis(0), ..Phases::default() };
        let rows: Vec<_> = waterfall(&phases, Duration::from_millis(40)).into_iter().collect();
        let bars: Vec<_> =
            rows.iter().map(|(name, row)| (*name, row.as_ref().unwrap()[13..].to_owned())).collect();
        let (ten, twenty) = ("━".repeat(10), "━".repeat(20));
        let expected =
            [("dns", ten), ("tls", " ".repeat(10) + &twenty), ("first byte", " ".repeat(30) + "━")];
        assert_eq!(bars, expected);
    }

    #[test]
    fn the_table_has_what_was_found_and_no_credentials() {
        let finding = Finding {
            duration: Duration::from_micros(12_345),
            outcome: Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable")),
            phases: Phases { connect: Some(Duration::from_micros(1_040)), ..Phases::default() },
            http_status: Some(503),
            peer: Some("127.0.0.1".parse().unwrap()),
            health: Some(Box::new(HealthReport {
                status: HealthWord::Unhealthy,
                components: vec![Component {
                    name: "database".into(),
                    status: HealthWord::Unhealthy,
                    detail: Some("could not connect".into()),
                }],
            })),
            certificate_ends: Some(Timestamp::from_secs(1_800_000_000)),
            capture: None,
            unreached: None,
            echo: Some(EchoStatistics {
                sent: 5,
                answered: 2,
                times: Some(RoundTrips {
                    min: Duration::from_millis(1),
                    mean: Duration::from_millis(2),
                    max: Duration::from_millis(3),
                }),
            }),
            tls: Some(Box::new(Handshake {
                version: Some("TLS 1.3".into()),
                cipher: Some("TLS_AES_128_GCM_SHA256".into()),
                alpn: Some("h2".into()),
                is_stapled: true,
                chain: vec![Certificate {
                    subject: "CN=a.example".into(),
                    issuer: "O=Acme".into(),
                    names: vec!["a.example".into(), "192.0.2.1".into()],
                    not_before: Timestamp::from_secs(1_700_000_000),
                    not_after: Timestamp::from_secs(1_800_000_000),
                }],
                chain_length: 3,
            })),
            hops: vec![Hop {
                url: "http://a.example/old".into(),
                status: Some(302),
                peer: Some("127.0.0.2".parse().unwrap()),
                phases: Phases { connect: Some(Duration::from_micros(1_040)), ..Phases::default() },
            }],
        };
        let check = Check::from_target("http://user:secret@a.example/health").unwrap();
        let expected = "\
a.example/health
  outcome      fail: 503 Service Unavailable
  status       503
  address      127.0.0.1
  certificate  valid until 2027-01-15T08:00:00Z
  echo         3 of 5 lost, shortest 1.0 ms, mean 2.0 ms, longest 3.0 ms
  encryption   TLS 1.3, TLS_AES_128_GCM_SHA256, h2, OCSP stapled
  chain        CN=a.example, issued by O=Acme, 2023-11-14T22:13:20Z to 2027-01-15T08:00:00Z
               a.example, 192.0.2.1
               and 2 more
  hop               1.0 ms  302  http://a.example/old (127.0.0.2)
  connect           1.0 ms  ━━━
  total            12.3 ms
  failing      database (could not connect)
";
        assert_eq!(table(&check, &finding), expected);
        let expected = json!({
            "name": "a.example/health",
            "outcome": "fail",
            "failure_kind": "status",
            "detail": "503 Service Unavailable",
            "duration": "0.012345s",
            "phases": { "connect": "0.001040s" },
            "http_status": 503,
            "peer": "127.0.0.1",
            "echo": {
                "sent": 5,
                "lost": 3,
                "round_trips": { "min": "0.001000s", "mean": "0.002000s", "max": "0.003000s" },
            },
            "tls": {
                "version": "TLS 1.3",
                "cipher": "TLS_AES_128_GCM_SHA256",
                "alpn": "h2",
                "ocsp_stapled": true,
                "chain": [{
                    "subject": "CN=a.example",
                    "issuer": "O=Acme",
                    "names": ["a.example", "192.0.2.1"],
                    "not_before": "2023-11-14T22:13:20Z",
                    "not_after": "2027-01-15T08:00:00Z",
                }],
                "chain_length": 3,
            },
            "hops": [{
                "url": "http://a.example/old",
                "http_status": 302,
                "peer": "127.0.0.2",
                "phases": { "connect": "0.001040s" },
            }],
            "certificate_ends": "2027-01-15T08:00:00Z",
            "failing_components": [{ "name": "database", "detail": "could not connect" }],
        });
        assert_eq!(document(&check, &finding), expected);
    }
}
