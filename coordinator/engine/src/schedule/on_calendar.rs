//! One `OnCalendar` expression of systemd's timers (systemd.time(7)), and when it comes next.
//!
//! The expression is a set of local dates and times. An occurrence is a local time in all its sets that the zone's clock
//! really shows; where it shows one twice, the first counts.

mod read;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use model::Timestamp;

use super::Zone;

/// The years in which an occurrence is looked for.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// Sets of dates and of times of the day.
#[derive(Clone)]
pub(super) struct OnCalendar {
    text: Box<str>,
    /// Bit 0: Monday.
    weekdays: u8,
    years: Values,
    months: u64,
    /// Of a month.
    days: Days,
    hours: u64,
    minutes: u64,
    seconds: u64,
    /// The zone that the expression names itself.
    zone: Option<Zone>,
}

/// Years: too many for a set of bits.
#[derive(Clone)]
enum Values {
    Any,
    /// First, last and step of each.
    Some(Box<[(i16, i16, i16)]>),
}

#[derive(Clone, Copy)]
enum Days {
    /// Bit 1: the first.
    OfMonth(u64),
    /// Bit 1: the last.
    FromEnd(u64),
}

impl OnCalendar {
    /// The expression as it was written, with single spaces.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it names its zone itself.
    pub(super) const fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    /// The first occurrence after an instant; in `zone`, unless it names one itself.
    pub(super) fn next_after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let zone = self.zone.as_ref().map_or(zone, |zone| &zone.rules);
        let mut from = zone.to_datetime(at.to_jiff()?).with().subsec_nanosecond(0).build().ok()?;
        loop {
            let local = self.next_local(from)?;
            if let Some(instant) = shown(local, zone).filter(|instant| *instant > at) {
                return Some(instant);
            }
            from = local.checked_add(jiff::Span::new().seconds(1)).ok()?;
        }
    }

    /// The first local time from that one on.
    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.has_date(today)
            && let Some(time) = self.time_from(from.time())
        {
            return Some(today.to_datetime(time));
        }
        let date = self.date_after(today)?;
        Some(date.to_datetime(self.time_from(Time::midnight())?))
    }

    fn has_date(&self, date: Date) -> bool {
        self.years.contains(date.year())
            && is_in(self.months, date.month())
            && self.days.contains(date)
            && is_in(u64::from(self.weekdays), weekday_bit(date.weekday()))
    }

    fn date_after(&self, date: Date) -> Option<Date> {
        let (mut year, mut month) = (date.year().max(*YEARS.start()), date.month());
        let mut from = if year == date.year() { date.day() + 1 } else { 1 };
        if year != date.year() {
            month = 1;
        }
        while YEARS.contains(&year) {
            if self.years.contains(year) && is_in(self.months, month) {
                let first = Date::new(year, month, 1).ok()?;
                let days = (from..=first.days_in_month()).filter_map(|day| Date::new(year, month, day).ok());
                if let Some(found) = days.into_iter().find(|date| self.has_date(*date)) {
                    return Some(found);
                }
            }
            from = 1;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        None
    }

    fn time_from(&self, from: Time) -> Option<Time> {
        let mut hour = next_in(self.hours, from.hour())?;
        let mut minute = if hour == from.hour() { from.minute() } else { 0 };
        let mut second = if hour == from.hour() { from.second() } else { 0 };
        loop {
            if let Some(found) = next_in(self.minutes, minute) {
                let earliest = if found == minute { second } else { 0 };
                if let Some(second) = next_in(self.seconds, earliest) {
                    return Time::new(hour, found, second, 0).ok();
                }
                // Later in this hour, if there is a minute.
                if let Some(found) = found.checked_add(1).and_then(|from| next_in(self.minutes, from)) {
                    return Time::new(hour, found, next_in(self.seconds, 0)?, 0).ok();
                }
            }
            hour = next_in(self.hours, hour + 1)?;
            (minute, second) = (0, 0);
        }
    }
}

impl Values {
    fn contains(&self, year: i16) -> bool {
        match self {
            Self::Any => true,
            Self::Some(ranges) => ranges
                .iter()
                .any(|(first, last, step)| (*first..=*last).contains(&year) && (year - first) % step == 0),
        }
    }
}

impl Days {
    fn contains(self, date: Date) -> bool {
        match self {
            Self::OfMonth(days) => is_in(days, date.day()),
            Self::FromEnd(days) => is_in(days, date.days_in_month() - date.day() + 1),
        }
    }
}

/// When a clock in the zone first shows that time; `None`: it skips it.
fn shown(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
        return None;
    }
    ambiguous.earlier().ok().map(|instant| Timestamp::from_micros(instant.as_microsecond()))
}

fn is_in(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set >> value & 1 == 1)
}

/// The lowest value of a set from that one on.
fn next_in(set: u64, from: i8) -> Option<i8> {
    let rest = set.checked_shr(u32::try_from(from).ok()?)?;
    let skipped = i8::try_from(rest.trailing_zeros()).ok()?;
    (rest != 0).then_some(from + skipped)
}

fn weekday_bit(day: Weekday) -> i8 {
    day.to_monday_zero_offset()
}
