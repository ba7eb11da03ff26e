//! When the coordinator's writes reached the disk, as `strace` saw it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use model::Timestamp;

use crate::{SOON, environment, eventually};

/// Whether processes can be traced here.
#[must_use]
pub fn is_possible() -> bool {
    environment::tool("strace", &[]).is_some()
        && Command::new("strace")
            .args(["-f", "-o", "/dev/null", "true"])
            .status()
            .is_ok_and(|status| status.success())
}

/// The command line that traces a program's flushes into `file`. The tracer stands aside (`-D`), so that the process
/// that is started is the program itself and gets the signals.
#[must_use]
pub fn wrapper(file: &Path) -> Vec<String> {
    let fixed =
        ["strace", "-D", "-f", "-q", "-ttt", "-T", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o"];
    fixed.iter().map(|&it| it.to_owned()).chain([file.display().to_string()]).collect()
}

/// The ends of all flushes that succeeded, in order, once the program with this id has ended.
///
/// # Errors
/// When the trace does not come to its end.
pub async fn flushes(file: &Path, pid: u32) -> Result<Vec<Timestamp>> {
    let text = eventually("the trace was complete", SOON, async || {
        let text = fs::read_to_string(file)?;
        let is_end = |line: &str| line.starts_with(&format!("{pid} ")) && line.contains("+++ exited");
        Ok(text.lines().any(is_end).then_some(text))
    })
    .await?;
    // A call that another thread interrupts stands on two lines; the second one's time is that of its end.
    let mut begun = BTreeMap::new();
    let mut ends = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(at)) = (words.next(), words.next().and_then(seconds)) else { continue };
        if line.contains("<unfinished ...>") {
            begun.insert(thread, at);
        } else if line.contains(" = 0 ") {
            let took = line.rsplit_once('<').and_then(|(_, tail)| seconds(tail.trim_end_matches('>')));
            let end = if begun.remove(thread).is_some() { at } else { at + took.unwrap_or_default() };
            ends.push(Timestamp::from_micros(i64::try_from(end.as_micros())?));
        }
    }
    ends.sort();
    Ok(ends)
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}
