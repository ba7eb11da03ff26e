//! Loading, listing, paging and trimming.

use model::EventId;

use super::sample;
use crate::{
    CaptureQuery, Commit, DeliveryState, IncidentQuery, IncidentState, JournalQuery, Lease, Position, Store,
    TRIMMED_CAPTURES_PER_COMMIT, TRIMMED_PER_COMMIT,
};

pub(super) async fn incidents_are_listed_newest_first_and_pages_neither_repeat_nor_skip(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    // Three instants, several incidents at each.
    let mut incidents: Vec<_> =
        (0..10).map(|n| sample::incident(n, sample::monitor(n % 3), IncidentState::Resolved)).collect();
    for (incident, n) in incidents.iter_mut().zip(0_i64..) {
        incident.opened_at = sample::at(n % 3);
    }
    store.commit(&Commit { incidents: incidents.clone(), ..sample::commit(&lease) }).await.unwrap();
    incidents.sort_by_key(|row| std::cmp::Reverse((row.opened_at, row.id)));

    for limit in [1, 3, 4, 10, 11] {
        let mut query = IncidentQuery { limit, ..IncidentQuery::default() };
        let mut listed = Vec::new();
        while listed.len() <= incidents.len() {
            let page = store.list_incidents(&query).await.unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            query.after = Some((last.opened_at, last.id));
            listed.extend(page);
        }
        assert_eq!(listed, incidents, "pages of {limit}");
    }
}

pub(super) async fn incidents_are_filtered_by_subject_state_and_instant(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incidents = vec![
        sample::incident(1, sample::monitor(1), IncidentState::Resolved),
        sample::incident(2, sample::monitor(1), IncidentState::Open),
        sample::incident(3, sample::monitor(2), IncidentState::Open),
        sample::incident(4, sample::monitor(2), IncidentState::Closed),
    ];
    store.commit(&Commit { incidents, ..sample::commit(&lease) }).await.unwrap();
    let all = IncidentQuery { limit: 10, ..IncidentQuery::default() };
    let of_first = IncidentQuery { subject: Some(sample::monitor(1)), ..all.clone() };
    let open_since_first =
        IncidentQuery { open_only: true, opened_since: Some(sample::at(3)), ..all.clone() };
    for (query, expected) in [
        (all.clone(), vec![4, 3, 2, 1]),
        (of_first.clone(), vec![2, 1]),
        (IncidentQuery { open_only: true, ..all.clone() }, vec![3, 2]),
        (IncidentQuery { open_only: true, ..of_first.clone() }, vec![2]),
        (IncidentQuery { opened_since: Some(sample::at(2)), ..all.clone() }, vec![4, 3, 2]),
        (open_since_first, vec![3]),
        (IncidentQuery { after: Some((sample::at(2), sample::incident_id(2))), ..of_first }, vec![1]),
        (IncidentQuery { limit: 0, ..all }, vec![]),
    ] {
        let listed = store.list_incidents(&query).await.unwrap();
        assert_eq!(listed.iter().map(|row| row.number).collect::<Vec<_>>(), expected, "{query:?}");
    }
}

async fn write_journal(store: &dyn Store, lease: &Lease, positions: impl IntoIterator<Item = Position>) {
    for position in positions {
        store.commit(&sample::journal_commit(lease, position)).await.unwrap();
    }
}

async fn positions(store: &dyn Store) -> Vec<Position> {
    store.journal_after(0, u32::MAX).await.unwrap().iter().map(|row| row.position).collect()
}

pub(super) async fn the_journal_is_read_forwards_from_a_position(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    write_journal(store, &lease, [2, 3, 7, 9]).await;
    let rows = store.journal_after(2, 2).await.unwrap();
    assert_eq!(rows, [sample::journal(3), sample::journal(7)]);
    assert_eq!(store.journal_after(9, 2).await.unwrap(), []);
    assert_eq!(store.journal_after(Position::MAX, 2).await.unwrap(), []);
}

pub(super) async fn the_journal_is_paged_backwards_and_ends_at_an_instant(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    write_journal(store, &lease, 1..=9).await;
    let mut query = JournalQuery { before: None, not_before: sample::at(3), limit: 4 };
    let mut pages = Vec::new();
    while pages.len() < 9 {
        let page = store.journal_page(query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.before = Some(last.position);
        pages.push(page.iter().map(|row| row.position).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![9, 8, 7, 6], vec![5, 4, 3]]);
    let everything = JournalQuery { before: None, not_before: sample::at(-1), limit: 100 };
    assert_eq!(store.journal_page(everything).await.unwrap().len(), 9);
}

pub(super) async fn trimming_is_bounded_and_keeps_what_replay_needs(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let many = Position::from(TRIMMED_PER_COMMIT) + 10;
    write_journal(store, &lease, 1..=many).await;
    let trim = |before, replay_from| Commit {
        trim_journal_before: Some(sample::at(before)),
        replay_from,
        ..sample::commit(&lease)
    };

    store.commit(&trim(10_000, None)).await.unwrap();
    assert_eq!(positions(store).await.len() as u64, many, "replay begins at the first");
    store.commit(&trim(3, Some(many - 2))).await.unwrap();
    assert_eq!(positions(store).await.first(), Some(&3), "older than the instant only");
    store.commit(&trim(10_000, None)).await.unwrap();
    assert_eq!(positions(store).await.first(), Some(&(3 + Position::from(TRIMMED_PER_COMMIT))), "bounded");
    store.commit(&trim(10_000, None)).await.unwrap();
    assert_eq!(positions(store).await, [many - 1, many], "replay begins after the rest");
}

pub(super) async fn positions_are_never_given_out_twice_even_after_trimming(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    write_journal(store, &lease, [1, 2]).await;
    let fold =
        Commit { replay_from: Some(2), trim_journal_before: Some(sample::at(100)), ..sample::commit(&lease) };
    store.commit(&fold).await.unwrap();
    assert_eq!(positions(store).await, [0; 0]);
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.replay_from, loaded.last_position), (2, 2));

    let states = vec![sample::state(sample::monitor(1), 5)];
    store.commit(&Commit { states, ..sample::commit(&lease) }).await.unwrap();
    assert_eq!(store.load().await.unwrap().last_position, 5);
    let snapshots = vec![sample::snapshot(1, 6)];
    store.commit(&Commit { snapshots, ..sample::commit(&lease) }).await.unwrap();
    assert_eq!(store.load().await.unwrap().last_position, 6);
    let agents_seen = vec![sample::seen(1, 1, 7)];
    store.commit(&Commit { agents_seen, ..sample::commit(&lease) }).await.unwrap();
    assert_eq!(store.load().await.unwrap().last_position, 7);
}

pub(super) async fn loading_leaves_out_what_is_finished(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    assert_eq!(store.load().await.unwrap().last_position, 0);
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Resolved);
    let events = [sample::event(&incident, 1), sample::event(&incident, 0)];
    let mut deliveries: Vec<_> =
        (0..4).map(|n| sample::delivery(&events[0], sample::channel_id(n))).collect();
    deliveries[0].state = DeliveryState::Delivered;
    deliveries[1].state = DeliveryState::Dead;
    deliveries[2].state = DeliveryState::Coalesced;
    let commit = Commit {
        incidents: vec![incident],
        events: events.to_vec(),
        deliveries: deliveries.clone(),
        dispatched: vec![events[0].id],
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.open_incidents, []);
    assert_eq!(loaded.undispatched, [events[1].clone()]);
    assert_eq!(loaded.unfinished, [deliveries[3].clone()]);
    assert_eq!(store.event(events[0].id).await.unwrap(), Some(events[0].clone()), "dispatched ones are kept");
}

pub(super) async fn what_is_owed_of_an_incident_that_is_over_is_loaded_until_it_is_told(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let mut over = sample::incident(1, sample::monitor(1), IncidentState::Resolved);
    over.alert_due_at = Some(sample::at(90));
    let mut open = sample::incident(2, sample::monitor(1), IncidentState::Open);
    open.alert_due_at = Some(sample::at(80));
    let told = sample::incident(3, sample::monitor(2), IncidentState::Closed);
    let incidents = vec![over.clone(), open.clone(), told];
    store.commit(&Commit { incidents, ..sample::commit(&lease) }).await.unwrap();
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.open_incidents, loaded.owed_incidents), (vec![open], vec![over.clone()]));
    over.alert_due_at = None;
    store.commit(&Commit { incidents: vec![over], ..sample::commit(&lease) }).await.unwrap();
    assert_eq!(store.load().await.unwrap().owed_incidents, []);
}

pub(super) async fn members_are_listed_in_order_of_joining_up_to_a_limit_and_counted(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident_id(1);
    // By joining, then by the text of the id: `hbt_` comes before `mon_`.
    let expected = [
        sample::member(incident, sample::monitor(9), 1),
        sample::member(incident, sample::heartbeat(3), 2),
        sample::member(incident, sample::monitor(1), 2),
        sample::member(incident, sample::monitor(2), 2),
    ];
    let foreign = sample::member(sample::incident_id(2), sample::monitor(1), 0);
    let members =
        vec![expected[2].clone(), expected[3].clone(), foreign, expected[1].clone(), expected[0].clone()];
    store.commit(&Commit { members, ..sample::commit(&lease) }).await.unwrap();
    for limit in [0, 1, 3, 4, 5] {
        let shown = expected.iter().take(limit as usize).cloned().collect();
        assert_eq!(store.members(incident, limit).await.unwrap(), (shown, 4));
    }
}

pub(super) async fn what_is_unknown_is_absent_or_empty(store: &dyn Store) {
    assert_eq!(store.incident(sample::incident_id(1)).await.unwrap(), None);
    assert_eq!(store.event(EventId::from_bytes([0; 16])).await.unwrap(), None);
    assert_eq!(store.timeline(sample::incident_id(1)).await.unwrap(), []);
    assert_eq!(store.members(sample::incident_id(1), 9).await.unwrap(), (vec![], 0));
    assert_eq!(store.deliveries(sample::incident_id(1)).await.unwrap(), []);
    assert_eq!(store.config_revision().await.unwrap(), 0);
}

pub(super) async fn captures_are_listed_oldest_first_by_period_or_their_ends(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident_id(1);
    let periods = [None, Some(0), Some(1), Some(2)];
    let mut captures: Vec<_> = ["eu", "us"]
        .iter()
        .flat_map(|region| periods.iter().map(|&period| sample::capture(incident, region, period)))
        .collect();
    let elsewhere = sample::capture(sample::incident_id(2), "eu", Some(0));
    let all = [captures.clone(), vec![elsewhere]].concat();
    store.commit(&Commit { captures: all, ..sample::commit(&lease) }).await.unwrap();
    captures.retain(|row| row.period.is_some());
    captures.sort_by_key(|row| (row.at, row.region.clone()));

    for limit in [1, 3, 6, 7] {
        let mut query = CaptureQuery { incident, ends_only: false, after: None, limit };
        let mut listed = Vec::new();
        while listed.len() <= captures.len() {
            let page = store.captures(&query).await.unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            query.after = Some((last.at, last.region.clone(), last.verdict, last.period));
            listed.extend(page);
        }
        assert_eq!(listed, captures, "pages of {limit}");
    }
    let query = CaptureQuery { incident, ends_only: true, after: None, limit: 9 };
    let ends = store.captures(&query).await.unwrap();
    let expected = [(Some(0), "eu"), (Some(0), "us"), (None, "eu"), (None, "us")];
    assert_eq!(ends.iter().map(|row| (row.period, row.region.as_str())).collect::<Vec<_>>(), expected);

    let joined = vec![sample::capture(incident, "ap", Some(5)), sample::capture(incident, "ap", Some(7))];
    store.commit(&Commit { captures: joined.clone(), ..sample::commit(&lease) }).await.unwrap();
    let ends = store.captures(&query).await.unwrap();
    assert!(
        ends.contains(&joined[0]) && !ends.contains(&joined[1]),
        "a region that joined later has a first too"
    );
}

pub(super) async fn old_captures_go_a_bounded_number_at_a_time(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident_id(1);
    let captures =
        (0..TRIMMED_CAPTURES_PER_COMMIT + 9).map(|n| sample::capture(incident, "eu", Some(n))).collect();
    store.commit(&Commit { captures, ..sample::commit(&lease) }).await.unwrap();
    let first = async || {
        let query = CaptureQuery { incident, ends_only: false, after: None, limit: 1 };
        store.captures(&query).await.unwrap()[0].period
    };
    let trim = |before| Commit { trim_captures_before: Some(sample::at(before)), ..sample::commit(&lease) };
    store.commit(&trim(5)).await.unwrap();
    assert_eq!(first().await, Some(5), "older than the instant only");
    store.commit(&trim(10_000)).await.unwrap();
    assert_eq!(first().await, Some(5 + TRIMMED_CAPTURES_PER_COMMIT), "bounded");
}
