//! The hot path: a batch in one transaction, one statement for each kind of row it has.

use std::collections::BTreeSet;
use std::time::Duration;

use model::SubjectId;
use sqlx::AnyConnection;

use super::connection::Database;
use super::{capture, delivery, incident, journal, lease, member, outbox, run, subject};
use crate::{Commit, Error, RunRow};

/// See [`crate::Store::commit`].
pub(super) async fn commit(database: &Database, commit: &Commit, ttl: Duration) -> Result<(), Error> {
    let mut transaction = database.write().await?;
    match write(transaction.connection(), commit, ttl).await {
        Ok(()) => transaction.commit().await,
        Err(error) => {
            transaction.rollback().await;
            Err(error)
        }
    }
}

async fn write(connection: &mut AnyConnection, commit: &Commit, ttl: Duration) -> Result<(), Error> {
    lease::fence(connection, commit, ttl).await?;
    if let Some(row) = &commit.journal {
        journal::append(connection, row).await?;
    }
    if !commit.deleted.is_empty() {
        subject::delete(connection, &commit.deleted).await?;
        run::delete(connection, &commit.deleted).await?;
    }
    write_subjects(connection, commit).await?;
    // Incidents before events and deliveries, which take their tenant from them.
    if !commit.incidents.is_empty() {
        incident::put(connection, &commit.incidents).await?;
    }
    if !commit.timeline.is_empty() {
        incident::add_lines(connection, &commit.timeline).await?;
    }
    if !commit.members.is_empty() {
        member::put(connection, &commit.members).await?;
    }
    if !commit.captures.is_empty() {
        capture::put(connection, &commit.captures).await?;
    }
    write_runs(connection, commit).await?;
    if !commit.events.is_empty() {
        outbox::add(connection, &commit.events).await?;
    }
    if !commit.deliveries.is_empty() {
        delivery::add(connection, &commit.deliveries).await?;
    }
    if !commit.claims.is_empty() {
        delivery::claim(connection, &commit.claims).await?;
    }
    if !commit.marks.is_empty() {
        delivery::mark(connection, &commit.marks).await?;
    }
    if !commit.dispatched.is_empty() {
        outbox::mark_dispatched(connection, &commit.dispatched).await?;
    }
    if !commit.attempts.is_empty() {
        delivery::add_attempts(connection, &commit.attempts).await?;
    }
    if !commit.snapshots.is_empty() {
        journal::put_snapshots(connection, &commit.snapshots).await?;
    }
    if !commit.agents_seen.is_empty() {
        journal::put_agents_seen(connection, &commit.agents_seen).await?;
    }
    if let Some(position) = commit.replay_from {
        journal::set_replay_from(connection, position).await?;
    }
    if let Some(before) = commit.trim_journal_before {
        journal::trim(connection, before).await?;
    }
    if let Some(before) = commit.trim_captures_before {
        capture::trim(connection, before).await?;
    }
    if let Some(before) = commit.trim_runs_before {
        run::trim_before(connection, before).await?;
    }
    if !commit.trim_runs_of.is_empty() {
        run::trim_beyond(connection, &commit.trim_runs_of).await?;
    }
    if let Some(before) = commit.trim_deliveries_before {
        delivery::trim(connection, before).await?;
    }
    Ok(())
}

/// A subject that the same batch deletes is not written: ids do not come back.
async fn write_subjects(connection: &mut AnyConnection, commit: &Commit) -> Result<(), Error> {
    let deleted: BTreeSet<&SubjectId> = commit.deleted.iter().collect();
    let subjects: Vec<_> = commit.subjects.iter().filter(|row| !deleted.contains(&row.id)).collect();
    if !subjects.is_empty() {
        subject::put(connection, &subjects).await?;
    }
    let states: Vec<_> = commit.states.iter().filter(|row| !deleted.contains(&row.subject)).collect();
    if !states.is_empty() {
        subject::put_states(connection, &states).await?;
    }
    Ok(())
}

/// Nor is a run of it.
async fn write_runs(connection: &mut AnyConnection, commit: &Commit) -> Result<(), Error> {
    let is_kept = |row: &&RunRow| !commit.deleted.contains(&SubjectId::Heartbeat(row.heartbeat));
    let runs: Vec<_> = commit.runs.iter().filter(is_kept).collect();
    if runs.is_empty() { Ok(()) } else { run::put(connection, &runs).await }
}
