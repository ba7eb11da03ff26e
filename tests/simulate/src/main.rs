//! `simulate`: runs the scenarios, prints the tables, and fails when a bar is missed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use model::{Clock, SystemClock};
use simulate::jobs;
use simulate::judge::{Figures, Violation, Wrong, judge};
use simulate::recorder::{Recorder, minimise, script};
use simulate::report::{self, Extent};
use simulate::scenario::{self, Arranged, Scenario};
use simulate::simulation::{Pace, run};
use simulate::span::START;
use simulate::world::World;

/// Simulates Vigilmon: targets, regions and faults around the real engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Days of each world.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Monitors of each world: a tenth every 30 s, six tenths every 5 min, three tenths every hour.
    #[arg(long, default_value_t = 1_000)]
    monitors: usize,
    /// Worlds of each scenario.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Only this world.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints what happens to this monitor of it, as the script of a timeline.
    #[arg(long, requires = "seed")]
    monitor: Option<usize>,
    /// Only scenarios whose names contain this.
    #[arg(long, default_value = "")]
    scenario: String,
    /// Runs every check, also those in which nothing happens.
    #[arg(long)]
    every_check: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds: Vec<u64> = arguments.seed.map_or_else(|| (1..=arguments.seeds).collect(), |seed| vec![seed]);
    let named = |scenario: &Scenario| scenario.name.contains(&arguments.scenario);
    let outages: Vec<Scenario> = scenario::around_outages().into_iter().filter(named).collect();
    let losses: Vec<Scenario> = scenario::around_loss().into_iter().filter(named).collect();
    if let (Some(seed), Some(monitor)) = (arguments.seed, arguments.monitor) {
        for scenario in outages.iter().chain(&losses) {
            println!("{}", story(&arguments, scenario, seed, monitor));
        }
        return ExitCode::SUCCESS;
    }

    let clock = SystemClock::start();
    let began = clock.now();
    let all: Vec<Scenario> = outages.iter().chain(&losses).cloned().collect();
    let mut figures = run_all(&arguments, &all, &seeds);
    let mut heartbeats = if arguments.scenario.is_empty() || arguments.scenario == "heartbeats" {
        run_jobs(&arguments, &seeds)
    } else {
        vec![]
    };
    let extent = Extent {
        days: arguments.days,
        monitors: arguments.monitors,
        seeds: seeds.len() as u64,
        took_secs: clock.now().since(began).as_secs_f64(),
    };

    let lost = figures.split_off(outages.len());
    let mut rows: Vec<_> = outages.into_iter().zip(figures).collect();
    let lost: Vec<_> = losses.into_iter().zip(lost).collect();
    println!("{}", summary(&extent, rows.iter().chain(&lost)));
    if !rows.is_empty() {
        println!("{}", report::outages(&mut rows));
    }
    if rows.iter().any(|(scenario, _)| scenario.arranged != Arranged::Nothing) {
        println!("{}", report::arranged(&rows));
    }
    if !lost.is_empty() {
        println!("{}", report::loss(&lost));
    }
    if !heartbeats.is_empty() {
        println!("{}", report::heartbeats(&mut heartbeats));
        println!("{}", report::FAULT_MODEL);
    }

    let mut held = true;
    for (scenario, figures) in rows.iter().chain(&lost) {
        if !report::missed_bars(scenario, figures).is_empty() {
            held = false;
            explain(&arguments, scenario, figures);
        }
    }
    for (name, figures) in &heartbeats {
        if !report::heartbeats_held(figures) {
            held = false;
            eprintln!("heartbeats, {name}: {:?}", &figures.violations[..figures.violations.len().min(5)]);
        }
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every scenario with every seed, as many at once as there are threads.
fn run_all(arguments: &Arguments, scenarios: &[Scenario], seeds: &[u64]) -> Vec<Figures> {
    let tasks: Vec<(usize, u64)> =
        (0..scenarios.len()).flat_map(|scenario| seeds.iter().map(move |seed| (scenario, *seed))).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let clock = SystemClock::start();
    let began = clock.now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while let Some(&(scenario, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let figures = one(arguments, &scenarios[scenario], seed);
                    let mut results = results.lock().expect("no thread panics");
                    results.insert((scenario, seed), figures);
                    if results.keys().filter(|(other, _)| *other == scenario).count() == seeds.len() {
                        let secs = clock.now().since(began).as_secs();
                        eprintln!(
                            "{secs} s: {} of {} worlds, {} done",
                            results.len(),
                            tasks.len(),
                            scenarios[scenario].name
                        );
                    }
                }
            });
        }
    });
    let mut figures = vec![Figures::default(); scenarios.len()];
    for ((scenario, _), found) in results.into_inner().expect("no thread panics") {
        figures[scenario].add(found);
    }
    figures
}

fn one(arguments: &Arguments, scenario: &Scenario, seed: u64) -> Figures {
    let world = World::new(scenario, seed, arguments.days, arguments.monitors);
    let pace = if arguments.every_check { Pace::EveryCheck } else { Pace::Naps };
    let outcome = run(&world, pace, None);
    judge(scenario, &world, &outcome, seed)
}

fn run_jobs(arguments: &Arguments, seeds: &[u64]) -> Vec<(&'static str, jobs::Figures)> {
    [("coordinator always there", false), ("coordinator absent now and then", true)]
        .into_iter()
        .map(|(name, is_absent)| {
            let mut figures = jobs::Figures::default();
            for &seed in seeds {
                figures.add(jobs::run(seed, arguments.days, arguments.monitors / 5, is_absent));
            }
            (name, figures)
        })
        .collect()
}

fn summary<'a>(extent: &Extent, rows: impl Iterator<Item = &'a (Scenario, Figures)>) -> String {
    let (mut days, mut events) = (0.0, 0);
    for (_, figures) in rows {
        days += figures.monitor_secs / 86_400.0;
        events += figures.events;
    }
    format!(
        "# Simulation\n\n{} days × {} monitors × {} seeds per scenario; {:.1} s, {:.0} monitor-days/s, {:.2} M events handled/s\n",
        extent.days,
        extent.monitors,
        extent.seeds,
        extent.took_secs,
        days / extent.took_secs,
        events as f64 / extent.took_secs / 1e6
    )
}

/// Prints the first of what went wrong, as a timeline.
fn explain(arguments: &Arguments, scenario: &Scenario, figures: &Figures) {
    let is_worse = |violation: &&Violation| violation.what != Wrong::Late;
    let first = figures.violations.iter().find(is_worse).or_else(|| figures.violations.first());
    let Some(first) = first else { return };
    eprintln!(
        "{}: {:?} at {}, {} violations; replay with --scenario '{}' --seed {} --monitor {}",
        scenario.name,
        first.what,
        first.at,
        figures.violations.len(),
        scenario.name,
        first.seed,
        first.monitor
    );
    eprintln!("{}", timeline(arguments, scenario, *first));
}

/// The shortest history that shows what went wrong.
fn timeline(arguments: &Arguments, scenario: &Scenario, violation: Violation) -> String {
    let mut world = World::new(scenario, violation.seed, arguments.days, arguments.monitors);
    world.end = violation.at.plus(Duration::from_secs(60));
    let policy = world.monitors[violation.monitor].policy.clone();
    let from = violation.at.minus(policy.interval * 3 + Duration::from_secs(900));
    let recorder =
        Recorder::new(violation.monitor, if violation.what == Wrong::FalseIncident { START } else { from });
    let outcome = run(&world, Pace::Naps, Some(recorder));
    let history = outcome.recorder.map(|recorder| recorder.until(world.end)).unwrap_or_default();
    let history = match violation.what {
        Wrong::FalseIncident => minimise(&policy, history, violation.at),
        _ => history,
    };
    script(&policy, &history)
}

/// All that happened to one monitor.
fn story(arguments: &Arguments, scenario: &Scenario, seed: u64, monitor: usize) -> String {
    let world = World::new(scenario, seed, arguments.days, arguments.monitors);
    let outcome = run(&world, Pace::EveryCheck, Some(Recorder::new(monitor, START)));
    let history = outcome.recorder.map(|recorder| recorder.until(world.end)).unwrap_or_default();
    let mut text = format!("# {}, seed {seed}, monitor {monitor}\n", scenario.name);
    for (span, trouble) in world.monitors[monitor].target.troubles.iter() {
        text += &format!("# {trouble:?} from {} to {}\n", span.from, span.to);
    }
    for incident in &outcome.stories[monitor].incidents {
        text += &format!("# {incident:?}\n");
    }
    text + &script(&world.monitors[monitor].policy, &history)
}
