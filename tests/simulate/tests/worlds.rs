//! Small worlds: the bars hold, naps change nothing, and an engine that is wrong would be noticed.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use simulate::closed_form::Quorum;
use simulate::fault::Class;
use simulate::jobs;
use simulate::judge::{Figures, judge};
use simulate::recorder::{Recorder, minimise, script};
use simulate::report::missed_bars;
use simulate::scenario::{Fleet, Scenario, around_loss, around_outages};
use simulate::simulation::{Pace, run};
use simulate::span::{Calendar, START};
use simulate::world::World;

const SEED: u64 = 7;

fn simulate(scenario: &Scenario, days: u32, monitors: usize) -> Figures {
    let world = World::new(scenario, SEED, days, monitors);
    let outcome = run(&world, Pace::Naps, None);
    judge(scenario, &world, &outcome, SEED)
}

#[test]
fn three_days_of_one_seed_hold_every_bar() {
    for scenario in around_outages().into_iter().chain(around_loss()) {
        let figures = simulate(&scenario, 3, 60);
        let missed = missed_bars(&scenario, &figures);
        assert!(missed.is_empty(), "{}: {missed:?}: {:?}", scenario.name, figures.violations);
    }
}

#[test]
fn three_days_of_jobs_alert_only_when_a_job_stops() {
    for is_absent in [false, true] {
        let figures = jobs::run(SEED, 3, 50, is_absent);
        assert!(figures.stops > 0);
        assert_eq!((figures.false_incidents, figures.found), (0, figures.stops), "{:?}", figures.violations);
    }
}

#[test]
fn naps_come_to_the_same_incidents_as_every_check() {
    for name in [
        "no faults",
        "everything together",
        "any of 3, 0.5 %",
        "maintenance",
        "maintenance in absence",
        "parents",
    ] {
        let scenario = named(name);
        let world = World::new(&scenario, SEED, 2, 20);
        let naps = run(&world, Pace::Naps, None);
        let all = run(&world, Pace::EveryCheck, None);
        for (number, (nap, every)) in naps.stories.iter().zip(&all.stories).enumerate() {
            assert_eq!(nap, every, "{name}, monitor {number}");
        }
        assert!(naps.events < all.events, "{name}: nobody slept");
    }
}

#[test]
fn a_quorum_that_one_lying_region_satisfies_would_be_noticed() {
    let any = Quorum { regions: 3, text: "any", needed: 1 };
    let figures = simulate(&Scenario { fleet: Fleet::Same(any), ..named("regions lying") }, 10, 20);
    assert!(figures.false_incidents > 0);
}

#[test]
fn a_coordinator_that_knows_of_no_window_would_be_noticed() {
    let scenario = named("maintenance");
    let mut world = World::new(&scenario, SEED, 10, 40);
    for monitor in &mut world.monitors {
        monitor.windows.told = Calendar::default();
    }
    let figures = judge(&scenario, &world, &run(&world, Pace::Naps, None), SEED);
    assert!(figures.false_incidents > 0);
}

#[test]
fn a_coordinator_that_knows_of_no_parents_would_be_noticed() {
    let scenario = named("parents");
    let mut world = World::new(&scenario, SEED, 3, 40);
    for monitor in &mut world.monitors {
        monitor.policy.has_parents = false;
        monitor.children.clear();
    }
    let figures = judge(&scenario, &world, &run(&world, Pace::Naps, None), SEED);
    assert!(figures.false_incidents > 0);
}

#[test]
fn agents_that_lie_are_set_aside_and_no_others() {
    let scenario = Scenario { faults: &[Class::Lying], ..named("quarantine") };
    let quarantines = simulate(&scenario, 4, 0).quarantines;
    assert!(quarantines.deserved > 0 && quarantines.found == quarantines.deserved, "{quarantines:?}");
    assert_eq!((quarantines.of_honest, quarantines.unended), (0, 0), "{quarantines:?}");
}

#[test]
fn an_incident_is_shown_by_the_few_events_that_opened_it() {
    let scenario = Scenario { loss: 0.05, ..named("any of 3, 0.5 %") };
    let mut world = World::new(&scenario, SEED, 30, 10);
    let opened = run(&world, Pace::Naps, None).stories.into_iter().enumerate();
    let (monitor, opened_at) = opened
        .filter_map(|(monitor, story)| Some((monitor, story.incidents.first()?.opened_at)))
        .next()
        .unwrap();
    world.end = opened_at.plus(Duration::from_secs(60));
    let outcome = run(&world, Pace::Naps, Some(Recorder::new(monitor, START)));
    let policy = &world.monitors[monitor].policy;
    let history = outcome.recorder.unwrap().until(opened_at);
    let shortest = minimise(policy, history, opened_at);
    assert!(shortest.len() <= 4, "{}", script(policy, &shortest));
}

fn named(name: &str) -> Scenario {
    around_outages().into_iter().chain(around_loss()).find(|scenario| scenario.name == name).unwrap()
}
