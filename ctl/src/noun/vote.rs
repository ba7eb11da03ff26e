//! Tables of votes, which both an explanation and an incident show.

use model::Timestamp;
use proto::admin::v1::{FailingComponent, Vote};

use crate::output::{Cell, Table};
use crate::{duration, moment};

/// Who voted what, and whether it counted.
pub(super) fn table(votes: &[Vote], now: Timestamp) -> Table {
    let row = |vote: &Vote| {
        vec![
            Cell::text(&vote.region),
            Cell::state(&vote.outcome),
            Cell::text(if vote.counted { "yes" } else { "no" }),
            Cell::text(&vote.reason),
            Cell::text(moment::relative(vote.started_at.as_ref(), now)),
            Cell::text(duration::measured(vote.duration.as_ref())),
            Cell::text(&vote.detail),
            Cell::text(&vote.agent_id),
        ]
    };
    Table {
        headers: &["REGION", "OUTCOME", "COUNTED", "REASON", "CHECKED", "DURATION", "DETAIL", "AGENT"],
        rows: votes.iter().map(row).collect(),
    }
}

/// What the target's health report named as failing, by region.
pub(super) fn components(votes: &[Vote]) -> Table {
    let row = |vote: &Vote, it: &FailingComponent| {
        vec![Cell::text(&vote.region), Cell::text(&it.name), Cell::text(&it.detail)]
    };
    let rows = votes.iter().flat_map(|vote| vote.failing_components.iter().map(move |it| row(vote, it)));
    Table { headers: &["REGION", "COMPONENT", "DETAIL"], rows: rows.collect() }
}
