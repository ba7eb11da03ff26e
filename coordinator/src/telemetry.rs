//! Logs: to stderr, filtered by `VIGILMON_LOG` (such as `info,coordinator::delivery=debug`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. A filter that cannot be read is replaced by the default, with a warning.
pub fn start(filter: Option<&str>, default: &str) {
    let parsed = filter.map(EnvFilter::try_new);
    let (filter, problem) = match parsed {
        None => (EnvFilter::new(default), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default), Some(error)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    if let Some(problem) = problem {
        tracing::warn!(%problem, "VIGILMON_LOG cannot be read; using `{default}`");
    }
}
