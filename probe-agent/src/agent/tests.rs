mod hand_over;
mod report;
mod ward;

use model::{Capture, Check, Failure, FailureKind, PathHop, Phases};
use proto::probe::convert::{Assignment, Role, assignment_to_wire};

use super::*;
use crate::spool::Shelf;

const TARGET: &str = "http://a.example/health";
const SERVER_AHEAD_SECS: i64 = 1_000_000;

/// An agent, the time, and what it said.
struct World {
    agent: Agent,
    shelf: Shelf,
    now: Timestamp,
    said: Vec<ToCoordinator>,
}

impl World {
    /// Online at second 1000 of its own clock; the coordinator's is far ahead.
    fn new() -> Self {
        let (spool, shelf) = Shelf::new();
        let mut world = Self {
            agent: Agent::new(Concurrency::default(), spool),
            shelf,
            now: Timestamp::from_secs(1_000),
            said: vec![],
        };
        world.online(1);
        world
    }

    fn online(&mut self, agent_epoch: u64) {
        let terms = Terms {
            agent_epoch,
            region: RegionId::new("us-east").unwrap(),
            server_time: self.now.plus(Duration::from_secs(SERVER_AHEAD_SECS as u64)),
            window: Window { max_results: 100, max_batches: 4 },
            beat_interval: Duration::from_secs(5),
        };
        self.agent.online(terms, self.now);
    }

    fn assign(&mut self, assignments: &[Assignment]) {
        let assigned = assignments.iter().map(assignment_to_wire).collect();
        self.receive(FromCoordinator::Assignments(v1::Assignments {
            full: true,
            assigned,
            ..v1::Assignments::default()
        }));
    }

    fn verify(&mut self, round: u32) {
        let verifications = vec![v1::Verification { monitor_id: vec![1; 16], spec_revision: 1, round }];
        self.receive(FromCoordinator::VerifyNow(v1::VerifyNow { verifications }));
    }

    fn ack(&mut self, agent_epoch: u64, first: u64, last: u64) {
        let ranges = vec![v1::Range { first, last }];
        self.receive(FromCoordinator::Ack(v1::Ack { agent_epoch, ranges, refused: 0 }));
    }

    fn receive(&mut self, message: FromCoordinator) {
        self.agent.receive(v1::CoordinatorMessage { message: Some(message) }, self.now);
    }

    /// Lets time pass in steps of a millisecond; returns the attempts that were started, with the millisecond.
    fn pass(&mut self, millis: u64) -> Vec<(u64, Job)> {
        let mut started = vec![];
        for milli in 0..=millis {
            if milli > 0 {
                self.now = self.now.plus(Duration::from_millis(1));
            }
            self.agent.wake(self.now);
            while let Some(job) = self.agent.next_check(self.now) {
                started.push((milli, job));
            }
            while let Some(order) = self.agent.next_order(self.now) {
                if let Some(done) = self.shelf.execute(order) {
                    self.agent.stored(done, self.now);
                }
            }
            while let Some(message) = self.agent.next_message() {
                self.said.extend(message.message);
            }
        }
        started
    }

    /// Lets time pass until exactly one attempt starts.
    fn one(&mut self, millis: u64) -> Job {
        let mut started = self.pass(millis);
        assert_eq!(started.len(), 1, "{started:?}");
        started.remove(0).1
    }

    fn finish(&mut self, job: &Job, outcome: Outcome) {
        self.agent.finished(job, finding(outcome), self.now);
    }

    /// The captures said since the last call.
    fn captures(&mut self) -> Vec<v1::Capture> {
        let said = self.said.drain(..).filter_map(|message| match message {
            ToCoordinator::Results(batch) => Some(batch.results),
            _ => None,
        });
        said.flatten().filter_map(|result| result.capture).collect()
    }

    /// The results said since the last call, as (sequence number, attempt, round).
    fn results(&mut self) -> Vec<(u64, u32, u32)> {
        let mut all = vec![];
        for message in self.said.drain(..) {
            if let ToCoordinator::Results(batch) = message {
                let items = batch.results.iter().zip(batch.first_seq..);
                all.extend(items.map(|(result, seq)| (seq, result.attempt, result.round)));
            }
        }
        all
    }

    fn slows(&mut self) -> usize {
        self.said.drain(..).filter(|message| matches!(message, ToCoordinator::Slow(_))).count()
    }
}

fn finding(outcome: Outcome) -> Finding {
    Finding {
        duration: Duration::from_millis(20),
        outcome,
        phases: Phases::default(),
        http_status: None,
        peer: None,
        health: None,
        certificate_ends: None,
        tls: None,
        echo: None,
        hops: vec![],
        capture: None,
        unreached: None,
    }
}

fn assignment() -> Assignment {
    Assignment {
        monitor: MonitorId::from_bytes([1; 16]),
        spec_revision: 1,
        check: Some(Check::from_target(TARGET).unwrap()),
        options: model::check::Options::default(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        phase: Duration::ZERO,
        role: Role::Primary,
        check_now: false,
    }
}

fn check_now() -> Assignment {
    Assignment { check_now: true, ..assignment() }
}

fn failing(kind: FailureKind) -> Outcome {
    Outcome::Fail(Failure::new(kind, "x"))
}

#[test]
fn checks_lie_on_the_coordinators_clock() {
    let mut world = World::new();
    world.assign(&[assignment()]);
    let (milli, job) = world.pass(60_000).remove(0);
    let server_micros = (1_000 + SERVER_AHEAD_SECS) * 1_000_000 + i64::try_from(milli).unwrap() * 1_000;
    assert_eq!(server_micros % 60_000_000, 0, "due on a whole minute there");
    assert_eq!(job.slot, server_micros / 60_000_000);
}

#[test]
fn a_wish_for_a_check_now_is_granted_once_for_a_slot() {
    let mut world = World::new();
    world.assign(&[check_now()]);
    let job = world.one(0);
    world.finish(&job, Outcome::Pass);
    world.assign(&[check_now()]);
    assert!(world.pass(10).is_empty(), "its slot has been checked");
    world.assign(&[Assignment { spec_revision: 2, ..check_now() }]);
    assert_eq!(world.one(0).slot, job.slot);
}

#[test]
fn news_go_at_once_and_routine_waits_for_the_beat() {
    let mut world = World::new();
    world.assign(&[Assignment {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..assignment()
    }]);
    world.pass(1);
    let next = |world: &mut World, outcome| {
        let job = loop {
            if let Some((_, job)) = world.pass(1).pop() {
                break job;
            }
        };
        world.results();
        world.ack(1, 1, 99);
        world.finish(&job, outcome);
        world.pass(5);
        world.results().len()
    };
    assert_eq!(next(&mut world, Outcome::Pass), 1, "the first result is news");
    assert_eq!(next(&mut world, failing(FailureKind::Status)), 1, "so is a failure");
    assert_eq!(next(&mut world, failing(FailureKind::Status)), 1, "every one");
    assert_eq!(next(&mut world, Outcome::Pass), 1, "and a recovery");
    assert_eq!(next(&mut world, Outcome::Pass), 0, "a pass after a pass is not");
    world.pass(5_000);
    assert!(!world.results().is_empty());
}

#[test]
fn a_full_batch_does_not_wait_for_the_beat() {
    let mut world = World::new();
    let ids = 1..=150_u8;
    let all: Vec<_> =
        ids.map(|id| Assignment { monitor: MonitorId::from_bytes([id; 16]), ..assignment() }).collect();
    world.assign(&all);
    let minute = |world: &mut World| {
        for _ in 0..10 {
            for (_, job) in world.pass(1) {
                world.finish(&job, Outcome::Pass);
            }
        }
    };
    // The first results are news; those of a minute later are not.
    world.pass(39_995);
    minute(&mut world);
    world.pass(59_990);
    for (seq, ..) in world.results() {
        world.ack(1, seq, seq);
    }
    minute(&mut world);
    assert_eq!(world.results().len(), 100, "what the window calls a batch");
    world.pass(5_000);
    assert_eq!(world.results().len(), 50, "the rest comes with the beat");
}

#[test]
fn beats_come_on_time_though_there_is_nothing_to_say() {
    let mut world = World::new();
    world.pass(20_001);
    assert_eq!(world.said.len(), 5);
    assert!(world.results().is_empty());
}

#[test]
fn a_pending_check_is_told_to_be_slow_once() {
    let mut world = World::new();
    world.assign(&[check_now()]);
    let job = world.one(0);
    world.pass(999);
    assert_eq!(world.slows(), 0);
    world.pass(3_000);
    assert_eq!(world.slows(), 1);
    world.finish(&job, Outcome::Pass);

    world.assign(&[Assignment { spec_revision: 2, ..check_now() }]);
    let quick = world.one(0);
    world.finish(&quick, Outcome::Pass);
    world.pass(3_000);
    assert_eq!(world.slows(), 0, "a check that ended is not slow");
}

#[test]
fn the_second_attempt_of_a_round_starts_a_second_after_the_first_unless_that_settled_it() {
    let settled =
        [Some(Outcome::Pass), Some(failing(FailureKind::Status)), Some(failing(FailureKind::Certificate))];
    let open = [
        None,
        Some(failing(FailureKind::Timeout)),
        Some(failing(FailureKind::Connect)),
        Some(Outcome::Error("x".into())),
    ];
    for (outcomes, expected) in [(&settled[..], 0), (&open[..], 1)] {
        for outcome in outcomes {
            let mut world = World::new();
            world.assign(&[assignment()]);
            world.verify(7);
            let first = world.one(0);
            assert_eq!((first.attempt, first.round), (1, 7));
            if let Some(outcome) = outcome {
                world.finish(&first, outcome.clone());
            }
            let started = world.pass(1_500);
            assert_eq!(started.len(), expected, "{outcome:?}");
            for (milli, second) in started {
                assert_eq!((milli, second.attempt, second.round), (1_000, 2, 7));
            }
        }
    }
}

#[test]
fn answers_to_a_verification_go_at_once_and_a_repeated_one_is_not_answered_twice() {
    let mut world = World::new();
    world.assign(&[check_now()]);
    let job = world.one(0);
    world.finish(&job, Outcome::Pass);
    world.pass(10);
    world.results();
    world.verify(3);
    let job = world.one(0);
    world.finish(&job, Outcome::Pass);
    world.pass(5);
    assert_eq!(world.results(), [(2, 1, 3)]);
    world.verify(3);
    assert!(world.pass(2_000).is_empty());
}

#[test]
fn a_standby_checks_nothing_on_schedule_until_it_is_primary() {
    let mut world = World::new();
    let standby = Assignment { role: Role::Standby, ..check_now() };
    world.assign(&[standby]);
    assert!(world.pass(61_000).is_empty());
    world.assign(&[assignment()]);
    assert_eq!(world.pass(60_000).len(), 1);
}

#[test]
fn a_standby_answers_a_verification_like_a_primary() {
    let mut world = World::new();
    world.assign(&[Assignment { role: Role::Standby, ..assignment() }]);
    world.verify(4);
    let first = world.one(0);
    world.finish(&first, failing(FailureKind::Connect));
    let second = world.one(1_000);
    world.finish(&second, failing(FailureKind::Connect));
    world.pass(5);
    assert_eq!(world.results(), [(1, 1, 4), (2, 2, 4)]);
}

#[test]
fn what_is_not_assigned_any_more_is_neither_checked_nor_told() {
    let mut world = World::new();
    world.assign(&[check_now()]);
    let job = world.one(0);
    world.assign(&[]);
    world.finish(&job, failing(FailureKind::Status));
    assert!(world.pass(120_000).is_empty());
    assert!(world.results().is_empty());
}

#[test]
fn a_slot_that_comes_while_the_one_before_is_running_is_checked_right_after_it() {
    let mut world = World::new();
    let every_second =
        Assignment { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), ..assignment() };
    world.assign(&[every_second]);
    let first = world.one(1_000);
    assert!(world.pass(1_100).is_empty());
    world.finish(&first, failing(FailureKind::Timeout));
    assert_eq!(world.one(0).slot, first.slot + 1);
}

#[test]
fn checking_goes_on_while_cut_off_and_everything_is_told_afterwards() {
    let mut world = World::new();
    world.assign(&[assignment()]);
    world.agent.offline();
    world.pass(10);
    world.results();
    for _ in 0..3 {
        let job = world.one(60_000);
        world.finish(&job, failing(FailureKind::Connect));
    }
    assert!(world.results().is_empty());
    world.online(1);
    world.pass(0);
    assert_eq!(world.results().len(), 3);

    // Cut again before an acknowledgement of all: the rest comes again, by the same numbers.
    world.ack(1, 2, 2);
    world.online(1);
    world.pass(0);
    let again: Vec<u64> = world.results().iter().map(|result| result.0).collect();
    assert_eq!(again, [3, 1]);
    world.ack(1, 1, 3);
    assert!(world.agent.has_said_all());
}

#[test]
fn a_coordinator_that_forgot_this_process_is_told_again() {
    let mut world = World::new();
    world.assign(&[check_now()]);
    let job = world.one(0);
    world.finish(&job, Outcome::Pass);
    world.pass(10);
    assert_eq!(world.results().len(), 1);
    world.ack(1, 1, 1);
    world.online(1);
    world.pass(0);
    assert!(world.results().is_empty());
    world.online(9);
    world.pass(0);
    assert_eq!(world.results().len(), 1);
    world.ack(1, 1, 1);
    assert!(!world.agent.has_said_all(), "an answer of another epoch is not one");
}

#[test]
fn the_facts_for_the_next_session_follow_the_assignments() {
    let mut world = World::new();
    assert_eq!(world.agent.facts(), Facts::default());
    world.assign(&[assignment()]);
    assert_eq!(world.agent.facts().assignments_digest, assignments_digest([assignment().placement()]));
}

fn asked(id: u8) -> FromCoordinator {
    let assignment = Assignment { monitor: MonitorId::from_bytes([id; 16]), ..assignment() };
    FromCoordinator::CheckOnce(v1::CheckOnce { assignment: Some(assignment_to_wire(&assignment)) })
}

impl World {
    /// The answers to single checks since the last call: whose, and what came of it.
    fn checked(&mut self) -> Vec<(u8, v1::Outcome)> {
        let mut all = vec![];
        for message in self.said.drain(..) {
            if let ToCoordinator::Checked(v1::Checked { result: Some(result) }) = message {
                all.push((result.monitor_id[0], result.outcome()));
            }
        }
        all
    }
}

#[test]
fn a_single_check_is_made_at_once_answered_and_kept_nowhere() {
    let mut world = World::new();
    world.receive(asked(7));
    let job = world.one(0);
    world.finish(&job, failing(FailureKind::Connect));
    assert!(world.pass(10_000).is_empty(), "it is no monitor and has no second attempt");
    assert_eq!(world.checked(), [(7, v1::Outcome::Fail)]);
    assert!(world.agent.has_said_all(), "nothing waits for an acknowledgement");
}

#[test]
fn of_too_many_single_checks_the_last_are_refused_until_others_have_ended() {
    let mut world = World::new();
    for _ in 0..=MAX_SINGLE_CHECKS {
        world.receive(asked(7));
    }
    let started: Vec<Job> = world.pass(0).into_iter().map(|(_, job)| job).collect();
    assert_eq!(world.checked(), [(7, v1::Outcome::Error)]);
    world.finish(&started[0], Outcome::Pass);
    world.receive(asked(8));
    world.pass(0);
    assert_eq!(world.checked(), [(7, v1::Outcome::Pass)], "the next one is under way");
}

#[test]
fn an_answer_that_nobody_is_connected_to_hear_is_dropped() {
    let mut world = World::new();
    world.receive(asked(7));
    let job = world.one(0);
    world.agent.offline();
    world.finish(&job, Outcome::Pass);
    world.pass(10);
    assert_eq!(world.checked(), []);
}

#[test]
fn a_failure_is_told_with_what_was_met_and_the_way_to_where_it_ended_with_the_next() {
    let mut world = World::new();
    world.assign(&[assignment()]);
    let capture =
        || Some(Box::new(Capture { status_line: Some("HTTP/1.1 503".into()), ..Capture::default() }));
    let target: SocketAddr = "192.0.2.1:443".parse().unwrap();
    let job = world.one(60_000);
    assert!(!job.is_close);
    let failing =
        || Finding { capture: capture(), unreached: Some(target), ..finding(failing(FailureKind::Connect)) };
    world.agent.finished(&job, failing(), world.now);
    world.pass(10);
    let [told] = &world.captures()[..] else { panic!("one capture") };
    assert_eq!((told.status_line.as_str(), told.path.len()), ("HTTP/1.1 503", 0));

    assert_eq!(world.agent.next_path(), Some((job.monitor(), target)));
    let hop = PathHop { distance: 1, address: None, round_trip: None };
    world.agent.looked_at(job.monitor(), vec![hop]);
    let job = world.one(60_000);
    world.agent.finished(&job, failing(), world.now);
    world.pass(10);
    let [told] = &world.captures()[..] else { panic!("one capture") };
    assert_eq!(told.path.len(), 1);

    world.agent.looked_at(job.monitor(), vec![hop]);
    let job = world.one(60_000);
    assert!(job.is_close, "the pass after a failure is looked at closely");
    world.agent.finished(&job, Finding { capture: capture(), ..finding(Outcome::Pass) }, world.now);
    world.pass(10);
    let [told] = &world.captures()[..] else { panic!("one capture") };
    assert_eq!(told.path.len(), 0, "what passes was reached");

    let job = world.one(60_000);
    world.agent.finished(&job, Finding { capture: capture(), ..finding(Outcome::Pass) }, world.now);
    world.pass(10);
    assert!(world.captures().is_empty() && world.agent.next_path().is_none());
}
