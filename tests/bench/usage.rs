//! What a process uses, as the kernel counts it in `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// One tick of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture that Linux is built for today.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads so far.
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold blanks; the fields are counted after it.
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(TICK * ticks.sum::<Result<u32, _>>()?)
}

/// Time that the calling thread has been on a processor so far.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it starts at zero and runs forward")
}

/// Memory in RAM now, in KB.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Processes that wanted to run in the last minute, on average.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// The machine in a line.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let total = memory.split_whitespace().nth(1).context("MemTotal")?.parse::<u64>()? >> 20;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores, {total} GiB of memory, Linux {}", kernel.trim()))
}
