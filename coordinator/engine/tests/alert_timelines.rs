//! Alerts as timelines: what each rule makes of an incident that opens at 00:00.

use std::time::Duration;

use engine::alert::{
    self, Backoff, Effect, Escalation, Event, News, Options, Policy, QuietHours, Reminders, Rule, Severity,
    Silenced, State, Step,
};
use model::{ChannelId, Timestamp};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Monday, 23 November 2026, 00:00 UTC.
const MIDNIGHT: i64 = 1_795_392_000;

const CHAT: ChannelId = ChannelId::from_bytes([1; 16]);
const PHONE: ChannelId = ChannelId::from_bytes([2; 16]);
const BOSS: ChannelId = ChannelId::from_bytes([3; 16]);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(MIDNIGHT).plus(Duration::from_secs(secs))
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * MINUTE)
}

fn rule(channels: &[ChannelId], options: Options) -> Policy {
    let rule = Rule { name: String::new(), channels: channels.to_vec(), options };
    Policy { rules: vec![rule], silence: None }
}

/// An incident with what has been told of it: `(seconds, news, channels)`.
struct Story {
    policy: Policy,
    state: State,
    told: Vec<(u64, News, Vec<ChannelId>)>,
    lines: Vec<String>,
}

impl Story {
    fn begin(policy: Policy, severity: Severity) -> Self {
        let opened = alert::open(severity, at(0), &policy, at(0));
        let mut story = Self { policy, state: opened.state.clone(), told: vec![], lines: vec![] };
        story.take(0, opened);
        story
    }

    fn take(&mut self, secs: u64, transition: alert::Transition) {
        self.state = transition.state;
        for effect in transition.effects {
            match effect {
                Effect::Tell { news, channels } => self.told.push((secs, news, channels)),
                Effect::Record(line) => self.lines.push(line),
            }
        }
    }

    fn event(&mut self, secs: u64, event: Event) {
        self.until(secs);
        let transition = alert::apply(self.state.clone(), &self.policy, event, at(secs));
        self.take(secs, transition);
    }

    /// Runs every deadline up to an instant.
    fn until(&mut self, secs: u64) {
        while let Some(due) = self.state.due_at().filter(|due| *due <= at(secs)) {
            let transition = alert::apply(self.state.clone(), &self.policy, Event::Reviewed, due);
            self.take(due.since(at(0)).as_secs(), transition);
        }
    }

    /// What was told since the last look: `0 opened chat`.
    fn said(&mut self) -> Vec<String> {
        let name = |channel: &ChannelId| match *channel {
            CHAT => "chat",
            PHONE => "phone",
            _ => "boss",
        };
        let line = |(secs, news, channels): (u64, News, Vec<ChannelId>)| {
            let channels: Vec<&str> = channels.iter().map(name).collect();
            let news = match news {
                News::Reminder(number) => format!("reminder {number}"),
                News::Escalated(number) => format!("escalated {number}"),
                other => format!("{other:?}").to_lowercase(),
            };
            format!("{} min: {news} {}", secs / MINUTE, channels.join("+"))
        };
        std::mem::take(&mut self.told).into_iter().map(line).collect()
    }
}

#[test]
fn by_default_everybody_is_told_at_once_once_and_of_the_end() {
    let mut story = Story::begin(rule(&[PHONE, CHAT], Options::default()), Severity::Critical);
    assert_eq!(story.state.due_at(), None);
    story.event(MINUTE, Event::Updated);
    story.event(8 * MINUTE, Event::Ended);
    assert_eq!(
        story.said(),
        ["0 min: opened chat+phone", "1 min: updated chat+phone", "8 min: ended chat+phone"]
    );
    assert!(story.state.is_over() && story.lines.is_empty());
}

#[test]
fn a_delay_says_nothing_at_all_of_an_incident_that_ends_before() {
    let delayed = Options { delay: minutes(5), ..Options::default() };
    let mut story = Story::begin(rule(&[CHAT], delayed.clone()), Severity::Critical);
    assert_eq!(story.lines, ["told to nobody before 2026-11-23T00:05:00Z: delay of the policy"]);
    story.event(MINUTE, Event::Updated);
    story.event(4 * MINUTE, Event::Ended);
    assert!(story.said().is_empty() && story.state.is_over());

    let mut story = Story::begin(rule(&[CHAT], delayed.clone()), Severity::Critical);
    story.event(6 * MINUTE, Event::Ended);
    assert_eq!(story.said(), ["5 min: opened chat", "6 min: ended chat"]);

    let mut story = Story::begin(rule(&[CHAT], delayed), Severity::Critical);
    story.event(4 * MINUTE, Event::Acknowledged);
    story.event(HOUR, Event::Ended);
    assert!(story.said().is_empty(), "whoever acknowledged it knows already");
}

#[test]
fn reminders_come_until_somebody_acknowledges_or_there_have_been_enough() {
    let remind = |backoff, max| Options {
        reminders: Some(Reminders { every: minutes(10), backoff, max }),
        ..Options::default()
    };
    let mut story = Story::begin(rule(&[CHAT], remind(Backoff::Linear, 0)), Severity::Critical);
    story.until(35 * MINUTE);
    assert_eq!(story.said(), ["0 min: opened chat", "10 min: reminder 1 chat", "30 min: reminder 2 chat"]);
    story.event(40 * MINUTE, Event::Acknowledged);
    story.event(5 * HOUR, Event::Ended);
    assert_eq!(story.said(), ["40 min: acknowledged chat", "300 min: ended chat"]);

    let mut story = Story::begin(rule(&[CHAT], remind(Backoff::None, 2)), Severity::Critical);
    story.until(5 * HOUR);
    assert_eq!(story.said(), ["0 min: opened chat", "10 min: reminder 1 chat", "20 min: reminder 2 chat"]);
    assert_eq!(story.state.due_at(), None);
}

fn escalating(repeat: u32) -> Options {
    let step = |after, channel| Step { after: minutes(after), channels: vec![channel] };
    Options {
        escalation: Escalation { steps: vec![step(15, PHONE), step(30, BOSS)], repeat },
        ..Options::default()
    }
}

#[test]
fn an_escalation_tells_others_step_by_step_until_somebody_acknowledges() {
    let mut story = Story::begin(rule(&[CHAT], escalating(1)), Severity::Critical);
    story.until(2 * HOUR);
    assert_eq!(
        story.said(),
        [
            "0 min: opened chat",
            "15 min: escalated 1 phone",
            "30 min: escalated 2 boss",
            "45 min: escalated 3 phone",
            "60 min: escalated 4 boss"
        ]
    );
    story.event(3 * HOUR, Event::Ended);
    assert_eq!(story.said(), ["180 min: ended chat+phone+boss"]);

    let mut story = Story::begin(rule(&[CHAT], escalating(0)), Severity::Critical);
    story.event(20 * MINUTE, Event::Acknowledged);
    story.event(HOUR, Event::Ended);
    assert_eq!(
        story.said(),
        [
            "0 min: opened chat",
            "15 min: escalated 1 phone",
            "20 min: acknowledged chat+phone",
            "60 min: ended chat+phone"
        ],
        "the boss was never told"
    );
}

#[test]
fn nobody_is_escalated_to_before_anybody_could_acknowledge() {
    let mut policy = rule(&[CHAT], escalating(0));
    policy.silence = Some(Silenced { until: at(HOUR), reason: "rollout".into() });
    let mut story = Story::begin(policy, Severity::Critical);
    assert_eq!(story.lines, ["nobody is told until 2026-11-23T01:00:00Z: silenced (rollout)"]);
    story.until(80 * MINUTE);
    assert_eq!(story.said(), ["60 min: opened chat", "75 min: escalated 1 phone"]);
}

#[test]
fn what_is_still_true_when_a_silence_ends_is_told_then_and_the_end_waits_for_it_too() {
    let mut story = Story::begin(rule(&[CHAT], Options::default()), Severity::Critical);
    story.policy.silence = Some(Silenced { until: at(HOUR), reason: String::new() });
    story.event(5 * MINUTE, Event::Reviewed);
    story.event(10 * MINUTE, Event::Updated);
    story.event(20 * MINUTE, Event::Ended);
    assert_eq!(story.said(), ["0 min: opened chat"]);
    assert!(!story.state.is_over());
    story.until(HOUR);
    assert_eq!(story.said(), ["60 min: ended chat"]);
    assert!(story.state.is_over());

    let mut policy = rule(&[CHAT], Options::default());
    policy.silence = Some(Silenced { until: at(HOUR), reason: String::new() });
    let mut story = Story::begin(policy, Severity::Critical);
    story.event(30 * MINUTE, Event::Ended);
    assert!(story.said().is_empty() && story.state.is_over(), "never told, so never told of the end");
}

#[test]
fn a_silence_that_is_ended_early_lets_go_at_once() {
    let mut policy = rule(&[CHAT], Options::default());
    policy.silence = Some(Silenced { until: at(24 * HOUR), reason: String::new() });
    let mut story = Story::begin(policy, Severity::Critical);
    story.policy.silence = None;
    story.event(5 * MINUTE, Event::Reviewed);
    assert_eq!(story.said(), ["5 min: opened chat"]);
}

#[test]
fn quiet_hours_hold_warnings_and_let_what_is_broken_through_unless_asked_otherwise() {
    let quiet = |hold_critical| Options {
        quiet_hours: Some(QuietHours::new(&[], "22:00", "07:00", "UTC", hold_critical).unwrap()),
        ..Options::default()
    };
    let mut story = Story::begin(rule(&[CHAT], quiet(false)), Severity::Warning);
    story.until(24 * HOUR);
    assert_eq!(story.said(), ["420 min: opened chat"]);
    assert_eq!(story.lines, ["held until 2026-11-23T07:00:00Z: quiet hours"]);

    let mut story = Story::begin(rule(&[CHAT], quiet(false)), Severity::Critical);
    assert_eq!(story.said(), ["0 min: opened chat"]);
    let mut story = Story::begin(rule(&[CHAT], quiet(true)), Severity::Critical);
    story.event(6 * HOUR, Event::Ended);
    assert!(story.said().is_empty() && story.state.is_over());
}

#[test]
fn a_rule_hears_of_nothing_that_is_less_bad_than_it_asks_for() {
    let critical = Options { severity: Severity::Critical, ..Options::default() };
    let mut story = Story::begin(rule(&[CHAT], critical), Severity::Warning);
    story.event(MINUTE, Event::Ended);
    assert!(story.said().is_empty());
}

#[test]
fn the_first_rule_that_names_a_channel_decides_for_it() {
    let delayed = Options { delay: minutes(5), ..Options::default() };
    let mut policy = rule(&[CHAT], Options::default());
    policy.rules.push(Rule { name: "pol".into(), channels: vec![CHAT, PHONE], options: delayed });
    let mut story = Story::begin(policy, Severity::Critical);
    story.until(HOUR);
    assert_eq!(story.said(), ["0 min: opened chat", "5 min: opened phone"]);
}

#[test]
fn who_wants_no_recoveries_gets_none_and_who_wants_no_acknowledgements_neither() {
    let terse = Options { recovery: false, acknowledgement: false, ..Options::default() };
    let mut story = Story::begin(rule(&[CHAT], terse), Severity::Critical);
    story.event(MINUTE, Event::Acknowledged);
    story.event(2 * MINUTE, Event::Ended);
    assert_eq!(story.said(), ["0 min: opened chat"]);
    assert!(story.state.is_over());
}

#[test]
fn what_is_added_later_reaches_the_next_incident() {
    let mut story = Story::begin(rule(&[CHAT], Options::default()), Severity::Critical);
    story.policy.rules[0].channels.push(PHONE);
    story.event(MINUTE, Event::Reviewed);
    story.event(2 * MINUTE, Event::Ended);
    assert_eq!(story.said(), ["0 min: opened chat", "2 min: ended chat"]);
}

#[test]
fn after_blindness_no_clock_tells_of_what_may_be_over() {
    let delayed = Options { delay: minutes(5), ..Options::default() };
    let mut story = Story::begin(rule(&[CHAT], delayed), Severity::Critical);
    let transition = alert::apply(story.state.clone(), &story.policy, Event::Blind, at(10 * MINUTE));
    story.take(10 * MINUTE, transition);
    assert_eq!(story.state.due_at(), Some(at(10 * MINUTE).plus(alert::AFTER_BLINDNESS)));
    story.event(10 * MINUTE + 20, Event::Ended);
    assert!(story.said().is_empty());
}
