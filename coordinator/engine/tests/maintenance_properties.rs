//! Recurring windows, around daylight saving time above all.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use engine::maintenance::{InvalidSchedule, MAX_DURATION, MIN_DURATION, Schedule, Window};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::Timestamp;
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Zones that change their clocks at odd times: at midnight, by half an hour or two, in Ramadan, on the southern half,
/// never.
const ZONES: [&str; 15] = [
    "Antarctica/Troll",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/Asuncion",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Atlantic/Azores",
    "Pacific/Chatham",
    "Pacific/Apia",
    "America/St_Johns",
    "UTC",
];

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn recurring(cron: &str, zone: &str, duration: Duration) -> Schedule {
    Schedule::recurring(cron, zone, duration, at("2026-01-01T00:00:00Z")).unwrap()
}

/// Every window that starts in the span.
fn windows(schedule: &Schedule, mut from: Timestamp, until: Timestamp) -> Vec<Window> {
    let mut found = vec![];
    while let Some(window) = schedule.next_after(from).filter(|window| window.start < until) {
        found.push(window);
        from = window.start;
    }
    found
}

fn starts(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let schedule = recurring(cron, zone, MIN_DURATION);
    windows(&schedule, at(from), at(until)).iter().map(|window| window.start.to_string()).collect()
}

#[test]
fn a_time_of_day_that_the_clock_skips_comes_at_the_first_instant_after_the_gap() {
    // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
    assert_eq!(
        starts("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z"),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // Beirut, 29 March 2026: midnight becomes one o'clock.
    assert_eq!(
        starts("0 0 * * *", "Asia/Beirut", "2026-03-27T23:00:00Z", "2026-03-30T00:00:00Z"),
        ["2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"]
    );
}

#[test]
fn a_time_of_day_that_the_clock_shows_twice_comes_the_first_time() {
    // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
    assert_eq!(
        starts("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z"),
        ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
}

#[test]
fn a_window_is_known_though_its_time_of_day_comes_again_within_it() {
    // Troll, 25 October 2026: 03:00 becomes 01:00 at 01:00 UTC.
    let schedule = recurring("30 1 * * *", "Antarctica/Troll", 4 * HOUR);
    let window = Window { start: at("2026-10-24T23:30:00Z"), end: at("2026-10-25T03:30:00Z") };
    for inside in
        ["2026-10-24T23:30:00Z", "2026-10-25T01:29:59Z", "2026-10-25T01:30:00Z", "2026-10-25T03:29:59Z"]
    {
        assert_eq!(schedule.active_at(at(inside)), Some(window), "{inside}");
    }
    assert_eq!(schedule.active_at(window.end), None);
}

#[test]
fn what_begins_with_a_star_follows_the_wall_clock() {
    let sunday = |cron| starts(cron, "Europe/Berlin", "2026-10-24T23:59:00Z", "2026-10-25T02:00:00Z");
    let twice = ["2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z"];
    assert_eq!(sunday("15 * * * *"), twice, "both hours are called two");
    assert_eq!(
        starts("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:15:00Z"),
        ["2026-03-30T00:00:00Z"],
        "the whole hour is skipped"
    );
}

#[test]
fn listed_times_are_fixed_ones() {
    assert_eq!(
        starts("10,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:15:00Z"),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:10:00Z"],
        "skipped ones once"
    );
    assert_eq!(
        starts("10,30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ["2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"],
        "repeated ones once"
    );
}

#[test]
fn the_length_of_a_window_is_elapsed_time() {
    let schedule = recurring("0 1 * * *", "Europe/Berlin", 4 * HOUR);
    for sunday in ["2026-03-28T23:30:00Z", "2026-10-24T22:30:00Z"] {
        assert_eq!(schedule.next_after(at(sunday)).unwrap().duration(), 4 * HOUR);
    }
}

#[test]
fn occurrences_that_overlap_or_touch_are_one_window() {
    let schedule = recurring("0 2-4 * * *", "UTC", HOUR);
    let window = Window { start: at("2026-05-01T02:00:00Z"), end: at("2026-05-01T05:00:00Z") };
    for inside in ["2026-05-01T02:00:00Z", "2026-05-01T03:00:00Z", "2026-05-01T04:59:59Z"] {
        assert_eq!(schedule.active_at(at(inside)), Some(window), "{inside}");
        assert_eq!(schedule.next_after(at(inside)).unwrap().start, at("2026-05-02T02:00:00Z"));
    }
    assert_eq!(schedule.active_at(window.end), None);
}

#[test]
fn a_schedule_is_stored_as_its_words() {
    let schedule = recurring("0  2 * *  SUN", "europe/berlin", 2 * HOUR);
    let text = serde_json::to_string(&schedule).unwrap();
    assert_eq!(
        text,
        r#"{"recurring":{"cron":"0 2 * * SUN","zone":"Europe/Berlin","duration":{"secs":7200,"nanos":0}}}"#
    );
    assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    let unknown = text.replace("Berlin", "Berln");
    assert!(serde_json::from_str::<Schedule>(&unknown).unwrap_err().to_string().contains("no time zone"));
}

#[test]
fn every_zone_of_the_database_can_be_used() {
    let mut count = 0;
    for zone in TimeZoneDatabase::bundled().available() {
        if zone.as_str() == "Etc/Unknown" {
            continue;
        }
        let schedule = recurring("30 2 15 * *", zone.as_str(), HOUR);
        let months = windows(&schedule, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")).len();
        assert_eq!(months, 12, "{}", zone.as_str());
        count += 1;
    }
    assert!(count > 400, "{count}");
}

fn zones() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&ZONES)
}

fn crons() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..60_u8, 0..24_u8).prop_map(|(minute, hour)| format!("{minute} {hour} * * *")),
        2 => (0..60_u8, 0..24_u8, 0..7_u8).prop_map(|(minute, hour, day)| format!("{minute} {hour} * * {day}")),
        1 => (0..60_u8).prop_map(|minute| format!("{minute} * * * *")),
        1 => (2..40_u8, 0..24_u8).prop_map(|(step, hour)| format!("*/{step} {hour} * * *")),
        1 => (0..60_u8, 0..23_u8, 1..29_u8).prop_map(|(minute, hour, day)| format!("{minute} {hour},{} {day} * *", hour + 1)),
    ]
}

#[test]
fn a_recurring_schedule_tells_what_it_was_made_of_and_what_its_clock_shows() {
    let Schedule::Recurring(recurring) = recurring(" 0 2  * * *", "europe/berlin", HOUR) else {
        panic!("not recurring")
    };
    assert_eq!(
        (recurring.cron(), recurring.zone(), recurring.duration()),
        ("0 2 * * *", "Europe/Berlin", HOUR)
    );
    let shown = recurring.wall_time(at("2026-07-01T12:00:00Z")).unwrap();
    assert_eq!(shown.to_string(), "2026-07-01T14:00:00");
    assert_eq!(recurring.wall_time(Timestamp::from_micros(i64::MAX)), None, "no calendar goes so far");
}

#[test]
fn schedules_are_the_same_if_their_words_are() {
    let schedule = recurring("0 2 * * *", "Europe/Berlin", HOUR);
    assert_eq!(schedule, recurring("0 2  * * *", "europe/berlin", HOUR));
    assert_eq!(
        format!("{schedule:?}"),
        "Recurring(Recurring(`0 2 * * *` in Europe/Berlin, for 3600s))",
        "neither the zone's transitions nor the pattern's bits"
    );
    for other in [
        recurring("0 3 * * *", "Europe/Berlin", HOUR),
        recurring("0 2 * * *", "Europe/Paris", HOUR),
        recurring("0 2 * * *", "Europe/Berlin", 2 * HOUR),
    ] {
        assert_ne!(schedule, other);
    }
}

/// A zone and an instant some days before its clock changes, if it ever does.
fn before_changes() -> impl Strategy<Value = (&'static str, Timestamp)> {
    (zones(), instants(), 0_u64..72).prop_map(|(zone, at, hours)| {
        let clock = TimeZoneDatabase::bundled().get(zone).unwrap();
        let change = clock.following(at.to_jiff().unwrap()).next().map(|change| change.timestamp());
        let change = change.map_or(at, |change| Timestamp::from_micros(change.as_microsecond()));
        (zone, change.minus(HOUR * u32::try_from(hours).unwrap()))
    })
}

/// Instants from 2024 to 2034.
fn instants() -> impl Strategy<Value = Timestamp> {
    (1_704_067_200_000_000_i64..2_019_686_400_000_000).prop_map(Timestamp::from_micros)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Windows follow each other in order and apart, and inside each of them every instant says so.
    #[test]
    fn windows_are_strictly_in_order_and_agree_with_the_present(
        cron in crons(), (zone, from) in before_changes(), minutes in 1_u64..90, offset in 0.0_f64..1.0,
    ) {
        let duration = Duration::from_secs(minutes * 60);
        let Ok(schedule) = Schedule::recurring(&cron, zone, duration, from) else { return Ok(()) };
        let found = windows(&schedule, from, from.plus(4 * DAY));
        for pair in found.windows(2) {
            prop_assert!(pair[0].end < pair[1].start, "{pair:?}");
        }
        for window in found {
            prop_assert!(window.duration() >= duration && window.start > from);
            let inside = window.start.plus(window.duration().mul_f64(offset).min(window.duration() - Duration::from_micros(1)));
            prop_assert_eq!(schedule.active_at(inside), Some(window));
            prop_assert_eq!(schedule.active_at(window.end), None);
            let before = window.start.minus(Duration::from_micros(1));
            prop_assert_eq!(schedule.active_at(before), None);
            prop_assert_eq!(schedule.next_after(before), Some(window));
        }
    }

    /// A fixed time of day comes once on each day of the calendar, whatever the clock does on it.
    #[test]
    fn a_time_of_day_comes_once_a_day(
        hour in 0..24_u8, minute in 0..60_u8, (zone, from) in before_changes(),
    ) {
        let schedule = recurring(&format!("{minute} {hour} * * *"), zone, MIN_DURATION);
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let date = |at: Timestamp| local(at, &zone).date();
        let found = windows(&schedule, from, from.plus(6 * DAY));
        for pair in found.windows(2) {
            prop_assert_eq!(date(pair[1].start), date(pair[0].start).tomorrow().unwrap());
        }
        for window in found {
            let shown = local(window.start, &zone);
            let asked = shown.date().at(i8::try_from(hour).unwrap(), i8::try_from(minute).unwrap(), 0, 0);
            let skipped = zone.to_ambiguous_timestamp(asked).offset();
            let skipped = matches!(skipped, jiff::tz::AmbiguousOffset::Gap { .. });
            prop_assert!(shown == asked || skipped, "{shown} for {asked}");
        }
    }

    /// Whatever text comes: an answer soon, and no panic.
    #[test]
    fn any_text_is_read_or_refused(
        cron in prop_oneof!["[ -~]{0,30}", "([0-9*/,#LW?-]{1,6} ){4}[0-9*/,#LW?-]{1,6}", "\\PC{0,40}"],
        zone in prop_oneof![Just("UTC".to_owned()), "[A-Za-z/_.]{0,20}"],
        from in instants(),
    ) {
        match Schedule::recurring(&cron, &zone, HOUR, from) {
            Ok(schedule) => prop_assert!(schedule.next_after(from).is_some()),
            Err(refused) => prop_assert!(!refused.to_string().is_empty()),
        }
    }

    /// What no schedule accepts, whatever the expression.
    #[test]
    fn windows_have_bounds(secs in 0_u64..10_000_000) {
        let duration = Duration::from_secs(secs);
        let once = Schedule::once(Timestamp::EPOCH, Timestamp::EPOCH.plus(duration));
        let allowed = (MIN_DURATION..=MAX_DURATION).contains(&duration);
        prop_assert_eq!(once.is_ok(), allowed);
        let recurring = Schedule::recurring("0 0 1 1 *", "UTC", duration, Timestamp::EPOCH);
        prop_assert_eq!(matches!(recurring, Err(InvalidSchedule::Duration(_))), !allowed);
    }
}

fn local(at: Timestamp, zone: &TimeZone) -> jiff::civil::DateTime {
    at.to_jiff().unwrap().to_zoned(zone.clone()).datetime()
}
