//! What the fake coordinator knows: one of everything, its instants relative to a base.

use model::Timestamp;
use proto::admin::v1::*;

/// `seconds` from the base, negative before it.
fn at(base: Timestamp, seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: base.as_secs() + seconds, nanos: 0 })
}

fn span(millis: i64) -> Option<prost_types::Duration> {
    let nanos = i32::try_from(millis % 1_000).unwrap() * 1_000_000;
    Some(prost_types::Duration { seconds: millis / 1_000, nanos })
}

fn vote(base: Timestamp, region: &str, outcome: &str, detail: &str) -> Vote {
    let database = FailingComponent { name: "database".into(), detail: "could not connect".into() };
    Vote {
        region: region.into(),
        agent_id: format!("agt_{region}"),
        outcome: outcome.into(),
        detail: detail.into(),
        started_at: at(base, -200),
        duration: span(81),
        counted: outcome != "error",
        reason: if outcome == "error" { "could not measure" } else { "" }.into(),
        failing_components: if outcome == "fail" { vec![database] } else { Vec::new() },
    }
}

fn votes(base: Timestamp) -> Vec<Vote> {
    vec![
        vote(base, "us-east", "fail", "503 Service Unavailable"),
        vote(base, "eu-west", "fail", "timeout after 10 s"),
        vote(base, "ap-south", "error", "no route"),
    ]
}

pub(crate) fn monitor(base: Timestamp) -> Monitor {
    let state = |vote: Vote| RegionState {
        region: vote.region.clone(),
        live: vote.outcome != "error",
        vote: Some(vote),
        next_check_at: at(base, 330),
    };
    Monitor {
        id: "mon_0192d3b4a7c87f3e8a1b2c3d4e5f6071".into(),
        name: "yourdomain.com/health".into(),
        url: "https://yourdomain.com/health".into(),
        method: "GET".into(),
        headers: vec![Header { name: "Authorization".into(), value: "Bearer s3cret".into() }],
        expected_status: vec![200, 204],
        interval: span(300_000),
        timeout: span(10_000),
        regions: vec!["us-east".into(), "eu-west".into(), "ap-south".into()],
        quorum: "majority".into(),
        confirmation_period: span(0),
        recovery_checks: 2,
        channels: vec!["chn_1".into()],
        status: MonitorStatus::Down.into(),
        status_since: at(base, -200),
        phase: "recovering".into(),
        region_states: votes(base).into_iter().map(state).collect(),
        open_incident_id: "inc_1".into(),
        created_at: at(base, -9 * 86_400 - 100),
        updated_at: at(base, -7_300),
        spec_revision: 4,
        etag: "W/etag-4".into(),
        unverified_since: None,
        failure_threshold: 3,
        success_threshold: 1,
        recovery_period: span(300_000),
        latency_limit: span(2_000),
        depends_on: vec!["mon_1".into(), "mon_2".into()],
        health: "strict".into(),
        tags: vec!["payments".into()],
        maintenance_id: String::new(),
        maintenance_until: None,
        send: "s3cret".into(),
        expect: vec!["+PONG".into()],
        certificate_days: 14,
        assertions: vec!["latency < 300ms".into()],
        upside_down: true,
        ip_version: 6,
        connect_to: "2001:db8::1".into(),
        server_name: "internal.example.com".into(),
        max_redirects: Some(0),
        client_certificate: "acme".into(),
        http_version: "2".into(),
        compressed: true,
        unsupported: vec![Unsupported {
            region: "ap-south".into(),
            reason: "probe-2 has no IPv6 route to the target".into(),
        }],
        reuse_connection: true,
        alert: Some(alert()),
    }
}

pub(crate) fn other_monitor(base: Timestamp) -> Monitor {
    Monitor {
        id: "mon_0192d3b4a7c87f3e8a1b2c3d4e5f6072".into(),
        name: "db:5432\u{1b}[31m".into(),
        url: "tcp://db:5432".into(),
        interval: span(60_000),
        regions: vec!["local".into()],
        status: MonitorStatus::Up.into(),
        status_since: at(base, -3_700),
        ..Monitor::default()
    }
}

pub(crate) fn explanation(base: Timestamp) -> Explanation {
    Explanation {
        status: MonitorStatus::Down.into(),
        phase: String::new(),
        policy: "majority: 2 of 3 regions".into(),
        arithmetic: "2 of 3 regions failing, 2 needed".into(),
        votes: votes(base),
        decision: "Down: 2 regions failed within the round".into(),
        would_change: vec!["a pass from us-east".into(), "a pass from eu-west".into()],
        next_decision_at: at(base, 330),
    }
}

pub(crate) fn checks(base: Timestamp) -> Vec<RunCheckResponse> {
    let failing = vec![FailingComponent { name: "database".into(), detail: "no route".into() }];
    vec![
        RunCheckResponse {
            result: Some(result(base, 1)),
            agent_name: "us-east-1".into(),
            failing_components: failing,
        },
        RunCheckResponse {
            result: Some(Result {
                region: "ap-south".into(),
                outcome: "error".into(),
                detail: "no agent of this region is connected".into(),
                ..Result::default()
            }),
            ..RunCheckResponse::default()
        },
    ]
}

pub(crate) fn result(base: Timestamp, slot: i64) -> Result {
    Result {
        region: "us-east".into(),
        agent_id: "agt_us-east".into(),
        started_at: at(base, -300 * slot),
        duration: Some(prost_types::Duration { seconds: 0, nanos: 81_254_321 }),
        outcome: if slot == 1 { "fail" } else { "pass" }.into(),
        detail: if slot == 1 { "503 Service Unavailable" } else { "200 OK" }.into(),
        http_status: if slot == 1 { 503 } else { 200 },
        peer: "192.0.2.1:443".into(),
        phases: Some(Phases {
            dns: span(2),
            connect: span(10),
            tls: None,
            first_byte: span(60),
            body: span(9),
        }),
        slot,
        attempt: 0,
        round: 0,
        spec_revision: 4,
        committed_at: at(base, -300 * slot + 1),
        agent_epoch: 7,
        seq: 42,
    }
}

pub(crate) fn replay(base: Timestamp) -> ReplayMonitorResponse {
    let incident = |opened: i64, ended: Option<i64>, cause: &str| ReplayedIncident {
        started_at: at(base, opened - 2),
        opened_at: at(base, opened),
        ended_at: ended.and_then(|ended| at(base, ended)),
        resolution: if ended.is_some() { "recovered" } else { "" }.into(),
        cause: cause.into(),
        opening_votes: None,
        approximate: false,
    };
    let refused = "connection refused from eu-west";
    let difference = |change: ReplayChange, before, after| ReplayDifference {
        change: change.into(),
        before,
        after,
        opened_by: None,
        ended_by: None,
    };
    let seen_at_once = incident(-9_000, Some(-8_000), "503 Service Unavailable from us-east, eu-west");
    let later = ReplayedIncident { approximate: true, ..incident(-6_880, Some(-6_100), refused) };
    ReplayMonitorResponse {
        since: at(base, -86_460),
        until: at(base, -60),
        present_policy: "majority: 2 of 3 regions; 2 recovery checks".into(),
        policy: "any: 1 of 3 regions; 2 recovery checks".into(),
        incidents: vec![
            difference(ReplayChange::Same, Some(seen_at_once.clone()), Some(seen_at_once)),
            ReplayDifference {
                opened_by: span(120_000),
                ended_by: Some(prost_types::Duration { seconds: -20, nanos: -540_000_000 }),
                ..difference(ReplayChange::Later, Some(incident(-7_000, Some(-6_080), refused)), Some(later))
            },
            difference(ReplayChange::Removed, Some(incident(-5_000, Some(-4_000), refused)), None),
            difference(ReplayChange::Added, None, Some(incident(-3_000, None, refused))),
        ],
        departures: vec![difference(
            ReplayChange::Earlier,
            Some(incident(-7_000, None, refused)),
            Some(incident(-7_000, Some(-6_080), refused)),
        )],
        results: 4_320,
        notes: vec!["the policy was last changed at 2026-11-22T03:04:05Z".into()],
    }
}

pub(crate) fn heartbeat(base: Timestamp) -> Heartbeat {
    Heartbeat {
        id: "hb_0192d3b4a7c87f3e8a1b2c3d4e5f6073".into(),
        name: "nightly_cleanup".into(),
        interval: span(90_000_000),
        grace: span(60_000),
        channels: vec!["chn_1".into()],
        status: HeartbeatStatus::Missed.into(),
        status_since: at(base, -7_300),
        last_ping_at: at(base, -27 * 3_600 - 100),
        expected_at: at(base, -7_300),
        open_incident_id: "inc_2".into(),
        created_at: at(base, -9 * 86_400 - 100),
        updated_at: at(base, -9 * 86_400 - 100),
        etag: "W/hb-1".into(),
        ping_url: String::new(),
        unverified_since: None,
        tags: vec!["nightly".into()],
        alert: Some(Alert { delay: span(300_000), ..Alert::default() }),
        maintenance_id: String::new(),
        maintenance_until: None,
        slug: "nightly_cleanup".into(),
        post_only: true,
        keywords: Some(PingKeywords {
            fail: vec!["ERROR".into(), "Traceback".into()],
            success: vec!["done".into()],
            start: vec![],
            otherwise: "ignore".into(),
        }),
        uuid_ping_url: String::new(),
        ..Heartbeat::default()
    }
}

/// A job that runs by a calendar and says when it starts.
pub(crate) fn backup(base: Timestamp) -> Heartbeat {
    let limits =
        HeartbeatRunLimits { start_grace: span(60_000), max_runtime: span(21_600_000), keep_alive: None };
    Heartbeat {
        id: "hb_0192d3b4a7c87f3e8a1b2c3d4e5f6074".into(),
        name: "backup".into(),
        cron: "0 3 * * *\n30 12 * * 6".into(),
        time_zone: "Europe/Berlin".into(),
        grace: span(300_000),
        early: span(30_000),
        run_limits: Some(limits),
        status: HeartbeatStatus::Running.into(),
        status_since: at(base, -700),
        last_ping_at: at(base, -90_000),
        expected_at: at(base, -700),
        upcoming: vec![at(base, 85_000).unwrap(), at(base, 171_400).unwrap()],
        etag: "W/hb-2".into(),
        ..Heartbeat::default()
    }
}

pub(crate) fn ping(base: Timestamp) -> Ping {
    Ping {
        at: at(base, -100),
        kind: "exit:3".into(),
        method: "POST".into(),
        body: b"disk full\n".to_vec(),
        left_out_bytes: 0,
        run_id: "123e4567-e89b-42d3-a456-426614174000".into(),
        ignored: true,
        user_agent: "curl/8.5.0".into(),
    }
}

/// A run that failed, one that was lost and one under way.
pub(crate) fn runs(base: Timestamp) -> ListRunsResponse {
    let run = |ago: i64, outcome: RunOutcome| Run {
        id: format!("{}", 1_795_316_645_000_000 - ago * 1_000_000),
        heartbeat_id: "hb_0192d3b4a7c87f3e8a1b2c3d4e5f6073".into(),
        started_at: at(base, -ago),
        outcome: outcome.into(),
        ..Run::default()
    };
    let failed = Run { started_at: at(base, -4_100), ..self::run(base) };
    let lost = Run {
        lost_because: "it ran for longer than it may".into(),
        ended_at: at(base, -5_000),
        ..run(9_100, RunOutcome::Lost)
    };
    let summary = RunSummary {
        running: 1,
        failed: 1,
        lost: 1,
        p50: span(61_250),
        p95: span(61_250),
        longest: span(61_250),
        ..RunSummary::default()
    };
    let runs = vec![run(100, RunOutcome::Running), failed, lost];
    ListRunsResponse { runs, next_page_token: String::new(), summary: Some(summary) }
}

pub(crate) fn run(base: Timestamp) -> Run {
    Run {
        id: "1795316545000000-123e4567-e89b-42d3-a456-426614174000".into(),
        heartbeat_id: "hb_0192d3b4a7c87f3e8a1b2c3d4e5f6073".into(),
        run_id: "123e4567-e89b-42d3-a456-426614174000".into(),
        started_at: at(base, -100),
        ended_at: at(base, -39),
        duration: span(61_250),
        outcome: RunOutcome::Failed.into(),
        exit_code: Some(3),
        lost_because: String::new(),
        log_bytes: 35,
        log: b"rm: \x1b[31mcannot\x1b[0m remove\ndisk full".to_vec(),
    }
}

pub(crate) fn ping_key(base: Timestamp) -> PingKey {
    PingKey {
        id: "key_0192d3b4a7c87f3e8a1b2c3d4e5f6090".into(),
        name: "jobs".into(),
        created_at: at(base, -9 * 86_400 - 100),
        ..PingKey::default()
    }
}

pub(crate) fn incident(base: Timestamp) -> Incident {
    let table = VoteTable {
        at: at(base, -199),
        policy: "majority: 2 of 3 regions".into(),
        arithmetic: "2 of 3 regions failing, 2 needed".into(),
        votes: votes(base),
    };
    let entry = |seconds, text: &str| TimelineEntry { at: at(base, seconds), text: text.into() };
    Incident {
        id: "inc_0192d3b4a7c88f3e8a1b2c3d4e5f6074".into(),
        subject_id: "mon_0192d3b4a7c87f3e8a1b2c3d4e5f6071".into(),
        subject_name: "yourdomain.com/health".into(),
        state: IncidentState::Open.into(),
        started_at: at(base, -200),
        opened_at: at(base, -199),
        resolved_at: None,
        cause: "503 Service Unavailable".into(),
        resolution: String::new(),
        opening_votes: Some(table),
        closing_votes: None,
        timeline: vec![entry(-200, "us-east failed"), entry(-199, "opened: 2 of 3 regions failing")],
        failing_components: vec![FailingComponent {
            name: "database".into(),
            detail: "could not connect".into(),
        }],
        lead_id: String::new(),
        members: vec![
            member(base, "db", "connection refused", None),
            member(base, "api", "timeout after 10 s", Some(-90)),
        ],
        member_count: 12,
        captures: captures(base),
        acknowledged_at: at(base, -100),
        acknowledged_by: "ana".into(),
        acknowledge_reason: "restarting the database".into(),
        alert_due_at: None,
    }
}

/// Everything that can be said of alerts.
fn alert() -> Alert {
    let step =
        |seconds, channel: &str| EscalationStep { after: span(seconds), channels: vec![channel.into()] };
    Alert {
        severity: "critical".into(),
        delay: span(120_000),
        remind_every: span(1_800_000),
        remind_backoff: "double".into(),
        remind_max: 5,
        escalation: vec![step(900_000, "chn_2"), step(1_800_000, "chn_3")],
        escalation_repeat: 1,
        quiet_hours: Some(QuietHours {
            days: vec!["sat".into(), "sun".into()],
            from: "22:00".into(),
            to: "07:00".into(),
            time_zone: "Europe/Berlin".into(),
            hold_critical: true,
        }),
        no_recovery: true,
        no_acknowledgement: true,
    }
}

pub(crate) fn policy(base: Timestamp) -> Policy {
    Policy {
        id: "pol_0192d3b4a7c87f3e8a1b2c3d4e5f6090".into(),
        name: "payments".into(),
        tags: vec!["payments".into()],
        heartbeats: vec!["hb_1".into()],
        channels: vec!["chn_1".into()],
        alert: Some(Alert { severity: "critical".into(), ..alert() }),
        created_at: at(base, -9 * 86_400 - 100),
        updated_at: at(base, -7_300),
        etag: "r2".into(),
        ..Policy::default()
    }
}

pub(crate) fn silence(base: Timestamp) -> Silence {
    Silence {
        id: "sil_0192d3b4a7c87f3e8a1b2c3d4e5f6091".into(),
        all: true,
        reason: "moving to another rack".into(),
        by: "ana".into(),
        created_at: at(base, -100),
        expires_at: at(base, 7_300),
        ..Silence::default()
    }
}

pub(crate) fn captures(base: Timestamp) -> Vec<IncidentCapture> {
    let check = |region: &str, outcome: &str, detail: &str, seconds| Result {
        region: region.into(),
        agent_id: format!("agt_{region}"),
        started_at: at(base, seconds),
        duration: span(81),
        outcome: outcome.into(),
        detail: detail.into(),
        peer: if detail.starts_with("timeout") { "" } else { "203.0.113.7" }.into(),
        phases: Some(Phases { connect: span(20), first_byte: span(60), ..Phases::default() }),
        ..Result::default()
    };
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let answered = Capture {
        addresses: vec!["203.0.113.7".into()],
        redirects: vec!["302 https://www.yourdomain.com/health".into()],
        tls: "TLSv1.3, TLS13_AES_128_GCM_SHA256".into(),
        certificates: vec!["CN=yourdomain.com, by CN=R3, 2026-01-01 to 2026-12-31".into()],
        status_line: "HTTP/1.1 503 Service Unavailable".into(),
        headers: vec![header("retry-after", "3"), header("x-request-id", "7f3a")],
        body: "{\n  \"status\": \"degraded\",\n  \"checks\": {}\n}".into(),
        body_cut: true,
        path: vec![],
        request_id: "7f3a".into(),
    };
    let unreached = Capture {
        addresses: vec!["203.0.113.7".into(), "2001:db8::7".into()],
        path: vec![
            PathHop { distance: 1, address: "192.0.2.1".into(), round_trip: span(2) },
            PathHop { distance: 2, address: String::new(), round_trip: None },
        ],
        ..Capture::default()
    };
    let well = Capture { status_line: "HTTP/1.1 200 OK".into(), ..answered.clone() };
    let capture = |result, capture| IncidentCapture { result: Some(result), capture: Some(capture) };
    let status = "503 Service Unavailable";
    vec![
        capture(check("us-east", "fail", status, -200), answered.clone()),
        capture(check("eu-west", "fail", "timeout after 10 s", -199), unreached),
        capture(check("ap-south", "pass", "", -199), well.clone()),
        capture(check("us-east", "fail", status, -60), answered),
        capture(check("us-east", "pass", "", -1), well),
    ]
}

/// An incident that another one tells of.
pub(crate) fn grouped_incident(base: Timestamp) -> Incident {
    Incident {
        id: "inc_0192d3b4a7c88f3e8a1b2c3d4e5f6078".into(),
        subject_name: "db".into(),
        cause: "connection refused".into(),
        lead_id: incident(base).id,
        members: vec![],
        member_count: 0,
        captures: vec![],
        ..incident(base)
    }
}

fn member(base: Timestamp, name: &str, cause: &str, left: Option<i64>) -> Member {
    Member {
        subject_id: format!("mon_{name}"),
        subject_name: name.into(),
        cause: cause.into(),
        joined_at: at(base, -150),
        left_at: left.and_then(|left| at(base, left)),
    }
}

pub(crate) fn agent(base: Timestamp) -> Agent {
    Agent {
        id: "agt_0192d3b4a7c87f3e8a1b2c3d4e5f6075".into(),
        name: "probe-1".into(),
        region: "us-east".into(),
        connected: true,
        last_seen_at: at(base, -130),
        epoch: 7,
        version: "0.1.0".into(),
        assigned_monitors: 12,
        created_at: at(base, -9 * 86_400 - 100),
        dropped_results: 0,
        clock_offset: Some(prost_types::Duration { seconds: -42, nanos: -250_000_000 }),
        quarantine: Some(Quarantine {
            since: at(base, -190),
            decided_at: at(base, -150),
            reason: "6 contradicted failures on 4 hosts in 40 s".into(),
            evidence: vec![
                ContradictedFailure {
                    monitor_id: "mon_0192d3b4a7c87f3e8a1b2c3d4e5f6071".into(),
                    monitor_name: "api.example.com/health".into(),
                    host: "api.example.com".into(),
                    failed_at: at(base, -190),
                    contradicted_by: vec!["ap-south".into(), "eu-west".into()],
                },
                ContradictedFailure {
                    monitor_id: "mon_0192d3b4a7c87f3e8a1b2c3d4e5f6079".into(),
                    monitor_name: String::new(),
                    host: "shop.example.com".into(),
                    failed_at: at(base, -181),
                    contradicted_by: vec!["ap-south".into(), "eu-west".into()],
                },
            ],
            incident_id: "inc_0192d3b4a7c87f3e8a1b2c3d4e5f6078".into(),
        }),
        join_expires_at: None,
        status: Some(agent_status(base)),
        capabilities: vec!["http".into(), "tcp".into(), "ipv6".into()],
        warnings: vec![
            AgentWarning { kind: "clock".into(), text: "its clock is 42 s behind".into() },
            AgentWarning { kind: "files".into(), text: "it has 1000 of 1024 files open".into() },
        ],
    }
}

fn agent_status(base: Timestamp) -> AgentStatus {
    AgentStatus {
        reported_at: at(base, -20),
        uptime: span(90_061_013),
        load: Some(0.52),
        cores: 2,
        memory_bytes: Some(12_900_000),
        open_files: Some(1_000),
        open_files_limit: Some(1_024),
        period: span(30_009),
        checks_started: 3_001,
        checks_skipped: 4,
        lateness_p50: span(1),
        lateness_p99: span(7),
        lateness_max: span(21),
        checks_running: 1,
        checks_queued: 0,
        longest_wait: span(12),
        waiting_results: 12,
        oldest_waiting_age: span(4_200),
        spool_bytes: 1_500_000,
        spool_capacity_bytes: 256 << 20,
        failing_canaries: vec!["one.example".into()],
    }
}

pub(crate) fn waiting_agent(base: Timestamp) -> Agent {
    Agent {
        id: "agt_0192d3b4a7c87f3e8a1b2c3d4e5f607a".into(),
        name: "probe-3".into(),
        region: "eu-west".into(),
        created_at: at(base, -100),
        join_expires_at: at(base, 14 * 60 - 20),
        ..Agent::default()
    }
}

/// An agent that was never heard.
pub(crate) fn silent_agent(base: Timestamp) -> Agent {
    Agent {
        id: "agt_0192d3b4a7c87f3e8a1b2c3d4e5f6076".into(),
        name: "probe-2".into(),
        region: "ap-south".into(),
        created_at: at(base, -100),
        ..Agent::default()
    }
}

pub(crate) fn region() -> Region {
    Region { id: "us-east".into(), display_name: "US-East".into(), agents: 3, connected_agents: 2 }
}

pub(crate) fn channel(base: Timestamp) -> Channel {
    Channel {
        id: "chn_0192d3b4a7c87f3e8a1b2c3d4e5f6076".into(),
        name: "ops".into(),
        kind: ChannelKind::Slack.into(),
        url: "https://hooks.slack.com/…".into(),
        signing_secret: String::new(),
        notices: Some(false),
        created_at: at(base, -9 * 86_400 - 100),
        updated_at: at(base, -9 * 86_400 - 100),
        etag: "W/chn-1".into(),
        settings: [("title".into(), "Acme".into())].into(),
        kind_name: "slack".into(),
        public_key: String::new(),
        previous_secret_until: None,
        fallback: "chn_0192d3b4a7c87f3e8a1b2c3d4e5f6081".into(),
        disabled_at: at(base, -100),
        disabled_reason: "its receiver answered 410 Gone: it wants no more".into(),
    }
}

pub(crate) fn tried(delivered: bool) -> TestChannelResponse {
    TestChannelResponse {
        delivered,
        status: if delivered { 200 } else { 404 },
        detail: if delivered { "200 OK" } else { "404 Not Found: no_service" }.into(),
        duration: Some(prost_types::Duration { seconds: 0, nanos: 38_000_000 }),
        answer: if delivered { "ok" } else { "no_service" }.into(),
        title: "🔴 DOWN: TEST of a monitor".into(),
        text: "Status: 503 Service Unavailable\nStarted: 3 minutes ago".into(),
    }
}

pub(crate) fn delivery(base: Timestamp) -> Delivery {
    let attempt = |number: i32, status: i32, detail: &str| DeliveryAttempt {
        number,
        started_at: at(base, -60 + 5 * i64::from(number)),
        duration: span(81),
        status,
        detail: detail.into(),
        answer: if status == 0 { vec![] } else { b"no such\nhook".to_vec() },
        resolve_duration: span(1),
        connect_duration: span(20),
        tls_duration: if status == 0 { None } else { span(30) },
        answer_duration: if status == 0 { None } else { span(30) },
    };
    Delivery {
        id: "dlv_0192d3b4a7c87f3e8a1b2c3d4e5f6079".into(),
        event_id: "evt_0192d3b4a7c87f3e8a1b2c3d4e5f6080".into(),
        event_type: "incident.opened".into(),
        channel_id: "chn_0192d3b4a7c87f3e8a1b2c3d4e5f6076".into(),
        channel: "ops".into(),
        incident_id: "inc_1".into(),
        subject_id: "mon_1".into(),
        state: DeliveryState::Waiting.into(),
        attempt_count: 2,
        created_at: at(base, -60),
        first_attempt_at: at(base, -55),
        next_attempt_at: at(base, 100),
        finished_at: None,
        reason: String::new(),
        stands_in_for: "dlv_0192d3b4a7c87f3e8a1b2c3d4e5f6078".into(),
        attempts: vec![
            attempt(1, 0, "TLS: invalid peer certificate: Expired"),
            attempt(2, 404, "404 Not Found"),
        ],
        body: br#"{"type":"incident.opened"}"#.to_vec(),
    }
}

pub(crate) fn channel_kind() -> ChannelKindDescription {
    ChannelKindDescription {
        name: "slack".into(),
        description: "A Slack incoming webhook".into(),
        settings: vec![
            ChannelSetting {
                name: "url".into(),
                description: "the incoming webhook's URL".into(),
                required: true,
                secret: true,
                default_value: String::new(),
            },
            ChannelSetting {
                name: "tone".into(),
                description: "how it sounds".into(),
                required: false,
                secret: false,
                default_value: "soft".into(),
            },
        ],
    }
}

pub(crate) fn page(base: Timestamp) -> StatusPage {
    StatusPage {
        id: "page_0192d3b4a7c87f3e8a1b2c3d4e5f6077".into(),
        name: "Acme API Status".into(),
        slug: "acme-api-status".into(),
        components: vec!["mon_1".into(), "hb_1".into()],
        url: "http://127.0.0.1:8080/status/acme-api-status".into(),
        created_at: at(base, -9 * 86_400 - 100),
    }
}

fn window(base: Timestamp, start: i64, end: i64) -> Option<MaintenanceWindow> {
    Some(MaintenanceWindow { start: at(base, start), end: at(base, end) })
}

pub(crate) fn maintenance(base: Timestamp) -> Maintenance {
    Maintenance {
        id: "mnt_0192d3b4a7c87f3e8a1b2c3d4e5f6080".into(),
        name: "sundays".into(),
        description: "Updates of all hosts.".into(),
        tags: vec!["db".into(), "web".into()],
        monitors: vec!["mon_0192d3b4a7c87f3e8a1b2c3d4e5f6071".into()],
        cron: "0 2 * * 0".into(),
        time_zone: "Europe/Berlin".into(),
        duration: span(7_200_000),
        active: true,
        current: window(base, -1_830, 5_430),
        next: window(base, 600_030, 607_230),
        created_at: at(base, -86_430),
        updated_at: at(base, -3_630),
        etag: "r3".into(),
        ..Maintenance::default()
    }
}

pub(crate) fn single_maintenance(base: Timestamp) -> Maintenance {
    Maintenance {
        id: "mnt_0192d3b4a7c87f3e8a1b2c3d4e5f6081".into(),
        name: "move".into(),
        all: true,
        start: at(base, 86_430),
        end: at(base, 90_030),
        next: window(base, 86_430, 90_030),
        created_at: at(base, -86_430),
        updated_at: at(base, -86_430),
        etag: "r1".into(),
        ..Maintenance::default()
    }
}
