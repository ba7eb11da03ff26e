//! How somebody is told, in a user's words and back: the `alert` of monitors, heartbeats and policies.

#[cfg(test)]
mod tests;

use std::time::Duration;

use engine::alert::{
    Backoff, Escalation, MAX_STEPS, Options, QuietHours, Reminders, Severity, Step, Weekday,
};
use proto::admin::v1 as wire;
use proto::probe::convert::duration_from_wire;
use store::Config;

use super::convert::span;
use super::find;
use super::invalid::Invalid;

/// Reads how somebody is told; the default where nothing is said.
pub(super) fn read(asked: Option<&wire::Alert>, config: &Config, invalid: &mut Invalid) -> Options {
    let Some(asked) = asked else { return Options::default() };
    let options = Options {
        severity: read_severity(&asked.severity, invalid),
        delay: read_span("delay", asked.delay.as_ref(), invalid).unwrap_or_default(),
        reminders: read_reminders(asked, invalid),
        escalation: read_escalation(asked, config, invalid),
        quiet_hours: asked.quiet_hours.as_ref().and_then(|hours| read_quiet_hours(hours, invalid)),
        recovery: !asked.no_recovery,
        acknowledgement: !asked.no_acknowledgement,
    };
    if let Err(problem) = options.check() {
        add(invalid, problem.field, &problem);
    }
    options
}

/// How somebody is told, as the wire has it; nothing for the default.
pub(super) fn render(options: &Options) -> Option<wire::Alert> {
    if options.is_default() {
        return None;
    }
    let step = |step: &Step| wire::EscalationStep {
        after: span(step.after),
        channels: step.channels.iter().map(ToString::to_string).collect(),
    };
    let reminders = options.reminders;
    Some(wire::Alert {
        severity: match options.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
        .to_owned(),
        delay: Some(options.delay).filter(|delay| !delay.is_zero()).and_then(span),
        remind_every: reminders.and_then(|it| span(it.every)),
        remind_backoff: reminders.map(|it| word(it.backoff).to_owned()).unwrap_or_default(),
        remind_max: reminders.map(|it| it.max).unwrap_or_default(),
        escalation: options.escalation.steps.iter().map(step).collect(),
        escalation_repeat: options.escalation.repeat,
        quiet_hours: options.quiet_hours.as_ref().map(|hours| wire::QuietHours {
            days: hours.days().map(|day| day.as_str().to_owned()).collect(),
            from: hours.from(),
            to: hours.to(),
            time_zone: hours.zone().to_owned(),
            hold_critical: hours.holds_critical(),
        }),
        no_recovery: !options.recovery,
        no_acknowledgement: !options.acknowledgement,
    })
}

fn read_severity(asked: &str, invalid: &mut Invalid) -> Severity {
    match asked {
        "" | "warning" => Severity::Warning,
        "critical" => Severity::Critical,
        _ => {
            add(invalid, "severity", &"must be warning or critical");
            Severity::Warning
        }
    }
}

fn read_reminders(asked: &wire::Alert, invalid: &mut Invalid) -> Option<Reminders> {
    let backoff = match asked.remind_backoff.as_str() {
        "" | "none" => Backoff::None,
        "linear" => Backoff::Linear,
        "double" => Backoff::Double,
        _ => {
            add(invalid, "remind_backoff", &"must be none, linear or double");
            Backoff::None
        }
    };
    if asked.remind_every.is_none() && (!asked.remind_backoff.is_empty() || asked.remind_max > 0) {
        add(invalid, "remind_every", &"is required for reminders: how long after the message before");
    }
    let every = read_span("remind_every", asked.remind_every.as_ref(), invalid)?;
    Some(Reminders { every, backoff, max: asked.remind_max })
}

fn read_escalation(asked: &wire::Alert, config: &Config, invalid: &mut Invalid) -> Escalation {
    let steps = asked.escalation.iter().take(MAX_STEPS + 1).map(|step| {
        if step.after.is_none() {
            add(invalid, "escalation", &"every step needs an `after`: how long after the first message");
        }
        let after = read_span("escalation", step.after.as_ref(), invalid).unwrap_or_default();
        Step { after, channels: find::channels(config, &step.channels, invalid) }
    });
    Escalation { steps: steps.collect(), repeat: asked.escalation_repeat }
}

fn read_quiet_hours(asked: &wire::QuietHours, invalid: &mut Invalid) -> Option<QuietHours> {
    let days: Vec<Result<Weekday, _>> = asked.days.iter().take(7).map(|day| day.parse()).collect();
    let days = days.into_iter().collect::<Result<Vec<_>, _>>();
    let zone = if asked.time_zone.is_empty() { "UTC" } else { asked.time_zone.trim() };
    let read =
        days.and_then(|days| QuietHours::new(&days, &asked.from, &asked.to, zone, asked.hold_critical));
    invalid.check("alert.quiet_hours", read)
}

fn read_span(field: &str, asked: Option<&prost_types::Duration>, invalid: &mut Invalid) -> Option<Duration> {
    asked?;
    let read = duration_from_wire(asked, field).map_err(|error| error.problem);
    invalid.check(&format!("alert.{field}"), read)
}

fn add(invalid: &mut Invalid, field: &str, problem: &dyn std::fmt::Display) {
    invalid.add(&format!("alert.{field}"), problem);
}

const fn word(backoff: Backoff) -> &'static str {
    match backoff {
        Backoff::None => "none",
        Backoff::Linear => "linear",
        Backoff::Double => "double",
    }
}
