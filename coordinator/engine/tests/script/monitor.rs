//! Timelines of a monitor.
//!
//! ```text
//! monitor REGION…; interval 60s; timeout 10s; quorum majority; confirm 0; recovery 2
//! t+TIME WHAT[; WHAT…]
//! ```
//! `WHAT` is `REGIONS RESULT [@START] [old]` (`all`, `a,b`; pass, sluggish, unwell, ailing, 503, refused, timeout, error,
//! unsupported, slow; the check starts at the line's time unless said otherwise), `live REGIONS`, `gone REGIONS`, `blind FROM`, `restart FROM`
//! (blind, and no region is live any more), `policy quorum Q`,
//! `respec`, `quarantine REGION @START`, `release REGION`, `pause`, `resume`,
//! `maintenance [since TIME]`, `maintenance over`, `delete`, `table`, `explain` or `nothing`.

use std::time::Duration;

use engine::Effect;
use engine::monitor::{self, Event, Policy, Standing, State, Thresholds, Trouble};
use engine::quorum::Quorum;
use model::result::UNSUPPORTED;
use model::{
    AgentId, CheckResult, Component, Failure, FailureKind, HealthReport, HealthWord, MonitorId, Outcome,
    Phases, RegionId, Timestamp,
};

use super::{Rounds, START, instant, lines, offset, rows, show, span};

/// Plays a timeline and returns it with what it caused.
pub(crate) fn play(script: &str) -> String {
    let mut lines = lines(script);
    let header = lines.next().unwrap();
    let policy = policy(header);
    let mut player = Player {
        state: monitor::new(&policy, START),
        policy,
        rounds: Rounds::default(),
        out: format!("{header}\n"),
    };
    for line in lines {
        let (time, actions) = line.strip_prefix("t+").unwrap().split_once(' ').unwrap();
        let now = instant(time);
        // Blindness is told before the deadlines that fell into it.
        let blind_from = actions
            .split("; ")
            .find_map(|action| action.strip_prefix("blind ").or_else(|| action.strip_prefix("restart ")));
        player.run_until(blind_from.map_or(now, instant));
        player.out += &format!("{line}\n");
        for action in actions.split("; ") {
            player.act(action, now);
        }
    }
    player.end()
}

fn policy(header: &str) -> Policy {
    let mut parts = header.split("; ");
    let regions: Vec<_> =
        parts.next().unwrap().split(' ').skip(1).map(|id| RegionId::new(id).unwrap()).collect();
    let mut policy = Policy {
        quorum: quorum("majority", &regions),
        regions,
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        confirmation_period: Duration::ZERO,
        recovery_checks: 2,
        thresholds: Thresholds::default(),
        has_parents: false,
        spec_revision: 1,
    };
    for part in parts {
        let (name, value) = part.split_once(' ').unwrap();
        match name {
            "interval" => policy.interval = span(value),
            "timeout" => policy.timeout = span(value),
            "confirm" => policy.confirmation_period = span(value),
            "recovery" => policy.recovery_checks = value.parse().unwrap(),
            "failures" => policy.thresholds.failures = value.parse().unwrap(),
            "passes" => policy.thresholds.passes = value.parse().unwrap(),
            "stable" => policy.thresholds.recovery_period = span(value),
            "limit" => policy.thresholds.latency_limit = Some(span(value)),
            "parents" => policy.has_parents = value == "yes",
            "quorum" => policy.quorum = quorum(value, &policy.regions),
            other => panic!("unknown setting {other}"),
        }
    }
    policy
}

fn quorum(text: &str, regions: &[RegionId]) -> Quorum {
    text.parse::<engine::quorum::Policy>().unwrap().over(regions)
}

struct Player {
    state: Box<State>,
    policy: Policy,
    rounds: Rounds,
    out: String,
}

impl Player {
    fn run_until(&mut self, now: Timestamp) {
        while let Some(at) = monitor::deadline(&self.state, &self.policy).filter(|at| *at <= now) {
            let effects = self.apply(&Event::DeadlineReached, at);
            self.out += &show(&effects, Some(at), &mut self.rounds);
        }
    }

    fn apply(&mut self, event: &Event, now: Timestamp) -> Vec<Effect> {
        let transition = monitor::apply(self.state.clone(), &self.policy, event, now);
        self.state = transition.state;
        transition.effects
    }

    fn act(&mut self, action: &str, now: Timestamp) {
        let words: Vec<_> = action.split(' ').collect();
        let events = match words.as_slice() {
            ["nothing"] => vec![],
            ["table"] => {
                self.out += &rows(&monitor::table(&self.state, &self.policy, now));
                vec![]
            }
            ["explain"] => {
                self.explain(now);
                vec![]
            }
            [word @ ("live" | "gone"), regions] => {
                let live = *word == "live";
                self.regions(regions).map(|region| Event::RegionLive { region, live }).collect()
            }
            ["restart", from] => {
                for region in self.policy.regions.clone() {
                    let gone = Event::RegionLive { region, live: false };
                    self.state = monitor::fold(self.state.clone(), &self.policy, &gone, now);
                }
                vec![Event::Blind { from: instant(from), to: now }]
            }
            ["blind", from] => vec![Event::Blind { from: instant(from), to: now }],
            ["policy", "quorum", text @ ..] => {
                self.policy.quorum = quorum(&text.join(" "), &self.policy.regions);
                vec![Event::PolicyChanged { respec: false }]
            }
            ["respec"] => {
                self.policy.spec_revision += 1;
                vec![Event::PolicyChanged { respec: true }]
            }
            ["parents", standing @ ..] => vec![Event::Parents(parents(standing))],
            ["asked"] => vec![Event::Asked],
            ["quarantine", region, start] => {
                let region = RegionId::new(region).unwrap();
                let since = instant(start.strip_prefix('@').unwrap());
                vec![Event::Quarantined { agent: agent_of(&region), name: format!("{region}-1"), since }]
            }
            ["release", region] => {
                vec![Event::Released { agent: agent_of(&RegionId::new(region).unwrap()) }]
            }
            ["pause"] => vec![Event::Paused],
            ["resume"] => vec![Event::Resumed],
            ["maintenance"] => vec![Event::MaintenanceStarted { at: now }],
            ["maintenance", "since", at] => vec![Event::MaintenanceStarted { at: instant(at) }],
            ["maintenance", "over"] => vec![Event::MaintenanceEnded],
            ["delete"] => vec![Event::Deleted],
            [regions, "slow", start] => {
                let started_at = instant(start.strip_prefix('@').unwrap());
                self.regions(regions).map(|region| Event::Slow { region, started_at }).collect()
            }
            [regions, result, rest @ ..] => {
                let start = rest.iter().find_map(|word| word.strip_prefix('@'));
                let started_at = start.map_or(now, instant);
                let spec_revision = self.policy.spec_revision - u64::from(rest.contains(&"old"));
                self.regions(regions)
                    .map(|region| observed(region, result, started_at, spec_revision))
                    .collect()
            }
            other => panic!("unknown action {other:?}"),
        };
        for event in events {
            let effects = self.apply(&event, now);
            self.out += &show(&effects, None, &mut self.rounds);
        }
    }

    fn regions(&self, list: &str) -> impl Iterator<Item = RegionId> + use<> {
        let regions: Vec<_> = match list {
            "all" => self.policy.regions.clone(),
            list => list.split(',').map(|id| RegionId::new(id).unwrap()).collect(),
        };
        regions.into_iter()
    }

    fn explain(&mut self, now: Timestamp) {
        let explanation = monitor::explain(&self.state, &self.policy, now);
        let next = explanation.next_decision_at.map_or_else(|| "never".to_owned(), offset);
        self.out += &rows(&explanation.table);
        self.out += &format!("        {}\n", explanation.decision);
        for change in &explanation.would_change {
            self.out += &format!("        would change it: {change}\n");
        }
        self.out += &format!("        next decision: {next}\n");
    }

    fn end(mut self) -> String {
        let next = monitor::deadline(&self.state, &self.policy).map_or_else(|| "never".to_owned(), offset);
        let unverified = self.state.unverified_since().map(|at| format!(", unverified since {}", offset(at)));
        self.out += &format!(
            "at the end: {}, {:?}{}; next deadline {next}\n",
            self.state.status(),
            self.state.phase(),
            unverified.unwrap_or_default()
        );
        self.out
    }
}

fn parents(words: &[&str]) -> Standing {
    match words {
        ["well"] => Standing::Well,
        ["in-question"] => Standing::InQuestion,
        [name, "down"] => Standing::Failing { name: (*name).into(), trouble: Trouble::Down },
        [name, "unknown"] => Standing::Failing { name: (*name).into(), trouble: Trouble::Unknown },
        [name, "maintenance"] => Standing::Failing { name: (*name).into(), trouble: Trouble::Maintenance },
        other => panic!("unknown standing {other:?}"),
    }
}

fn observed(region: RegionId, result: &str, started_at: Timestamp, spec_revision: u64) -> Event {
    let (outcome, duration) = match result {
        "pass" | "unwell" | "ailing" => (Outcome::Pass, 100),
        "sluggish" => (Outcome::Pass, 1_500),
        "503" => (Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable")), 100),
        "refused" => (Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused")), 1),
        "timeout" => (Outcome::Fail(Failure::new(FailureKind::Timeout, "timeout after 10 s")), 10_000),
        "error" => (Outcome::Error("too many open files".to_owned()), 0),
        "unsupported" => (Outcome::Error(format!("{UNSUPPORTED}this agent may not ping")), 0),
        other => panic!("unknown result {other}"),
    };
    let component = Component {
        name: "database".to_owned(),
        status: HealthWord::Unhealthy,
        detail: Some("refused".to_owned()),
    };
    let components = match result {
        "unwell" => Some(vec![component]),
        "ailing" => Some(vec![]),
        _ => None,
    };
    let health =
        components.map(|components| Box::new(HealthReport { status: HealthWord::Degraded, components }));
    let result = CheckResult {
        monitor: MonitorId::from_bytes([7; 16]),
        spec_revision,
        region,
        slot: 0,
        attempt: 0,
        round: 0,
        started_at,
        duration: Duration::from_millis(duration),
        outcome,
        phases: Phases::default(),
        http_status: None,
        peer: None,
        health,
    };
    Event::Observed { agent: agent_of(&result.region), result: Box::new(result) }
}

/// Every region has one agent.
fn agent_of(region: &RegionId) -> AgentId {
    AgentId::from_bytes(std::array::from_fn(|index| {
        region.as_str().as_bytes().get(index).copied().unwrap_or(0)
    }))
}
