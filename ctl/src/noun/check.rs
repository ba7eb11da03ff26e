//! `vigilctl check`: one check from every region, each answer as it comes.

use std::time::Duration;

use clap::Args;
use model::{Clock, Timestamp};
use proto::admin::v1::{Monitor, Result as Found, RunCheckRequest, RunCheckResponse};

use super::exchange::Exchange;
use super::{Context, client};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Format, Listed, print, say};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(override_usage = "vigilctl check <URL> [OPTIONS]")]
pub(crate) struct Check {
    /// As for `monitor create`
    url: String,
    /// Regions to check from, or all
    #[arg(long, value_delimiter = ',', value_name = "REGION,…", default_value = "all")]
    regions: Vec<String>,
    /// How long a check may take [default: 10s]
    #[arg(long, value_parser = duration::parse)]
    timeout: Option<Duration>,
    #[command(flatten)]
    exchange: Exchange,
}

/// Prints each region's answer as it comes; a negative answer unless all pass.
pub(crate) async fn run(check: Check, context: &Context) -> Result<(), Failure> {
    let is_all = check.regions.iter().any(|region| region == "all");
    let mut monitor = Monitor {
        url: check.url,
        regions: if is_all { vec![] } else { check.regions },
        timeout: check.timeout.map(duration::to_wire),
        ..Monitor::default()
    };
    check.exchange.apply(&mut monitor, &mut vec![]);
    let request = RunCheckRequest { monitor: Some(monitor) };
    let mut answers =
        client!(context, monitors_client::MonitorsClient).run_check(request).await?.into_inner();
    let mut found = vec![];
    while let Some(answer) = answers.message().await? {
        if context.output.format == Format::Table {
            say(&line(&answer));
        }
        found.push(answer);
    }
    found.sort_by(|a, b| region(a).cmp(region(b)));
    print(&context.output.list(&found, context.clock.now())?)?;
    let passing = found.iter().filter(|answer| result(answer).outcome == "pass").count();
    match found.len() - passing {
        0 => Ok(()),
        failing => {
            let message = format!("{failing} of {} regions did not find it well", found.len());
            Err(Failure::new(Exit::Negative, message))
        }
    }
}

/// What is said at once, before the table can be drawn.
fn line(answer: &RunCheckResponse) -> String {
    let result = result(answer);
    let took = duration::measured(result.duration.as_ref());
    format!("{}: {} {took}", result.region, result.outcome).trim_end().to_owned()
}

impl Listed for RunCheckResponse {
    const COLUMNS: &'static [&'static str] =
        &["REGION", "OUTCOME", "TOTAL", "DNS", "CONNECT", "TLS", "FIRST BYTE", "BODY", "ADDRESS", "DETAIL"];

    fn row(&self, _: Timestamp) -> Vec<Cell> {
        let result = result(self);
        let phases = result.phases.unwrap_or_default();
        let failing = self.failing_components.iter().map(|component| component.name.as_str());
        let failing: Vec<&str> = failing.collect();
        let detail = match (result.detail.as_str(), failing.join(", ")) {
            (detail, failing) if failing.is_empty() => detail.to_owned(),
            ("", failing) => format!("failing: {failing}"),
            (detail, failing) => format!("{detail}; failing: {failing}"),
        };
        vec![
            Cell::text(&result.region),
            Cell::state(&result.outcome),
            Cell::text(duration::measured(result.duration.as_ref())),
            Cell::text(duration::measured(phases.dns.as_ref())),
            Cell::text(duration::measured(phases.connect.as_ref())),
            Cell::text(duration::measured(phases.tls.as_ref())),
            Cell::text(duration::measured(phases.first_byte.as_ref())),
            Cell::text(duration::measured(phases.body.as_ref())),
            Cell::text(&result.peer),
            Cell::text(detail),
        ]
    }
}

fn result(answer: &RunCheckResponse) -> Found {
    answer.result.clone().unwrap_or_default()
}

fn region(answer: &RunCheckResponse) -> &str {
    answer.result.as_ref().map_or("", |result| &result.region)
}
