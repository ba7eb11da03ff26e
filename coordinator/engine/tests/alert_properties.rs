//! What holds for every alert, whatever the policy and whatever happens in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::alert::{
    self, Backoff, Effect, Escalation, Event, News, Options, Policy, QuietHours, Reminders, Rule, Severity,
    Silenced, Step,
};
use model::{ChannelId, Timestamp};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_795_392_000);

/// What the world does next, after so many seconds.
#[derive(Clone, Copy, Debug)]
enum Move {
    Wait,
    Join,
    Acknowledge,
    End,
    Blind,
    Silence(u16),
    Unsilence,
}

fn moves() -> impl Strategy<Value = Vec<(u16, Move)>> {
    let one = prop_oneof![
        4 => Just(Move::Wait),
        2 => Just(Move::Join),
        1 => Just(Move::Acknowledge),
        1 => Just(Move::End),
        1 => Just(Move::Blind),
        1 => (1_u16..20_000).prop_map(Move::Silence),
        1 => Just(Move::Unsilence),
    ];
    prop::collection::vec((0_u16..4_000, one), 1..25)
}

fn channel(number: u8) -> ChannelId {
    ChannelId::from_bytes([number; 16])
}

fn channels(from: usize) -> impl Strategy<Value = Vec<ChannelId>> {
    prop::collection::vec((0_u8..4).prop_map(channel), from..4)
}

fn options() -> impl Strategy<Value = Options> {
    let reminders = prop::option::of((1_u64..3_000, 0_u32..4, 0_usize..3)).prop_map(|drawn| {
        drawn.map(|(every, max, backoff)| Reminders {
            every: Duration::from_secs(every),
            backoff: [Backoff::None, Backoff::Linear, Backoff::Double][backoff],
            max,
        })
    });
    let steps = prop::collection::vec((1_u64..2_000, channels(1)), 0..3);
    let quiet = prop::option::of(any::<bool>());
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    (0_u64..3_000, reminders, steps, 0_u32..2, quiet, switches).prop_map(
        |(delay, reminders, steps, repeat, quiet, (critical, recovery, acknowledgement))| {
            let mut after = Duration::ZERO;
            let step = |(gap, channels)| {
                after += Duration::from_secs(gap);
                Step { after, channels }
            };
            Options {
                severity: if critical { Severity::Critical } else { Severity::Warning },
                delay: Duration::from_secs(delay),
                reminders,
                escalation: Escalation { steps: steps.into_iter().map(step).collect(), repeat },
                quiet_hours: quiet.map(|hold| {
                    QuietHours::new(&[], "01:00", "02:30", "UTC", hold).expect("they are well said")
                }),
                recovery,
                acknowledgement,
            }
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::collection::vec((channels(0), options()), 1..4).prop_map(|drawn| {
        let rule =
            |(index, (channels, options)): (usize, _)| Rule { name: index.to_string(), channels, options };
        Policy { rules: drawn.into_iter().enumerate().map(rule).collect(), silence: None }
    })
}

/// Everything that was told, with the invariants checked on the way.
struct Run {
    policy: Policy,
    state: alert::State,
    now: Timestamp,
    open_to: BTreeSet<ChannelId>,
    ended_to: BTreeMap<ChannelId, u32>,
    was_acknowledged: bool,
    was_ended: bool,
}

impl Run {
    fn take(&mut self, transition: alert::Transition) {
        let silenced = self.policy.silence.as_ref().is_some_and(|silence| silence.until > self.now);
        let mut told_now = BTreeSet::new();
        for effect in transition.effects {
            let Effect::Tell { news, channels } = effect else { continue };
            assert!(!silenced, "told in a silence: {news:?}");
            assert!(!channels.is_empty());
            for channel in channels {
                assert!(told_now.insert(channel), "two messages at once");
                match news {
                    News::Opened => {
                        assert!(!self.was_acknowledged && !self.was_ended);
                        assert!(self.open_to.insert(channel), "told of the opening twice");
                    }
                    News::Escalated(_) => {
                        assert!(!self.was_acknowledged && !self.was_ended);
                        self.open_to.insert(channel);
                    }
                    News::Reminder(_) => {
                        assert!(!self.was_acknowledged && !self.was_ended && self.open_to.contains(&channel));
                    }
                    News::Updated | News::Acknowledged => {
                        assert!(!self.was_ended && self.open_to.contains(&channel));
                    }
                    News::Ended => {
                        assert!(self.was_ended && self.open_to.contains(&channel));
                        *self.ended_to.entry(channel).or_default() += 1;
                    }
                }
            }
        }
        self.state = transition.state;
        assert!(self.state.due_at().is_none_or(|due| due > self.now), "a deadline of the past");
        let stored = serde_json::to_string(&self.state).expect("states have only text keys");
        assert_eq!(serde_json::from_str::<alert::State>(&stored).expect("it was written so"), self.state);
    }

    fn apply(&mut self, event: Event) {
        self.take(alert::apply(self.state.clone(), &self.policy, event, self.now));
    }

    /// Runs deadlines up to `until`; reminders without end are cut off.
    fn advance(&mut self, until: Timestamp) {
        for _ in 0..2_000 {
            let Some(due) = self.state.due_at().filter(|due| *due <= until) else { break };
            self.now = due;
            self.apply(Event::Reviewed);
        }
        self.now = until;
    }
}

proptest! {
    #[test]
    fn who_is_told_of_the_opening_is_told_of_the_end_and_nobody_else(
        policy in policies(),
        is_critical in any::<bool>(),
        moves in moves(),
    ) {
        let severity = if is_critical { Severity::Critical } else { Severity::Warning };
        let opened = alert::open(severity, START, &policy, START);
        let mut run = Run {
            state: opened.state.clone(),
            policy,
            now: START,
            open_to: BTreeSet::new(),
            ended_to: BTreeMap::new(),
            was_acknowledged: false,
            was_ended: false,
        };
        run.take(opened);
        for (secs, step) in moves {
            run.advance(run.now.plus(Duration::from_secs(u64::from(secs))));
            match step {
                Move::Wait => run.apply(Event::Reviewed),
                Move::Join => run.apply(Event::Updated),
                Move::Blind => run.apply(Event::Blind),
                Move::Acknowledge => {
                    run.apply(Event::Acknowledged);
                    run.was_acknowledged = true;
                }
                Move::End => {
                    run.was_ended = true;
                    run.apply(Event::Ended);
                }
                Move::Silence(secs) => {
                    let until = run.now.plus(Duration::from_secs(u64::from(secs)));
                    run.policy.silence = Some(Silenced { until, reason: "test".into() });
                    run.apply(Event::Reviewed);
                }
                Move::Unsilence => {
                    run.policy.silence = None;
                    run.apply(Event::Reviewed);
                }
            }
        }
        run.was_ended = true;
        run.apply(Event::Ended);
        run.advance(run.now.plus(Duration::from_secs(3 * 86_400)));
        prop_assert!(run.state.is_over());
        prop_assert!(run.ended_to.values().all(|times| *times == 1));
        let wants_end = |channel: &ChannelId| {
            let mut rules = run.policy.rules.iter().filter(|rule| severity >= rule.options.severity);
            let escalates = |rule: &&Rule| rule.options.channels().any(|it| it == *channel);
            let rule = rules.clone().find(|rule| rule.channels.contains(channel)).or_else(|| rules.find(escalates));
            rule.is_none_or(|rule| rule.options.recovery)
        };
        let expected: BTreeSet<ChannelId> = run.open_to.iter().copied().filter(wants_end).collect();
        prop_assert_eq!(run.ended_to.into_keys().collect::<BTreeSet<_>>(), expected);
    }
}
