//! `vigilctl heartbeat run -- command…`: a job that tells its heartbeat of itself.
//!
//! In: a ping URL and a command. Out: the command's own output and exit code, whatever becomes of the pings: `start` when
//! it begins, `log` while it runs if asked for, its exit code with the output's beginning and end at last, all with one
//! run id. What goes wrong with a ping is said on stderr and changes nothing else.
//!
//! This is the one place where Vigilmon starts a program of the user's.

mod job;
mod output;
mod report;
mod signals;

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use model::Secret;
use tokio::sync::watch;

use self::job::{Ending, Job};
use self::output::Kept;
use self::report::{Report, Reporter};
use self::signals::Signals;
use crate::duration;
use crate::exit::Failure;
use crate::output::say;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl heartbeat run [OPTIONS] -- <COMMAND>...", after_help = ENDS)]
pub(crate) struct Run {
    /// The heartbeat's ping URL, as `heartbeat create` printed it; rather in the variable, which others cannot read
    #[arg(long, env = "VIGILMON_PING_URL", hide_env_values = true, value_parser = secret, value_name = "URL")]
    url: Secret<String>,
    /// End the command after so long, and fail [default: never]
    #[arg(long, value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Tell the heartbeat so often that the command is still running, with the last of its output [default: never]
    #[arg(long, value_parser = duration::parse, value_name = "INTERVAL")]
    keep_alive: Option<Duration>,
    /// How long to go on trying to tell the heartbeat of the end
    #[arg(long, value_parser = duration::parse, default_value = "1m", value_name = "DURATION")]
    retry_for: Duration,
    /// Send nothing of what the command prints; it writes to stdout and stderr itself then
    #[arg(long)]
    no_output: bool,
    /// Do not say on stderr what goes wrong with pings
    #[arg(short, long)]
    quiet: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const ENDS: &str = "\
Ends with the command's exit code, whatever becomes of the pings; with 128 + N if signal N killed it, with 124 after
--timeout, and with 126 or 127 if it cannot be started. Signals are passed on to the command.

Examples:
  VIGILMON_PING_URL=https://… vigilctl heartbeat run -- /usr/local/bin/backup --all
  vigilctl heartbeat run --timeout 2h --keep-alive 1m -- sh -c 'pg_dump app | gzip > app.gz'";

/// Runs the command, and reports. Returns what to end with.
///
/// # Errors
/// Usage, before the command is started, when the URL or the certificate file is unfit.
pub(crate) async fn run(run: Run, ca_file: Option<&Path>) -> Result<ExitCode, Failure> {
    let reporter = Reporter::new(run.url.expose(), ca_file, run.retry_for, run.quiet)?;
    let mut signals = Signals::listen()?;
    let kept = RefCell::new(Kept::default());
    let (ended, is_over) = watch::channel(false);

    let working = async {
        let ending = match Job::start(&run.command, !run.no_output) {
            Ok(job) => job.work(&kept, run.timeout, &mut signals).await,
            Err(ending) => ending,
        };
        // Nobody listens any more if the last report has been made meanwhile.
        ended.send_replace(true);
        ending
    };
    // What was begun is answered before the end is told: a start that came after its end would count as a run.
    let (ending, ()) = tokio::join!(working, reporter.accompany(run.keep_alive, &kept, is_over));

    if let Ending::NotStarted { .. } = ending {
        say(&format!("vigilctl: {ending}"));
    } else if let Ending::TimedOut { .. } = ending
        && !run.quiet
    {
        say(&format!("vigilctl: {ending}"));
    }
    let body = kept.into_inner().with_last_line(ending.remark());
    tokio::select! {
        () = reporter.insist(Report::Exit(ending.code()), &body) => {}
        signal = signals.next() => reporter.complain(&format!("signal {} ended the wait: the exit is not told", signal.as_raw_value())),
    }
    Ok(ExitCode::from(ending.code()))
}

/// Reads a ping URL, so that it is never printed, not even when another argument is wrong.
#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers may fail")]
pub(super) fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}
