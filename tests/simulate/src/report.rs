//! The tables, and which bars were missed.

use std::fmt::Write as _;

use crate::closed_form::{MONTH, chance_of};
use crate::jobs;
use crate::judge::{Figures, INTERVALS, Quarantines};
use crate::scenario::{Arranged, Bars, Scenario};
use crate::world::TIMEOUT;

/// The most false incidents beyond the expected, as a factor.
const MOST_BEYOND: f64 = 1.5;
/// A count too high by chance this seldom is no chance.
const UNLIKELY: f64 = 0.01;

/// What the worlds are made of, to stand beside the tables.
pub const FAULT_MODEL: &str = "\
## The worlds

The engine is the real one: monitor and heartbeat machines, quorum, budget, placement. Around it are modelled, thinly: the \
shard (inputs, effects, state rows, snapshots and journal as a kill leaves them, blindness), the agents (phases, two \
attempts in rounds, slow checks, beats of 5 s, spool, primary and standby), and everything below.

- **Monitors**: a tenth every 30 s, six tenths every 5 min, three tenths every hour; timeout 10 s; half a majority of three \
regions, half of five; two agents per region. In *groups of regions* all have `1 of us-* and 2 of other` of five regions, with \
all faults: at most one region of each group is faulty at once.
- **Targets** are away for 5 s to six intervals (503, refused, silent), flap (2 to 90 s each way), or answer slowly (2 to \
9.5 s), every 40 hours or eight intervals on average. One attempt in 2,000 takes long without failing.
- **Maintenance**: three monitors in four have windows: single ones of 2 min to 6 h every four days on average, or recurring \
ones of 5 min to 3 h in New York's or Berlin's time, one of them at a time of day that spring skips and autumn shows twice, or \
both. Their calendar is moved so that the month begins on 8 March or on 25 October 2024 and contains both cities' change. \
In three windows of ten the work breaks the target, half of these times for up to four intervals after the end. With \
all faults of agents, and *in absence* with a coordinator that is now and then absent when a window opens or ends.
- **Parents**: six monitors in ten depend on one of the others and cannot be reached while that one's target is away or flaps, \
besides what happens to their own; with all faults of agents.
- **Quarantine**: a twentieth of the monitors, all checked every 30 s, so that an agent that lies or loses attempts fails on \
three in ten of them within a minute; elsewhere the intervals are too long for that, and nobody is set aside. Fed from votes \
as the owner of the shards feeds it, without canaries, and without another agent that checks beside the one set aside.
- **Agents and regions**: faults of 2 s to 3 h, every 20 h on average in each of two chains of regions (0–2 and 3–4), so \
that fewer than *k* regions of a monitor are faulty at once, but the next fault may come 60 s after the last. Dead (killed, \
spool lost); cut (both ways, or one way); lossy (up to all attempts); lying (all down, all well, at random, the contrary); \
slow (checks take up to 12 s more, or cannot measure, or messages take up to 8 s); skewed (results dated wrong by up to \
30 s); jumbled (messages duplicated, late by up to 30 s, out of order). Seven faults in ten strike both agents of the region.
- **The coordinator** is absent for 1 s to 2 h, every 8 h on average, a quarter of the time within a minute of the last: \
killed, frozen, unable to commit (with and without knowing the fate of the last commit), cut off from all agents; its wall \
clock is set.
- **Jobs** (heartbeats) ping every 58.8 s to 24.5 h at intervals of 1 min to 25 h, now and then late within the grace, and \
retry after 1, 2, 4, 8 and 16 s; they stop for five intervals and five hours at a time.

## What is counted

- A **false incident** opens when its target has not failed for 30 s; a **false recovery** comes while it is away. So is one \
in a window of maintenance, one after a window that rests on what failed in it alone, and one of a child whose own target is \
well, unless the parent came or went in the two seconds before or while it was being found out: these are counted apart, since \
what one look finds the other need not.
- An outage counts for **recall** when at least two intervals of it lie outside the coordinator's absences (and a minute \
after each, in which agents return), windows of maintenance, and the time in which the parent is away or has an incident.
- **Detection**: from the end of the first failing check that an honest agent with a session reported, to the opening; only \
where the coordinator was there from a minute before, and neither a window nor a parent came between; of an outage that is \
seen to fail in a window, from the end of the window. **Amid faults**: a region of the monitor was faulty meanwhile.
- **Reset**: from the target's return to the resolution; most of it is the wait for the next scheduled check.
- A **quarantine** is false when the agent was not faulty within a minute before; it must come, while everything looks down \
to an agent for five minutes or the contrary of what it is, and be over ten minutes after the fault.
- The **closed form** of independent loss stands in `tests/simulate/src/closed_form.rs`.
- **Unheard or late twice**: a job was well, but two pings in a row fell into two absences with all their retries, or one \
did and the job was late both before and after. It alerts, because nothing tells it from a job that stopped, which must be \
found within two intervals and the grace however often the coordinator is away. These are counted apart and miss no bar.
- A stopped job is **found in time** within two intervals and the grace, and half a minute of retries; after an absence \
longer than the grace, that time begins anew at its end. Who was never heard is not missed.

## What the figures do not say

- All scenarios with outages see the same targets under the same seed: their rows are not independent of each other.
- Agents' faults come without loss elsewhere, since loss in the other regions would be a *k*-th fault. \
Loss in all regions at once has its own table, without outages.
- Not simulated: canaries, heartbeats with cron schedules or in maintenance, maintenance of parents, parents of \
parents, parents whose coordinator is absent, several coordinators, deliveries, and a heartbeat whose coordinator is cut off \
without knowing it.
- The bars on detection are on the 99th percentile of a whole row; the maximum and the figures amid faults have no bar.
- Loss at 0.5 % with a quorum of several regions is expected to cause less than one incident in all that is simulated, so \
it says no more than that nothing else does. The rows at 2 and 3 % put the arithmetic to the test.
";

/// What was simulated.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Days of each world.
    pub days: u32,
    /// Monitors of each world.
    pub monitors: usize,
    /// Worlds of each scenario.
    pub seeds: u64,
    /// Seconds that it took.
    pub took_secs: f64,
}

/// The table of scenarios with outages.
#[must_use]
pub fn outages(rows: &mut [(Scenario, Figures)]) -> String {
    let mut text = "| Scenario | monitor-months | false incidents | false recoveries | outages ≥ 2 intervals | missed | recall | \
                    detection p50 / p99 / max | p99 at 30 s, 5 min, 1 h | p99 / max amid faults | reset p50 / p99 | rounds per 1,000 checks | bars |\n"
        .to_owned();
    text += "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (scenario, figures) in rows {
        for class in &mut figures.detection {
            class.sort_unstable();
        }
        figures.reset.sort_unstable();
        figures.amid_faults.sort_unstable();
        let mut all: Vec<u32> = figures.detection.concat();
        all.sort_unstable();
        let by_interval: Vec<String> =
            figures.detection.iter().map(|class| secs(quantile(class, 0.99))).collect();
        let misses = missed_bars(scenario, figures);
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {} | {} | {} | {:.2} % | {} / {} / {} | {} | {} / {} | {} / {} | {:.1} | {} |",
            scenario.name,
            figures.monitor_secs / MONTH.as_secs_f64(),
            figures.false_incidents,
            figures.false_recoveries,
            figures.outages,
            figures.outages - figures.found,
            recall(figures) * 100.0,
            secs(quantile(&all, 0.5)),
            secs(quantile(&all, 0.99)),
            secs(all.last().copied()),
            by_interval.join(", "),
            secs(quantile(&figures.amid_faults, 0.99)),
            secs(figures.amid_faults.last().copied()),
            secs(quantile(&figures.reset, 0.5)),
            secs(quantile(&figures.reset, 0.99)),
            figures.rounds as f64 / figures.checks * 1_000.0,
            if misses.is_empty() { "held".to_owned() } else { format!("**missed**: {}", misses.join(", ")) },
        );
    }
    text
}

/// The table of what users have arranged.
#[must_use]
pub fn arranged(rows: &[(Scenario, Figures)]) -> String {
    let mut text = "| Scenario | windows of maintenance | outages ≥ 2 intervals after the window they began in | \
                    targets well ≥ 2 intervals behind a parent that was away | incidents while the parent came or went |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    let is_shown = |arranged| matches!(arranged, Arranged::Maintenance | Arranged::Parents);
    for (scenario, figures) in rows.iter().filter(|(scenario, _)| is_shown(scenario.arranged)) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            scenario.name, figures.windows, figures.outlasting, figures.behind, figures.unclear
        );
    }
    text += "\n| Scenario | quarantines | of agents not faulty within a minute | not released ten minutes after the fault | \
             faults in which all looks down for five minutes | quarantined |\n|---|---|---|---|---|---|\n";
    for (scenario, figures) in rows.iter().filter(|(scenario, _)| scenario.arranged == Arranged::Quarantine) {
        let Quarantines { decided, of_honest, unended, deserved, found } = figures.quarantines;
        let _ = writeln!(
            text,
            "| {} | {decided} | {of_honest} | {unended} | {deserved} | {found} |",
            scenario.name
        );
    }
    text
}

/// The table of independent loss.
#[must_use]
pub fn loss(rows: &[(Scenario, Figures)]) -> String {
    let mut text =
        "| Policy, loss | monitor-months | false incidents | per 1,000 monitor-months | closed form | ratio | bars |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (scenario, figures) in rows {
        let months = figures.monitor_secs / MONTH.as_secs_f64();
        let misses = missed_bars(scenario, figures);
        let ratio = if figures.expected < 1.0 {
            "–".to_owned()
        } else {
            format!("{:.2}", figures.false_incidents as f64 / figures.expected)
        };
        let _ = writeln!(
            text,
            "| {} | {months:.0} | {} | {} | {} | {ratio} | {} |",
            scenario.name,
            figures.false_incidents,
            short(figures.false_incidents as f64 / months * 1_000.0),
            short(figures.expected / months * 1_000.0),
            if misses.is_empty() { "held".to_owned() } else { format!("**missed**: {}", misses.join(", ")) },
        );
    }
    text
}

/// The table of heartbeats.
#[must_use]
pub fn heartbeats(rows: &mut [(&'static str, jobs::Figures)]) -> String {
    let mut text = "| Heartbeats | job-months | pings | unheard | false incidents | unheard or late twice | stopped | found in time | from the last ping, in intervals + grace: p50 / max | bars |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for (name, figures) in rows {
        figures.found_after.sort_unstable_by(f64::total_cmp);
        let after = &figures.found_after;
        let median = after.get(after.len() / 2).copied().unwrap_or(0.0);
        let _ = writeln!(
            text,
            "| {name} | {:.0} | {} | {} | {} | {} | {} | {} | {median:.2} / {:.2} | {} |",
            figures.job_secs / MONTH.as_secs_f64(),
            figures.pings,
            figures.lost,
            figures.false_incidents,
            figures.unheard_twice,
            figures.stops,
            figures.found,
            after.last().copied().unwrap_or(0.0),
            if heartbeats_held(figures) { "held" } else { "**missed**" },
        );
    }
    text
}

/// Whether no job alerted without reason and every one that stopped was found.
#[must_use]
pub const fn heartbeats_held(figures: &jobs::Figures) -> bool {
    figures.false_incidents == 0 && figures.found == figures.stops
}

/// The bars that a scenario missed.
#[must_use]
pub fn missed_bars(scenario: &Scenario, figures: &Figures) -> Vec<String> {
    let mut missed = vec![];
    match scenario.bars {
        Bars::All | Bars::AnySpeed => {
            if figures.false_incidents > 0 {
                missed.push("false incidents".to_owned());
            }
            if figures.false_recoveries > 0 {
                missed.push("false recoveries".to_owned());
            }
            if figures.found < figures.outages {
                missed.push("recall".to_owned());
            }
            let Quarantines { of_honest, unended, deserved, found, .. } = figures.quarantines;
            if of_honest > 0 || unended > 0 || found < deserved {
                missed.push("quarantine".to_owned());
            }
            for (class, interval) in figures.detection.iter().zip(INTERVALS) {
                let mut class = class.clone();
                class.sort_unstable();
                let limit = TIMEOUT.as_millis() as u32 + 2_000;
                if scenario.bars == Bars::All && quantile(&class, 0.99).is_some_and(|p99| p99 > limit) {
                    missed.push(format!("detection at {interval} s"));
                }
            }
        }
        Bars::ClosedForm | Bars::Default => {
            let most = figures.expected * MOST_BEYOND;
            if figures.false_incidents as f64 > most && chance_of(figures.false_incidents, most) < UNLIKELY {
                missed.push("closed form".to_owned());
            }
            let months = figures.monitor_secs / MONTH.as_secs_f64();
            if scenario.bars == Bars::Default && figures.false_incidents as f64 > months / 1_000.0 {
                missed.push("one per 1,000 monitor-months".to_owned());
            }
        }
    }
    missed
}

fn recall(figures: &Figures) -> f64 {
    if figures.outages == 0 { 1.0 } else { figures.found as f64 / figures.outages as f64 }
}

/// The nearest-rank quantile of sorted values.
fn quantile(sorted: &[u32], part: f64) -> Option<u32> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn secs(millis: Option<u32>) -> String {
    match millis {
        None => "–".to_owned(),
        Some(millis) if millis < 100_000 => format!("{:.1} s", f64::from(millis) / 1_000.0),
        Some(millis) => format!("{:.0} min", f64::from(millis) / 60_000.0),
    }
}

fn short(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        0.0..0.01 => format!("{number:.1e}"),
        0.01..10.0 => format!("{number:.2}"),
        _ => format!("{number:.0}"),
    }
}
