//! The command line: what comes before the noun, and where the environment stands in for it.
//!
//! In: arguments and environment, here and nowhere else in this program. Out: a [`Server`] to connect to, an [`Output`]
//! to print with, and the noun with its verb. What clap refuses ends the process with exit code 2.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};

use crate::connect::Server;
use crate::exit::Failure;
use crate::output::{Format, Output, Style};
use crate::{duration, exit, noun};

/// Drives a Vigilmon coordinator.
#[derive(Debug, Parser)]
#[command(name = "vigilctl", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Address of the coordinator: http:// or https://
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "VIGILMON_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    server: String,

    /// File that holds the API key [default: the environment variable VIGILMON_API_KEY]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Certificates (PEM) to trust for https:// besides the public authorities
    #[arg(long, global = true, help_heading = GLOBAL, env = "VIGILMON_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// How long to wait for each answer; goes before the noun, because monitors have a `--timeout` of their own
    #[arg(id = "deadline", long = "timeout", default_value = "10s", value_parser = duration::parse, value_name = "DURATION")]
    timeout: Duration,

    /// How to print what is found
    #[arg(short, long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Print tables without their first line
    #[arg(long, global = true, help_heading = GLOBAL)]
    no_headers: bool,

    /// Print without colours, even on a terminal [env: NO_COLOR]
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "NO_COLOR",
        hide_env = true,
        action = ArgAction::SetTrue,
        value_parser = is_set,
        default_value = "",
        default_missing_value = "yes"
    )]
    no_color: bool,

    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// What a command is about.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Active checks of a URL, a port, a name and more, from many regions
    Monitor {
        #[command(subcommand)]
        verb: noun::monitor::Verb,
    },
    /// Check a target once from every region, and keep nothing of it
    Check(Box<noun::check::Check>),
    /// Passive checks: jobs that ping a URL
    Heartbeat {
        #[command(subcommand)]
        verb: HeartbeatVerb,
    },
    /// Outages, with the votes that decided them
    Incident {
        #[command(subcommand)]
        verb: noun::incident::Verb,
    },
    /// Probe agents
    Agent {
        #[command(subcommand)]
        verb: noun::agent::Verb,
    },
    /// The places checks are made from
    Region {
        #[command(subcommand)]
        verb: noun::region::Verb,
    },
    /// Where notifications go
    Channel {
        #[command(subcommand)]
        verb: noun::channel::Verb,
    },
    /// What was owed to channels, and every attempt at it
    Delivery {
        #[command(subcommand)]
        verb: noun::delivery::Verb,
    },
    /// Public status pages
    Page {
        #[command(subcommand)]
        verb: noun::page::Verb,
    },
    /// Planned times in which nothing is judged
    Maintenance {
        #[command(subcommand)]
        verb: noun::maintenance::Verb,
    },
    /// Rules about who is told of incidents, and how
    Policy {
        #[command(subcommand)]
        verb: noun::policy::Verb,
    },
    /// Times in which nobody is told
    Silence {
        #[command(subcommand)]
        verb: noun::silence::Verb,
    },
    /// For authors of receivers: look at deliveries, and check their signatures
    Webhook {
        #[command(subcommand)]
        verb: noun::webhook::Verb,
    },
    /// What the exit codes mean
    #[command(long_about = exit::HELP)]
    ExitCodes,
}

/// What can be done with heartbeats, at the coordinator or beside it.
#[derive(Debug, Subcommand)]
pub(crate) enum HeartbeatVerb {
    #[command(flatten)]
    Admin(noun::heartbeat::Verb),
    /// Run a command and tell its heartbeat of the start, the exit code and the end of the output
    Run(noun::heartbeat::run::Run),
}

impl Cli {
    /// The coordinator to talk to, with the key from `--api-key-file` or else from `VIGILMON_API_KEY`.
    ///
    /// # Errors
    /// When the key's file cannot be read.
    pub(crate) fn server(&self) -> Result<Server, Failure> {
        let key = match &self.api_key_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("--api-key-file: cannot read {}: {error}", file.display()))
            })?),
            None => api_key_of_environment(),
        };
        Ok(Server {
            url: self.server.clone(),
            api_key: key
                .map(|key| key.trim().to_owned())
                .filter(|key| !key.is_empty())
                .map(model::Secret::new),
            ca_file: self.ca_file.clone(),
            timeout: self.timeout,
        })
    }

    /// Certificates to trust besides the public ones.
    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        self.ca_file.clone()
    }

    /// How to print: colour and truncation only where a person looks.
    pub(crate) fn output(&self) -> Output {
        let terminal = std::io::stdout().is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()).flatten();
        Output {
            format: self.output,
            terminal,
            style: Style {
                headers: !self.no_headers,
                colour: terminal && !self.no_color,
                width: size.map(|size| usize::from(size.ws_col)).filter(|&width| width > 0),
            },
        }
    }
}

/// Set apart, so that the help of a verb begins with its own options.
const GLOBAL: &str = "Options of every command";

const EXAMPLES: &str = "\
Examples:
  vigilctl check https://example.com/health
  vigilctl monitor create https://example.com/health --interval 30s --channel ops
  vigilctl monitor ls --watch
  vigilctl monitor explain example.com/health
  vigilctl heartbeat create nightly-backup --interval 25h
  vigilctl incident ls --open -o json
  vigilctl help exit-codes";

/// no-color.org: any value but the empty one counts, `0` and `false` too.
#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers may fail")]
fn is_set(text: &str) -> Result<bool, Infallible> {
    Ok(!text.is_empty())
}

/// The key has no flag, because other users of the machine can read the arguments of a process.
#[expect(clippy::disallowed_methods, reason = "this module is where the environment is read")]
fn api_key_of_environment() -> Option<String> {
    std::env::var("VIGILMON_API_KEY").ok()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_check_s_timeout_and_the_request_s_do_not_mix() {
        let cli =
            Cli::parse_from(["vigilctl", "--timeout", "3s", "monitor", "create", "u", "--timeout", "5s"]);
        assert_eq!(cli.timeout, Duration::from_secs(3));
        let cli = Cli::parse_from(["vigilctl", "monitor", "create", "u", "--timeout", "5s"]);
        assert_eq!(cli.timeout, Duration::from_secs(10));
    }

    #[test]
    fn any_value_of_no_color_but_the_empty_one_counts() {
        assert_eq!([is_set(""), is_set("0"), is_set("1")], [Ok(false), Ok(true), Ok(true)]);
        assert!(!Cli::parse_from(["vigilctl", "exit-codes"]).no_color);
        assert!(Cli::parse_from(["vigilctl", "exit-codes", "--no-color"]).no_color);
    }
}
