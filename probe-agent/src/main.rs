//! `vigilmon-agent`: arguments → configuration → run → exit code. 0 is well, 1 a negative answer, 2 wrong usage; `join`
//! has more of the codes of `vigilctl`: 4 not let in, 5 something is in the way, 6 out of reach.

mod asked;
mod report;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use model::check::{Assertion, Extras, Family, InvalidCheck, Options, Route};
use model::{Check, SystemClock, SystemRandom};
use probe_agent::check::Checker;
use probe_agent::config::{self, RunOptions, TargetOptions};
use probe_agent::join::{self, JoinOptions, Joined, NotJoined};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::asked::HttpOptions;

/// Checks targets from one region and reports to a Vigilmon coordinator.
#[derive(Debug, Parser)]
#[command(name = "vigilmon-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the agent until it is told to stop.
    Run(RunOptions),
    /// Makes this machine the agent that a join token is for: writes its token and configuration.
    Join(JoinOptions),
    /// Checks one target once and prints what was found; ends with 1 unless it passes.
    Check {
        /// https://…, http://…, tcp://HOST:PORT, tls://HOST, dns:NAME?type=MX, dns://SERVER/NAME, icmp://HOST[?count=N],
        /// grpc://HOST:PORT/SERVICE, wss://…, smtp://HOST, imap://HOST, pop3://HOST, or the last ones with an s for TLS
        url: String,
        /// What to send once connected, over HTTP as the body of a POST, PUT or PATCH; for http://, https://, tcp://, ws://
        /// and wss:// only. \r, \n, \t, \\ and \xHH stand for single bytes
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true,
            allow_hyphen_values = true
        )]
        send: String,
        /// What must come: text for http://, https://, tcp://, ws:// and wss://, a record or a response code for dns:, a
        /// capability for mail servers; may be repeated
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        expect: Vec<String>,
        /// A certificate that ends within so many days is a failure
        #[arg(long, value_name = "DAYS", default_value_t = 0, hide_default_value = true)]
        certificate_days: u16,
        /// What must hold of what is found: status, latency, body, header("name"), json("$.path") and certificate_days, as
        /// in 'status == 200 && latency < 300ms && json("$.queue") < 10'; may be repeated
        #[arg(long = "assert", value_name = "EXPRESSION", value_parser = assertion)]
        assertions: Vec<Assertion>,
        /// Passes exactly when it would have failed: for what must not be reachable
        #[arg(long)]
        upside_down: bool,
        /// 4 or 6: the target is reached that way or not at all
        #[arg(long = "ip-version", value_name = "VERSION", value_parser = family, default_value = "0", hide_default_value = true)]
        family: Family,
        /// Address to connect to instead of where the target's name points
        #[arg(long, value_name = "ADDRESS")]
        connect_to: Option<IpAddr>,
        /// Name that is asked for in TLS (SNI) and that the certificate must be for, instead of the target's
        #[arg(long, value_name = "NAME")]
        server_name: Option<String>,
        #[command(flatten)]
        http: HttpOptions,
        /// How to print what was found
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Total time for the check, such as 500ms, 10s or 1m.
        #[arg(long, default_value = "10s", value_parser = timeout)]
        timeout: Duration,
        #[command(flatten)]
        targets: TargetOptions,
    },
}

/// How `check` prints what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: where the time went, as a waterfall.
    Table,
    /// For programs: one object.
    Json,
}

const NEGATIVE: u8 = 1;
const USAGE: u8 = 2;
const UNAUTHORISED: u8 = 4;
const CONFLICT: u8 = 5;
const UNAVAILABLE: u8 = 6;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NEGATIVE, &format!("cannot start: {error}")),
    };
    match arguments.command {
        Command::Run(options) => run(&runtime, options, &environment),
        Command::Join(options) => join(&runtime, options, &environment),
        Command::Check {
            url,
            send,
            expect,
            certificate_days,
            assertions,
            upside_down,
            family,
            connect_to,
            server_name,
            http,
            output,
            timeout,
            targets,
        } => {
            let extras = Extras { headers: vec![], send, expect, certificate_days };
            let client_certificate = targets.shown_certificate();
            let route = Route { family, connect_to, server_name, client_certificate };
            let options = Options { route, assertions, upside_down };
            match asked(&url, extras, http, &options) {
                Ok(asked) => check(&runtime, &asked, &options, timeout, output, targets, &environment),
                Err(error) => fail(USAGE, &error.to_string()),
            }
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    // One thread does some ten thousand checks a second; the blocking ones resolve names.
    Builder::new_current_thread().enable_all().max_blocking_threads(64).build()
}

fn run(runtime: &Runtime, options: RunOptions, environment: &BTreeMap<String, String>) -> ExitCode {
    if options.print_config {
        return match config::effective(options, environment) {
            Ok(text) => {
                let _ = io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(error) => fail(USAGE, &error.to_string()),
        };
    }
    let config = match config::load(options, environment) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    let level = environment.get("VIGILMON_LOG").map_or("info", String::as_str);
    match EnvFilter::builder().parse(level) {
        Ok(filter) => {
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(io::stderr)
                .with_ansi(io::stderr().is_terminal())
                .with_target(false)
                .init();
        }
        Err(error) => return fail(USAGE, &format!("VIGILMON_LOG: {error}")),
    }
    let shutdown = CancellationToken::new();
    let (clock, random) = (Arc::new(SystemClock::start()), Arc::new(SystemRandom));
    let ended = runtime.block_on(async {
        let agent = probe_agent::run(config, clock, random, shutdown.clone());
        let signals = async {
            match stop_signal().await {
                Ok(()) => shutdown.cancel(),
                // An agent that cannot hear signals runs until it is killed.
                Err(error) => warn!("cannot listen for signals: {error}"),
            }
        };
        let mut agent = std::pin::pin!(agent);
        tokio::select! {
            ended = &mut agent => ended,
            () = signals => agent.await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(USAGE, &error.to_string()),
    }
}

fn join(runtime: &Runtime, options: JoinOptions, environment: &BTreeMap<String, String>) -> ExitCode {
    let joined = runtime.block_on(join::join(options, io::stdin(), environment, &SystemRandom));
    let code = match &joined {
        Ok(joined) => {
            let _ = io::stdout().write_all(tell(joined).as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(NotJoined::Token(_) | NotJoined::NoHome) => USAGE,
        Err(NotJoined::Occupied(..)) => CONFLICT,
        Err(NotJoined::File(..)) => NEGATIVE,
        Err(NotJoined::Refused(_)) => UNAUTHORISED,
        Err(NotJoined::Unreachable { .. }) => UNAVAILABLE,
    };
    fail(code, &joined.err().map(|error| error.to_string()).unwrap_or_default())
}

/// What was done, and what is to be done next.
fn tell(joined: &Joined) -> String {
    let Joined { name, region, coordinator, token_file, config, is_config_kept } = joined;
    let kept = if *is_config_kept { ", as it was" } else { "" };
    let (token_file, config) = (token_file.display(), config.display());
    format!(
        "joined as {name} in {region}; {coordinator} knows this agent\n\
         token:         {token_file}\n\
         configuration: {config}{kept}\n\
         next:          systemctl enable --now vigilmon-agent\n\
         or:            vigilmon-agent run --config {config}\n"
    )
}

/// Waits until somebody wants the process to end.
async fn stop_signal() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A terminal that is closed must not look like a crash.
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// The check that is asked for.
fn asked(url: &str, extras: Extras, http: HttpOptions, options: &Options) -> Result<Check, InvalidCheck> {
    let mut check = Check::from_target(url)?;
    http.apply(&mut check)?;
    match check.set_extras(extras).into_iter().next() {
        Some(useless) => Err(useless),
        None => check.validate().and_then(|()| options.validate(&check)).map(|()| check),
    }
}

fn check(
    runtime: &Runtime,
    check: &Check,
    options: &Options,
    timeout: Duration,
    output: Output,
    targets: TargetOptions,
    environment: &BTreeMap<String, String>,
) -> ExitCode {
    let checker =
        config::targets(targets, environment).map_err(|error| error.to_string()).and_then(|targets| {
            for warning in &targets.warnings {
                let _ = writeln!(io::stderr(), "vigilmon-agent: {warning}");
            }
            Checker::of(targets).map_err(|error| format!("ca_file: {error}"))
        });
    let checker = match checker {
        Ok(checker) => checker,
        Err(error) => return fail(USAGE, &error),
    };
    let finding = runtime.block_on(checker.examine(Some(check), options, timeout));
    // A closed pipe is the reader's choice, not an error.
    let text = match output {
        Output::Table => report::table(check, &finding),
        Output::Json => format!("{:#}\n", report::document(check, &finding)),
    };
    let _ = io::stdout().write_all(text.as_bytes());
    if finding.outcome.is_pass() { ExitCode::SUCCESS } else { ExitCode::from(NEGATIVE) }
}

fn fail(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        let _ = writeln!(io::stderr(), "vigilmon-agent: {line}");
    }
    ExitCode::from(code)
}

fn family(text: &str) -> Result<Family, &'static str> {
    text.parse().ok().and_then(Family::from_version).ok_or("must be 4 or 6, or 0 for either")
}

fn assertion(text: &str) -> Result<Assertion, String> {
    Assertion::parse(text).map_err(|error| error.to_string())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number with a unit, such as 500ms, 10s or 1m, from 100ms to 2m".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    let span = Duration::from_millis(millis.ok_or_else(wrong)?);
    let allowed = model::check::MIN_TIMEOUT..=model::check::MAX_TIMEOUT;
    if allowed.contains(&span) { Ok(span) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn timeouts_have_a_unit_and_bounds() {
        assert_eq!(timeout("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(timeout("2m"), Ok(Duration::from_secs(120)));
        for bad in ["10", "s", "99ms", "3m", "-1s", "18446744073709551615m", "1h"] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
    }
}
