//! The signals that a command is to get although they were sent to `vigilctl`.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};

/// What ends, or means something to, programs; the rest stops or continues the whole group anyway.
const PASSED_ON: [SignalKind; 6] = [
    SignalKind::hangup(),
    SignalKind::interrupt(),
    SignalKind::quit(),
    SignalKind::terminate(),
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
];

/// From its making on, these signals end nothing by themselves.
pub(super) struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Listens, except for what was to be ignored: a command under `nohup` must not be told of a hang-up.
    pub(super) fn listen() -> Result<Self, Failure> {
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        let wanted = PASSED_ON.into_iter().filter(|kind| ignored & bit(*kind) == 0);
        let listening: Result<Vec<_>, std::io::Error> =
            wanted.map(|kind| Ok((kind, signal(kind)?))).collect();
        listening
            .map(Self)
            .map_err(|error| Failure::new(Exit::Negative, format!("cannot listen to signals: {error}")))
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> SignalKind {
        poll_fn(|context| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The signals that this process was started to ignore, as the kernel tells them; none where it does not.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn bit(kind: SignalKind) -> u64 {
    1 << (kind.as_raw_value() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernel_s_mask() {
        let status = "Name:\tvigilctl\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_ne!(ignored(status) & bit(SignalKind::hangup()), 0);
        assert_eq!(ignored(status) & bit(SignalKind::terminate()), 0);
        assert_eq!(ignored(""), 0);
    }
}
