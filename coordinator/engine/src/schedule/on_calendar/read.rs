//! Reads `OnCalendar` expressions: `[weekdays] [date] [time] [zone]`, or a word such as `daily`.

use super::{Days, OnCalendar, Values, YEARS};
use crate::schedule::{MAX_LINE, Zone};

/// Words and what they stand for.
const WORDS: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const EVERY_DAY: u8 = 0b111_1111;

/// A part of a component: `first..last/step`. `last` is `None` where it was not written.
struct Part {
    first: i16,
    last: Option<i16>,
    step: Option<i16>,
}

impl OnCalendar {
    /// Reads an expression, or says what is wrong with it.
    pub(in crate::schedule) fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LINE {
            return Err(format!("longer than {MAX_LINE} characters"));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        let zone = words.last().and_then(|word| zone(word));
        if zone.is_some() {
            words.pop();
        }
        if let [word] = words[..]
            && let Some((_, meaning)) = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))
        {
            words = meaning.split(' ').collect();
        }
        let mut read = Self {
            text: text.as_str().into(),
            weekdays: EVERY_DAY,
            years: Values::Any,
            months: set("*", 1, 12)?,
            days: Days::OfMonth(set("*", 1, 31)?),
            hours: 1,
            minutes: 1,
            seconds: 1,
            zone,
        };
        let mut rest = words.into_iter().peekable();
        if rest.peek().is_none() {
            return Err("nothing is said of when".to_owned());
        }
        if let Some(days) = rest.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
            read.weekdays = weekdays(days)?;
        }
        if let Some(date) = rest.next_if(|word| !word.contains(':')) {
            read.read_date(date)?;
        }
        if let Some(time) = rest.next_if(|word| word.contains(':')) {
            read.read_time(time)?;
        }
        match rest.next() {
            None => Ok(read),
            Some(word) => Err(format!("`{word}` is neither a date, a time nor a time zone")),
        }
    }

    fn read_date(&mut self, text: &str) -> Result<(), String> {
        let (before, day, is_from_end) = match (text.rsplit_once('~'), text.rsplit_once('-')) {
            (Some((before, day)), _) => (before, day, true),
            (None, Some((before, day))) => (before, day, false),
            (None, None) => return Err(format!("`{text}` is no date: year-month-day")),
        };
        let (year, month) = before.split_once('-').unwrap_or(("*", before));
        self.years = years(year)?;
        self.months = set(month, 1, 12)?;
        self.days =
            if is_from_end { Days::FromEnd(set_from_end(day)?) } else { Days::OfMonth(set(day, 1, 31)?) };
        Ok(())
    }

    fn read_time(&mut self, text: &str) -> Result<(), String> {
        let parts: Vec<_> = text.split(':').collect();
        let (hours, minutes, seconds) = match parts[..] {
            [hours, minutes] => (hours, minutes, "0"),
            [hours, minutes, seconds] => (hours, minutes, seconds),
            _ => return Err(format!("`{text}` is no time: hour:minute:second")),
        };
        self.hours = set(hours, 0, 23)?;
        self.minutes = set(minutes, 0, 59)?;
        self.seconds = set(seconds, 0, 59)?;
        Ok(())
    }
}

/// A zone that an expression ends with. Names of the database are `UTC`, or have a slash, or are capitals.
fn zone(word: &str) -> Option<Zone> {
    let is_name = word.contains('/') && word.starts_with(|c: char| c.is_ascii_alphabetic())
        || word.len() >= 3 && word.starts_with(|c: char| c.is_ascii_uppercase()) && !is_weekdays(word);
    is_name.then(|| Zone::named(word)).flatten()
}

fn is_weekdays(word: &str) -> bool {
    weekdays(word).is_ok()
}

/// `Mon..Fri,Sun`; also with a hyphen, and with a comma at the end.
fn weekdays(text: &str) -> Result<u8, String> {
    let mut days = 0;
    for part in text.strip_suffix(',').unwrap_or(text).split(',') {
        let (first, last) = part.split_once("..").or_else(|| part.split_once('-')).unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        if first > last {
            return Err(format!("`{part}` ends before it begins: a week begins on Monday"));
        }
        (first..=last).for_each(|day| days |= 1 << day);
    }
    Ok(days)
}

fn weekday(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let is = |name: &str| lower == name || lower == name[..3];
    WEEKDAYS.iter().position(|name| is(name)).ok_or_else(|| format!("`{text}` is no weekday"))
}

/// The values of a component as bits.
fn set(text: &str, lowest: i16, highest: i16) -> Result<u64, String> {
    if text == "*" {
        return Ok((lowest..=highest).fold(0, |set, value| set | 1 << value));
    }
    let mut set = 0;
    for part in text.split(',') {
        let Part { first, last, step } = part_of(part, lowest, highest)?;
        let last = last.unwrap_or_else(|| if step.is_some() { highest } else { first });
        for value in (first..=last).step_by(usize::try_from(step.unwrap_or(1)).unwrap_or(1)) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

/// Days counted from the end of the month, 1 being its last; repetition goes on to later days.
fn set_from_end(text: &str) -> Result<u64, String> {
    if text == "*" {
        return set("*", 1, 31);
    }
    let mut set = 0;
    for part in text.split(',') {
        let Part { first, last, step } = part_of(part, 1, 31)?;
        let (earliest, latest) = match (last, step) {
            (Some(last), _) => (last, first),
            (None, Some(_)) => (first, 1),
            (None, None) => (first, first),
        };
        for value in (latest..=earliest).rev().step_by(usize::try_from(step.unwrap_or(1)).unwrap_or(1)) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

fn years(text: &str) -> Result<Values, String> {
    if text == "*" {
        return Ok(Values::Any);
    }
    let mut ranges = vec![];
    for part in text.split(',') {
        let (lowest, highest) = (0, *YEARS.end());
        let Part { first, last, step } = part_of(part, lowest, highest)?;
        let century = |year| match year {
            0..70 => year + 2_000,
            70..100 => year + 1_900,
            _ => year,
        };
        let first = century(first);
        let last = last.map_or_else(|| if step.is_some() { highest } else { first }, century);
        ranges.push((first, last, step.unwrap_or(1)));
    }
    Ok(Values::Some(ranges.into()))
}

/// `5`, `5..9`, `5/2`, `5..9/2`.
fn part_of(text: &str, lowest: i16, highest: i16) -> Result<Part, String> {
    let number = |text: &str| -> Result<i16, String> {
        let is_plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_plain);
        number.ok_or_else(|| format!("`{text}` is no whole number"))
    };
    let within = |value: i16| {
        if (lowest..=highest).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{value} is not from {lowest} to {highest}"))
        }
    };
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(number(step)?)),
        None => (text, None),
    };
    if step == Some(0) {
        return Err("a repetition of 0".to_owned());
    }
    let (first, last) = match range.split_once("..") {
        Some((first, last)) => (within(number(first)?)?, Some(within(number(last)?)?)),
        None => (within(number(range)?)?, None),
    };
    if last.is_some_and(|last| last < first) {
        return Err(format!("`{range}` ends before it begins"));
    }
    Ok(Part { first, last, step })
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    #[test]
    fn what_systemd_refuses_is_refused() {
        for text in [
            "",
            " ",
            "10",
            "*/5:00",
            "*:*:*/15",
            "*-*/2-*",
            "Fri..Mon",
            "Sat..Mon",
            "Europe/Berlin",
            "2003-03-05T05:40",
            "*-*-* 00:00:60",
            "*-*-1,~1",
            "*-*~3..1",
            "*-13-1",
            "*-0-1",
            "*-*-32",
            "24:00",
            "1:60",
            "a:b",
            "Mon,,Tue",
            "1-2-3-4",
            "1:2:3:4",
            "*-*-* 10:00 10:00",
            "10:00 Mon",
            "+1:00",
            "-1:00",
            "1/0:00",
            "@1772000000",
            "daily daily",
            "*-*-1..",
            "..5:00",
            "noon",
            "*-*-* 1:00 Nowhere/Else",
            "*:0:0.5",
        ] {
            assert!(OnCalendar::read(text).is_err(), "{text}");
        }
        assert!(OnCalendar::read(&format!("1{}:00", ",1".repeat(200))).is_err());
    }

    /// The next occurrences after 2026-02-20 in UTC, as `systemd-analyze calendar` of systemd 252 shows them.
    #[test]
    fn what_systemd_reads_comes_when_systemd_says() {
        let from = Timestamp::parse_rfc3339("2026-02-20T00:00:00Z").unwrap();
        for (text, expected) in [
            ("*-*~1..3", ["02-26T00:00:00", "02-27T00:00:00", "02-28T00:00:00"]),
            ("*-*~07/2", ["02-22T00:00:00", "02-24T00:00:00", "02-26T00:00:00"]),
            ("*:0/15", ["02-20T00:15:00", "02-20T00:30:00", "02-20T00:45:00"]),
            ("Mon-Fri 10:00", ["02-20T10:00:00", "02-23T10:00:00", "02-24T10:00:00"]),
            ("10:5", ["02-20T10:05:00", "02-21T10:05:00", "02-22T10:05:00"]),
            ("Mon, 10:00", ["02-23T10:00:00", "03-02T10:00:00", "03-09T10:00:00"]),
            ("Mon,Wed", ["02-23T00:00:00", "02-25T00:00:00", "03-02T00:00:00"]),
            ("weekly", ["02-23T00:00:00", "03-02T00:00:00", "03-09T00:00:00"]),
            ("*-*-1..5,10/3", ["02-22T00:00:00", "02-25T00:00:00", "02-28T00:00:00"]),
            ("8..10:00", ["02-20T08:00:00", "02-20T09:00:00", "02-20T10:00:00"]),
            ("daily Europe/Berlin", ["02-20T23:00:00", "02-21T23:00:00", "02-22T23:00:00"]),
            ("HOURLY UTC", ["02-20T01:00:00", "02-20T02:00:00", "02-20T03:00:00"]),
            ("*-*-* 8:00 CET", ["02-20T07:00:00", "02-21T07:00:00", "02-22T07:00:00"]),
            ("*-*-1/10", ["02-21T00:00:00", "03-01T00:00:00", "03-11T00:00:00"]),
            ("03-05 05:40", ["03-05T05:40:00", "", ""]),
            ("*:*:10/25", ["02-20T00:00:10", "02-20T00:00:35", "02-20T00:01:10"]),
            ("Mon *-05~07/1", ["05-25T00:00:00", "", ""]),
        ] {
            let read = OnCalendar::read(text).unwrap();
            let mut at = from;
            for expected in expected.into_iter().filter(|expected| !expected.is_empty()) {
                at = read.next_after(at, &jiff::tz::TimeZone::UTC).unwrap();
                assert_eq!(at.to_string(), format!("2026-{expected}Z"), "{text}");
            }
        }
        let next = |text: &str| {
            let read = OnCalendar::read(text).unwrap();
            read.next_after(from, &jiff::tz::TimeZone::UTC).map(|at| at.to_string()).unwrap_or_default()
        };
        assert_eq!(next("2003..2030/2-1-1"), "2027-01-01T00:00:00Z");
        assert_eq!(next("12-1-1"), "", "2012");
        assert_eq!(next("*-2-30"), "");
        assert_eq!(next("Mon *-02-29"), "2044-02-29T00:00:00Z");
    }
}
