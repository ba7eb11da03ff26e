//! When a job is expected to ping, and what is expected of its runs: the options of `create` and `edit`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use proto::admin::v1::{Heartbeat, HeartbeatRunLimits};

use crate::duration::{self, InvalidDuration};
use crate::output::Sheet;

/// A span, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting(Option<Duration>);

impl FromStr for Setting {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        if text == "none" { Ok(Self(None)) } else { duration::parse(text).map(|span| Self(Some(span))) }
    }
}

/// What `create` and `edit` say of when.
#[derive(Debug, Args)]
pub(super) struct Schedule {
    /// How often the job pings, such as 1h or 25h
    #[arg(long, value_parser = duration::parse)]
    interval: Option<Duration>,
    /// When it pings instead, as in a crontab: '0 3 * * *'; several are allowed
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["interval", "on_calendar"])]
    cron: Vec<String>,
    /// The same as for systemd's timers: 'Mon..Fri *-*-* 08:00:00', daily, '*-*~1'; several are allowed
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "interval")]
    on_calendar: Vec<String>,
    /// Time zone of cron or calendar, such as Europe/Berlin [default: UTC]
    #[arg(long, visible_alias = "zone", value_name = "ZONE")]
    tz: Option<String>,
    /// How late a ping may be [default: a tenth of the interval, 1s to 5m]
    #[arg(long, value_parser = duration::parse)]
    grace: Option<Duration>,
    /// How long after it is expected the job must have started; none ends it [default: only its end counts]
    #[arg(long, value_name = "SPAN")]
    start_grace: Option<Setting>,
    /// How long a run may take, of a job that says when it starts; none ends it
    #[arg(long, value_name = "SPAN")]
    max_runtime: Option<Setting>,
    /// How often a run must say that it lives, by /log; none ends it
    #[arg(long, value_name = "SPAN")]
    keep_alive: Option<Setting>,
    /// How early a ping may be and still count, with cron or calendar [default: 1m, a tenth of the time between]
    #[arg(long, value_name = "SPAN")]
    early: Option<Setting>,
    /// Time that counts for an interval, such as 'mon-fri 08:00-18:00 Europe/Berlin'; none ends it
    #[arg(long, value_name = "HOURS")]
    working_hours: Option<String>,
}

impl Schedule {
    /// Sets what was given and returns the names of those fields. `present`: what it changes.
    pub(super) fn apply(self, to: &mut Heartbeat, present: &Heartbeat) -> Vec<&'static str> {
        let span = |setting: Setting| setting.0.map(duration::to_wire);
        let mut limits = present.run_limits.unwrap_or_default();
        let limited = self.start_grace.is_some() || self.max_runtime.is_some() || self.keep_alive.is_some();
        for (setting, field) in [
            (self.start_grace, &mut limits.start_grace),
            (self.max_runtime, &mut limits.max_runtime),
            (self.keep_alive, &mut limits.keep_alive),
        ] {
            if let Some(setting) = setting {
                *field = span(setting);
            }
        }
        let hours = self.working_hours.map(|hours| if hours == "none" { String::new() } else { hours });
        let lines = |lines: Vec<String>| (!lines.is_empty()).then(|| lines.join("\n"));
        let mut paths = Vec::new();
        macro_rules! set {
            ($($field:ident = $value:expr;)+) => { $(
                if let Some(value) = $value {
                    to.$field = value;
                    paths.push(stringify!($field));
                }
            )+ };
        }
        set! {
            interval = self.interval.map(|span| Some(duration::to_wire(span)));
            cron = lines(self.cron);
            on_calendar = lines(self.on_calendar);
            time_zone = self.tz;
            grace = self.grace.map(|span| Some(duration::to_wire(span)));
            run_limits = limited.then_some(Some(limits));
            early = self.early.map(span);
            working_hours = hours;
        }
        paths
    }
}

/// The schedule in a few words, for a column.
pub(super) fn summary(heartbeat: &Heartbeat) -> String {
    match (heartbeat.cron.as_str(), heartbeat.on_calendar.as_str()) {
        ("", "") => duration::setting(heartbeat.interval.as_ref()),
        (lines, "") | (_, lines) => format!("{} {}", lines.replace('\n', " | "), heartbeat.time_zone),
    }
}

/// The schedule on a sheet. Each limit has its line only if it is set.
pub(super) fn describe(heartbeat: &Heartbeat, sheet: Sheet) -> Sheet {
    let limits = heartbeat.run_limits.unwrap_or_default();
    let HeartbeatRunLimits { start_grace, max_runtime, keep_alive } = limits;
    let optional = |span: Option<prost_types::Duration>| {
        span.as_ref().map(|span| duration::setting(Some(span))).unwrap_or_default()
    };
    let sheet = if heartbeat.interval.is_some() {
        sheet.field("interval", duration::setting(heartbeat.interval.as_ref()))
    } else {
        sheet
            .field("cron", heartbeat.cron.replace('\n', " | "))
            .field("on calendar", heartbeat.on_calendar.replace('\n', " | "))
            .field("time zone", &heartbeat.time_zone)
    };
    sheet
        .field("early", optional(heartbeat.early))
        .field("hours", &heartbeat.working_hours)
        .field("grace", duration::setting(heartbeat.grace.as_ref()))
        .field("start grace", optional(start_grace))
        .field("max runtime", optional(max_runtime))
        .field("keep alive", optional(keep_alive))
}
