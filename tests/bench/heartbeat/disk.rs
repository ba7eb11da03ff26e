//! How long the disk itself takes to make a small write durable: no commit can be faster.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use tokio::time::Instant;

use crate::report::percentile;

/// As much as a commit of some pings adds to SQLite's log.
const WRITE_BYTES: usize = 16 << 10;
/// The file is written over and over, as the log is between two checkpoints.
const FILE_BYTES: usize = 8 << 20;
const WRITES: usize = 300;

/// Milliseconds of a write with its `fsync`.
pub(super) struct Syncs {
    p50: f64,
    p99: f64,
}

impl fmt::Display for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one fsync of this disk: p50 {:.1} ms, p99 {:.1} ms", self.p50, self.p99)
    }
}

/// Measures in a directory, one write after the other.
///
/// # Errors
/// When it cannot be written to.
pub(super) fn syncs(directory: &Path) -> Result<Syncs> {
    let path = directory.join("bench-fsync");
    let file = File::create(&path)?;
    file.write_all_at(&vec![1; FILE_BYTES], 0)?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        let began = Instant::now();
        let at = number * WRITE_BYTES % FILE_BYTES;
        file.write_all_at(&[2; WRITE_BYTES], at as u64)?;
        file.sync_all()?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    std::fs::remove_file(path)?;
    Ok(Syncs { p50: percentile(&mut took, 0.5), p99: percentile(&mut took, 0.99) })
}
