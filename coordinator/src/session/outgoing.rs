//! The writing half of a session: what the fleet and the shards have for the agent, as messages on the wire.
//!
//! Goes in: verifications and assignments, acks of what is committed, the drain. Whoever is replaced hears why; whoever
//! takes nothing from the wire for [`SILENCE`] loses the session.

use std::time::Duration;

use proto::probe::convert::{assignment_to_wire, duration_to_wire};
use proto::probe::v1;
use proto::probe::v1::coordinator_message::Message as ToWire;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::warn;

use crate::fleet::{SILENCE, ToAgent};
use crate::shard::Acked;

/// What is on its way to the wire.
pub(super) type Wire = mpsc::Sender<Result<v1::CoordinatorMessage, Status>>;

/// Turns what the fleet and the shards have for the agent into messages.
pub(super) async fn write(
    to_wire: Wire,
    mut from_fleet: mpsc::UnboundedReceiver<ToAgent>,
    mut from_shards: mpsc::UnboundedReceiver<Acked>,
    closed: CancellationToken,
    drain: CancellationToken,
) {
    let mut drained = false;
    let mut waiting = Vec::new();
    loop {
        let messages = tokio::select! {
            // First, so that whoever is replaced hears why: its other ends close at the same moment.
            biased;
            () = closed.cancelled() => {
                // Best effort: the stream may be stuck already.
                drop(to_wire.try_send(Err(Status::aborted("a newer process with this agent's token has connected"))));
                return;
            }
            () = drain.cancelled(), if !drained => {
                drained = true;
                vec![ToWire::Drain(v1::Drain {
                    reason: "the coordinator is shutting down".into(),
                    reconnect_after: Some(duration_to_wire(Duration::from_secs(1))),
                })]
            }
            acked = from_shards.recv() => match acked {
                Some(first) => vec![ack(first, &mut from_shards)],
                None => return,
            },
            count = from_fleet.recv_many(&mut waiting, 256) => match count {
                0 => return,
                _ => to_messages(waiting.drain(..)),
            },
        };
        for message in messages {
            match tokio::time::timeout(SILENCE, to_wire.send(Ok(wire(message)))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    warn!("an agent takes nothing from the wire: its session is closed");
                    closed.cancel();
                    return;
                }
            }
        }
    }
}

/// One Ack for everything that is committed by now.
fn ack(first: Acked, more: &mut mpsc::UnboundedReceiver<Acked>) -> ToWire {
    let mut ack = v1::Ack { agent_epoch: first.agent_epoch, ranges: vec![], refused: 0 };
    let mut next = Some(first);
    while let Some(acked) = next {
        match (acked.range, ack.ranges.last_mut()) {
            (None, _) => {}
            (Some((first, last)), Some(range)) if range.last.checked_add(1) == Some(first) => {
                range.last = last;
            }
            (Some((first, last)), _) => ack.ranges.push(v1::Range { first, last }),
        }
        ack.refused = ack.refused.saturating_add(acked.refused);
        // Epochs do not change within a session.
        next = if ack.ranges.len() < 64 { more.try_recv().ok() } else { None };
    }
    ToWire::Ack(ack)
}

/// Messages of the fleet; verifications that wait together go together.
fn to_messages(waiting: impl Iterator<Item = ToAgent>) -> Vec<ToWire> {
    let mut messages = vec![];
    for message in waiting {
        match message {
            ToAgent::Assignments { full, assigned, removed, digest, revision } => {
                messages.push(ToWire::Assignments(v1::Assignments {
                    revision,
                    full,
                    assigned: assigned.iter().map(assignment_to_wire).collect(),
                    removed_monitor_ids: removed.iter().map(|id| id.as_bytes().to_vec()).collect(),
                    digest: digest.to_vec(),
                }));
            }
            ToAgent::CheckOnce(assignment) => {
                let assignment = Some(assignment_to_wire(&assignment));
                messages.push(ToWire::CheckOnce(v1::CheckOnce { assignment }));
            }
            ToAgent::Verify { monitor, spec_revision, round } => {
                let verification =
                    v1::Verification { monitor_id: monitor.as_bytes().to_vec(), spec_revision, round };
                match messages.last_mut() {
                    Some(ToWire::VerifyNow(verify)) => verify.verifications.push(verification),
                    _ => {
                        messages.push(ToWire::VerifyNow(v1::VerifyNow { verifications: vec![verification] }));
                    }
                }
            }
        }
    }
    messages
}

/// A message in its envelope.
pub(super) fn wire(message: ToWire) -> v1::CoordinatorMessage {
    v1::CoordinatorMessage { message: Some(message) }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn acked(range: (u64, u64)) -> Acked {
        Acked { agent_epoch: 1, range: Some(range), refused: 1 }
    }

    #[test]
    fn acks_that_adjoin_become_one_range_up_to_the_largest_number() {
        let (more, mut waiting) = mpsc::unbounded_channel();
        for range in [(4, 6), (9, u64::MAX), (0, 2)] {
            more.send(acked(range)).unwrap();
        }
        let ToWire::Ack(ack) = ack(acked((1, 3)), &mut waiting) else { panic!("not an ack") };
        let ranges: Vec<_> = ack.ranges.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!((ranges, ack.refused), (vec![(1, 6), (9, u64::MAX), (0, 2)], 4));
    }

    #[tokio::test]
    async fn whoever_is_replaced_hears_why() {
        // The order of a select without `biased` is random.
        for _ in 0..32 {
            let (to_wire, mut wire) = mpsc::channel(4);
            let (_, from_fleet) = mpsc::unbounded_channel();
            let (_, from_shards) = mpsc::unbounded_channel();
            let closed = CancellationToken::new();
            closed.cancel();
            write(to_wire, from_fleet, from_shards, closed, CancellationToken::new()).await;
            let told = wire.recv().await.expect("something is said").unwrap_err();
            assert_eq!(told.code(), Code::Aborted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_takes_nothing_from_the_wire_loses_its_session() {
        let (to_wire, _wire) = mpsc::channel(1);
        let (fleet, from_fleet) = mpsc::unbounded_channel();
        let (_shards, from_shards) = mpsc::unbounded_channel();
        for revision in 1..=2 {
            fleet
                .send(ToAgent::Assignments {
                    full: false,
                    assigned: vec![],
                    removed: vec![],
                    digest: [0; 32],
                    revision,
                })
                .unwrap();
        }
        let closed = CancellationToken::new();
        write(to_wire, from_fleet, from_shards, closed.clone(), CancellationToken::new()).await;
        assert!(closed.is_cancelled());
    }
}
