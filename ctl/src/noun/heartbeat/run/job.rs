//! The command as a process: started, its output passed through, signalled, ended.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::signal::unix::SignalKind;

use super::output::Kept;
use super::signals::Signals;
use crate::duration;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 8_192;
/// How long a command may take to end once it was told to.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// How long output may still come once the command has ended: another process that it left behind may hold the pipe.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// A command that runs.
pub(super) struct Job {
    child: Child,
    /// Whether it has a process group of its own.
    has_group: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Exited(u8),
    /// By a signal.
    Killed(u8),
    /// By us, because it took longer than this.
    TimedOut { limit: Duration },
    /// It never ran.
    NotStarted { code: u8, why: String },
}

impl Ending {
    /// The exit code that says so, as shells and `timeout` have it.
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Exited(code) | Self::NotStarted { code, .. } => *code,
            Self::Killed(signal) => signal.saturating_add(128),
            Self::TimedOut { .. } => 124,
        }
    }

    /// What the command could not say itself.
    pub(super) fn remark(&self) -> Option<String> {
        match self {
            Self::Exited(_) => None,
            Self::Killed(_) | Self::TimedOut { .. } | Self::NotStarted { .. } => Some(self.to_string()),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with {code}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut { limit } => write!(f, "ended after --timeout {}", duration::text(*limit)),
            Self::NotStarted { why, .. } => f.write_str(why),
        }
    }
}

impl Job {
    /// Starts a command. `keeps_output`: its output comes through us, else it writes where we would.
    ///
    /// # Errors
    /// [`Ending::NotStarted`] when that cannot be.
    pub(super) fn start(command: &[OsString], keeps_output: bool) -> Result<Self, Ending> {
        let (program, arguments) = command.split_first().expect("clap requires a command");
        // At a terminal the command must stay in the group that may read from it and that the keys of it signal. Elsewhere
        // it has its own, so that what it started is signalled with it.
        let has_group = !at_terminal();
        let pipe = || if keeps_output { Stdio::piped() } else { Stdio::inherit() };
        let mut process = Command::new(program);
        process.args(arguments).stdout(pipe()).stderr(pipe());
        if has_group {
            process.process_group(0);
        }
        let child = process.spawn().map_err(|error| Ending::NotStarted {
            code: if error.kind() == ErrorKind::NotFound { 127 } else { 126 },
            why: format!("cannot start {}: {error}", program.display()),
        })?;
        Ok(Self { child, has_group })
    }

    /// Waits for its end, passing its output through and signals on.
    pub(super) async fn work(
        mut self,
        kept: &RefCell<Kept>,
        limit: Option<Duration>,
        signals: &mut Signals,
    ) -> Ending {
        let output = pass(self.child.stdout.take(), self.child.stderr.take(), kept);
        let mut output = std::pin::pin!(output);
        let mut is_drained = false;
        let ending = {
            let mut end = std::pin::pin!(self.end(limit, signals));
            loop {
                tokio::select! {
                    ending = &mut end => break ending,
                    () = &mut output, if !is_drained => is_drained = true,
                }
            }
        };
        if !is_drained {
            // Who still writes then is not the command any more.
            drop(tokio::time::timeout(DRAIN_LIMIT, output).await);
        }
        ending
    }

    async fn end(&mut self, limit: Option<Duration>, signals: &mut Signals) -> Ending {
        let mut pause = limit;
        let mut told_to_end = false;
        let late = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                signal = signals.next() => self.pass_on(signal),
                () = after(pause) => {
                    self.signal(if told_to_end { Signal::KILL } else { Signal::TERM });
                    pause = (!told_to_end).then_some(KILL_AFTER);
                    told_to_end = true;
                }
            }
        };
        match (late, limit) {
            (_, Some(limit)) if told_to_end => Ending::TimedOut { limit },
            (Ok(status), _) => ending(status),
            (Err(error), _) => {
                Ending::NotStarted { code: 126, why: format!("cannot be waited for: {error}") }
            }
        }
    }

    fn pass_on(&self, kind: SignalKind) {
        let by_key = kind == SignalKind::interrupt() || kind == SignalKind::quit();
        if by_key && !self.has_group {
            // The terminal has told the whole group, the command included.
            return;
        }
        if let Some(signal) = Signal::from_named_raw(kind.as_raw_value()) {
            self.signal(signal);
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(id) = id else { return };
        // It may end at this very moment.
        let _ = if self.has_group { kill_process_group(id, signal) } else { kill_process(id, signal) };
    }
}

fn ending(status: ExitStatus) -> Ending {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(byte(code)),
        (None, signal) => Ending::Killed(byte(signal.unwrap_or_default())),
    }
}

fn at_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

/// Copies both until their end. What waits on stdout goes first: a command's last words are mostly on stderr, and are to
/// stay the last.
async fn pass(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>, kept: &RefCell<Kept>) {
    let mut stdout = Passage { from: stdout, to: tokio::io::stdout(), buffer: vec![0; CHUNK_BYTES] };
    let mut stderr = Passage { from: stderr, to: tokio::io::stderr(), buffer: vec![0; CHUNK_BYTES] };
    loop {
        tokio::select! {
            biased;
            length = stdout.read(), if stdout.from.is_some() => stdout.pass_on(length, kept).await,
            length = stderr.read(), if stderr.from.is_some() => stderr.pass_on(length, kept).await,
            else => return,
        }
    }
}

/// From one of the command's streams to ours.
struct Passage<F, T> {
    /// `None`: it has ended.
    from: Option<F>,
    to: T,
    buffer: Vec<u8>,
}

impl<F: AsyncRead + Unpin, T: AsyncWrite + Unpin> Passage<F, T> {
    /// Waits for something to pass on. Nothing is lost if this is dropped. 0: the end.
    async fn read(&mut self) -> usize {
        match &mut self.from {
            Some(from) => from.read(&mut self.buffer).await.unwrap_or(0),
            None => 0,
        }
    }

    /// When nobody reads ours any more, neither do we: the command learns it as it would without us.
    async fn pass_on(&mut self, length: usize, kept: &RefCell<Kept>) {
        let bytes = &self.buffer[..length];
        kept.borrow_mut().add(bytes);
        let is_over =
            bytes.is_empty() || self.to.write_all(bytes).await.is_err() || self.to.flush().await.is_err();
        if is_over {
            self.from = None;
        }
    }
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
