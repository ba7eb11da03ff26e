//! Single results and pings out of the journal, newest first, in bounded steps.
//!
//! A journal row holds what one commit heard of everybody, so whoever looks for one monitor's results reads past all
//! others. A page therefore ends, perhaps empty, when enough rows were looked at; its token leads on from there.

use model::Timestamp;
use prost::Message;
use serde::{Deserialize, Serialize};
use store::{JournalQuery, Position, Record, Store};
use tonic::Status;

use super::fields;
use super::invalid::Invalid;
use super::paging::{Filling, Page, Scope};
use super::refusal::store_failed;

/// Rows of one query: a row may hold a mebibyte.
const ROWS_PER_QUERY: u32 = 64;
/// Rows of one page.
const MAX_ROWS: usize = 20_000;
/// Records of one page; a row holds from one to some thousand.
const MAX_RECORDS: usize = 400_000;
/// How far back is looked unless the request says.
const DEFAULT_SPAN: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What a request for history asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    page: Page<Place>,
    /// From this instant on.
    pub(super) since: Timestamp,
    /// Before this instant.
    pub(super) until: Timestamp,
}

/// Where a page ended: what is left is before record `index` of row `row`, and all older rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    row: Position,
    index: u32,
    /// The first page's, lest the window move while it is being walked.
    since: Timestamp,
}

/// The fields that both requests have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub(super) since: Option<&'a prost_types::Timestamp>,
    pub(super) until: Option<&'a prost_types::Timestamp>,
    pub(super) page_size: i32,
    pub(super) page_token: &'a str,
}

impl Asked {
    /// Reads a request for the history of `subject`.
    pub(super) fn read(
        list: &str,
        subject: &str,
        window: Window<'_>,
        now: Timestamp,
    ) -> Result<Self, Status> {
        let mut invalid = Invalid::default();
        let scope = Scope::new(list, &[&subject, &window.since, &window.until]);
        let page: Page<Place> = Page::read(scope, window.page_size, window.page_token, &mut invalid);
        let since = fields::instant("since", window.since, &mut invalid);
        let until = fields::instant("until", window.until, &mut invalid);
        let default = page.after.map_or_else(|| now.minus(DEFAULT_SPAN), |place| place.since);
        let (since, until) = (since.unwrap_or(default), until.unwrap_or(Timestamp::from_micros(i64::MAX)));
        if since >= until {
            invalid.add("since", "must be before until");
        }
        invalid.refuse()?;
        Ok(Self { page, since, until })
    }

    /// Whether an instant is in the window.
    pub(super) fn spans(&self, at: Timestamp) -> bool {
        (self.since..self.until).contains(&at)
    }

    /// One page of what `pick` takes from the records (given the instant of their commit), and the next page's token.
    pub(super) async fn page<T: Message>(
        &self,
        store: &dyn Store,
        pick: impl Fn(Timestamp, Record) -> Option<T> + Send,
    ) -> Result<(Vec<T>, String), Status> {
        let mut filling = Filling::new(self.page.size);
        let mut place = self.page.after;
        let (mut rows_seen, mut records_seen) = (0, 0);
        loop {
            // What a token says is not trusted to be a position that ever was.
            let before =
                place.map(|place| place.row.saturating_add(u64::from(place.index > 0)).min(i64::MAX as u64));
            let query = JournalQuery { before, not_before: self.since, limit: ROWS_PER_QUERY };
            let rows = store.journal_page(query).await.map_err(|error| store_failed(&error))?;
            let is_last = rows.len() < ROWS_PER_QUERY as usize;
            rows_seen += rows.len();
            for row in rows {
                let mut records = store::journal::decode(&row.blob).map_err(|error| store_failed(&error))?;
                if let Some(place) = place.filter(|place| place.row == row.position) {
                    records.truncate(place.index as usize);
                }
                records_seen += records.len();
                let mut index = u32::try_from(records.len()).unwrap_or(u32::MAX);
                let here = |index| Place { row: row.position, index, since: self.since };
                for record in records.into_iter().rev() {
                    if let Some(item) = pick(row.at, record)
                        && !filling.add(item)
                    {
                        return Ok((filling.items, self.page.token(&here(index))));
                    }
                    index -= 1;
                    if filling.is_full() {
                        return Ok((filling.items, self.page.token(&here(index))));
                    }
                }
                place = Some(here(0));
                if records_seen >= MAX_RECORDS {
                    return Ok((filling.items, self.page.token(&here(0))));
                }
            }
            match place {
                Some(place) if !is_last && rows_seen >= MAX_ROWS => {
                    return Ok((filling.items, self.page.token(&place)));
                }
                _ if is_last => return Ok((filling.items, String::new())),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{HeartbeatId, InstallationId};
    use proto::admin::v1::Ping;
    use store::memory::Memory;
    use store::{Commit, JournalRow};

    use super::*;

    fn ping(number: u8, body: usize) -> Record {
        Record::Ping {
            heartbeat: HeartbeatId::from_bytes([number; 16]),
            kind: engine::heartbeat::PingKind::Success,
            at: Timestamp::from_secs(100),
            method: store::journal::PingMethod::Get,
            body: vec![number; body],
        }
    }

    /// A journal with one row for each of these.
    async fn journal(rows: impl IntoIterator<Item = Vec<Record>>) -> Memory {
        let store = Memory::new(InstallationId::from_bytes([1; 16]));
        let at = Timestamp::from_secs(100);
        let lease = store.claim("main", at).await.unwrap();
        for (position, records) in (1..).zip(rows) {
            let commit = Commit {
                coordinator: "main".into(),
                generation: lease.generation,
                now: at,
                journal: Some(JournalRow { position, at, blob: store::journal::encode(&records) }),
                ..Commit::default()
            };
            store.commit(&commit).await.unwrap();
        }
        store
    }

    /// The sizes of the pages on which the pings of heartbeat 1 come, following the tokens.
    async fn walk(store: &Memory, page_size: i32) -> Vec<usize> {
        let (mut sizes, mut token) = (vec![], String::new());
        loop {
            let window = Window { since: None, until: None, page_size, page_token: &token };
            let asked = Asked::read("pings", "x", window, Timestamp::from_secs(101)).unwrap();
            let pick = |_, record| match record {
                Record::Ping { heartbeat, body, .. } if heartbeat == HeartbeatId::from_bytes([1; 16]) => {
                    Some(Ping { body, ..Ping::default() })
                }
                _ => None,
            };
            let (pings, next) = asked.page(store, pick).await.unwrap();
            sizes.push(pings.len());
            assert!(sizes.len() < 1_000, "the pages do not end");
            if next.is_empty() {
                return sizes;
            }
            token = next;
        }
    }

    #[tokio::test]
    async fn a_search_through_what_others_sent_ends_in_bounded_steps() {
        let others = (0..MAX_ROWS + ROWS_PER_QUERY as usize).map(|_| vec![ping(2, 0)]);
        let store = journal([vec![ping(1, 0)]].into_iter().chain(others)).await;
        assert_eq!(walk(&store, 10).await, [0, 1]);
    }

    #[tokio::test]
    async fn rows_are_split_between_pages_without_loss_or_repetition() {
        let mixed =
            |own: usize| std::iter::repeat_n([ping(1, 0), ping(2, 0)], own).flatten().collect::<Vec<_>>();
        let store = journal([mixed(3), mixed(0), mixed(70), mixed(1)]).await;
        for page_size in [1, 3, 73, 74, 1_000] {
            let sizes = walk(&store, page_size).await;
            assert_eq!(sizes.iter().sum::<usize>(), 74, "{page_size}");
            let full = usize::try_from(page_size).unwrap();
            assert!(sizes.iter().rev().skip(2).all(|size| *size == full), "{page_size}: {sizes:?}");
        }
    }

    #[tokio::test]
    async fn large_bodies_make_small_pages() {
        let row = |_| (0..50).map(|_| ping(1, 10_000)).collect::<Vec<_>>();
        let store = journal((0..20).map(row)).await;
        let sizes = walk(&store, 1_000).await;
        assert_eq!(sizes.iter().sum::<usize>(), 1_000);
        assert!(sizes.len() >= 4, "{sizes:?}");
    }

    #[tokio::test]
    async fn a_forged_place_is_no_harm() {
        let store = journal([vec![ping(1, 0)]]).await;
        for row in [0, 1, 2, u64::MAX] {
            let window = Window { since: None, until: None, page_size: 0, page_token: "" };
            let mut asked = Asked::read("pings", "x", window, Timestamp::from_secs(101)).unwrap();
            asked.page.after = Some(Place { row, index: u32::MAX, since: asked.since });
            let pick = |_, _| Some(Ping::default());
            let (pings, next) = asked.page(&store, pick).await.unwrap();
            assert!(pings.len() <= 1 && next.is_empty());
        }
    }
}
