//! What the agent says of itself, and that waiting is told as lateness and never as a failure.

use model::AgentStatus;
use model::agent_status::Machine;
use proto::probe::convert::status_from_wire;

use super::*;
use crate::vitals::Vitals;

fn vitals(world: &World) -> Vitals {
    let uptime = world.now.since(Timestamp::from_secs(1_000));
    Vitals { wall: Timestamp::from_secs(5), uptime, machine: Machine { cores: 2, ..Machine::default() } }
}

/// Lets time pass, answering the wish for vitals; the attempts that were started, and the reports.
fn pass(world: &mut World, millis: u64) -> (Vec<(u64, Job)>, Vec<AgentStatus>) {
    let (mut started, mut reports) = (vec![], vec![]);
    for milli in 0..millis {
        started.extend(world.pass(1).into_iter().map(|(_, job)| (milli + 1, job)));
        if world.agent.wants_vitals() {
            world.agent.report(vitals(world), world.now);
        }
        // What was said before the report was said with the beat.
        world.pass(0);
        for message in world.said.drain(..) {
            if let ToCoordinator::Status(status) = message {
                reports.push(status_from_wire(&status).unwrap());
            }
        }
    }
    (started, reports)
}

fn limited_to(total: usize) -> World {
    let mut world = World::new();
    world.agent.gate = Gate::new(Concurrency { total, per_host: total });
    world
}

fn monitor(number: u8, interval: u64) -> Assignment {
    Assignment {
        monitor: MonitorId::from_bytes([number; 16]),
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(interval.min(10)),
        ..assignment()
    }
}

#[test]
fn a_report_comes_with_the_first_beat_and_then_with_one_in_half_a_minute() {
    let mut world = World::new();
    let (_, reports) = pass(&mut world, 95_000);
    let uptimes: Vec<u64> = reports.iter().map(|report| report.uptime.as_secs()).collect();
    assert_eq!(uptimes, [0, 30, 60, 90]);
    assert_eq!(reports[2].work.period, Duration::from_secs(30));
    assert_eq!(reports[1].machine.cores, 2);

    world.agent.offline();
    assert!(pass(&mut world, 40_000).1.is_empty(), "nobody is there to hear it");
    world.online(2);
    let (_, reports) = pass(&mut world, 10);
    assert_eq!(reports.len(), 1);
    assert!(reports[0].work.period > Duration::from_secs(40), "it covers the time without a session too");
}

#[test]
fn waiting_at_the_limit_is_lateness_and_no_failure() {
    let mut world = limited_to(1);
    world.assign(&[monitor(1, 60), monitor(2, 60), monitor(3, 60)]);
    pass(&mut world, 1);
    let (mut reports, mut found) = (vec![], vec![]);
    // All three are due at the same instant, and each takes four seconds: less than its timeout, which the wait is not part of.
    for waited in [0, 4, 8] {
        let job = loop {
            let (started, said) = pass(&mut world, 1);
            reports.extend(said);
            if let Some((_, job)) = started.into_iter().next() {
                break job;
            }
        };
        assert_eq!(job.planned_at.map(|planned| world.now.since(planned).as_secs()), Some(waited));
        let (started, said) = pass(&mut world, 4_000);
        assert!(started.is_empty(), "one at a time");
        reports.extend(said);
        world.finish(&job, Outcome::Pass);
        world.agent.flush(world.now);
        while let Some(message) = world.agent.next_message() {
            if let Some(ToCoordinator::Results(batch)) = message.message {
                found.extend(batch.results.iter().map(|result| (result.outcome(), result.duration_us)));
            }
        }
    }
    reports.extend(pass(&mut world, 31_000).1);
    assert_eq!(found, [(v1::Outcome::Pass, 20_000); 3]);

    let work = || reports.iter().map(|report| report.work);
    let latest = work().filter_map(|work| work.lateness).map(|lateness| lateness.max).max();
    let longest = work().map(|work| work.longest_wait).max();
    for told in [latest, longest] {
        assert!(told.is_some_and(|told| told.as_secs() == 8), "{reports:?}");
    }
    assert_eq!(work().map(|work| work.started).sum::<u64>(), 3);
    assert_eq!(work().map(|work| work.skipped).sum::<u64>(), 0);
}

#[test]
fn what_waits_and_what_runs_is_told_as_it_is_now() {
    let mut world = limited_to(1);
    world.assign(&[monitor(1, 60), monitor(2, 60), monitor(3, 60)]);
    let started = pass(&mut world, 60_000).0;
    assert_eq!(started.len(), 1);
    world.agent.next_report = world.now;
    let (_, reports) = pass(&mut world, 5_000);
    let work = reports[0].work;
    assert_eq!((work.running, work.queued), (1, 2));
    assert!(work.longest_wait > Duration::ZERO && work.longest_wait < Duration::from_secs(60));
}

#[test]
fn a_check_that_is_wanted_now_is_not_late() {
    let mut world = World::new();
    world.assign(&[Assignment { check_now: true, ..monitor(1, 3_600) }]);
    let (started, reports) = pass(&mut world, 31_000);
    assert_eq!(started.len(), 1);
    assert!(reports.iter().all(|report| report.work.lateness.is_none()), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.work.started).sum::<u64>(), 1);
}

#[test]
fn slots_that_a_stall_skipped_are_told_once() {
    let mut world = World::new();
    world.assign(&[monitor(1, 1)]);
    pass(&mut world, 1);
    world.now = world.now.plus(Duration::from_secs(100));
    let (_, reports) = pass(&mut world, 60_000);
    let skipped: Vec<u64> = reports.iter().map(|report| report.work.skipped).collect();
    assert!((98..=100).contains(&skipped.iter().sum::<u64>()), "{skipped:?}");
    assert!(skipped[1..].iter().all(|skipped| *skipped == 0), "{skipped:?}");
}

#[test]
fn the_backlog_is_told_with_its_oldest_result() {
    let mut world = World::new();
    world.assign(&[Assignment { check_now: true, ..monitor(1, 3_600) }]);
    let job = world.one(0);
    world.finish(&job, Outcome::Pass);
    let (_, reports) = pass(&mut world, 31_000);
    let backlog = reports.last().unwrap().backlog;
    assert_eq!((backlog.results, backlog.dropped), (1, 0));
    assert!(backlog.oldest_age.is_some_and(|age| age.as_secs() >= 29), "{backlog:?}");
    assert!(backlog.bytes > 0 && backlog.bytes < backlog.capacity_bytes, "{backlog:?}");
    world.ack(1, 1, 99);
    let (_, reports) = pass(&mut world, 31_000);
    assert_eq!((reports[0].backlog.results, reports[0].backlog.oldest_age), (0, None));
}

#[test]
fn canaries_that_fail_are_named_at_once() {
    let mut world = World::new();
    pass(&mut world, 1_000);
    let said = |failing: &[&str]| canary::Said {
        verdict: if failing.len() > 1 { Canaries::Failing } else { Canaries::Well },
        failing: failing.iter().map(|&name| name.to_owned()).collect(),
    };
    for failing in [&["one.example", "two.example"][..], &["two.example"], &[]] {
        world.agent.heed(said(failing), world.now);
        let (_, reports) = pass(&mut world, 10);
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].failing_canaries, failing);
    }
}
