//! From a message of results to a batch for the shards: what may not be taken from this agent is refused, singly.

use std::sync::Arc;

use model::{AgentId, RegionId, SubjectId, Timestamp};
use proto::probe::convert::{Invalid, Received, results_from_wire};
use proto::probe::v1;
use tokio::sync::mpsc;
use tracing::debug;

use crate::shard::{Acked, ResultBatch, ResultItem};
use crate::view::Views;

/// Why a result is not taken. Refused results are counted and acked: sending them again would change nothing.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("the monitor does not exist")]
    Unknown,
    #[error("the monitor is not checked from this agent's region")]
    Unassigned,
}

/// The batch that a message makes; `None` for one without results, which only says that the agent is there.
///
/// Taken is what belongs to a monitor that the agent's region checks. Not only from the region's present primary: the
/// back-log of an agent that was cut off is history of monitors that another one has taken over.
#[must_use]
pub fn batch(
    message: v1::Results,
    agent: AgentId,
    region: &RegionId,
    received_at: Timestamp,
    views: &Views,
    acks: &mpsc::UnboundedSender<Acked>,
) -> Option<ResultBatch> {
    if message.results.is_empty() {
        return None;
    }
    let agent_epoch = message.agent_epoch;
    let items = results_from_wire(message, region, received_at)
        .map(|(seq, received)| match check(received, region, views) {
            Ok(Received { result, is_late, capture, .. }) => {
                ResultItem { seq, result: Some(result), is_late, capture }
            }
            Err(refusal) => {
                debug!(agent.id = %agent, seq, %refusal, "result refused");
                ResultItem { seq, result: None, is_late: false, capture: None }
            }
        })
        .collect();
    Some(ResultBatch { agent, agent_epoch, received_at, items, acks: acks.clone() })
}

fn check(received: Result<Received, Invalid>, region: &RegionId, views: &Views) -> Result<Received, Refusal> {
    let received = received?;
    let view = views.get(SubjectId::Monitor(received.result.monitor)).ok_or(Refusal::Unknown)?;
    let (_, monitor) = view.definition.monitor().ok_or(Refusal::Unknown)?;
    if Arc::as_ref(monitor).regions.binary_search(region).is_err() {
        return Err(Refusal::Unassigned);
    }
    Ok(received)
}
