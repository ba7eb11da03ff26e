//! Checks that were in flight when the process before died.

use super::*;
use crate::ward::InFlight;

const WALL: Timestamp = Timestamp::from_secs(1_700_000_000);

fn numbered(monitor: u8) -> Assignment {
    let phase = Duration::from_millis(10 * u64::from(monitor));
    Assignment { monitor: MonitorId::from_bytes([monitor; 16]), phase, ..assignment() }
}

/// What is thought of monitors after `deaths` at which they were in flight.
fn ward(monitors: &[u8], deaths: u32) -> Ward {
    let key = |n: &u8| Key { monitor: numbered(*n).monitor, spec_revision: 1 };
    let died = InFlight { keys: monitors.iter().map(key).collect(), others: 0 };
    let again = |ward: Ward, _| Ward::after(ward.records().copied().collect(), &died, WALL);
    (0..deaths).fold(Ward::default(), again)
}

fn monitors(started: &[(u64, Job)]) -> Vec<u8> {
    started.iter().map(|(_, job)| job.monitor().as_bytes()[0]).collect()
}

#[test]
fn suspects_are_tried_alone_before_anything_else_runs() {
    let mut world = World::new();
    world.agent.watch(ward(&[1, 2], 2));
    world.assign(&[1, 2, 3].map(|n| Assignment { check_now: n == 3, ..numbered(n) }));
    let first = world.pass(0);
    assert_eq!(monitors(&first), [1]);
    assert!(world.pass(100).is_empty(), "nothing else starts meanwhile");
    world.finish(&first[0].1, Outcome::Pass);
    let second = world.pass(0);
    assert_eq!(monitors(&second), [2]);
    assert!(world.agent.ward_changes().is_none(), "a trial is under way");
    world.finish(&second[0].1, Outcome::Fail(Failure::new(FailureKind::Status, "503")));
    assert_eq!(monitors(&world.pass(0)), [3]);
    assert_eq!(world.agent.ward_changes(), Some(vec![]), "both are cleared");
}

#[test]
fn a_suspect_that_is_asked_for_later_waits_until_nothing_is_in_flight() {
    let mut world = World::new();
    world.agent.watch(ward(&[1, 2], 2));
    world.assign(&[
        Assignment { role: Role::Standby, ..numbered(1) },
        Assignment { check_now: true, ..numbered(3) },
    ]);
    let running = world.one(0);
    world.verify(7);
    assert!(world.pass(50).is_empty());
    world.finish(&running, Outcome::Pass);
    let trial = world.one(0);
    assert_eq!((trial.monitor(), trial.round), (numbered(1).monitor, 7));
}

#[test]
fn a_check_in_quarantine_is_set_aside_until_it_is_changed() {
    let mut world = World::new();
    world.agent.watch(ward(&[1], 3));
    world.assign(&[Assignment { check_now: true, ..numbered(1) }]);
    let job = world.one(0);
    assert!(job.is_set_aside);
    world.finish(&job, Outcome::Error("quarantined".into()));
    world.assign(&[Assignment { spec_revision: 2, check_now: true, ..numbered(1) }]);
    assert!(!world.one(0).is_set_aside);
    assert_eq!(world.agent.ward_changes(), Some(vec![]));
}
