//! How somebody is told: the flags that monitors, heartbeats and policies have in common, and how they look.
//!
//! `edit` changes of the present [`Alert`] what was given and sends it back whole.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use proto::admin::v1::{Alert, EscalationStep, QuietHours};

use crate::duration;
use crate::output::Sheet;

/// The ids of these flags, for groups of which one is needed.
pub(super) const FLAGS: [&str; 13] = [
    "severity",
    "delay",
    "remind_every",
    "remind_backoff",
    "remind_max",
    "escalate",
    "escalate_repeat",
    "quiet",
    "quiet_days",
    "quiet_zone",
    "quiet_critical",
    "no_recovery",
    "no_acknowledgement",
];

const HEADING: &str = "How channels are told";

/// What can be said.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct AlertFlags {
    /// critical: tell only of what is broken; warning: also of what only operators hear of [default: warning]
    #[arg(long, value_parser = PossibleValuesParser::new(["warning", "critical"]))]
    severity: Option<String>,
    /// Tell nobody of an incident before it has been open for so long; of one that ends before nobody hears [default: 0s]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    delay: Option<Duration>,
    /// Tell again so long after the message before; 0s: never [default: never]
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    remind_every: Option<Duration>,
    /// How the pauses between reminders grow [default: none]
    #[arg(long, value_parser = PossibleValuesParser::new(["none", "linear", "double"]))]
    remind_backoff: Option<String>,
    /// At most so many reminders; 0: until it ends or is acknowledged [default: 0]
    #[arg(long, value_name = "COUNT")]
    remind_max: Option<u32>,
    /// Tell others too if nobody has acknowledged after so long, as in 15m:phone,boss; may be repeated
    #[arg(long, value_parser = step, value_name = "AFTER:CHANNEL,…")]
    escalate: Vec<EscalationStep>,
    /// Go through the steps again so many times [default: 0]
    #[arg(long, value_name = "COUNT")]
    escalate_repeat: Option<u32>,
    /// Hold what is only a warning back in these hours, such as 22:00-07:00 [default: none]
    #[arg(long, value_parser = hours, value_name = "FROM-TO")]
    quiet: Option<(String, String)>,
    /// Days on which quiet hours begin: mon, tue, wed, thu, fri, sat, sun [default: every day]
    #[arg(long, value_delimiter = ',', value_name = "DAY,…")]
    quiet_days: Vec<String>,
    /// Time zone of the quiet hours, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    quiet_zone: Option<String>,
    /// Hold what is broken back too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    quiet_critical: Option<bool>,
    /// Do not tell of the end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    no_recovery: Option<bool>,
    /// Do not tell of acknowledgements
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    no_acknowledgement: Option<bool>,
}

impl AlertFlags {
    /// Whether anything was said.
    pub(super) fn is_given(&self) -> bool {
        let reminders =
            self.remind_every.is_some() || self.remind_backoff.is_some() || self.remind_max.is_some();
        let escalation = !self.escalate.is_empty() || self.escalate_repeat.is_some();
        let switches = self.no_recovery.is_some() || self.no_acknowledgement.is_some();
        let others = self.severity.is_some() || self.delay.is_some() || self.names_quiet_hours();
        reminders || escalation || switches || others
    }

    /// The present alert with what was given; `None`: nothing was.
    pub(super) fn apply(self, present: Option<&Alert>) -> Option<Alert> {
        if !self.is_given() {
            return None;
        }
        let names_quiet_hours = self.names_quiet_hours();
        let mut alert = present.cloned().unwrap_or_default();
        if let Some(severity) = self.severity {
            alert.severity = severity;
        }
        if let Some(delay) = self.delay {
            alert.delay = Some(duration::to_wire(delay));
        }
        if let Some(every) = self.remind_every {
            alert.remind_every = Some(every).filter(|every| !every.is_zero()).map(duration::to_wire);
            if every.is_zero() {
                (alert.remind_backoff, alert.remind_max) = Default::default();
            }
        }
        alert.remind_backoff = self.remind_backoff.unwrap_or(alert.remind_backoff);
        alert.remind_max = self.remind_max.unwrap_or(alert.remind_max);
        if !self.escalate.is_empty() {
            alert.escalation = self.escalate;
        }
        alert.escalation_repeat = self.escalate_repeat.unwrap_or(alert.escalation_repeat);
        if names_quiet_hours {
            let hours = alert.quiet_hours.get_or_insert_default();
            if let Some((from, to)) = self.quiet {
                (hours.from, hours.to) = (from, to);
            }
            if !self.quiet_days.is_empty() {
                hours.days = self.quiet_days;
            }
            if let Some(zone) = self.quiet_zone {
                hours.time_zone = zone;
            }
            hours.hold_critical = self.quiet_critical.unwrap_or(hours.hold_critical);
        }
        alert.no_recovery = self.no_recovery.unwrap_or(alert.no_recovery);
        alert.no_acknowledgement = self.no_acknowledgement.unwrap_or(alert.no_acknowledgement);
        Some(alert)
    }

    fn names_quiet_hours(&self) -> bool {
        self.quiet.is_some()
            || !self.quiet_days.is_empty()
            || self.quiet_zone.is_some()
            || self.quiet_critical.is_some()
    }
}

/// Adds what is said of alerts to a sheet.
pub(super) fn fields(sheet: Sheet, alert: Option<&Alert>) -> Sheet {
    let Some(alert) = alert else { return sheet };
    let untold = [(alert.no_recovery, "the end"), (alert.no_acknowledgement, "acknowledgements")];
    let untold: Vec<&str> =
        untold.into_iter().filter(|(is_untold, _)| *is_untold).map(|(_, what)| what).collect();
    sheet
        .field("severity", if alert.severity == "critical" { "critical" } else { "" })
        .field("delay", duration::setting(alert.delay.as_ref()))
        .field("reminders", reminders(alert))
        .field("escalation", escalation(alert))
        .field("quiet hours", alert.quiet_hours.as_ref().map(quiet_hours).unwrap_or_default())
        .field("not told", untold.join(", "))
}

/// `every 30m, growing linear, at most 5`.
fn reminders(alert: &Alert) -> String {
    let Some(every) = &alert.remind_every else { return String::new() };
    let mut text = format!("every {}", duration::setting(Some(every)));
    if !matches!(alert.remind_backoff.as_str(), "" | "none") {
        text += &format!(", growing {}", alert.remind_backoff);
    }
    if alert.remind_max > 0 {
        text += &format!(", at most {}", alert.remind_max);
    }
    text
}

/// `after 15m chn_…, after 30m chn_…; repeated 2 times`.
fn escalation(alert: &Alert) -> String {
    let step = |step: &EscalationStep| {
        format!("after {} {}", duration::setting(step.after.as_ref()), step.channels.join("+"))
    };
    let mut text = alert.escalation.iter().map(step).collect::<Vec<_>>().join(", ");
    if alert.escalation_repeat > 0 {
        text += &format!("; repeated {} times", alert.escalation_repeat);
    }
    text
}

/// `22:00-07:00 Europe/Berlin, on sat, sun; also for what is broken`.
fn quiet_hours(hours: &QuietHours) -> String {
    let mut text = format!("{}-{} {}", hours.from, hours.to, hours.time_zone);
    if !matches!(hours.days.len(), 0 | 7) {
        text += &format!(", on {}", hours.days.join(", "));
    }
    if hours.hold_critical {
        text += "; also for what is broken";
    }
    text
}

fn step(text: &str) -> Result<EscalationStep, String> {
    let (after, channels) = text.split_once(':').ok_or("use AFTER:CHANNEL,… such as 15m:phone")?;
    let after = duration::parse(after).map_err(|error| error.to_string())?;
    let channels: Vec<String> = channels.split(',').map(|name| name.trim().to_owned()).collect();
    if channels.iter().any(String::is_empty) {
        return Err("name a channel after the colon, such as 15m:phone".to_owned());
    }
    Ok(EscalationStep { after: Some(duration::to_wire(after)), channels })
}

fn hours(text: &str) -> Result<(String, String), &'static str> {
    let (from, to) = text.split_once('-').ok_or("use FROM-TO such as 22:00-07:00")?;
    Ok((from.trim().to_owned(), to.trim().to_owned()))
}
