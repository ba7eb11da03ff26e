//! Deliveries: created once, changed field by field, listed, and deleted when they are old.

use crate::{
    ChannelRecord, ClaimRow, Commit, DeliveryQuery, DeliveryRow, DeliveryState, EventRow, IncidentState,
    Store, TRIMMED_DELIVERIES_PER_COMMIT,
};

use super::sample;

fn event(number: u32) -> EventRow {
    sample::event(&sample::incident(1, sample::monitor(1), IncidentState::Open), number)
}

/// One of so many deliveries, created at the second of its number.
fn numbered(number: u32, channel: u32) -> DeliveryRow {
    sample::delivery(&event(number), sample::channel_id(channel))
}

fn ended(row: DeliveryRow, state: DeliveryState) -> DeliveryRow {
    DeliveryRow { state, finished_at: Some(row.created_at), ..row }
}

pub(super) async fn a_delivery_is_created_once_and_then_changed_by_claims_and_marks(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let fresh = numbered(1, 1);
    let create = Commit { deliveries: vec![fresh.clone()], ..sample::commit(&lease) };
    store.commit(&create).await.unwrap();
    let mut row = DeliveryRow {
        state: DeliveryState::Dead,
        attempts: 7,
        replayed_after: 3,
        next_attempt_at: sample::at(30),
        first_attempt_at: Some(sample::at(8)),
        body: Some(b"rendered".to_vec()),
        finished_at: Some(sample::at(31)),
        reason: "the channel was \"deleted\"".into(),
        ..fresh
    };
    let claims = vec![ClaimRow { delivery: row.id, body: b"rendered".to_vec() }];
    let change = Commit { claims, marks: vec![row.mark()], ..sample::commit(&lease) };
    store.commit(&change).await.unwrap();
    assert_eq!(store.delivery(row.id).await.unwrap(), Some((row.clone(), vec![])));
    store.commit(&create).await.unwrap();
    assert_eq!(store.delivery(row.id).await.unwrap(), Some((row.clone(), vec![])), "not created again");

    (row.state, row.finished_at, row.first_attempt_at) = (DeliveryState::Waiting, None, None);
    store.commit(&Commit { marks: vec![row.mark()], ..sample::commit(&lease) }).await.unwrap();
    assert_eq!(store.load().await.unwrap().unfinished, [row], "its body is as it was claimed");
}

pub(super) async fn what_is_claimed_or_marked_without_being_there_is_passed_over(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let row = numbered(1, 1);
    let claims = vec![ClaimRow { delivery: row.id, body: vec![] }];
    let change = Commit { claims, marks: vec![row.mark()], ..sample::commit(&lease) };
    store.commit(&change).await.unwrap();
    assert_eq!(store.delivery(row.id).await.unwrap(), None);
}

pub(super) async fn deliveries_are_listed_with_their_attempts_oldest_first(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Open);
    let other = sample::incident(2, sample::monitor(2), IncidentState::Open);
    let later = sample::delivery(&sample::event(&incident, 1), sample::channel_id(1));
    let earlier = sample::delivery(&sample::event(&incident, 0), sample::channel_id(1));
    let foreign = sample::delivery(&sample::event(&other, 0), sample::channel_id(1));
    let attempts =
        [sample::attempt(later.id, 2), sample::attempt(later.id, 1), sample::attempt(foreign.id, 1)];
    let commit = Commit {
        deliveries: vec![later.clone(), foreign, earlier.clone()],
        attempts: attempts.to_vec(),
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();
    let listed = store.deliveries(incident.id).await.unwrap();
    assert_eq!(listed, [(earlier, vec![]), (later, vec![attempts[1].clone(), attempts[0].clone()])]);
}

pub(super) async fn deliveries_are_paged_newest_first_without_their_bodies_under_every_filter(
    store: &dyn Store,
) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let states =
        [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Coalesced];
    let mut rows: Vec<DeliveryRow> = (0..16)
        .map(|n| {
            let state = states[n as usize % 4];
            let other = sample::delivery(
                &sample::event(&sample::incident(2, sample::monitor(2), IncidentState::Open), n),
                sample::channel_id(9),
            );
            let row = if n < 12 { numbered(n, n % 3) } else { other };
            DeliveryRow { state, ..row }
        })
        .collect();
    let with_bodies = rows.iter().map(|row| DeliveryRow { body: Some(vec![1]), ..row.clone() }).collect();
    store.commit(&Commit { deliveries: with_bodies, ..sample::commit(&lease) }).await.unwrap();
    rows.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.id)));

    for channel in [None, Some(sample::channel_id(1))] {
        for incident in [None, Some(sample::incident_id(1))] {
            for state in [None].into_iter().chain(states.map(Some)) {
                for created_since in [None, Some(sample::at(3))] {
                    let mut query =
                        DeliveryQuery { channel, incident, state, created_since, after: None, limit: 2 };
                    let wanted = |row: &&DeliveryRow| {
                        channel.is_none_or(|it| row.channel == it)
                            && incident.is_none_or(|it| row.incident == it)
                            && state.is_none_or(|it| row.state == it)
                            && created_since.is_none_or(|it| row.created_at >= it)
                    };
                    let expected: Vec<DeliveryRow> = rows.iter().filter(wanted).cloned().collect();
                    let mut listed: Vec<DeliveryRow> = vec![];
                    loop {
                        let page = store.list_deliveries(&query).await.unwrap();
                        let Some(last) = page.last() else { break };
                        query.after = Some((last.created_at, last.id));
                        listed.extend(page);
                    }
                    assert_eq!(listed, expected, "{query:?}");
                }
            }
        }
    }
}

pub(super) async fn old_deliveries_go_a_bounded_number_at_a_time_with_their_attempts_but_not_waiting_ones(
    store: &dyn Store,
) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let extra = 3;
    let count = TRIMMED_DELIVERIES_PER_COMMIT + extra;
    let mut deliveries: Vec<DeliveryRow> =
        (0..count).map(|n| ended(numbered(n, 1), DeliveryState::Delivered)).collect();
    deliveries[1] = numbered(1, 1);
    let attempts = deliveries.iter().map(|row| sample::attempt(row.id, 1)).collect();
    store.commit(&Commit { deliveries, attempts, ..sample::commit(&lease) }).await.unwrap();
    let trim = |second: u32| Commit {
        trim_deliveries_before: Some(sample::at(i64::from(second))),
        ..sample::commit(&lease)
    };
    let all = DeliveryQuery { limit: 9_999, ..DeliveryQuery::default() };
    store.commit(&trim(count - 1)).await.unwrap();
    let left = store.list_deliveries(&all).await.unwrap();
    assert_eq!(left.len(), extra as usize, "the newest two and the one that waits");
    store.commit(&trim(count - 1)).await.unwrap();
    let left: Vec<_> = store.list_deliveries(&all).await.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, [numbered(count - 1, 1).id, numbered(1, 1).id]);
    let told = store.deliveries(sample::incident_id(1)).await.unwrap();
    assert!(told.iter().all(|(_, attempts)| attempts.len() == 1));
    assert_eq!(store.delivery(numbered(0, 1).id).await.unwrap(), None);
}

pub(super) async fn a_channel_has_been_failing_since_the_first_attempt_after_its_last_success(
    store: &dyn Store,
) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let attempted = |number: u32, channel, state| DeliveryRow {
        first_attempt_at: Some(sample::at(i64::from(number) + 1)),
        ..ended(numbered(number, channel), state)
    };
    let deliveries = vec![
        attempted(1, 1, DeliveryState::Dead),
        attempted(2, 1, DeliveryState::Delivered),
        attempted(4, 1, DeliveryState::Waiting),
        attempted(3, 1, DeliveryState::Dead),
        numbered(5, 1),
        attempted(1, 2, DeliveryState::Delivered),
        attempted(2, 3, DeliveryState::Dead),
    ];
    store.commit(&Commit { deliveries, ..sample::commit(&lease) }).await.unwrap();
    let record = |channel| store.channel_record(sample::channel_id(channel));
    let told = |delivered: Option<i64>, failing: Option<i64>| ChannelRecord {
        delivered_at: delivered.map(sample::at),
        failing_since: failing.map(sample::at),
    };
    assert_eq!(record(1).await.unwrap(), told(Some(2), Some(4)));
    assert_eq!(record(2).await.unwrap(), told(Some(1), None));
    assert_eq!(record(3).await.unwrap(), told(None, Some(3)));
    assert_eq!(record(4).await.unwrap(), ChannelRecord::default());
}
