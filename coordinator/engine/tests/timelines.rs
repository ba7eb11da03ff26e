//! The specification by example: small timelines in, what the engine makes of them out.
//!
//! Each snapshot holds the timeline itself; indented below each line stands what it caused. What happens at a
//! deadline between two lines carries its own time.
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
    one_region_decides_alone_and_a_definite_answer_counts_at_once "
        monitor eu; interval 1h
        t+0 live all
        t+1s eu pass
        t+1h eu 503
        t+3601s explain
        t+2h eu pass
        t+7201s explain
        t+7211s eu pass
    "
    an_incident_that_rests_on_a_quarantined_agent_is_asked_about_again_and_not_ended_by_that "
        monitor a b c; interval 1h
        t+0 live all; all pass
        t+100s a,b 503
        t+120s quarantine a @100s
        t+121s b,c pass; a 503
        t+121s table
        t+131s b,c pass
    "
    votes_of_a_quarantined_agent_ask_nobody_and_count_for_nothing "
        monitor a b c; interval 1h
        t+0 live all; all pass
        t+100s a 503; quarantine a @100s
        t+110s b 503
        t+111s c pass
        t+112s explain
    "
    where_one_region_decides_a_quarantined_agent_still_does_and_is_marked "
        monitor a b; interval 1h; quorum any
        t+0 live all; all pass
        t+90s quarantine a @80s
        t+100s a 503
    "
    too_few_believed_votes_are_too_few_and_a_release_ends_that "
        monitor a b; interval 1h
        t+0 live all; all pass
        t+100s a 503; quarantine a @100s
        t+200s b pass; a pass
        t+260s release a
    "
    a_region_is_not_eligible_and_not_in_doubt_while_its_agent_is_quarantined "
        monitor a b c; interval 1h; quorum all
        t+0 live all; all pass
        t+90s a pass; quarantine a @90s
        t+100s b 503
        t+101s c 503
    "
    a_quarantine_in_which_no_vote_falls_changes_nothing "
        monitor a b c; interval 1h
        t+0 live all; all pass
        t+100s b,c 503
        t+200s quarantine a @150s
        t+210s release a
        t+300s quarantine b @90s
        t+301s release c
        t+302s b,c 503; a pass
        t+400s quarantine b @350s
    "
    what_no_region_can_check_is_unknown_with_the_reason_and_wakes_nobody "
        monitor a b; interval 60s
        t+0 live all
        t+1s all unsupported
        t+61s all unsupported
        t+70s explain
        t+121s a unsupported; b 503
        t+122s b 503
        t+181s a unsupported; b pass
        t+241s all pass
    "
    what_one_region_cannot_check_another_may_not_be_able_to_for_other_reasons "
        monitor a b; interval 60s
        t+0 live all
        t+1s a unsupported; b error
        t+61s a unsupported; b error
        t+90s nothing
    "
    majority_of_1 "
        monitor a; interval 1h
        t+0 live all; all pass
        t+100s a timeout @90s
        t+112s a timeout @101s
        t+122s a pass
        t+133s a pass
    "
    majority_of_2 "
        monitor a b; interval 1h
        t+0 live all; all pass
        t+100s a 503
        t+101s b 503
        t+200s a pass
        t+201s b pass
        t+211s a,b pass
    "
    majority_of_3 "
        monitor a b c; interval 1h
        t+0 live all; all pass
        t+100s a 503
        t+101s b 503
        t+200s a pass
        t+201s b pass
        t+211s a,b pass
    "
    majority_of_4 "
        monitor a b c d; interval 1h
        t+0 live all; all pass
        t+100s a 503
        t+101s b 503; c 503
        t+200s a pass
        t+201s b pass; c,d 503
        t+211s a,b pass; c,d 503
    "
    majority_of_5 "
        monitor a b c d e; interval 1h
        t+0 live all; all pass
        t+100s a 503
        t+101s b 503; c 503
        t+200s a pass
        t+201s b,c pass
        t+211s a,b,c pass
    "
    majority_of_6 "
        monitor a b c d e f; interval 1h
        t+0 live all; all pass
        t+100s a 503
        t+101s b 503; c 503; d 503
        t+200s a pass
        t+201s b,c pass; d,e,f 503
        t+211s a,b,c pass; d,e,f 503
    "
    majority_of_7 "
        monitor a b c d e f g; interval 1h
        t+0 live all; all pass
        t+100s a 503
        t+101s b 503; c 503; d 503
        t+200s a pass
        t+201s b,c,d pass
        t+211s a,b,c,d pass
    "
    a_new_monitor_is_pending_until_the_regions_agree_either_way "
        monitor ap eu us; interval 1h
        t+0 live all
        t+1s eu 503
        t+1.1s explain
        t+1.2s us 503
    "
    a_region_that_is_refused_again_and_again_stays_degraded "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu refused
        t+100.2s ap,us pass
        t+101.2s eu refused
        t+160s eu refused
        t+160.5s eu refused
        t+161s explain
    "
    one_region_of_three_is_degraded_never_down "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s ap,us pass
        t+160s eu 503
        t+220s eu 503
        t+221s explain
        t+280s eu pass
    "
    two_attempts_make_a_timeout_certain_whatever_order_they_arrive_in "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+110s eu timeout @100s
        t+111.2s us refused @111.1s
        t+112s eu refused @111.2s
        t+112.5s table
        t+120.1s us timeout @110.1s
    "
    a_pass_between_two_failures_clears_the_first "
        monitor a; interval 1h
        t+0 live all; all pass
        t+100s a refused
        t+100.2s a pass
        t+200s a refused
        t+201s a refused
    "
    a_hanging_check_asks_the_others_before_it_fails "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+101s eu slow @100s
        t+101.2s ap,us pass
        t+103s eu pass @100s
        t+301s eu slow @300s
        t+310s eu timeout @300s
        t+311.1s ap,us,eu timeout @301.1s
        t+312.1s ap,us,eu timeout @302.1s
    "
    a_hanging_check_that_is_over_old_or_from_elsewhere_asks_nobody "
        monitor ap eu us; interval 60s
        t+0 live all; all pass
        t+10s eu slow @-1s
        t+11s eu slow @0s
        t+20s eu slow @21s
        t+21s mars slow @20s
        t+25s gone us; us slow @24s
        t+26s live us
        t+60s ap,us pass
        t+85s eu slow @5s
        t+85.1s eu slow @5.2s
    "
    a_hanging_check_asks_nobody_while_it_would_find_out_nothing_new "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s ap,us pass
        t+200s eu slow @199s
        t+300s us slow @299s
        t+300.5s ap slow @300s
        t+300.6s ap,us pass
        t+302.5s ap slow @302s
        t+302.6s ap slow @302s
        t+302.7s us,ap pass
        t+400s gone us,eu; ap slow @399s
        t+401s live us,eu; ap slow @399s
    "
    a_hanging_check_asks_nobody_where_one_failure_would_not "
        monitor ap eu us; interval 1h; failures 2
        t+0 live all; all pass
        t+100s eu slow @99s
    "
    a_hanging_check_asks_nobody_when_the_monitor_is_down_paused_or_in_maintenance "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu,us 503
        t+100.2s ap pass
        t+200s ap slow @199s
        t+300s pause; ap slow @299s
        t+400s resume; all pass
        t+500s maintenance; ap slow @499s
        t+600s maintenance over; ap slow @599s
    "
    only_checks_around_the_first_failure_count_for_opening "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s ap,us pass
        t+400s us 503
        t+400.1s table
        t+400.2s ap pass
        t+400.3s eu pass
    "
    a_region_that_cannot_measure_abstains "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s ap,us error
        t+100.3s explain
        t+101.5s ap error; us pass
    "
    rounds_that_change_nothing_are_held_back_ever_longer "
        monitor ap eu us; interval 10s
        t+0 live all; all pass
        t+10s eu refused
        t+10.1s all pass
        t+10.5s eu refused
        t+11.1s nothing
        t+11.2s all pass
        t+11.5s eu refused
        t+13.3s all pass
        t+13.5s eu refused
        t+17.3s all pass
        t+40s eu refused
        t+40.1s all pass
    "
    an_unanswered_round_is_asked_again_until_the_votes_are_stale "
        monitor a; interval 1s; timeout 1s
        t+0 live all; all pass
        t+1s a refused
        t+60s nothing
        t+100s nothing
    "
    what_a_region_finds_long_after_a_round_refuted_it_is_news "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s ap,us pass
        t+300s eu 503
        t+3700s eu 503
        t+3700.2s ap,us 503
    "
    a_region_that_fails_for_good_asks_once_in_four_minutes "
        monitor ap eu us; interval 1m
        t+0 live all; all pass
        t+60s eu 503
        t+60.1s ap,us pass
        t+120s eu 503; ap,us pass
        t+180s eu 503; ap,us pass
        t+240s eu 503; ap,us pass
        t+300s eu 503; ap,us pass
        t+360s eu 503
        t+360.1s ap,us pass
        t+420s eu 503; ap,us pass
    "
    a_region_passing_long_after_a_recovery_came_to_nothing_asks_again "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s all 503
        t+200s ap pass
        t+200.2s eu,us 503
        t+300s ap pass
        t+3800s ap pass
        t+3800.2s eu pass
        t+3810.2s ap,eu pass
    "
    the_pause_that_one_region_earned_holds_no_other_back "
        monitor ap eu us; interval 30s
        t+0 live all; all pass
        t+30s eu refused
        t+30.1s all pass
        t+30.5s eu refused
        t+31.2s all pass
        t+31.5s eu refused
        t+33.3s all pass
        t+33.5s eu refused
        t+34s us refused
        t+34.1s ap,eu pass
        t+35.1s us pass
        t+35.2s us refused; eu refused
    "
    a_confirmation_period_must_hold_without_a_pass_breaking_the_quorum "
        monitor ap eu us; interval 1h; confirm 60s
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s us 503; ap pass
        t+130s us pass
        t+140s us 503
        t+140.2s explain
        t+140.3s eu 503
        t+200.3s nothing
        t+200.5s eu 503
        t+201s us,ap pass
    "
    an_incident_opens_when_the_quorum_still_holds_after_the_confirmation_period "
        monitor ap eu us; interval 1h; confirm 60s
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s us 503; ap pass
        t+160.3s eu 503
        t+160.4s us 503
    "
    a_pass_after_the_confirmation_period_still_breaks_the_quorum "
        monitor ap eu us; interval 1h; confirm 60s
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s us 503; ap pass
        t+160.3s eu pass
        t+160.4s us,ap 503
        t+161.5s eu 503
    "
    recovery_needs_two_rounds_ten_seconds_apart "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s us,ap 503
        t+200s eu pass
        t+200.2s us pass
        t+200.3s ap 503
        t+205s ap 503
        t+210.2s eu,us pass
        t+210.3s ap 503
    "
    a_recovery_that_does_not_hold_starts_over "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s all 503
        t+200s eu pass
        t+200.2s us pass
        t+210.2s all 503
        t+215s eu pass
        t+215.2s us pass
        t+225.2s us,eu pass
    "
    one_passing_region_of_a_monitor_that_is_down_asks_once "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s all 503
        t+160s ap pass
        t+160.2s eu,us 503
        t+220s ap pass
        t+280s ap pass
        t+340s eu pass
        t+340.2s us 503; ap pass
        t+350.2s eu,ap pass; us 503
    "
    losing_the_failing_regions_does_not_resolve "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.2s us 503; ap pass
        t+150s gone us
        t+200s ap pass; eu 503
        t+201s table
        t+300s live us
        t+300.1s us pass
        t+300.3s ap pass
        t+310.3s ap,us pass
    "
    silence_makes_unknown_after_a_minute_and_a_decision_ends_it "
        monitor ap eu us; interval 60s
        t+0 live all; all pass
        t+30s ap pass
        t+200s explain
        t+201s ap pass
        t+202s eu pass
    "
    a_monitor_that_is_down_and_unheard_stays_down_unverified "
        monitor ap eu us; interval 60s
        t+0 live all; all pass
        t+10s eu,us 503
        t+300s nothing
        t+301s eu 503
        t+302s us 503
    "
    failures_below_the_threshold_ask_nobody_and_count_for_nothing "
        monitor ap eu us; interval 30s; failures 3
        t+0 live all; all pass
        t+30s eu 503
        t+40s us 503
        t+60s eu 503
        t+61s table
        t+70s us 503
        t+90s eu 503
        t+90.1s us 503
        t+90.2s table
    "
    a_check_that_cannot_measure_makes_no_passes_into_failures "
        monitor eu us; interval 30s; quorum any; failures 3
        t+0 live all; all pass
        t+30s all pass
        t+60s eu error
        t+90s eu 503; us pass
        t+120s eu error
        t+150s eu 503; us pass
        t+180s eu 503
    "
    a_region_that_failed_must_pass_as_often_as_its_threshold_says "
        monitor eu us; interval 30s; quorum any; passes 3; recovery 1
        t+0 live all; all pass
        t+30s eu 503
        t+60s eu pass; us pass
        t+61s eu pass; us pass
        t+62s table
        t+90s eu pass; us pass
        t+91s us pass
    "
    a_recovery_must_last_for_the_recovery_period "
        monitor eu; interval 1h; stable 1m
        t+0 live all; all pass
        t+100s eu 503
        t+200s eu pass
        t+200.1s eu pass
        t+210.1s eu pass
        t+240.2s eu pass
        t+260.2s eu pass
    "
    slow_answers_make_degraded_after_three_in_a_row_and_no_incident "
        monitor eu us; interval 1h; limit 1s
        t+0 live all; all pass
        t+30s eu sluggish
        t+60s eu sluggish
        t+90s eu sluggish
        t+91s explain
        t+120s eu pass
        t+150s eu pass
        t+180s eu pass
    "
    a_component_must_fail_in_two_reports_in_a_row_and_be_well_in_two "
        monitor eu us; interval 30s
        t+0 live all; all pass
        t+30s eu unwell
        t+45s us pass
        t+60s eu unwell
        t+75s us unwell
        t+90s eu pass
        t+105s us pass
    "
    a_report_that_is_not_well_but_names_nothing_makes_degraded_too "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+30s eu ailing
        t+60s eu ailing
        t+61s explain
        t+90s eu unwell
        t+105s us unwell
        t+120s eu pass
        t+135s us pass
    "
    a_component_that_is_not_named_twice_in_a_row_changes_nothing "
        monitor eu us; interval 30s
        t+0 live all; all pass
        t+30s eu unwell
        t+45s us pass
        t+60s eu unwell
        t+75s us pass
        t+90s eu unwell
        t+91s us unwell @80s
        t+92s explain
    "
    the_third_opening_within_an_hour_stays_open_until_it_has_been_up_for_ten_minutes "
        monitor eu; interval 1h; recovery 1
        t+0 live all; all pass
        t+100s eu 503
        t+200s eu pass
        t+200.1s eu pass
        t+300s eu 503
        t+400s eu pass
        t+400.1s eu pass
        t+500s eu 503
        t+600s eu pass
        t+600.1s eu pass
        t+610.1s eu 503
        t+700s eu pass
        t+700.1s eu pass
        t+730.2s eu pass
        t+760.2s eu pass
        t+790.2s eu pass
        t+820.2s eu pass
        t+850.2s eu pass
        t+880.2s eu pass
        t+910.2s eu pass
        t+940.2s eu pass
        t+970.2s eu pass
        t+1000.2s eu pass
        t+1030.2s eu pass
        t+1060.2s eu pass
        t+1090.2s eu pass
        t+1120.2s eu pass
        t+1150.2s eu pass
        t+1180.2s eu pass
        t+1210.2s eu pass
        t+1240.2s eu pass
        t+1270.2s eu pass
        t+1300.2s eu pass
        t+1330.2s eu pass
    "
    while_a_parent_is_down_a_failure_is_put_down_to_it "
        monitor eu us; interval 1m; parents yes
        t+0 live all; all pass
        t+10s parents db-host down
        t+60s eu 503
        t+60.1s us 503
        t+60.2s explain
        t+120s parents well
        t+120.1s eu,us pass
    "
    a_failure_that_outlives_the_parents_is_an_incident_of_its_own "
        monitor eu us; interval 1m; parents yes
        t+0 live all; all pass
        t+10s parents db-host unknown
        t+60s eu 503
        t+120s parents well
        t+120.1s eu 503
        t+120.2s us 503
    "
    a_child_that_fails_first_asks_the_parents_and_waits_for_what_they_say "
        monitor eu us; interval 1m; parents yes
        t+0 live all; all pass
        t+60s eu 503; parents in-question
        t+60.1s us 503
        t+60.2s explain
        t+61s parents db-host down
    "
    parents_that_are_well_clear_the_way_at_once "
        monitor eu; interval 1m; parents yes
        t+0 live all; all pass
        t+60s eu 503
        t+60.1s parents well
    "
    a_child_waits_for_its_parents_no_longer_than_one_round "
        monitor eu; interval 1m; parents yes
        t+0 live all; all pass
        t+60s eu 503; parents in-question
        t+70s eu 503
        t+80s nothing
    "
    what_is_wrong_with_a_parent_is_recorded_once_in_an_open_incident "
        monitor eu; interval 1m; parents yes
        t+0 live all; all pass
        t+60s eu 503; parents well
        t+61s nothing
        t+70s parents db-host down
        t+71s parents db-host down
        t+72s parents db-host maintenance
        t+73s parents well
        t+74s parents in-question
    "
    parents_that_are_well_again_ask_about_a_child_only_if_it_fails "
        monitor eu us; interval 1h; parents yes
        t+0 live all; all pass
        t+10s parents db-host down
        t+20s parents well
        t+30s parents db-host down
        t+40s eu 503
        t+41s eu pass
        t+50s parents in-question
        t+51s parents well
        t+60s parents db-host down
        t+61s eu refused
        t+70s parents in-question
        t+71s parents well
        t+71.1s eu,us pass
        t+80s pause; parents db-host down; parents well
        t+90s resume; parents db-host down
        t+91s parents well
    "
    a_child_is_put_down_to_its_parents_though_its_regions_are_gone_since "
        monitor eu us; interval 1h; parents yes
        t+0 live all; all pass
        t+10s parents db-host down
        t+40s eu,us 503
        t+50s gone eu,us
        t+60s parents well
        t+70s live eu,us
    "
    a_child_that_fell_silent_is_asked_when_its_parents_are_well_again "
        monitor eu us; interval 1h; parents yes
        t+0 live all; all pass
        t+10s parents db-host down
        t+20s gone eu,us
        t+100s parents well
        t+110s live eu,us
        t+110.1s eu,us pass
    "
    a_child_that_falls_silent_while_it_waits_is_no_incident_of_its_own "
        monitor eu; interval 1h; parents yes
        t+0 live all; all pass
        t+60s eu 503; parents in-question
        t+60.5s gone eu
        t+61s parents db-host down
        t+100s nothing
    "
    a_failure_that_starts_while_a_parent_fails_asks_nobody_even_if_it_hangs "
        monitor eu us; interval 1h; parents yes
        t+0 live all; all pass
        t+10s parents db-host maintenance
        t+40s eu slow @39s
        t+41s eu timeout @39s
        t+50s us pass
        t+51s explain
        t+60s eu pass
    "
    a_child_whose_quorum_breaks_while_it_waits_for_its_parents_is_well "
        monitor eu us; interval 1h; parents yes
        t+0 live all; all pass
        t+60s eu 503; parents in-question
        t+60.1s us 503
        t+62s us pass
        t+62.1s eu 503
        t+64s parents well
    "
    a_child_waits_even_for_parents_that_are_well_until_they_have_been_asked "
        monitor eu; interval 1h; parents yes
        t+0 live all; all pass
        t+60s eu 503
        t+61s nothing
        t+62s parents in-question
        t+63s parents well
    "
    a_monitor_that_is_known_not_to_be_well_is_not_asked_for_its_children "
        monitor eu us; interval 1h
        t+0 live all
        t+1s asked
        t+1.1s all pass
        t+100s eu 503
        t+100.1s asked
        t+100.2s us 503
        t+110s asked
        t+200s pause; asked
        t+210s resume; all pass
        t+300s gone eu,us
        t+400s live eu,us; asked
        t+500s maintenance; asked
        t+510s maintenance over
    "
    an_open_incident_stays_its_own_when_a_parent_goes_down_too "
        monitor eu; interval 1m; parents yes
        t+0 live all; all pass
        t+60s eu 503; parents well
        t+70s parents db-host down
        t+120s eu pass; eu pass
        t+130s eu pass
    "
    a_parent_is_checked_at_once_when_a_child_asks_and_not_again_at_once "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+100s asked
        t+100.1s all pass
        t+100.2s asked
        t+102s asked
    "
    a_parent_is_checked_at_once_however_often_children_asked_in_vain "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+100s asked
        t+100.1s all pass
        t+102s asked
        t+102.1s all pass
        t+104s asked
        t+104.1s all pass
        t+106s asked
        t+106.1s all 503
    "
    a_health_report_that_is_not_well_makes_degraded_without_an_incident "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu unwell
        t+101s table
        t+200s eu pass
    "
    a_restart_of_the_coordinator_asks_again_what_was_in_question "
        monitor ap eu us; interval 60s
        t+0 live all; all pass
        t+30s all pass
        t+60s eu refused
        t+70s restart 61s
        t+70.5s live eu
        t+71s live us
        t+71.2s eu,us pass
        t+75s live ap
    "
    a_failure_from_before_a_restart_that_is_heard_after_it_asks_again "
        monitor ap eu us; interval 10m
        t+0 live all; all pass
        t+600s ap,us pass
        t+612s restart 605s
        t+613s live all
        t+613.1s eu 503 @604s
        t+613.3s eu,us 503
    "
    what_was_being_found_out_is_asked_again_after_a_restart_and_nothing_else "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu slow @99s
        t+101s restart 100s; live all
        t+101.2s all pass
        t+200s restart 199s; live all
    "
    what_has_never_been_judged_is_asked_after_a_restart "
        monitor eu; interval 1h
        t+0 live all
        t+1s restart 0.5s; live all
    "
    a_monitor_that_is_down_is_asked_after_a_restart_though_it_has_no_votes "
        monitor eu us; interval 1h
        t+0 live all; all 503
        t+100s gone all; respec
        t+110s restart 105s
        t+120s live all
        t+120.1s explain
    "
    a_clock_that_is_set_back_takes_the_votes_from_the_future_with_it "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+1000s us pass; eu 503
        t+1000.1s ap pass
        t+1000.2s explain
        t+500s blind 400s
        t+500.1s table
        t+500.2s all pass
    "
    a_new_specification_breaks_off_what_was_being_found_out "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s eu 503
        t+100.1s respec
        t+100.2s ap,us 503
    "
    resuming_what_is_not_paused_changes_nothing "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+100s resume
        t+200s all 503
        t+300s resume
    "
    what_has_not_passed_often_enough_is_asked_at_the_end_of_maintenance "
        monitor ap eu us; interval 1h; passes 2
        t+0 live all; all pass
        t+1s all pass
        t+100s eu 503
        t+100.1s ap,us pass
        t+110s eu pass
        t+200s maintenance
        t+300s maintenance over
        t+400s maintenance
        t+410s maintenance over
    "
    a_monitor_that_is_down_and_cannot_be_heard_says_what_is_missing "
        monitor ap eu us; interval 1h; recovery 3
        t+0 live all; all pass
        t+100s all 503
        t+110s explain
        t+200s gone ap,us
        t+201s explain
        t+210s live ap,us; ap,us pass
        t+211s explain
    "
    a_check_that_starts_as_the_coordinator_sees_again_counts "
        monitor eu; interval 1h
        t+0 live all; all pass
        t+100s restart 90s; live all
        t+100.2s eu 503 @100s
    "
    an_attempt_from_before_the_window_of_a_round_is_no_attempt_of_it "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s us 503
        t+100.1s eu refused @85s
        t+100.2s eu refused @100.1s
        t+101.2s eu refused @101.1s
    "
    a_second_attempt_that_is_heard_before_the_first_confirms_it "
        monitor ap eu us; interval 1h; quorum all
        t+0 live all; all pass
        t+100s us 503
        t+102s eu refused @101.1s
        t+110.1s eu timeout @100.1s
        t+110.2s ap pass @100.1s
        t+110.3s explain
    "
    a_failure_from_before_a_restart_that_is_old_or_known_asks_nobody "
        monitor ap eu us; interval 60s
        t+0 live all; all pass
        t+500s all pass
        t+600s restart 590s; live all
        t+600.1s ap,us pass
        t+605s eu 503 @525s
        t+606s eu 503 @526.5s
        t+606.1s ap,us pass; eu 503
        t+700s us 503
        t+700.1s us 503 @580s
        t+700.2s ap,eu 503
        t+800s restart 790s; live all
        t+800.1s eu,us 503
        t+817s ap 503 @789s
    "
    a_restart_while_down_keeps_the_incident_and_the_votes_from_before_say_nothing "
        monitor ap eu us; interval 60s
        t+0 live all; all pass
        t+30s all 503
        t+50s eu pass
        t+55s blind 51s
        t+55.1s table
        t+55.3s eu,us pass
        t+65.3s eu,us,ap pass
    "
    a_region_that_failed_before_a_restart_and_stays_away_keeps_the_incident "
        monitor a b c; interval 1h; quorum any
        t+0 live all; all pass
        t+100s a 503
        t+200s restart 190s; live b,c
        t+201s b,c pass
        t+212s b,c pass
        t+213s explain
    "
    nobody_is_judged_absent_soon_after_a_restart "
        monitor eu; interval 60s
        t+0 live all; all pass
        t+500s restart 10s
        t+579s explain
        t+581s nothing
    "
    pausing_closes_and_resuming_begins_anew "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+100s all 503
        t+200s pause
        t+201s all 503
        t+300s resume
        t+301s all pass
    "
    deleting_closes "
        monitor eu us; interval 1h
        t+0 live all; all pass
        t+100s all 503
        t+200s delete
        t+300s all 503
    "
    a_new_policy_reviews_the_open_incident "
        monitor ap eu us; interval 1h; quorum any
        t+0 live all; all pass
        t+100s eu 503
        t+200s policy quorum majority
        t+200.2s ap,us pass; eu 503
        t+210.2s ap,us pass; eu 503
    "
    a_new_specification_drops_all_votes_but_not_the_incident "
        monitor ap eu us; interval 1h
        t+0 live all; all pass
        t+100s all 503
        t+200s respec
        t+201s table
        t+201.2s all pass
        t+210.3s all pass
    "
    results_of_another_specification_late_or_repeated_change_nothing "
        monitor eu; interval 1h
        t+0 live all; all pass
        t+100s eu 503 old
        t+101s mars 503
        t+102s eu 503 @-5s
        t+103s eu 503 @200s
        t+104s eu 503 @0s
        t+105s explain
    "
    any_opens_on_one_region_and_resolves_on_all "
        monitor ap eu us; interval 1h; quorum any
        t+0 live all; all pass
        t+100s eu 503
        t+200s eu pass
        t+200.2s ap pass
        t+200.3s us pass
        t+210.2s all pass
    "
    all_needs_every_region_that_can_be_heard_and_never_less_than_two "
        monitor ap eu us; interval 1h; quorum all
        t+0 live all; all pass
        t+100s eu,us 503
        t+100.2s ap pass
        t+200s gone ap
        t+200.2s eu,us 503
    "
    all_resolves_when_more_pass_than_could_be_missing "
        monitor ap eu sa us; interval 1h; quorum all
        t+0 live ap,eu,us
        t+1s table
        t+2s ap,eu,us pass
        t+100s ap,eu,us 503
        t+200s ap pass
        t+200.1s table
        t+200.2s eu 503
        t+200.3s us 503
    "
    all_never_opens_on_one_region_alone "
        monitor ap eu us; interval 1h; quorum all
        t+0 live all; all pass
        t+50s gone ap,us
        t+100s eu 503
        t+200s nothing
    "
    a_quorum_by_groups_needs_every_group "
        monitor ap-south eu-north eu-south eu-west us-east; interval 1h; quorum 2 of eu-* and 1 of other
        t+0 live all; all pass
        t+100s eu-north,eu-west 503
        t+100.2s ap-south,us-east pass
        t+100.3s explain
        t+200s us-east 503
        t+200.1s ap-south,eu-south pass
        t+200.2s eu-north 503
        t+200.3s eu-west 503
        t+300s explain
        t+400s eu-north pass
        t+400.1s eu-south pass
        t+400.2s eu-west 503; us-east 503
        t+410s eu-north,eu-south pass
    "
    a_group_that_says_up_is_enough_and_a_silent_one_makes_unknown_only_without_it "
        monitor ap-south eu-north eu-west us-east; interval 1h; quorum 2 of eu-* and 1 of other
        t+0 live all; all pass
        t+100s gone ap-south,us-east
        t+3600s eu-north,eu-west pass
        t+7200s eu-north pass; eu-west 503
        t+7201s explain
        t+7300s eu-north 503
        t+7301s explain
        t+7400s nothing
        t+7500s live us-east
        t+7500.1s eu-north,eu-west 503
        t+7500.2s us-east 503
    "
    a_monitor_that_is_down_recovers_by_one_group_while_another_is_silent "
        monitor ap-south eu-north eu-west us-east; interval 1h; quorum all of eu-* and any of other
        t+0 live all; all pass
        t+100s all 503
        t+200s gone ap-south,us-east
        t+300s table
        t+301s explain
        t+400s eu-north pass
        t+400.1s eu-west pass
        t+410s eu-north,eu-west pass
    "
    after_a_restart_what_was_in_question_waits_for_every_group "
        monitor ap-south eu-north eu-west us-east; interval 1h; quorum 2 of eu-* and 1 of other
        t+0 live all; all pass
        t+100s eu-north 503
        t+101s restart 100.5s
        t+102s live eu-north,eu-west
        t+103s explain
        t+104s live us-east
        t+104.2s eu-north,eu-west,us-east 503
    "
    a_region_that_two_groups_name_counts_in_both "
        monitor eu-east eu-west us-west; interval 1h; quorum 1 of eu-* and 1 of *-west
        t+0 live all; all pass
        t+100s eu-west 503
    "
    a_region_that_no_group_names_is_for_information "
        monitor ap-south eu-east eu-west; interval 1h; quorum 2 of eu-*
        t+0 live all; all pass
        t+100s ap-south 503
        t+100.1s eu-east,eu-west pass
        t+100.2s explain
        t+200s eu-east,eu-west 503
    "
    a_share_of_the_regions_is_rounded_up "
        monitor a b c d e; interval 1h; quorum percent:50
        t+0 live all; all pass
        t+100s a,b 503
        t+100.1s explain
        t+100.2s c 503
    "
    at_least_counts_regions "
        monitor a b c d e; interval 1h; quorum at_least:2
        t+0 live all; all pass
        t+100s a 503
        t+100.2s e refused
        t+101.2s e refused
    "
}

timelines! { heartbeat::play:
    a_job_that_stops_is_late_then_missed_then_recovers_once "
        heartbeat every 25h; grace 5m
        t+0 success
        t+25h nothing
        t+27h nothing
        t+28h success
        t+28h success
    "
    a_new_heartbeat_alerts_only_after_its_first_ping "
        heartbeat every 1h; grace 5m
        t+10h nothing
        t+10h start
        t+20h nothing
        t+20h success
        t+22h nothing
    "
    a_ping_in_the_grace_is_no_incident "
        heartbeat every 1h; grace 5m
        t+0 success
        t+64m success
        t+128m start
        t+130m exit 0
    "
    a_run_that_never_ends_meets_the_usual_deadline "
        heartbeat every 1h; grace 5m
        t+0 success
        t+50m start
        t+70m nothing
    "
    a_failing_ping_opens_at_once_and_further_ones_are_recorded "
        heartbeat every 1h; grace 5m
        t+0 success
        t+60m exit 3
        t+70m fail
        t+80m start
        t+3h nothing
        t+4h success
    "
    pausing_closes_and_resuming_expects_a_ping_within_the_interval "
        heartbeat every 1h; grace 5m
        t+0 success
        t+2h pause
        t+3h success
        t+9h resume
        t+11h nothing
    "
    a_shorter_interval_alone_does_not_alert "
        heartbeat every 25h; grace 5m
        t+0 success
        t+3h policy every 1h
        t+5h nothing
        t+6h policy every 2h
    "
    a_longer_interval_takes_lateness_back "
        heartbeat every 1h; grace 5m
        t+0 success
        t+62m policy every 61m
        t+63m policy every 2h
        t+64m policy every 3h
        t+170m start
        t+181m policy every 4h
        t+182m policy every 170m
    "
    blindness_that_is_not_about_the_expectation_puts_nothing_off "
        heartbeat every 1h; grace 5m
        t+0 success
        t+45m blind 40m
        t+66m nothing
    "
    blindness_in_all_of_the_grace_and_no_more_is_excused "
        heartbeat every 1h; grace 5m
        t+0 success
        t+65m blind 60m
        t+180m nothing
    "
    blindness_that_begins_in_maintenance_excuses_nothing "
        heartbeat every 1h; grace 5m
        t+0 success
        t+61m maintenance
        t+62m blind 61m
        t+70m maintenance over
        t+80m nothing
    "
    blindness_in_the_first_half_of_the_interval_excuses_nothing "
        heartbeat every 1h; grace 5m
        t+0 success
        t+20m blind 10m
        t+66m nothing
    "
    blindness_around_the_expectation_is_excused_once "
        heartbeat every 1h; grace 5m
        t+0 success
        t+62m blind 58m
        t+124m nothing
        t+126m nothing
    "
    a_second_window_is_excused_only_if_nothing_of_it_could_be_heard "
        heartbeat every 1h; grace 5m
        t+0 success
        t+62m blind 58m
        t+126m blind 119m
        t+182m blind 178m
        t+190m nothing
    "
    a_ping_that_was_lost_just_before_its_expectation_is_no_miss "
        heartbeat every 1h; grace 5m
        t+0 success
        t+59.5m blind 58m
        t+66m nothing
        t+118m success
    "
    a_ping_that_was_lost_at_the_end_of_a_long_absence_is_no_miss "
        heartbeat every 1m; grace 6s
        t+0 success
        t+3650s blind 30s
        t+3670s nothing
        t+3705s success
    "
    absences_one_after_the_other_about_one_expectation_count_as_one "
        heartbeat every 6h; grace 5m
        t+0 success
        t+350m blind 340m
        t+362m blind 351m
        t+710m success
    "
    a_ping_earns_a_new_excuse "
        heartbeat every 1h; grace 5m
        t+0 success
        t+62m blind 58m
        t+119m success
        t+181m blind 177m
        t+240m nothing
    "
    blindness_during_a_run_makes_it_unknown "
        heartbeat every 1h; grace 5m
        t+0 success
        t+10m start
        t+12m blind 11m
        t+15m success
    "
    the_coordinator_restarts_every_ten_minutes_and_a_job_stops "
        heartbeat every 1h; grace 5m
        t+0 success
        t+600s blind 599s
        t+1200s blind 1199s
        t+1800s blind 1799s
        t+2400s blind 2399s
        t+3000s blind 2999s
        t+3600s blind 3599s
        t+4200s blind 4199s
        t+4800s blind 4799s
        t+5400s blind 5399s
        t+6000s blind 5999s
        t+6600s blind 6599s
        t+7200s blind 7199s
        t+7800s blind 7799s
    "
    deleting_a_missed_heartbeat_closes "
        heartbeat every 1h; grace 5m
        t+0 success
        t+2h delete
        t+9h nothing
    "
}
