//! Where Vigilmon stands against the budgets of its design, measured on real processes and printed as one table.
//!
//! Every figure that has a physical limit or a peer is measured beside it in the same run. Run `tests/bench.sh`, with the
//! names of parts to run only those.

mod agent;
mod alertmanager;
mod delivery;
mod detection;
mod engine;
mod feeder;
mod fleet;
mod heartbeat;
mod installation;
mod mass;
mod memory;
mod pings;
mod receiver;
mod report;
mod target;
mod usage;
mod wrk;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::report::Report;

/// The parts, in the order in which they run. The engine, which runs in this process, finds its memory fresh.
const PARTS: [&str; 9] =
    ["engine", "agent", "memory", "detection", "mass", "pings", "heartbeat", "delivery", "fleet"];

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(&wanted))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the wanted parts, or all. `true`: each could be measured.
async fn run(wanted: &[String]) -> Result<bool> {
    for part in wanted {
        ensure!(PARTS.contains(&part.as_str()), "no part `{part}`: there are {}", PARTS.join(", "));
    }
    ensure!(wanted == ["engine"] || wrk::is_installed(), "wrk is not installed");
    let mut report = Report::default();
    let mut whole = true;
    for part in PARTS.into_iter().filter(|part| wanted.is_empty() || wanted.iter().any(|it| it == part)) {
        let measured = match part {
            "engine" => engine::run(&mut report),
            "agent" => agent::run(&mut report).await,
            "memory" => memory::run(&mut report).await,
            "detection" => detection::run(&mut report).await,
            "mass" => mass::run(&mut report).await,
            "pings" => pings::run(&mut report).await,
            "heartbeat" => heartbeat::run(&mut report).await,
            "delivery" => delivery::run(&mut report).await,
            _ => fleet::run(&mut report).await,
        };
        if let Err(error) = measured {
            report.note(format!("{part} could not be measured to the end: {error:#}"));
            whole = false;
        }
    }
    if !report.is_empty() {
        // Some parts have a report of their own, for whoever is interested in nothing else.
        let name = match wanted {
            [part] if ["agent", "delivery", "heartbeat"].contains(&part.as_str()) => format!("bench-{part}"),
            _ => "bench".to_owned(),
        };
        eprintln!("\n{}\nkept as {}", report.render()?, report.save(&name)?.display());
    }
    Ok(whole)
}
