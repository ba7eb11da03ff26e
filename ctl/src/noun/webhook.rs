//! `vigilctl webhook`: what a receiver's author needs to get signatures right. No coordinator is asked.
//!
//! In: deliveries, from stdin (`verify`) or over HTTP (`listen`). Out: whether a receiver of Standard Webhooks should
//! take them, and why not.

mod key;
mod listen;
mod request;
mod verdict;

use std::io::Read;
use std::time::Duration;

use clap::{Args, Subcommand};
use model::{Clock, SystemClock};

use self::key::Keys;
use self::request::Request;
use self::verdict::Verdict;
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output, print};

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check the signatures of a request on stdin: its headers, an empty line, its body
    Verify(Verify),
    /// Receive deliveries, and show each with what is right and wrong about it
    Listen(listen::Listen),
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl webhook verify --secret whsec_… [OPTIONS] < REQUEST")]
pub(crate) struct Verify {
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    tolerance: Tolerance,
}

/// How old a delivery may be.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Tolerance {
    /// How far a timestamp may be from now
    #[arg(long = "tolerance", value_parser = duration::parse, default_value = "5m")]
    limit: Duration,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Verify(verify) => self::verify(&verify, output),
        Verb::Listen(listen) => listen::listen(listen, output).await,
    }
}

fn verify(verify: &Verify, output: &Output) -> Result<(), Failure> {
    let verifiers = verify.keys.verifiers()?;
    if verifiers.is_empty() {
        return Err(Failure::usage("give the key to verify with: --secret whsec_… or --public-key whpk_…"));
    }
    let mut bytes = vec![];
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read stdin: {error}")))?;
    let request = Request::parse(&bytes).map_err(|error| Failure::usage(error.to_string()))?;
    let verdict = Verdict::of(&request, &verifiers, SystemClock::start().wall(), verify.tolerance.limit);
    print(&match output.format {
        Format::Table => verdict.to_string(),
        Format::Json | Format::Yaml => format!("{}\n", verdict.json()),
    })?;
    if verdict.is_valid() { Ok(()) } else { Err(Failure::new(Exit::Negative, "a receiver must refuse it")) }
}
