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

use crate::args::{Cli, HeartbeatVerb, Noun};
use crate::exit::Failure;
use crate::noun::Context;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(failure) => {
            // Nobody is left to tell if stderr is closed.
            let _ = write!(std::io::stderr(), "{failure}");
            failure.exit.into()
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let (server, output, ca_file) = (cli.server(), cli.output(), cli.ca_file());
    // Asked for only where it is needed: some commands work without a coordinator.
    let context = async || {
        let api = connect::connect(&server?).await?;
        Ok::<_, Failure>(Context { api, output: output.clone(), clock: SystemClock::start() })
    };
    match cli.noun {
        Noun::Monitor { verb } => noun::monitor::run(verb, &context().await?).await,
        Noun::Check(check) => noun::check::run(*check, &context().await?).await,
        Noun::Heartbeat { verb: HeartbeatVerb::Run(run) } => {
            return noun::heartbeat::run::run(run, ca_file.as_deref()).await;
        }
        Noun::Heartbeat { verb: HeartbeatVerb::Admin(verb) } => {
            noun::heartbeat::run(verb, &context().await?).await
        }
        Noun::Incident { verb } => noun::incident::run(verb, &context().await?).await,
        Noun::Agent { verb } => noun::agent::run(verb, &context().await?).await,
        Noun::Region { verb } => noun::region::run(verb, &context().await?).await,
        Noun::Channel { verb } => noun::channel::run(verb, &context().await?).await,
        Noun::Delivery { verb } => noun::delivery::run(verb, &context().await?).await,
        Noun::Page { verb } => noun::page::run(verb, &context().await?).await,
        Noun::Maintenance { verb } => noun::maintenance::run(verb, &context().await?).await,
        Noun::Policy { verb } => noun::policy::run(verb, &context().await?).await,
        Noun::Silence { verb } => noun::silence::run(verb, &context().await?).await,
        Noun::Webhook { verb } => noun::webhook::run(verb, &output).await,
        Noun::ExitCodes => output::print(exit::HELP),
    }?;
    Ok(ExitCode::SUCCESS)
}
