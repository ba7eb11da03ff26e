//! What a process uses, as the kernel counts it in `/proc`.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// One tick of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture that Linux is built for today.
const TICK: Duration = Duration::from_millis(10);
/// How often a command's CPU time is looked at: what it used after the last look is not counted.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

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

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What it printed.
    pub(crate) output: Output,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// From its start to its end.
    pub(crate) took: Duration,
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot run.
pub(crate) async fn run(mut command: Command) -> Result<Ran> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut used = Duration::ZERO;
    while child.try_wait()?.is_none() {
        // Already ended but not yet reaped: the last look stands.
        used = cpu(child.id()).unwrap_or(used);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let took = began.elapsed();
    Ok(Ran { output: child.wait_with_output()?, cpu: used, took })
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

/// How much this process and what it starts give way to others; negative: the others do.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn niceness() -> Result<i32> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    Ok(fields.split_whitespace().nth(16).context("nice")?.parse()?)
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
