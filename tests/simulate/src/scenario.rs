//! What is tried: which faults beside which troubles of the targets, and what must hold then.

use crate::closed_form::Quorum;
use crate::fault::{ALL, Class};
use crate::random::Source;
use crate::target::Troubles;

/// One thing that is tried.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// In the table.
    pub name: &'static str,
    /// Classes of faults that agents have.
    pub faults: &'static [Class],
    /// Whether the coordinator is absent now and then.
    pub coordinator: bool,
    /// Part of all attempts that are lost, from every region, independently.
    pub loss: f64,
    /// When targets are in trouble.
    pub troubles: Troubles,
    /// How many regions must agree.
    pub fleet: Fleet,
    /// What users have arranged besides.
    pub arranged: Arranged,
    /// What must hold.
    pub bars: Bars,
}

/// The policies of a scenario's monitors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fleet {
    /// Half of them a majority of three regions, half a majority of five.
    Majorities,
    /// All of them one region of the United States and two others.
    Groups,
    /// All of them the same.
    Same(Quorum),
}

/// What users have arranged for a scenario's monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arranged {
    /// Nothing.
    Nothing,
    /// Three in four have windows of maintenance.
    Maintenance,
    /// Six in ten depend on another.
    Parents,
    /// A twentieth of the monitors, but at least 50, all of them checked every 30 s, and agents may be set aside.
    Quarantine,
}

/// What must hold in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bars {
    /// No false incident, no false recovery, every outage of at least two intervals found, 99 % within timeout + 2 s.
    All,
    /// The same, but how fast is only told.
    AnySpeed,
    /// At most 1.5 times as many false incidents as the closed form expects.
    ClosedForm,
    /// As [`Bars::ClosedForm`], and at most one per 1,000 monitor-months.
    Default,
}

const HEALTHY: Scenario = Scenario {
    name: "no faults",
    faults: &[],
    coordinator: false,
    loss: 0.0,
    troubles: Troubles::Alone,
    fleet: Fleet::Majorities,
    arranged: Arranged::Nothing,
    bars: Bars::All,
};

/// Everything that is tried around outages.
#[must_use]
pub fn around_outages() -> Vec<Scenario> {
    let faulty = |name, faults| Scenario { name, faults, ..HEALTHY };
    vec![
        HEALTHY,
        faulty("agents dead", &[Class::Dead]),
        faulty("agents partitioned", &[Class::Cut]),
        faulty("regions lossy", &[Class::Lossy]),
        faulty("regions lying", &[Class::Lying]),
        faulty("regions slow or unable", &[Class::Slow]),
        faulty("clocks skewed", &[Class::Skewed]),
        faulty("links duplicating, late", &[Class::Jumbled]),
        faulty("all of these", ALL),
        Scenario { name: "coordinator absent", coordinator: true, ..HEALTHY },
        Scenario { name: "everything together", faults: ALL, coordinator: true, ..HEALTHY },
        Scenario { name: "groups of regions", faults: ALL, fleet: Fleet::Groups, ..HEALTHY },
        Scenario { name: "maintenance", faults: ALL, arranged: Arranged::Maintenance, ..HEALTHY },
        Scenario {
            name: "maintenance in absence",
            coordinator: true,
            arranged: Arranged::Maintenance,
            ..HEALTHY
        },
        Scenario {
            name: "quarantine",
            faults: &[Class::Lying, Class::Lossy],
            arranged: Arranged::Quarantine,
            ..HEALTHY
        },
        Scenario { name: "parents", faults: ALL, arranged: Arranged::Parents, ..HEALTHY },
        Scenario {
            name: "half of all targets at once",
            troubles: Troubles::Together,
            bars: Bars::AnySpeed,
            ..HEALTHY
        },
    ]
}

/// Everything that is tried with loss in every region at once.
#[must_use]
pub fn around_loss() -> Vec<Scenario> {
    let lossy = |name, regions, quorum, needed, loss, bars| Scenario {
        name,
        loss,
        troubles: Troubles::Never,
        fleet: Fleet::Same(Quorum { regions, text: quorum, needed }),
        bars,
        ..HEALTHY
    };
    vec![
        lossy("any of 3, 0.5 %", 3, "any", 1, 0.005, Bars::ClosedForm),
        lossy("majority of 3, 0.5 %", 3, "majority", 2, 0.005, Bars::Default),
        lossy("majority of 5, 0.5 %", 5, "majority", 3, 0.005, Bars::Default),
        lossy("all of 3, 0.5 %", 3, "all", 3, 0.005, Bars::ClosedForm),
        lossy("at_least:2 of 5, 0.5 %", 5, "at_least:2", 2, 0.005, Bars::ClosedForm),
        lossy("majority of 3, 3 %", 3, "majority", 2, 0.03, Bars::ClosedForm),
        lossy("at_least:2 of 5, 2 %", 5, "at_least:2", 2, 0.02, Bars::ClosedForm),
    ]
}

impl Scenario {
    /// The policy of the monitor with this number: how many regions, and the quorum as users write it.
    #[must_use]
    pub const fn policy(&self, number: usize) -> (usize, &'static str) {
        match self.fleet {
            // Intervals follow the last digit, so this follows the one before.
            Fleet::Majorities => (if (number / 10).is_multiple_of(2) { 3 } else { 5 }, "majority"),
            Fleet::Groups => (5, "1 of us-* and 2 of other"),
            Fleet::Same(quorum) => (quorum.regions, quorum.text),
        }
    }

    /// The monitor on which the one with this number depends. The first ten of forty depend on none.
    #[must_use]
    pub const fn parent(&self, number: usize, source: Source) -> Option<usize> {
        let first = number - number % 40;
        let depends = matches!(self.arranged, Arranged::Parents)
            && number >= first + 10
            && !source.of(1).below(5).is_multiple_of(5);
        if depends { Some(first + source.of(0).below(10) as usize) } else { None }
    }
}
