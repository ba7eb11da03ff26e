//! What every form of the store must do, each behaviour once, run against each form.

mod commits;
mod config;
mod deliveries;
pub(crate) mod directory;
mod equivalence;
mod lease;
mod reading;
mod runs;
pub(crate) mod sample;

use directory::TestDirectory;

use crate::memory::Memory;
use crate::sqlite::{OpenOptions, Sqlite, Synchronous};

macro_rules! every_form {
    ($($module:ident: $($behaviour:ident)+;)+) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $behaviour() {
                    super::$module::$behaviour(&super::memory_store()).await;
                }
            )+)+
        }

        mod sqlite {
            $($(
                #[tokio::test]
                async fn $behaviour() {
                    let directory = super::TestDirectory::new();
                    super::$module::$behaviour(&super::sqlite_store(&directory).await).await;
                }
            )+)+
        }
    };
}

every_form! {
    lease:
        a_claim_takes_every_shard_and_raises_generation_and_epochs
        generations_are_counted_for_each_coordinator
        an_older_generation_is_fenced_and_writes_nothing
        a_coordinator_that_never_claimed_is_fenced
        a_lost_shard_is_named_and_nothing_is_written
        only_commits_move_the_instant_a_coordinator_was_last_alive;
    commits:
        a_commit_is_all_or_nothing
        every_kind_of_row_comes_back_as_it_was
        awkward_text_comes_back_as_it_was
        rows_that_must_not_change_stay_as_they_were_first_written
        rows_that_may_change_are_replaced_whole
        only_the_newest_epoch_of_an_agent_is_kept
        a_repeated_commit_changes_nothing
        names_are_unique_within_workspace_and_kind
        deletion_takes_the_state_and_frees_the_name_but_keeps_incidents
        a_deleted_subject_is_not_written_by_the_same_commit
        a_subject_has_at_most_one_open_incident
        agents_and_the_installation_have_states_and_incidents_without_a_row
        one_incident_may_end_and_the_next_open_in_one_commit
        a_member_that_left_may_join_again
        ten_thousand_members_are_one_commit
        of_captures_the_first_of_a_period_stays_and_the_latest_is_replaced
        a_journal_position_is_used_once
        an_empty_commit_only_renews_the_lease;
    reading:
        incidents_are_listed_newest_first_and_pages_neither_repeat_nor_skip
        incidents_are_filtered_by_subject_state_and_instant
        the_journal_is_read_forwards_from_a_position
        the_journal_is_paged_backwards_and_ends_at_an_instant
        trimming_is_bounded_and_keeps_what_replay_needs
        positions_are_never_given_out_twice_even_after_trimming
        loading_leaves_out_what_is_finished
        what_is_owed_of_an_incident_that_is_over_is_loaded_until_it_is_told
        captures_are_listed_oldest_first_by_period_or_their_ends
        old_captures_go_a_bounded_number_at_a_time
        members_are_listed_in_order_of_joining_up_to_a_limit_and_counted
        what_is_unknown_is_absent_or_empty;
    runs:
        runs_are_listed_newest_first_and_pages_neither_repeat_nor_skip
        what_became_of_a_run_replaces_it_but_for_a_log_that_is_not_there
        runs_go_with_their_heartbeat
        old_runs_go_a_bounded_number_at_a_time
        of_a_heartbeat_the_newest_runs_are_kept;
    deliveries:
        a_delivery_is_created_once_and_then_changed_by_claims_and_marks
        what_is_claimed_or_marked_without_being_there_is_passed_over
        deliveries_are_listed_with_their_attempts_oldest_first
        deliveries_are_paged_newest_first_without_their_bodies_under_every_filter
        old_deliveries_go_a_bounded_number_at_a_time_with_their_attempts_but_not_waiting_ones
        a_channel_has_been_failing_since_the_first_attempt_after_its_last_success;
    config:
        every_change_raises_the_revision_by_one
        everything_that_was_put_is_listed_by_id
        an_agent_brings_its_region_along_but_never_changes_it
        taken_names_and_slugs_are_refused_and_change_nothing
        a_deleted_channel_is_gone_and_its_name_free
        a_deleted_ping_key_is_gone_and_its_name_free
        a_subject_has_one_badge_the_last_that_was_put
        maintenance_is_replaced_by_id_and_deleted_with_its_name
        policies_are_replaced_and_deleted_and_silences_end_or_expire;
}

fn memory_store() -> Memory {
    Memory::new(sample::installation())
}

/// Not waiting for the disk: durability has tests of its own.
async fn sqlite_store(directory: &TestDirectory) -> Sqlite {
    let options = OpenOptions { synchronous: Synchronous::Off, ..OpenOptions::new(directory.file()) };
    Sqlite::open(&options, sample::at(0), &model::SystemRandom).await.unwrap()
}
