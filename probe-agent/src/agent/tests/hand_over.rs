//! One mind hands over to another, on another process's clock.

use super::*;

const BOOT: Timestamp = Timestamp::from_secs(400);
/// The successor's clock is that much ahead.
const AHEAD: Duration = Duration::from_secs(50);

impl World {
    /// The process that takes over, offline still.
    fn successor(&self) -> Self {
        let (spool, shelf) = Shelf::new();
        let (boot, now) = (BOOT.plus(AHEAD), self.now.plus(AHEAD));
        let state = self.agent.hand_over(BOOT);
        let agent =
            Agent::take_over(Concurrency { total: 1, per_host: 1 }, spool, Ward::default(), state, boot, now);
        Self { agent, shelf, now, said: vec![] }
    }
}

fn every_second(monitor: u8) -> Assignment {
    Assignment {
        monitor: MonitorId::from_bytes([monitor; 16]),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        phase: Duration::from_millis(100 * u64::from(monitor)),
        ..assignment()
    }
}

fn pass(job: &Job) -> (Job, Finding) {
    let mut finding = Finding::unmeasured("");
    finding.outcome = Outcome::Pass;
    (job.clone(), finding)
}

#[test]
fn what_runs_ends_where_it_runs_and_what_comes_is_the_successors() {
    let mut old = World::new();
    old.assign(&[every_second(1), every_second(2), every_second(3)]);
    let started = old.pass(250);
    let [(_, first), (_, second)] = &started[..] else { panic!("{started:?}") };
    old.finish(second, Outcome::Pass);
    // Nobody looks while the third one's slot begins.
    old.now = old.now.plus(Duration::from_millis(100));

    let mut new = old.successor();
    assert!(new.agent.facts().assignments_digest.is_empty(), "the full set is asked for");
    let third = new.one(0);
    assert_eq!((third.monitor(), third.slot), (MonitorId::from_bytes([3; 16]), second.slot));
    new.finish(&third, Outcome::Pass);
    // The first one still runs elsewhere when its next slot comes, so that it is overdue when it has ended.
    let more = new.pass(800);
    assert!(more.iter().all(|(_, job)| job.monitor() != first.monitor()), "{more:?}");
    let (job, finding) = pass(first);
    let finished = old.agent.conclude(&job, finding, BOOT).unwrap();
    more.iter().for_each(|(_, job)| new.finish(job, Outcome::Pass));
    new.agent.heard(finished, BOOT.plus(AHEAD), new.now);
    let again = new.one(0);
    assert_eq!((again.monitor(), again.slot), (first.monitor(), first.slot + 1));

    new.online(1);
    new.pass(10);
    let ages: Vec<u64> = new
        .said
        .iter()
        .filter_map(|message| if let ToCoordinator::Results(batch) = message { Some(batch) } else { None })
        .flat_map(|batch| {
            batch.results.iter().filter(|it| it.monitor_id == [1; 16]).map(|it| it.age_us / 1_000)
        })
        .collect();
    assert_eq!(ages, [1_060 - 10], "it keeps its age on the other clock");
}

#[test]
fn a_process_that_ends_without_a_word_holds_nobody_up() {
    let mut old = World::new();
    old.assign(&[every_second(1)]);
    let lost = old.one(150);
    let mut new = old.successor();
    assert!(new.pass(1_000).is_empty(), "it runs elsewhere");
    new.agent.is_alone(new.now);
    assert_eq!(new.one(0).slot, lost.slot + 1);
}

#[test]
fn what_waits_for_its_turn_and_the_second_attempts_of_rounds_go_along() {
    let mut old = World::new();
    old.assign(&[assignment()]);
    old.verify(7);
    let attempt = old.one(0);
    let mut new = old.successor();
    let mut finding = Finding::unmeasured("");
    finding.outcome = Outcome::Fail(Failure::new(FailureKind::Connect, "connection refused"));
    let finished = old.agent.conclude(&attempt, finding, BOOT).unwrap();
    new.agent.heard(finished, BOOT.plus(AHEAD), new.now);
    let started = new.pass(1_100);
    assert_eq!(
        started.iter().map(|(at, job)| (*at, job.attempt, job.round)).collect::<Vec<_>>(),
        [(1_000, 2, 7)]
    );

    let mut old = World::new();
    old.assign(&[Assignment { check_now: true, ..assignment() }]);
    let new = &mut old.successor();
    assert_eq!(new.one(0).attempt, 0, "it was queued and is not begun twice");
    assert!(new.pass(100).is_empty());
}
