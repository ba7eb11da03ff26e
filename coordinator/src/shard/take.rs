//! From inputs to the stage: what each of them records, applies and asks to be kept.

use engine::monitor;
use model::SubjectId;
use store::Record;

use super::input::{Acked, ChangeError, Input, ResultBatch};
use super::stage::Stage;
use super::subject::Happening;

/// What is told to whom when the turn has committed.
pub(super) enum Outcome {
    /// Nothing, or no more than that it has.
    Nothing,
    /// Sequence numbers.
    Acked(Acked),
    /// Whether a change was made.
    Changed(Result<(), ChangeError>),
}

/// Applies one input to the stage.
pub(super) fn take(input: &Input, stage: &mut Stage<'_>) -> Outcome {
    match input {
        Input::Results(batch) => return Outcome::Acked(take_results(batch, stage)),
        Input::Ping(ping) => stage.take_ping(&ping.heard),
        Input::Slow { monitor, region, started_at } => {
            let event = monitor::Event::Slow { region: region.clone(), started_at: *started_at };
            stage.apply(SubjectId::Monitor(*monitor), Happening::Monitor(&event));
        }
        Input::RegionLive { region, live } => stage.region_live(region, *live),
        Input::Canaries { agent, say } => stage.hear_canaries(*agent, *say),
        Input::Change(change) => return Outcome::Changed(stage.change(&change.request)),
        Input::Deliveries(batch) => {
            let rows = stage.rows();
            rows.events.extend_from_slice(&batch.events);
            rows.deliveries.extend_from_slice(&batch.deliveries);
            rows.claims.extend_from_slice(&batch.claims);
            rows.marks.extend_from_slice(&batch.marks);
            rows.dispatched.extend_from_slice(&batch.dispatched);
            rows.attempts.extend_from_slice(&batch.attempts);
        }
        Input::Blind { from, to } => stage.blind(*from, *to, false),
        Input::Inspect(..) => {}
    }
    Outcome::Nothing
}

fn take_results(batch: &ResultBatch, stage: &mut Stage<'_>) -> Acked {
    let mut refused = 0;
    for item in &batch.items {
        let seq = item.seq;
        let new = stage.see(batch.agent, batch.agent_epoch, seq);
        let Some(result) = &item.result else {
            refused += 1;
            if new {
                stage.record(Record::Refused { agent: batch.agent, agent_epoch: batch.agent_epoch, seq });
            }
            continue;
        };
        if !new {
            continue;
        }
        let id = SubjectId::Monitor(result.monitor);
        let (agent, agent_epoch, received_at) = (batch.agent, batch.agent_epoch, batch.received_at);
        let mut result = Box::new(result.clone());
        if item.is_late {
            stage.record(Record::LateResult { agent, agent_epoch, seq, received_at, result });
        } else {
            stage.note_sight(&result);
            let event = monitor::Event::Observed { agent, result };
            stage.apply(id, Happening::Monitor(&event));
            let monitor::Event::Observed { result: observed, .. } = event else { continue };
            result = observed;
            stage.weigh(agent, &result);
            if let Some(capture) = &item.capture {
                stage.note_capture(agent, &result, capture);
            }
            stage.record(Record::Result { agent, agent_epoch, seq, received_at, result });
        }
    }
    let range = batch.items.first().zip(batch.items.last()).map(|(first, last)| (first.seq, last.seq));
    Acked { agent_epoch: batch.agent_epoch, range, refused }
}
