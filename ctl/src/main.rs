//! `vigilctl`: arguments ▸ admin API ▸ a table, JSON or YAML.
//!
//! There is no logic here: what a monitor is, what is valid and what happens next is the coordinator's to say. Data goes
//! to stdout and talk to stderr, so that every answer can be piped; the exit code says what kind of answer it was
//! (see [`exit`]).

mod args;
mod connect;
mod duration;
mod exit;
mod moment;
mod noun;
mod output;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use model::SystemClock;

use crate::args::{Cli, Noun};
use crate::exit::Failure;
use crate::noun::Context;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if stderr is closed.
            let _ = write!(std::io::stderr(), "{failure}");
            failure.exit.into()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    if matches!(cli.noun, Noun::ExitCodes) {
        return output::print(exit::HELP);
    }
    let api = connect::connect(&cli.server()?).await?;
    let context = Context { api, output: cli.output(), clock: SystemClock::start() };
    match cli.noun {
        Noun::Monitor { verb } => noun::monitor::run(verb, &context).await,
        Noun::Check(check) => noun::check::run(*check, &context).await,
        Noun::Heartbeat { verb } => noun::heartbeat::run(verb, &context).await,
        Noun::Incident { verb } => noun::incident::run(verb, &context).await,
        Noun::Agent { verb } => noun::agent::run(verb, &context).await,
        Noun::Region { verb } => noun::region::run(verb, &context).await,
        Noun::Channel { verb } => noun::channel::run(verb, &context).await,
        Noun::Page { verb } => noun::page::run(verb, &context).await,
        Noun::Maintenance { verb } => noun::maintenance::run(verb, &context).await,
        Noun::ExitCodes => Ok(()),
    }
}
