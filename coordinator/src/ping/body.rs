//! What is kept of a ping's body: its first 10,000 bytes. The rest is not read, and a slow one does not hold the ping.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;

/// Bytes of a body that are kept (Healthchecks' figure).
pub(super) const KEPT_BYTES: usize = 10_000;
/// How long they may take to arrive; then what came is kept.
const PATIENCE: Duration = Duration::from_secs(2);

/// The beginning of a body.
pub(super) struct Head {
    /// At most [`KEPT_BYTES`].
    pub(super) bytes: Vec<u8>,
    /// Whether the body was read to its end.
    pub(super) is_whole: bool,
}

/// Reads what is to be kept.
pub(super) async fn keep_head(mut body: Body) -> Head {
    let mut head = Head { bytes: vec![], is_whole: body.is_end_stream() };
    if !head.is_whole {
        // Out of time is as good as enough: what came by then is kept.
        drop(tokio::time::timeout(PATIENCE, head.fill(&mut body)).await);
    }
    head
}

impl Head {
    async fn fill(&mut self, body: &mut Body) {
        while !self.is_whole {
            let data = match body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                None => {
                    self.is_whole = true;
                    return;
                }
                // The job broke off; it did ping.
                Some(Err(_)) => return,
            };
            let kept = data.len().min(KEPT_BYTES - self.bytes.len());
            self.bytes.extend_from_slice(&data[..kept]);
            self.is_whole = kept == data.len() && body.is_end_stream();
            if self.bytes.len() == KEPT_BYTES {
                return;
            }
        }
    }
}
