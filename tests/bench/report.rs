//! The table that a run prints and keeps: each figure beside what limits it, and beside its budget.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use support::environment;

use crate::usage;

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    loads: Vec<String>,
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    measured: f64,
    unit: &'static str,
    beside: String,
    budget: Option<Budget>,
}

/// What DESIGN §9 asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
}

impl Row {
    /// A figure without a budget.
    pub(crate) fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self { what: what.into(), measured, unit, beside: String::new(), budget: None }
    }

    /// Measured in the same run: a limit or a peer, and what stands beside it.
    pub(crate) fn beside(mut self, beside: impl Into<String>) -> Self {
        self.beside = beside.into();
        self
    }

    /// With what it should be.
    pub(crate) const fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }
}

impl Budget {
    /// How far a figure is from the budget; above 1: missed.
    fn factor(self, measured: f64) -> f64 {
        match self {
            Self::AtMost(most) if measured <= 0.0 && most <= 0.0 => 0.0,
            Self::AtMost(most) => measured / most,
            Self::AtLeast(least) => least / measured,
        }
    }
}

impl Report {
    /// Adds a figure and shows it at once.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("  {}", line(&row));
        self.rows.push(row);
    }

    /// Adds a remark.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("  note: {note}");
        self.notes.push(note);
    }

    /// Notes how busy the machine is before a part.
    pub(crate) fn part(&mut self, name: &str) -> Result<()> {
        let load = usage::load()?;
        eprintln!("{name} (load {load})");
        self.loads.push(format!("{name} {load}"));
        Ok(())
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole as Markdown.
    pub(crate) fn render(&self) -> Result<String> {
        let mut text = format!("# Vigilmon beside its budgets, {}\n\n", day());
        writeln!(
            text,
            "{}; loopback; release build; client, target and Vigilmon share the cores.",
            usage::machine()?
        )?;
        let niceness = usage::niceness()?;
        if niceness != 0 {
            writeln!(text, "All of it ran at nice {niceness}, beside whatever else the machine was doing.")?;
        }
        writeln!(text, "Load before each part: {}.\n", self.loads.join(", "))?;
        text.push_str(
            "| What | Measured | Beside it, same run | Budget | Verdict |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            writeln!(text, "{}", line(row))?;
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            writeln!(text, "- {note}")?;
        }
        Ok(text)
    }

    /// Keeps the whole among the reports, under a name and the day.
    pub(crate) fn save(&self, name: &str) -> Result<PathBuf> {
        let directory = environment::checkout().join("deploy/reports");
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{name}-{}.md", day()));
        fs::write(&path, self.render()?)?;
        Ok(path)
    }
}

fn day() -> String {
    environment::now().to_string().chars().take(10).collect()
}

fn line(row: &Row) -> String {
    let (budget, verdict) = match row.budget {
        None => ("–".to_owned(), "–".to_owned()),
        Some(budget) => {
            let text = match budget {
                Budget::AtMost(most) => format!("≤ {} {}", figure(most), row.unit),
                Budget::AtLeast(least) => format!("≥ {} {}", figure(least), row.unit),
            };
            let factor = budget.factor(row.measured);
            let word = if factor <= 1.0 { "pass" } else { "miss" };
            (text, format!("{word} ×{factor:.2}"))
        }
    };
    format!(
        "| {} | {} {} | {} | {budget} | {verdict} |",
        row.what,
        figure(row.measured),
        row.unit,
        row.beside
    )
}

/// A figure with as many digits as it deserves.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
            grouped.collect::<Vec<_>>().join(",")
        }
    }
}

/// The value below which a share of the values lies. The values are sorted by this.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is an index"
    )]
    let place = (last as f64 * share).round() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}
