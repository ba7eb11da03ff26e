//! The specification by example of jobs that run by a calendar, and of what is expected of their runs.
//!
//! Every timeline begins on Tuesday 2023-11-14 at 22:13:20 UTC, so that 3 o'clock is 17,200 s later.
#![expect(clippy::unwrap_used, reason = "test code: a malformed timeline should stop the test")]

#[expect(dead_code, reason = "its other half plays monitors")]
mod script;

use script::heartbeat;

/// One test per timeline; the snapshot is named like the test.
macro_rules! timelines {
    ($($name:ident $script:literal)+) => { $(
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), heartbeat::play($script));
            });
        }
    )+ };
}

timelines! {
    a_nightly_job_that_stops_is_missed_when_its_grace_is_over "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+17100s success
        t+103500s success
        t+103700s nothing
        t+104000s success
    "
    a_ping_a_little_early_counts_for_its_occurrence "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+17150s success
        t+18000s nothing
    "
    a_nightly_job_is_expected_at_its_local_time_when_the_clock_is_changed "
        heartbeat at 30 2 * * * in America/New_York; grace 5m
        t+0 success
    "
    what_a_calendar_names_in_maintenance_does_not_count "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+17000s maintenance
        t+17400s maintenance over
    "
    what_was_due_before_maintenance_is_due_that_much_later "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+17300s maintenance
        t+27300s maintenance over
        t+27500s nothing
    "
    an_edit_of_the_calendar_does_not_alert "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+17300s policy every 1h
        t+17400s nothing
    "
    a_nightly_ping_that_may_have_been_lost_is_excused_once "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+17250s blind 17190s
        t+103700s blind 103650s
        t+104000s nothing
    "
    a_nightly_ping_that_nobody_could_have_heard_is_excused_each_time "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+18000s blind 17000s
        t+104400s blind 103400s
        t+190500s nothing
    "
    absence_far_from_the_occurrence_excuses_nothing "
        heartbeat at 0 3 * * * in UTC; grace 5m
        t+0 success
        t+17100s blind 100s
        t+17600s nothing
    "
    a_job_that_never_starts_is_found_before_its_grace_is_over "
        heartbeat at 0 3 * * * in UTC; grace 6h; start-grace 1m
        t+0 success
        t+18000s success
    "
    a_job_that_started_in_time_has_all_of_its_grace "
        heartbeat at 0 3 * * * in UTC; grace 6h; start-grace 1m
        t+0 success
        t+17230s start #1
        t+30000s success #1
        t+103000s start #2
        t+126000s nothing
    "
    a_run_may_go_on_for_as_long_as_it_may_take "
        heartbeat at 0 3 * * * in UTC; grace 5m; max-runtime 2h
        t+0 success
        t+17230s start
        t+24000s success
        t+103600s start
        t+110900s nothing
        t+111000s success
    "
    a_run_that_says_nothing_for_too_long_is_dead "
        heartbeat every 1h; grace 5m; keep-alive 5m
        t+0 success
        t+3300s start #1
        t+3500s log #1
        t+3700s start #1
        t+3900s log #2
        t+4100s log
        t+4300s success #1
    "
    runs_that_overlap_are_held_to_their_limits_each "
        heartbeat every 1h; grace 5m; max-runtime 1h
        t+0 success
        t+50m start #1
        t+80m start #2
        t+100m success #1
        t+150m success #2
    "
    absence_during_a_bounded_run_alerts_nobody "
        heartbeat at 0 3 * * * in UTC; grace 5m; max-runtime 2h
        t+0 success
        t+17230s start #1
        t+20000s blind 19000s
        t+30000s success #1
    "
    a_run_in_doubt_is_held_to_its_limits_again_once_it_is_heard_of "
        heartbeat every 1h; grace 5m; keep-alive 5m
        t+0 success
        t+1000s start #1
        t+1100s blind 1050s
        t+1200s log #1
        t+1600s nothing
    "
    a_run_stands_still_in_maintenance "
        heartbeat every 1h; grace 5m; max-runtime 30m
        t+0 success
        t+10m start
        t+20m maintenance
        t+80m maintenance over
        t+101m nothing
    "
    a_shorter_limit_does_not_alert_by_itself "
        heartbeat every 10h; grace 5m; max-runtime 30m; start-grace 1m
        t+0 success
        t+10m start
        t+39m policy every 1h
        t+60m nothing
    "
    a_first_run_that_takes_too_long_is_told_of "
        heartbeat every 1h; grace 5m; max-runtime 30m
        t+0 start
        t+31m nothing
    "
    time_outside_working_hours_does_not_count "
        heartbeat every 2h; grace 30m; hours mon-fri 08:00-18:00 UTC
        t+40000s success
        t+66000s success
        t+200000s nothing
    "
}
