//! An agent is killed again and again, wherever its spool happens to be: while it appends, begins segments, thins them
//! out because it is full, and opens. It always starts clean, and every result is delivered, counted as given up, or
//! from the instant before a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use model::{Check, MonitorId, Timestamp};
use proto::probe::convert::{Assignment, Role};
use proto::probe::v1 as wire;
use support::agent::{Agent, Settings, Specialty};
use support::fake_coordinator::{FakeCoordinator, Heard, Manner};
use support::{Answer, SOON, Site, environment, eventually};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, sleep, timeout};

/// The smallest that there is.
const SPOOL_MIB: u64 = 16;
/// Monitors whose results are routine, and long: so many fill the spool.
const ROUTINE: usize = 100;
/// So many of them leave a slow machine idle enough for results to be kept soon after they came.
const FEWER: usize = 40;
/// Monitors whose every result is news.
const NEWS: usize = 5;
const INTERVAL: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_millis(200);
/// How much earlier than a kill a routine result may be and yet be lost: it waits 100 ms for company. The rest is for a
/// busy machine, from the target's answer to the file.
const ROUTINE_WINDOW: Duration = Duration::from_millis(600);
/// News waits for nothing.
const NEWS_WINDOW: Duration = Duration::from_millis(300);
/// So long nothing comes any more once all has come.
const QUIET: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_in_between_every_result_is_delivered_or_counted() -> Result<()> {
    let kills = environment::number("VIGILMON_KILLS", 10)?;
    let routine = Site::start(Answer::Json(200, report())).await?;
    let mut news = vec![];
    for _ in 0..NEWS {
        news.push(Site::start(Answer::Alternating).await?);
    }
    let urls = (0..ROUTINE).map(|number| routine.url(&format!("/{number}")));
    let urls: Vec<_> = urls.chain(news.iter().map(|site| site.url("/"))).collect();
    let (listener, heard) = mpsc::unbounded_channel();
    let manner = Manner { beat_interval: BEAT, listener: Some(listener) };
    let all = assignments(&urls)?;
    let coordinator = FakeCoordinator::start_with(all.clone(), manner).await?;
    coordinator.hold_acks();
    let mut agent = start(&coordinator)?;
    let mut ends = vec![];
    let mut ledger = Ledger { heard, seen: BTreeMap::new() };

    fill(&mut agent, &routine).await?;
    // What is under way at an end is given up.
    agent.terminate().await?;
    ends.push(environment::now());
    coordinator.assign_next([&all[..FEWER], &all[ROUTINE..]].concat());
    agent.start_again()?;
    for kill in 0..kills {
        sleep(Duration::from_secs_f64(0.2 + 2.0 * environment::random_unit())).await;
        agent.kill()?;
        ends.push(environment::now());
        agent.start_again()?;
        if kill % 3 == 2 {
            // Before it has come to itself.
            sleep(Duration::from_secs_f64(0.05 * environment::random_unit())).await;
            agent.kill()?;
            ends.push(environment::now());
            agent.start_again()?;
        }
        let beats = coordinator.beats();
        eventually("the agent reported again", SOON * 2, async || {
            agent.process().assert_running()?;
            Ok((coordinator.beats() > beats).then_some(()))
        })
        .await
        .with_context(|| format!("after kill {kill}"))?;
        ledger.take_what_came()?;
    }
    agent.terminate().await?;
    ends.push(environment::now());
    ledger.take_what_came()?;

    coordinator.assign_next(vec![]);
    coordinator.ack_again();
    agent.start_again()?;
    let delivered = ledger.rest().await?;
    agent.terminate().await?;
    agent.start_again()?;
    let dropped = ledger.dropped().await?;

    let (asked, late) = counted(&[&routine], &ends, ROUTINE_WINDOW);
    let (asked_news, late_news) = counted(&news.iter().collect::<Vec<_>>(), &ends, NEWS_WINDOW);
    let of_news = delivered.values().filter(|monitor| **monitor >= ROUTINE).count();
    let (all, kept) = (asked + asked_news, delivered.len() as u64 + dropped);
    println!(
        "{all} answers: {} results delivered, {dropped} given up, {} lost; {late} were late",
        delivered.len(),
        all.saturating_sub(kept)
    );
    println!("{asked_news} of them news: {of_news} delivered; {late_news} were late");
    ensure!(dropped > 0, "the spool was never full");
    ensure!(kept <= all, "{kept} results of {all} answers");
    ensure!(kept + late + late_news >= all, "{} results are lost, {late} could be", all - kept);
    let of_news = of_news as u64;
    ensure!(
        of_news + late_news >= asked_news,
        "{} news are lost, {late_news} could be",
        asked_news - of_news
    );
    Ok(())
}

fn start(coordinator: &FakeCoordinator) -> Result<Agent> {
    let settings = Settings {
        name: "killed".to_owned(),
        token: coordinator.token.clone(),
        coordinator: coordinator.address,
        ca_file: None,
        hosts: None,
        has_raw_sockets: false,
        canary: None,
    };
    let arguments = vec!["--spool-mib".to_owned(), SPOOL_MIB.to_string()];
    Agent::start_special(settings, Specialty { arguments, ..Specialty::default() })
}

/// Until the spool has had to give something up.
async fn fill(agent: &mut Agent, routine: &Site) -> Result<()> {
    let enough = usize::try_from(SPOOL_MIB << 20)? / report().len() * 5 / 4;
    eventually("the spool was full", SOON * 9, async || {
        agent.process().assert_running()?;
        Ok((routine.requests().len() > enough).then_some(()))
    })
    .await
}

/// A health report about as long as one is kept.
fn report() -> String {
    let component = |number: usize| {
        let (name, detail) = (format!("{number:-<64}"), "d".repeat(200));
        format!(r#""{name}":{{"status":"warn","detail":"{detail}"}}"#)
    };
    let components: Vec<_> = (0..32).map(component).collect();
    format!(r#"{{"status":"degraded","checks":{{{}}}}}"#, components.join(","))
}

fn assignments(urls: &[String]) -> Result<Vec<Assignment>> {
    let share = INTERVAL / u32::try_from(urls.len())?;
    let assignment = |(number, url): (u32, &String)| {
        Ok(Assignment {
            monitor: MonitorId::from_bytes(u128::from(number).to_be_bytes()),
            spec_revision: 1,
            check: Some(Check::from_target(url)?),
            options: model::check::Options::default(),
            interval: INTERVAL,
            timeout: INTERVAL,
            phase: share * number,
            role: Role::Primary,
            check_now: false,
        })
    };
    (0..).zip(urls).map(assignment).collect()
}

/// How many requests sites have had, and how many of them shortly before an end.
fn counted(sites: &[&Site], ends: &[Timestamp], window: Duration) -> (u64, u64) {
    let arrivals: Vec<_> =
        sites.iter().flat_map(|site| site.requests()).map(|request| request.arrived_at).collect();
    let is_late = |at: &&Timestamp| ends.iter().any(|end| *at <= end && at.plus(window) >= *end);
    (arrivals.len() as u64, arrivals.iter().filter(is_late).count() as u64)
}

/// What the coordinator heard.
struct Ledger {
    heard: UnboundedReceiver<Heard>,
    /// What each number has stood for.
    seen: BTreeMap<u64, Meaning>,
}

/// What a result is about, whenever it is told.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    monitor: usize,
    slot: i64,
    duration_us: u64,
}

impl Ledger {
    fn take_what_came(&mut self) -> Result<()> {
        while let Ok(heard) = self.heard.try_recv() {
            self.take(heard)?;
        }
        Ok(())
    }

    /// Takes what comes until nothing has for a while. Returns the numbers and their monitors.
    async fn rest(&mut self) -> Result<BTreeMap<u64, usize>> {
        let mut numbers = BTreeSet::new();
        let (mut last, limit) = (Instant::now(), Instant::now() + SOON * 6);
        while numbers.is_empty() || last.elapsed() < QUIET {
            ensure!(Instant::now() < limit, "it has more and more to say");
            let heard = timeout(SOON, self.heard.recv()).await.context("the agent reports")?;
            let news = self.take(heard.context("the coordinator listens")?)?;
            if !news.is_empty() {
                last = Instant::now();
                numbers.extend(news);
            }
        }
        Ok(numbers.into_iter().map(|number| (number, self.seen[&number].monitor)).collect())
    }

    /// How many results the agent says that it gave up, when it next connects.
    async fn dropped(&mut self) -> Result<u64> {
        loop {
            match timeout(SOON, self.heard.recv()).await.context("the agent connects")? {
                Some(Heard::Hello(hello)) => return Ok(hello.dropped_results),
                Some(_) => {}
                None => bail!("the coordinator listens"),
            }
        }
    }

    /// Returns the numbers of the results that were told.
    fn take(&mut self, heard: Heard) -> Result<Vec<u64>> {
        let Heard::Results(wire::Results { first_seq, results, .. }) = heard else { return Ok(vec![]) };
        let mut numbers = vec![];
        for (number, result) in (first_seq..).zip(results) {
            let monitor = u128::from_be_bytes(<[u8; 16]>::try_from(&result.monitor_id[..])?);
            let meaning = Meaning {
                monitor: usize::try_from(monitor)?,
                slot: result.slot,
                duration_us: result.duration_us,
            };
            if let Some(before) = self.seen.get(&number) {
                ensure!(*before == meaning, "number {number} stood for {before:?}, now for {meaning:?}");
            }
            self.seen.insert(number, meaning);
            numbers.push(number);
        }
        Ok(numbers)
    }
}
