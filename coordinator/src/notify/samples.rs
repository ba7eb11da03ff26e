//! One event of every variant, for the tests of everything that is rendered from events.

use std::time::Duration;

use model::{AgentId, EventId, HeartbeatId, IncidentId, InstallationId, MonitorId, RegionId, Timestamp};

use super::channel::setting::Problem;
use super::channel::{Channel, Provider, Settings, provider};
use super::event::{
    ClosedReason, Event, EventAcknowledgement, EventComponent, EventFailure, EventIncident, EventKind,
    EventOutcome, EventRegion, EventSubject, EventVote, EventVotes,
};

/// When the samples' outages start: 2026-11-22T03:04:05.25Z.
pub(super) const STARTED_AT: Timestamp = Timestamp::from_micros(1_795_316_645_250_000);

/// A channel of a kind with a value in every required setting. Secrets have `hush` in them.
pub(super) fn channel(kind: &str) -> Channel {
    let url = ("url", "https://receiver.example/hush");
    let given: &[(&str, &str)] = match kind {
        "webhook" | "slack" | "discord" | "alertmanager" | "alertmanager_webhook" => &[url],
        "teams" | "google_chat" | "mattermost" | "rocketchat" => &[url],
        "apprise" => &[url, ("key", "hush")],
        "email" => &[
            ("host", "mail.example"),
            ("from", "Vigilmon <alerts@example.com>"),
            ("to", "ops@example.com"),
            ("username", "me"),
            ("password", "hush"),
        ],
        "telegram" => &[("token", "12345:hush"), ("chat_id", "-10012345")],
        "pagerduty" => &[("routing_key", "hushhushhushhushhushhushhushhush")],
        "opsgenie" => &[("api_key", "hush")],
        "ntfy" => &[("topic", "hush")],
        "gotify" => &[("server", "https://push.example"), ("token", "hush")],
        "pushover" => {
            &[("token", "hushhushhushhushhushhushhush30"), ("user", "hushhushhushhushhushhushhush31")]
        }
        "matrix" => {
            &[("server", "https://matrix.example"), ("room_id", "!room:matrix.example"), ("token", "hush")]
        }
        "zulip" => &[
            ("server", "https://zulip.example"),
            ("email", "bot@zulip.example"),
            ("api_key", "hush"),
            ("channel", "alerts"),
        ],
        other => panic!("no sample of {other}"),
    };
    Channel::new(settings(provider::find(kind).unwrap(), given).unwrap())
}

/// Settings of a kind as a user gives them.
pub(super) fn settings(
    provider: &'static dyn Provider,
    given: &[(&str, &str)],
) -> Result<Settings, Vec<Problem>> {
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::new(provider).changed(&given)
}

/// Every variant under the name of its golden files.
pub(super) fn all() -> Vec<(&'static str, Event)> {
    vec![
        ("down", down()),
        ("down_components", down_components()),
        ("joined", joined()),
        ("reminder", reminder(down(), 2)),
        ("escalated", escalated()),
        ("acknowledged", acknowledged()),
        ("recovered", recovered()),
        ("closed", closed()),
        ("missed", missed()),
        ("failed", failed()),
        ("heartbeat_reminder", reminder(missed(), 1)),
        ("missed_by_calendar", missed_by_calendar()),
        ("never_started", never_started()),
        ("ran_too_long", ran_too_long()),
        ("silent", silent()),
        ("heartbeat_recovered", heartbeat_recovered()),
        ("heartbeat_closed", heartbeat_closed()),
        ("quarantined", quarantined()),
        ("released", ended(quarantined(), EventKind::Resolved, 3 * 60)),
        ("uncovered", uncovered()),
        ("disabled", disabled()),
        ("covered", ended(uncovered(), EventKind::Resolved, 12 * 60)),
        ("hostile", hostile()),
    ]
}

pub(super) fn down() -> Event {
    let rows = vec![
        vote("us-east", EventOutcome::Fail, "503 Service Unavailable"),
        vote("eu-west", EventOutcome::Fail, "503 Service Unavailable"),
        vote("ap-south", EventOutcome::Pass, "200 OK"),
    ];
    Event {
        version: Event::VERSION,
        id: EventId::derive(incident_id(), 1),
        kind: EventKind::Opened,
        occurred_at: after(2),
        incident: EventIncident {
            id: incident_id(),
            number: 7,
            failure: EventFailure::Down,
            cause: "503 Service Unavailable from us-east, eu-west".to_owned(),
            started_at: STARTED_AT,
            opened_at: after(2),
            resolved_at: None,
            closed_reason: None,
            acknowledged: None,
        },
        subject: EventSubject::Monitor {
            id: MonitorId::from_bytes([1; 16]),
            name: "yourdomain.com/health".to_owned(),
            url: "https://yourdomain.com/health".to_owned(),
            interval: Duration::from_secs(60),
        },
        members: vec![],
        status: Some("503 Service Unavailable".to_owned()),
        regions: vec![region("us-east"), region("eu-west")],
        failing_components: vec![],
        last_ping_at: None,
        votes: Some(EventVotes {
            at: after(2),
            policy: "majority: 2 of 3 regions".to_owned(),
            arithmetic: "2 of 3 regions failing, 2 needed".to_owned(),
            rows,
        }),
        reminder: None,
        escalation_step: None,
        acknowledge_url: None,
    }
}

/// It is still open, and can be acknowledged with one click.
pub(super) fn reminder(event: Event, number: u32) -> Event {
    Event {
        id: EventId::derive(incident_id(), 2 + number),
        kind: EventKind::Reminder,
        occurred_at: after(170),
        reminder: Some(number),
        acknowledge_url: Some("https://status.example/ack/c2lnbmVk".to_owned()),
        ..event
    }
}

/// Nobody has acknowledged it for long enough.
pub(super) fn escalated() -> Event {
    Event { kind: EventKind::Escalated, reminder: None, escalation_step: Some(1), ..reminder(down(), 1) }
}

/// Somebody looks after it.
pub(super) fn acknowledged() -> Event {
    let mut event =
        Event { kind: EventKind::Acknowledged, acknowledge_url: None, reminder: None, ..reminder(down(), 1) };
    let acknowledged = EventAcknowledgement {
        at: after(170),
        by: "Ana".to_owned(),
        reason: "the database is being restarted".to_owned(),
    };
    event.incident.acknowledged = Some(acknowledged);
    event
}

/// Two others have failed together with it.
pub(super) fn joined() -> Event {
    Event {
        id: EventId::derive(incident_id(), 2),
        kind: EventKind::Updated,
        occurred_at: after(62),
        members: vec!["yourdomain.com/login".to_owned(), "yourdomain.com/shop".to_owned()],
        ..down()
    }
}

pub(super) fn down_components() -> Event {
    let database = EventComponent {
        name: "database".to_owned(),
        detail: Some("could not connect to database 'main'".to_owned()),
    };
    let cache = EventComponent { name: "cache".to_owned(), detail: None };
    Event { failing_components: vec![database, cache], ..down() }
}

pub(super) fn recovered() -> Event {
    let mut event = ended(down(), EventKind::Resolved, 8 * 60);
    event.regions.clear();
    event.votes = None;
    event
}

pub(super) fn closed() -> Event {
    closed_as(down(), ClosedReason::Paused)
}

pub(super) fn missed() -> Event {
    Event {
        incident: EventIncident {
            failure: EventFailure::Missed,
            cause: "no ping for 25 hours".to_owned(),
            opened_at: after(300),
            ..down().incident
        },
        occurred_at: after(300),
        subject: EventSubject::Heartbeat {
            id: HeartbeatId::from_bytes([3; 16]),
            name: "nightly_cleanup".to_owned(),
            interval: Some(Duration::from_secs(25 * 3_600)),
            calendar: None,
            grace: Duration::from_secs(300),
        },
        status: None,
        regions: vec![],
        last_ping_at: Some(STARTED_AT.minus(Duration::from_secs(25 * 3_600))),
        votes: None,
        ..down()
    }
}

/// Of a job that runs by a calendar.
pub(super) fn missed_by_calendar() -> Event {
    let mut event = missed();
    event.subject = EventSubject::Heartbeat {
        id: HeartbeatId::from_bytes([3; 16]),
        name: "nightly_cleanup".to_owned(),
        interval: None,
        calendar: Some("0 3 * * * (Europe/Berlin)".to_owned()),
        grace: Duration::from_secs(300),
    };
    event
}

pub(super) fn never_started() -> Event {
    let mut event = missed_by_calendar();
    event.incident.failure = EventFailure::NeverStarted;
    event.incident.cause = "expected 0 3 * * * (Europe/Berlin), not started within 1 min".to_owned();
    event
}

pub(super) fn ran_too_long() -> Event {
    let mut event = missed_by_calendar();
    let (started_at, max_runtime) =
        (STARTED_AT.minus(Duration::from_secs(3_600)), Duration::from_secs(3_600));
    event.incident.failure = EventFailure::RanTooLong { started_at, max_runtime };
    event.incident.cause = "started 1 h ago, not finished within 1 h".to_owned();
    event
}

pub(super) fn silent() -> Event {
    let mut event = missed_by_calendar();
    let started_at = STARTED_AT.minus(Duration::from_secs(3_600));
    let heard_at = STARTED_AT.minus(Duration::from_secs(300));
    event.incident.failure = EventFailure::Silent { started_at, heard_at };
    event.incident.cause = "started 1 h ago, no sign of life for 5 min".to_owned();
    event
}

pub(super) fn failed() -> Event {
    let mut event = missed();
    event.incident.failure = EventFailure::Failed { exit_code: Some(3) };
    event.incident.cause = "the job reported exit code 3".to_owned();
    event
}

pub(super) fn heartbeat_recovered() -> Event {
    ended(missed(), EventKind::Resolved, 2 * 3_600)
}

pub(super) fn heartbeat_closed() -> Event {
    closed_as(missed(), ClosedReason::Deleted)
}

pub(super) fn quarantined() -> Event {
    Event {
        incident: EventIncident {
            failure: EventFailure::Quarantined,
            cause: "6 contradicted failures on 4 hosts in 40 s".to_owned(),
            opened_at: after(40),
            ..down().incident
        },
        occurred_at: after(40),
        subject: EventSubject::Agent {
            id: AgentId::from_bytes([4; 16]),
            name: "agent tokyo-1".to_owned(),
            region: Some(region("ap-northeast")),
        },
        status: None,
        regions: vec![],
        votes: None,
        ..down()
    }
}

pub(super) fn uncovered() -> Event {
    Event {
        incident: EventIncident {
            failure: EventFailure::Uncovered,
            cause: "region us-east offline: 40 monitors checked from fewer regions, 3 cannot be judged"
                .to_owned(),
            opened_at: after(60),
            ..down().incident
        },
        occurred_at: after(60),
        subject: EventSubject::Installation {
            id: InstallationId::from_bytes([9; 16]),
            name: "coverage".to_owned(),
        },
        status: None,
        regions: vec![region("us-east")],
        votes: None,
        ..down()
    }
}

pub(super) fn disabled() -> Event {
    Event {
        incident: EventIncident {
            failure: EventFailure::Disabled,
            cause: "its receiver answered 410 Gone: it wants no more".to_owned(),
            ..uncovered().incident
        },
        subject: EventSubject::Installation {
            id: InstallationId::from_bytes([9; 16]),
            name: "channel ops".to_owned(),
        },
        regions: vec![],
        ..uncovered()
    }
}

/// An outage in which everything that others may word tries to break out.
pub(super) fn hostile() -> Event {
    let mut event = down();
    let attack =
        "<!channel> <@U1|x> @everyone @here *b* _i_ `c` ~s~ ||p|| [l](http://e.example) & \\ \r\n\u{202e}\0";
    event.status = Some(attack.repeat(20));
    event.regions = vec![EventRegion { name: attack.to_owned(), ..region("us-east") }];
    event.failing_components =
        vec![EventComponent { name: attack.to_owned(), detail: Some(attack.repeat(20)) }; 12];
    let EventSubject::Monitor { name, .. } = &mut event.subject else { unreachable!("down is a monitor's") };
    *name = attack.repeat(3);
    event
}

fn ended(mut event: Event, kind: EventKind, after_secs: u64) -> Event {
    event.id = EventId::derive(incident_id(), 2);
    event.kind = kind;
    event.occurred_at = after(after_secs);
    event.incident.resolved_at = Some(after(after_secs));
    event
}

fn closed_as(event: Event, reason: ClosedReason) -> Event {
    let mut event = ended(event, EventKind::Closed, 50 * 3_600);
    event.incident.closed_reason = Some(reason);
    event
}

fn incident_id() -> IncidentId {
    IncidentId::derive(InstallationId::from_bytes([9; 16]), &[1; 16], 7)
}

fn after(secs: u64) -> Timestamp {
    STARTED_AT.plus(Duration::from_secs(secs))
}

fn region(id: &str) -> EventRegion {
    let id = RegionId::new(id).unwrap();
    EventRegion { name: id.default_display_name(), id }
}

fn vote(id: &str, outcome: EventOutcome, detail: &str) -> EventVote {
    EventVote {
        region: region(id),
        outcome,
        detail: detail.to_owned(),
        started_at: Some(STARTED_AT),
        counted: true,
        reason: "fresh".to_owned(),
    }
}
