//! What windows of maintenance do, by example. See `timelines.rs` for how to read them.
#![expect(clippy::unwrap_used, reason = "test code: a malformed timeline should stop the test")]

mod script;

use script::{heartbeat, monitor};

/// One test per timeline; the snapshot is named like the test.
macro_rules! timelines {
    ($run:path: $($name:ident $script:literal)+) => { $(
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), $run($script));
            });
        }
    )+ };
}

timelines! { monitor::play:
    maintenance_opens_nothing_and_asks_at_its_end_what_failed_in_it "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s maintenance
        t+200s all 503
        t+210s all 503
        t+220s explain
        t+3700s maintenance over; table
        t+3700.2s eu,us 503
    "
    maintenance_that_broke_nothing_ends_in_silence "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s maintenance
        t+200s eu 503
        t+300s eu pass
        t+3700s maintenance over
        t+3800s all pass
    "
    an_incident_stays_open_through_maintenance_and_resolves_after_it "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+50s all 503
        t+100s maintenance
        t+200s all pass
        t+300s all pass
        t+400s maintenance over
        t+400.2s all pass
        t+410.2s all pass
    "
    an_incident_that_is_still_down_after_maintenance_is_told_no_second_time "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+50s all 503
        t+100s maintenance
        t+400s maintenance over
        t+400.2s all 503
        t+500s all 503
    "
    maintenance_drops_the_round_under_way_and_its_answers_decide_nothing "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.1s maintenance
        t+100.2s us 503
        t+200s all pass
        t+300s maintenance over
        t+301s all pass
    "
    streaks_begin_anew_at_the_end_of_maintenance "
        monitor eu; interval 60s
        t+0 live all; all pass
        t+40s maintenance
        t+50s eu refused
        t+55s eu refused
        t+60s maintenance over
        t+60.1s eu refused
        t+60.2s explain
        t+61.2s eu refused
    "
    a_check_that_began_in_maintenance_and_ends_after_it_only_asks "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+40s maintenance
        t+60s maintenance over
        t+62s eu timeout @52s
        t+62.1s table
        t+63s eu,us timeout @62.1s
        t+64s eu,us pass
    "
    what_began_in_maintenance_is_no_attempt_of_a_round_after_it "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+40s maintenance
        t+60s maintenance over
        t+61s eu refused
        t+61.1s us timeout @55s
        t+62.1s eu refused; us refused @61.2s
        t+62.3s us refused @62.2s
    "
    an_outage_found_after_maintenance_began_at_its_end_at_the_earliest "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+40s maintenance
        t+55s all refused
        t+60s maintenance over
        t+60.1s all refused
        t+61.1s all refused
    "
    nobody_is_judged_absent_in_maintenance_or_soon_after_it "
        monitor eu us; interval 60s
        t+0 live all; all pass
        t+10s gone all
        t+20s maintenance
        t+1000s maintenance over
        t+1079s explain
        t+1081s nothing
    "
    pausing_in_maintenance_closes_and_resuming_in_it_waits_for_its_end "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+50s all 503
        t+100s maintenance
        t+200s pause
        t+300s resume; all 503
        t+400s maintenance over
        t+400.2s all 503
    "
    a_paused_monitor_hears_nothing_of_maintenance "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+50s pause
        t+100s maintenance
        t+200s maintenance over
        t+300s resume; all pass
    "
    deleting_in_maintenance_closes "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+50s all 503
        t+100s maintenance
        t+200s delete
        t+300s maintenance over
    "
    a_policy_that_changes_in_maintenance_counts_from_its_end "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+50s all 503
        t+100s maintenance
        t+200s policy quorum any; all 503
        t+300s maintenance over
        t+300.2s all pass
        t+310.2s all pass
    "
    a_new_specification_in_maintenance_is_judged_after_it "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+100s maintenance
        t+200s respec; all 503
        t+300s maintenance over
        t+300.2s all 503
    "
    a_restart_in_maintenance_does_not_end_it "
        monitor eu us; interval 60s
        t+0 live all; all pass
        t+50s all 503
        t+100s maintenance
        t+200s restart 150s
        t+201s live all; all pass
        t+300s maintenance over
        t+300.2s all pass
        t+310.2s all pass
    "
    maintenance_that_began_while_the_coordinator_was_away_precedes_its_blindness "
        monitor eu us; interval 60s
        t+0 live all; all pass
        t+200s maintenance since 100s; restart 90s
        t+201s live all; all 503
        t+300s maintenance over
        t+300.2s all 503
    "
    maintenance_is_said_once "
        monitor eu; interval 1h
        t+0 live all; all pass
        t+10s maintenance
        t+20s maintenance
        t+30s maintenance over
        t+40s maintenance over
    "
}

timelines! { heartbeat::play:
    a_job_may_be_silent_in_maintenance_and_is_due_that_much_later "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+110m maintenance over
        t+121m nothing
        t+126m nothing
    "
    a_job_that_is_late_when_maintenance_begins_keeps_the_rest_of_its_grace "
        heartbeat every 1h; grace 5m
        t+0 success
        t+62m maintenance
        t+122m maintenance over
        t+126m nothing
    "
    a_ping_in_maintenance_counts_and_the_interval_runs_from_its_end "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+60m success
        t+110m maintenance over
        t+176m nothing
    "
    a_job_that_is_missed_stays_so_through_maintenance_until_it_pings "
        heartbeat every 1h; grace 5m
        t+0 success
        t+70m maintenance
        t+130m maintenance over
        t+140m success
    "
    a_ping_in_maintenance_ends_the_incident_from_before_it "
        heartbeat every 1h; grace 5m
        t+0 success
        t+70m maintenance
        t+80m success
        t+130m maintenance over
        t+196m nothing
    "
    a_failure_reported_in_maintenance_opens_nothing_then_or_later "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+55m fail
        t+56m exit 3
        t+110m maintenance over
        t+150m success
    "
    a_job_that_fails_again_in_maintenance_is_recorded "
        heartbeat every 1h; grace 5m
        t+0 fail
        t+50m maintenance
        t+55m fail
        t+110m maintenance over
    "
    a_new_job_may_ping_first_in_maintenance "
        heartbeat every 1h; grace 5m
        t+10m maintenance
        t+20m success
        t+30m maintenance over
        t+96m nothing
    "
    a_run_through_maintenance_is_still_a_run "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+55m start
        t+110m maintenance over
        t+115m success
    "
    pausing_a_job_in_maintenance_closes_and_resuming_counts_from_its_end "
        heartbeat every 1h; grace 5m
        t+0 success
        t+70m maintenance
        t+80m pause
        t+90m resume
        t+130m maintenance over
        t+196m nothing
    "
    deleting_a_job_in_maintenance_closes "
        heartbeat every 1h; grace 5m
        t+0 success
        t+70m maintenance
        t+80m delete
        t+90m maintenance over
    "
    a_schedule_that_changes_in_maintenance_does_not_alert_at_its_end "
        heartbeat every 25h; grace 5m
        t+0 success
        t+3h maintenance
        t+4h policy every 1h
        t+5h maintenance over
        t+7h nothing
    "
    blindness_in_maintenance_needs_no_excuse "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+80m blind 60m
        t+110m maintenance over
        t+126m nothing
    "
    blindness_in_a_run_in_maintenance_makes_it_unknown_after_it "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+55m start
        t+80m blind 60m
        t+110m maintenance over
    "
    blindness_just_before_maintenance_is_excused_as_ever "
        heartbeat every 1h; grace 5m
        t+0 success
        t+80m maintenance since 62m; blind 58m
        t+122m maintenance over
        t+180m nothing
        t+186m nothing
    "
    maintenance_that_ends_while_the_coordinator_is_away_lasts_until_it_is_back "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m maintenance
        t+120m blind 100m; maintenance over
        t+136m nothing
    "
}
