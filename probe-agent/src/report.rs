//! What `vigilmon-agent check` prints: outcome and phases as a small table.

use std::fmt::Write;
use std::time::Duration;

use model::{Check, Outcome};
use probe_agent::check::Finding;

/// The table, one row a line.
pub(crate) fn table(check: &Check, finding: &Finding) -> String {
    let outcome = match &finding.outcome {
        Outcome::Pass => "pass".to_owned(),
        Outcome::Fail(failure) => format!("fail: {}", failure.detail),
        Outcome::Error(why) => format!("error: {why}"),
    };
    let phases = finding.phases;
    let status = finding.http_status.map(|status| status.to_string());
    let mut rows = vec![
        ("outcome", Some(outcome)),
        ("status", status),
        ("address", finding.peer.map(|peer| peer.to_string())),
        ("certificate", finding.certificate_ends.map(|ends| format!("valid until {ends}"))),
        ("dns", phases.dns.map(millis)),
        ("connect", phases.connect.map(millis)),
        ("tls", phases.tls.map(millis)),
        ("first byte", phases.first_byte.map(millis)),
        ("body", phases.body.map(millis)),
        ("total", Some(millis(finding.duration))),
    ];
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

fn millis(span: Duration) -> String {
    format!("{:>8.1} ms", span.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use model::{Component, Failure, FailureKind, HealthReport, HealthWord, Phases, Timestamp};

    use super::*;

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
        };
        let check = Check::from_target("http://user:secret@a.example/health").unwrap();
        let expected = "\
a.example/health
  outcome      fail: 503 Service Unavailable
  status       503
  address      127.0.0.1
  certificate  valid until 2027-01-15T08:00:00Z
  connect           1.0 ms
  total            12.3 ms
  failing      database (could not connect)
";
        assert_eq!(table(&check, &finding), expected);
    }
}
