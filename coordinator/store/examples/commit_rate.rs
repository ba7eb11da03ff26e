//! How fast commits are: `cargo run --release -p store --example commit_rate [DIRECTORY]`.
//!
//! Three shapes: what the hot path writes all the time (one journal row of 100 results), what a mass failure writes
//! (64 state changes with their incidents, lines, events and a journal row), and what jobs write that end together (512
//! runs, each with a log). Each waits for the disk and then does
//! not, so that the difference is the disk's share. The files are removed afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{EventId, HeartbeatId, IncidentId, MonitorId, SubjectId, SystemRandom, Timestamp};
use store::sqlite::{OpenOptions, Sqlite, Synchronous};
use store::{
    Commit, EventRow, IncidentRow, IncidentState, JournalRow, Lease, RunRow, StateRow, Store, TimelineRow,
};

const LENGTH: Duration = Duration::from_secs(4);
const RECORDS: usize = 100;
/// About what a result takes in a journal row.
const RECORD_BYTES: usize = 70;
const CHANGES: u32 = 64;
const RUNS: u32 = 512;
const LOG_BYTES: usize = 500;
const JOBS: u64 = 10_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("vigilmon-commit-rate-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    for synchronous in [Synchronous::Full, Synchronous::Off] {
        run(&directory, synchronous).await?;
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn run(directory: &Path, synchronous: Synchronous) -> Result<(), store::Error> {
    println!("synchronous {synchronous:?}");
    let path = directory.join(format!("{synchronous:?}.db"));
    let options = OpenOptions { synchronous, ..OpenOptions::new(path) };
    let store = Sqlite::open(&options, Timestamp::EPOCH, &SystemRandom).await?;
    let lease = store.claim("main", Timestamp::EPOCH).await?;

    let (position, rate) = measure(&store, 1, |position| journal_only(&lease, position)).await?;
    println!("  journal only: {rate:7.0} commits/s = {:9.0} results/s", rate * RECORDS as f64);
    let (position, rate) = measure(&store, position, |position| mass_failure(&lease, position)).await?;
    println!("  mass failure: {rate:7.0} commits/s = {:9.0} state changes/s", rate * f64::from(CHANGES));
    let (_, rate) = measure(&store, position, |position| ended_runs(&lease, position)).await?;
    println!("  ended runs:   {rate:7.0} commits/s = {:9.0} runs/s", rate * f64::from(RUNS));
    store.close().await;
    Ok(())
}

/// Commits one after the other; returns the next position and the commits per second.
#[expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
async fn measure(
    store: &Sqlite,
    first: u64,
    commit: impl Fn(u64) -> Commit,
) -> Result<(u64, f64), store::Error> {
    let mut latencies = Vec::new();
    let began = Instant::now();
    let mut position = first;
    while began.elapsed() < LENGTH {
        let commit = commit(position);
        let before = Instant::now();
        store.commit(&commit).await?;
        latencies.push(before.elapsed());
        position += 1;
    }
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    println!("  latency p50 {:?}, p99 {:?}, max {:?}", quantile(0.5), quantile(0.99), quantile(1.0));
    Ok((position, rate))
}

fn journal_only(lease: &Lease, position: u64) -> Commit {
    let at = Timestamp::from_secs(position.cast_signed());
    Commit {
        coordinator: lease.coordinator.clone(),
        generation: lease.generation,
        epochs: lease.epochs.iter().copied().take(RECORDS).collect(),
        now: at,
        journal: Some(JournalRow { position, at, blob: vec![position as u8; RECORDS * RECORD_BYTES] }),
        ..Commit::default()
    }
}

fn mass_failure(lease: &Lease, position: u64) -> Commit {
    let mut commit = journal_only(lease, position);
    for change in 0..CHANGES {
        let mut id = [0x5a; 16];
        id[..8].copy_from_slice(&position.to_be_bytes());
        id[12..].copy_from_slice(&change.to_be_bytes());
        let incident =
            incident(SubjectId::Monitor(MonitorId::from_bytes(id)), IncidentId::from_bytes(id), commit.now);
        commit.states.push(StateRow { subject: incident.subject, position, state: "x".repeat(600) });
        commit.timeline.push(TimelineRow {
            incident: incident.id,
            ordinal: 0,
            at: commit.now,
            text: "opened: 2 of 3 regions fail".into(),
        });
        commit.events.push(EventRow {
            id: EventId::derive(incident.id, 0),
            incident: incident.id,
            subject: incident.subject,
            transition: 0,
            at: commit.now,
            body: "x".repeat(600),
            channels: vec![],
        });
        commit.incidents.push(incident);
    }
    commit
}

fn ended_runs(lease: &Lease, position: u64) -> Commit {
    let commit = journal_only(lease, position);
    let run = |number: u32| {
        let mut id = [0x5a; 16];
        id[..8].copy_from_slice(&((position * u64::from(RUNS) + u64::from(number)) % JOBS).to_be_bytes());
        RunRow {
            heartbeat: HeartbeatId::from_bytes(id),
            at: commit.now,
            run: None,
            ended_at: Some(commit.now),
            body: r#"{"has_start":true,"outcome":{"Succeeded":{"exit_code":0}}}"#.into(),
            log: vec![b'x'; LOG_BYTES],
        }
    };
    Commit { runs: (0..RUNS).map(run).collect(), ..commit }
}

fn incident(subject: SubjectId, id: IncidentId, at: Timestamp) -> IncidentRow {
    IncidentRow {
        id,
        subject,
        workspace: "default".into(),
        number: 1,
        state: IncidentState::Open,
        started_at: at,
        opened_at: at,
        resolved_at: None,
        alert_due_at: None,
        body: "x".repeat(900),
    }
}
