//! How the program ends: the one table from gRPC codes to exit codes.
//!
//! In: whatever went wrong. Out: text for stderr and a number that scripts rely on.

use std::fmt;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::output::one_line;

/// The exit codes, as `vigilctl help exit-codes` tells them.
pub(crate) const HELP: &str = "\
What the exit codes mean:

   0  the command was done
   1  a negative answer, or a failure that none of the others names
   2  wrong usage: arguments, or values that the coordinator refused
   3  what was asked for does not exist
   4  unauthorised: the API key is missing, wrong, or may not do this
   5  conflict: the name is taken, or another change came first
   6  unavailable: the coordinator cannot be reached, or cannot answer now
   7  timeout: no answer in time
  10  reserved for commands that compare: a difference was found
";

/// How a command that failed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The reader of stdout has gone; nothing went wrong.
    Done = 0,
    /// A failure that has no code of its own.
    Negative = 1,
    /// Wrong arguments. clap ends with the same number.
    Usage = 2,
    /// No such resource.
    NotFound = 3,
    /// The key is missing, wrong or not entitled.
    Unauthorised = 4,
    /// The name is taken or the etag is stale.
    Conflict = 5,
    /// Not reachable, or overloaded.
    Unavailable = 6,
    /// No answer within `--timeout`.
    Timeout = 7,
}

impl Exit {
    /// The table.
    const fn of(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::Usage,
            Code::NotFound => Self::NotFound,
            Code::Unauthenticated | Code::PermissionDenied => Self::Unauthorised,
            Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => Self::Conflict,
            Code::Unavailable | Code::ResourceExhausted => Self::Unavailable,
            // tonic's client calls its own expired deadline "cancelled".
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout,
            Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
                Self::Negative
            }
        }
    }

    /// What to try next, where one thing helps nearly always.
    const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Unauthorised => Some("give the API key in VIGILMON_API_KEY or with --api-key-file FILE"),
            Self::Unavailable => {
                Some("is the coordinator running there? --server URL or VIGILMON_SERVER names another")
            }
            Self::Timeout => Some("--timeout DURATION before the noun waits longer"),
            Self::Done | Self::Negative | Self::Usage | Self::NotFound | Self::Conflict => None,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: `Display` is what stderr gets, ready-made lines or nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// The message and, below it, what belongs to it.
    lines: Vec<String>,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, lines: vec![message.into()] }
    }

    /// Wrong arguments that clap could not see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The end of output that nobody reads any more.
    pub(crate) const fn reader_gone() -> Self {
        Self { exit: Exit::Done, lines: Vec::new() }
    }

    /// Whether the same request may well succeed in a moment.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self.exit, Exit::Unavailable | Exit::Timeout)
    }
}

/// The coordinator's answer, with one line for each field it refused.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let exit = Exit::of(status.code());
        let message = match status.message() {
            "" => format!("{:?}", status.code()),
            message => one_line(message),
        };
        let mut failure = Self::new(exit, message);
        if let Some(refused) = status.get_details_bad_request() {
            let line = |field: &str, why: &str| format!("  {}: {}", one_line(field), one_line(why));
            // The message repeats them for clients that read no details.
            let said = failure.lines.concat();
            let new = refused.field_violations.iter().filter(|it| !said.contains(&one_line(&it.description)));
            let lines: Vec<String> = new.map(|it| line(&it.field, &it.description)).collect();
            failure.lines.extend(lines);
        }
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines.iter().enumerate() {
            let who = if number == 0 { "vigilctl: " } else { "" };
            writeln!(f, "{who}{line}")?;
        }
        match self.exit.hint() {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_exit_code() {
        let codes = HELP.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u8>().ok());
        assert_eq!(codes.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 10]);
        assert_eq!(Exit::Timeout as u8, 7);
    }

    #[test]
    fn control_characters_of_the_server_do_not_reach_the_terminal() {
        let failure = Failure::from(Status::not_found("no \u{1b}[31msuch\nmonitor"));
        assert_eq!(failure.to_string(), "vigilctl: no [31msuch monitor\n");
    }
}
