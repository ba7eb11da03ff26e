//! Waiting for conditions instead of for time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Long enough for anything that should happen at once, on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Asks `probe` until it has something, for at most `limit`.
///
/// # Errors
/// Names `what` did not happen and what the probe failed with last.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = String::new();
    loop {
        match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = format!(" (last error: {error:#})"),
        }
        if Instant::now() >= deadline {
            bail!("within {limit:?} it did not happen that {what}{last}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Asks `probe` for the whole of `span` and fails as soon as it objects.
///
/// # Errors
/// What the probe objects to.
pub async fn throughout(span: Duration, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        probe().await?;
        tokio::time::sleep(POLL_INTERVAL * 8).await;
    }
    Ok(())
}
