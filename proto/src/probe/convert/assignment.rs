//! Assignments: what an agent is to check.
//!
//! A check of a kind, or with a health policy, that this build does not know arrives as `check: None`: the agent holds
//! it and answers that it cannot measure, so that a newer coordinator sees why a monitor has no votes.

use std::time::Duration;

use model::check::{
    Assertion, Extras, Family, HttpVersion, MAX_CERTIFICATE_DAYS, MAX_INTERVAL, MIN_INTERVAL, Method,
    Options, Route,
};
use model::{Check, CheckSpec, HealthPolicy, HttpCheck, MonitorId};
use sha2::{Digest, Sha256};
use url::Url;

use super::Invalid;
use super::scalar::{
    address_from_wire, address_to_wire, duration_from_wire, duration_to_wire, micros, monitor_from_wire,
};
use crate::probe::v1;

/// One monitor as one agent is to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// What is checked.
    pub monitor: MonitorId,
    /// Which version of its specification this is.
    pub spec_revision: u64,
    /// The check; `None` if it is of a kind, or asks for something, that this build does not know.
    pub check: Option<Check>,
    /// How to get to the target, and what must hold of what is found.
    pub options: Options,
    /// Time between two scheduled checks from this region.
    pub interval: Duration,
    /// Total time one attempt may take, body included.
    pub timeout: Duration,
    /// A check is due whenever (coordinator's time − phase) is a multiple of the interval. Less than the interval.
    pub phase: Duration,
    /// What the agent does with it.
    pub role: Role,
    /// Whether a check is wanted at the first opportunity, besides the schedule.
    pub check_now: bool,
}

/// What an agent does with an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Checks on schedule and answers verifications.
    Primary,
    /// Holds the specification; checks nothing until it becomes primary.
    Standby,
}

/// What the digest of a set of assignments covers. Interval, timeout and check are covered by the revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// What is checked.
    pub monitor: MonitorId,
    /// Which version of its specification.
    pub spec_revision: u64,
    /// The role's number on the wire.
    role: u8,
    /// The phase in microseconds.
    phase_us: u64,
}

impl Assignment {
    /// The part that the digest covers.
    #[must_use]
    pub fn placement(&self) -> Placement {
        Placement {
            monitor: self.monitor,
            spec_revision: self.spec_revision,
            role: match self.role {
                Role::Primary => 1,
                Role::Standby => 2,
            },
            phase_us: micros(self.phase),
        }
    }
}

/// `Assignments.digest`: SHA-256 over every placement in order of monitor ids. A placement is the id's 16 bytes, the
/// revision (8 bytes), the role's wire number (1 byte) and the phase in microseconds (8 bytes), big-endian.
#[must_use]
pub fn assignments_digest(set: impl IntoIterator<Item = Placement>) -> [u8; 32] {
    let mut set: Vec<Placement> = set.into_iter().collect();
    set.sort_unstable();
    let mut hasher = Sha256::new();
    for placement in &set {
        hasher.update(placement.monitor.as_bytes());
        hasher.update(placement.spec_revision.to_be_bytes());
        hasher.update([placement.role]);
        hasher.update(placement.phase_us.to_be_bytes());
    }
    hasher.finalize().into()
}

/// An assignment for the wire.
#[must_use]
pub fn assignment_to_wire(assignment: &Assignment) -> v1::Assignment {
    let role = match assignment.role {
        Role::Primary => v1::Role::Primary,
        Role::Standby => v1::Role::Standby,
    };
    v1::Assignment {
        monitor_id: assignment.monitor.as_bytes().to_vec(),
        spec_revision: assignment.spec_revision,
        interval: Some(duration_to_wire(assignment.interval)),
        timeout: Some(duration_to_wire(assignment.timeout)),
        phase: Some(duration_to_wire(assignment.phase)),
        role: role.into(),
        check_now: assignment.check_now,
        check: assignment.check.as_ref().map(check_to_wire),
        assertions: assignment.options.assertions.iter().map(ToString::to_string).collect(),
        upside_down: assignment.options.upside_down,
        route: route_to_wire(&assignment.options.route),
    }
}

/// Reads an assignment.
///
/// # Errors
/// Names the field that cannot be used and what is allowed in it.
pub fn assignment_from_wire(wire: v1::Assignment) -> Result<Assignment, Invalid> {
    let monitor = monitor_from_wire(&wire.monitor_id, "monitor_id")?;
    let interval = duration_from_wire(wire.interval.as_ref(), "interval")?;
    let timeout = duration_from_wire(wire.timeout.as_ref(), "timeout")?;
    let phase = duration_from_wire(wire.phase.as_ref(), "phase")?;
    let role = match wire.role() {
        v1::Role::Primary => Role::Primary,
        v1::Role::Standby => Role::Standby,
        v1::Role::Unspecified => return Err(Invalid::new("role", "must be primary or standby")),
    };
    if interval < MIN_INTERVAL || interval > MAX_INTERVAL {
        return Err(Invalid::new("interval", "must be from 1 second to 31 days"));
    }
    if phase >= interval {
        return Err(Invalid::new("phase", "must be less than the interval"));
    }
    // Whatever this build cannot read a newer one may mean something by.
    let assertions: Result<_, _> = wire.assertions.iter().map(|text| Assertion::parse(text)).collect();
    let route = route_from_wire(wire.route.unwrap_or_default())?;
    let options =
        assertions.ok().map(|assertions| Options { route, assertions, upside_down: wire.upside_down });
    let understood = wire.check.map(check_from_wire).transpose()?.flatten().zip(options);
    let (check, options) = match understood {
        None => (None, Options::default()),
        Some((check, options)) => {
            let spec = CheckSpec { check, options, interval, timeout };
            spec.validate().map_err(|error| Invalid::new(error.field, error.problem))?;
            (Some(spec.check), spec.options)
        }
    };
    let (spec_revision, check_now) = (wire.spec_revision, wire.check_now);
    Ok(Assignment { monitor, spec_revision, check, options, interval, timeout, phase, role, check_now })
}

fn route_to_wire(route: &Route) -> Option<v1::TargetRoute> {
    let wire = v1::TargetRoute {
        ip_version: route.family.version(),
        connect_to: route.connect_to.map(address_to_wire).unwrap_or_default(),
        server_name: route.server_name.clone().unwrap_or_default(),
        client_certificate: route.client_certificate.clone().unwrap_or_default(),
    };
    Some(wire).filter(|wire| *wire != v1::TargetRoute::default())
}

fn route_from_wire(wire: v1::TargetRoute) -> Result<Route, Invalid> {
    Ok(Route {
        family: Family::from_version(wire.ip_version)
            .ok_or_else(|| Invalid::new("route.ip_version", "must be 0, 4 or 6"))?,
        connect_to: address_from_wire(&wire.connect_to, "route.connect_to")?,
        server_name: Some(wire.server_name).filter(|name| !name.is_empty()),
        client_certificate: Some(wire.client_certificate).filter(|name| !name.is_empty()),
    })
}

fn check_to_wire(check: &Check) -> v1::assignment::Check {
    let Extras { headers, send, expect, certificate_days } = check.extras();
    let headers = headers.into_iter().map(|(name, value)| v1::Header { name, value }).collect();
    let certificate_days = certificate_days.into();
    match check {
        Check::Http(http) => v1::assignment::Check::Http(v1::HttpCheck {
            url: http.url.to_string(),
            method: http.method.as_str().to_owned(),
            headers,
            expected_status: http.expected_status.iter().copied().map(u32::from).collect(),
            health: health_to_wire(http.health).into(),
            certificate_days,
            send,
            expect,
            max_redirects: Some(http.max_redirects.into()),
            http_version: http.version.number(),
            compressed: http.compressed,
            reuse_connection: http.reuse_connection,
        }),
        other => v1::assignment::Check::Target(v1::TargetCheck {
            url: other.target(),
            headers,
            send,
            expect,
            certificate_days,
        }),
    }
}

/// The check; `None` if it asks for something that this build does not know.
fn check_from_wire(wire: v1::assignment::Check) -> Result<Option<Check>, Invalid> {
    let (mut check, extras) = match wire {
        v1::assignment::Check::Http(http) => {
            let url = Url::parse(&http.url)
                .map_err(|error| Invalid::new("http.url", format!("cannot be read: {error}")))?;
            let method = Method::parse(&http.method).ok_or_else(|| {
                Invalid::new("http.method", "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS")
            })?;
            let expected_status = http
                .expected_status
                .into_iter()
                .map(u16::try_from)
                .collect::<Result<_, _>>()
                .map_err(|_| Invalid::new("http.expected_status", "must be 100 to 599"))?;
            let Some(health) = health_from_wire(http.health) else { return Ok(None) };
            let extras = extras(http.headers, http.send, http.expect, http.certificate_days)?;
            let mut check = HttpCheck::new(url);
            (check.method, check.expected_status, check.health) = (method, expected_status, health);
            let Some(version) = HttpVersion::from_number(http.http_version) else { return Ok(None) };
            (check.version, check.compressed) = (version, http.compressed);
            check.reuse_connection = http.reuse_connection;
            if let Some(max) = http.max_redirects {
                check.max_redirects = u8::try_from(max).unwrap_or(u8::MAX);
            }
            (Check::Http(check), extras)
        }
        v1::assignment::Check::Target(target) => {
            let extras = extras(target.headers, target.send, target.expect, target.certificate_days)?;
            // Whatever this build cannot read a newer one may mean something by.
            let Ok(check) = Check::from_target(&target.url) else { return Ok(None) };
            (check, extras)
        }
    };
    let understood = check.set_extras(extras).is_empty();
    Ok(understood.then_some(check))
}

fn extras(
    headers: Vec<v1::Header>,
    send: String,
    expect: Vec<String>,
    certificate_days: u32,
) -> Result<Extras, Invalid> {
    let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
    let certificate_days = u16::try_from(certificate_days)
        .map_err(|_| Invalid::new("certificate_days", format!("must be at most {MAX_CERTIFICATE_DAYS}")))?;
    Ok(Extras { headers, send, expect, certificate_days })
}

const fn health_to_wire(policy: HealthPolicy) -> v1::HealthPolicy {
    match policy {
        HealthPolicy::Ignore => v1::HealthPolicy::Ignore,
        HealthPolicy::Read => v1::HealthPolicy::Read,
        HealthPolicy::Expect => v1::HealthPolicy::Expect,
        HealthPolicy::Strict => v1::HealthPolicy::Strict,
    }
}

/// `None` for a policy that this build does not know: under another one a check could pass that has to fail.
fn health_from_wire(wire: i32) -> Option<HealthPolicy> {
    match v1::HealthPolicy::try_from(wire).ok()? {
        v1::HealthPolicy::Unspecified | v1::HealthPolicy::Read => Some(HealthPolicy::Read),
        v1::HealthPolicy::Ignore => Some(HealthPolicy::Ignore),
        v1::HealthPolicy::Expect => Some(HealthPolicy::Expect),
        v1::HealthPolicy::Strict => Some(HealthPolicy::Strict),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn assignment(target: &str) -> Assignment {
        Assignment {
            monitor: MonitorId::from_bytes([7; 16]),
            spec_revision: 3,
            check: Some(Check::from_target(target).unwrap()),
            options: Options::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            phase: Duration::from_millis(1_250),
            role: Role::Primary,
            check_now: true,
        }
    }

    #[test]
    fn assignments_survive_the_wire() {
        for target in [
            "https://user:pw@example.com:8443/a?b#c",
            "http://[::1]/",
            "tcp://[::1]:5432",
            "tls://a.example:8443",
            "dns://[::1]:5353/a.example?type=MX",
            "icmp://a.example",
            "icmp://a.example?count=5&loss=20",
            "grpcs://a.example/acme.v1.Orders",
            "wss://a.example/chat?b",
            "imaps://a.example",
        ] {
            let mut assignment = assignment(target);
            assert_eq!(assignment_from_wire(assignment_to_wire(&assignment)), Ok(assignment.clone()));
            let all = Extras {
                headers: vec![("a".into(), "b".into())],
                send: r"PING\r\n".into(),
                expect: vec!["PONG".into()],
                certificate_days: 14,
            };
            if let Some(check) = &mut assignment.check {
                if let Check::Http(http) = check {
                    http.method = Method::Post;
                    http.max_redirects = 0;
                    (http.version, http.compressed) = (HttpVersion::Http2, true);
                }
                let has_certificate = !target.starts_with("http:");
                let certificate_days = if has_certificate { 14 } else { 0 };
                check.set_extras(Extras { certificate_days, ..all.clone() });
            }
            let assertions = vec![Assertion::parse("latency < 300ms && connect < 1s").unwrap()];
            let route = Route { family: Family::V6, connect_to: "::1".parse().ok(), ..Route::default() };
            assignment.options = Options { route, assertions, upside_down: true };
            assert_eq!(assignment_from_wire(assignment_to_wire(&assignment)), Ok(assignment.clone()));
            if let Some(Check::Http(http)) = &mut assignment.check {
                (http.version, http.reuse_connection) = (HttpVersion::Http1, true);
            }
            assert_eq!(assignment_from_wire(assignment_to_wire(&assignment)), Ok(assignment));
        }
    }

    #[test]
    fn what_a_newer_coordinator_asks_for_is_not_measured() {
        let target = |url: &str, send: &str| v1::Assignment {
            check: Some(v1::assignment::Check::Target(v1::TargetCheck {
                url: url.into(),
                send: send.into(),
                ..v1::TargetCheck::default()
            })),
            ..assignment_to_wire(&assignment("http://a.example"))
        };
        for (url, send) in
            [("quic://a.example", ""), ("dns://a.example?type=HTTPS", ""), ("icmp://a.example", "x")]
        {
            assert_eq!(assignment_from_wire(target(url, send)).unwrap().check, None, "{url}");
        }
        let assertions = vec!["colour == 'red'".to_owned()];
        let wire = v1::Assignment { assertions, ..assignment_to_wire(&assignment("http://a.example")) };
        assert_eq!(assignment_from_wire(wire).unwrap().check, None);
    }

    #[test]
    fn health_policies_survive_the_wire_and_none_means_read() {
        let with = |policy| {
            let mut assignment = assignment("http://a.example");
            let Some(Check::Http(http)) = &mut assignment.check else { panic!("it is HTTP") };
            http.health = policy;
            assignment
        };
        for policy in HealthPolicy::ALL {
            let assignment = with(policy);
            assert_eq!(assignment_from_wire(assignment_to_wire(&assignment)), Ok(assignment));
        }
        let numbered = |number| {
            let mut wire = assignment_to_wire(&with(HealthPolicy::Strict));
            let Some(v1::assignment::Check::Http(http)) = &mut wire.check else { panic!("it is HTTP") };
            http.health = number;
            assignment_from_wire(wire).unwrap()
        };
        assert_eq!(numbered(0), with(HealthPolicy::Read));
        assert_eq!(numbered(77).check, None, "what is not understood is not measured");
    }

    #[test]
    fn an_unknown_kind_of_check_is_kept_as_such() {
        let wire = v1::Assignment { check: None, ..assignment_to_wire(&assignment("http://a.example")) };
        assert_eq!(assignment_from_wire(wire).unwrap().check, None);
    }

    #[test]
    fn refusals_name_the_field() {
        let good = assignment_to_wire(&assignment("http://a.example"));
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let http = |change: fn(&mut v1::HttpCheck)| {
            let mut wire = good.clone();
            if let Some(v1::assignment::Check::Http(http)) = &mut wire.check {
                change(http);
            }
            wire
        };
        for (wire, field) in [
            (v1::Assignment { monitor_id: vec![1; 15], ..good.clone() }, "monitor_id"),
            (v1::Assignment { interval: span(0), ..good.clone() }, "interval"),
            (v1::Assignment { timeout: span(61), ..good.clone() }, "timeout"),
            (v1::Assignment { phase: span(60), ..good.clone() }, "phase"),
            (v1::Assignment { role: 9, ..good.clone() }, "role"),
            (http(|http| http.url = "file:///etc/passwd".into()), "url"),
            (http(|http| http.method = "TRACE".into()), "http.method"),
            (http(|http| http.max_redirects = Some(256)), "max_redirects"),
            (http(|http| http.expected_status = vec![70_000]), "http.expected_status"),
            (
                http(|http| http.headers = vec![v1::Header { name: "Te".into(), value: "x".into() }]),
                "headers",
            ),
        ] {
            assert_eq!(assignment_from_wire(wire).unwrap_err().field, field);
        }
    }

    #[test]
    fn the_digest_depends_on_what_is_assigned_and_not_on_its_order() {
        let first = assignment("http://a.example");
        let second = Assignment { monitor: MonitorId::from_bytes([8; 16]), ..first.clone() };
        let digest = assignments_digest([first.placement(), second.placement()]);
        assert_eq!(digest, assignments_digest([second.placement(), first.placement()]));
        for changed in [
            Assignment { spec_revision: 4, ..first.clone() },
            Assignment { role: Role::Standby, ..first.clone() },
            Assignment { phase: Duration::ZERO, ..first.clone() },
        ] {
            assert_ne!(digest, assignments_digest([changed.placement(), second.placement()]));
        }
        // Golden values, made with another implementation of SHA-256: both sides must agree for ever.
        assert_eq!(assignments_digest([])[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(assignments_digest([first.placement()])[..4], [0xb3, 0x25, 0x03, 0x1b]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(wire) = v1::Assignment::decode(&bytes[..]) {
                let _ = assignment_from_wire(wire);
            }
        }

        #[test]
        fn arbitrary_fields_never_panic(
            monitor_id in proptest::collection::vec(any::<u8>(), 14..18),
            (seconds, nanos, role) in (any::<i64>(), any::<i32>(), any::<i32>()),
            (url, method, port, health) in ("((tcp|dns|icmp|grpc|ws|imap)://)?.{0,40}", ".{0,8}", any::<u32>(), any::<i32>()),
            (target, send, expect, assertion) in (any::<bool>(), ".{0,8}", ".{0,8}", ".{0,20}"),
        ) {
            let span = Some(prost_types::Duration { seconds, nanos });
            let certificate_days = port;
            let check = if target {
                v1::assignment::Check::Target(v1::TargetCheck {
                    url, headers: vec![], send, expect: vec![expect], certificate_days,
                })
            } else {
                v1::assignment::Check::Http(v1::HttpCheck {
                    url, method, headers: vec![], expected_status: vec![port], health, certificate_days, send,
                    expect: vec![expect], ..v1::HttpCheck::default()
                })
            };
            let _ = assignment_from_wire(v1::Assignment {
                monitor_id, interval: span, timeout: span, phase: span, role,
                check: Some(check), assertions: vec![assertion], ..v1::Assignment::default()
            });
        }
    }
}
