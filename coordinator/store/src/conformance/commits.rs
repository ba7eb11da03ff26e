//! What a commit writes, and when it writes nothing.

use model::SubjectId;

use super::sample;
use crate::{
    CaptureQuery, CaptureVerdict, Commit, DeliveryState, Error, IncidentQuery, IncidentState, Store,
    SubjectRow, TimelineRow,
};

async fn is_empty(store: &dyn Store) -> bool {
    let loaded = store.load().await.unwrap();
    let incidents =
        store.list_incidents(&IncidentQuery { limit: 9, ..IncidentQuery::default() }).await.unwrap();
    let journal = store.journal_after(0, 9).await.unwrap();
    let rows = loaded.subjects.len()
        + loaded.states.len()
        + loaded.snapshots.len()
        + loaded.agents_seen.len()
        + loaded.open_members.len()
        + loaded.undispatched.len()
        + loaded.unfinished.len();
    rows + incidents.len() + journal.len() == 0
}

pub(super) async fn a_commit_is_all_or_nothing(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Open);
    let event = sample::event(&incident, 0);
    let delivery = sample::delivery(&event, sample::channel_id(1));
    let full = Commit {
        subjects: vec![sample::subject(sample::monitor(1), "api")],
        states: vec![sample::state(sample::monitor(1), 1)],
        timeline: vec![sample::line(incident.id, 0)],
        attempts: vec![sample::attempt(delivery.id, 1)],
        snapshots: vec![sample::snapshot(1, 1)],
        agents_seen: vec![sample::seen(1, 1, 1)],
        members: vec![sample::member(incident.id, sample::monitor(2), 1)],
        replay_from: Some(1),
        incidents: vec![incident.clone()],
        events: vec![event],
        deliveries: vec![delivery],
        ..sample::journal_commit(&lease, 1)
    };
    // A second open incident of the same subject comes too late to be seen before the others are written.
    let mut broken = full.clone();
    broken.incidents.push(sample::incident(2, sample::monitor(1), IncidentState::Open));
    let refused = store.commit(&broken).await;
    assert!(matches!(refused, Err(Error::Duplicate(_))), "{refused:?}");
    assert!(is_empty(store).await);
    assert_eq!(store.timeline(incident.id).await.unwrap(), []);
    assert_eq!(store.load().await.unwrap().replay_from, 0);
    assert_eq!(store.claim("other", sample::at(1)).await.unwrap().generation, 1, "writing goes on");

    store.commit(&full).await.unwrap();
    assert!(!is_empty(store).await);
}

pub(super) async fn every_kind_of_row_comes_back_as_it_was(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let open = sample::incident(4, sample::heartbeat(7), IncidentState::Open);
    let closed = sample::incident(5, sample::monitor(8), IncidentState::Closed);
    let event = sample::event(&open, 0);
    let waiting = sample::delivery(&event, sample::channel_id(1));
    let mut dead = sample::delivery(&event, sample::channel_id(2));
    dead.state = DeliveryState::Dead;
    dead.attempts = 2;
    dead.body = Some(vec![]);
    dead.finished_at = Some(sample::at(99));
    let attempts = vec![sample::attempt(dead.id, 1), sample::attempt(dead.id, 2)];
    let mut members = vec![
        sample::member(open.id, sample::monitor(8), 3),
        sample::member(open.id, sample::heartbeat(9), 4),
    ];
    members[0].left_at = Some(sample::at(50));
    let captures = vec![sample::capture(open.id, "eu", Some(0)), sample::capture(open.id, "eu", None)];
    let commit = Commit {
        subjects: vec![
            sample::subject(sample::monitor(8), "api"),
            sample::subject(sample::heartbeat(7), "backup"),
        ],
        states: vec![sample::state(sample::monitor(8), 1), sample::state(sample::heartbeat(7), 1)],
        incidents: vec![open.clone(), closed.clone()],
        timeline: vec![sample::line(open.id, 1), sample::line(open.id, 0)],
        members: members.clone(),
        captures: captures.clone(),
        events: vec![event.clone()],
        deliveries: vec![waiting.clone(), dead.clone()],
        attempts: attempts.clone(),
        snapshots: vec![sample::snapshot(1_023, 1), sample::snapshot(0, 1)],
        agents_seen: vec![sample::seen(2, 1, 1), sample::seen(1, 2, 1)],
        replay_from: Some(1),
        ..sample::journal_commit(&lease, 1)
    };
    store.commit(&commit).await.unwrap();

    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.subjects, commit.subjects, "in order of ids");
    assert_eq!(loaded.states, commit.states);
    assert_eq!(loaded.open_incidents, commit.incidents[..1]);
    assert_eq!(loaded.open_members, members[1..]);
    assert_eq!(loaded.undispatched, commit.events);
    assert_eq!(loaded.unfinished, commit.deliveries[..1]);
    assert_eq!(loaded.snapshots, [commit.snapshots[1].clone(), commit.snapshots[0].clone()]);
    let seen = &commit.agents_seen;
    assert_eq!(loaded.agents_seen, [seen[1].clone(), seen[0].clone()]);
    assert_eq!((loaded.replay_from, loaded.last_position), (1, 1));
    assert_eq!(store.journal_after(0, 10).await.unwrap(), [commit.journal.unwrap()]);
    assert_eq!(store.incident(open.id).await.unwrap(), Some(open.clone()));
    assert_eq!(store.incident(closed.id).await.unwrap(), Some(closed));
    assert_eq!(store.timeline(open.id).await.unwrap(), [sample::line(open.id, 0), sample::line(open.id, 1)]);
    assert_eq!(store.members(open.id, 9).await.unwrap(), (members, 2));
    let query = CaptureQuery { incident: open.id, ends_only: true, after: None, limit: 9 };
    assert_eq!(store.captures(&query).await.unwrap(), captures);
    assert_eq!(store.event(event.id).await.unwrap(), Some(event));
    let mut deliveries = store.deliveries(open.id).await.unwrap();
    deliveries.sort_by_key(|(delivery, _)| delivery.state != DeliveryState::Waiting);
    assert_eq!(deliveries, [(waiting, vec![]), (dead, attempts)]);
}

pub(super) async fn awkward_text_comes_back_as_it_was(store: &dyn Store) {
    const AWKWARD: &str = "'\"\\ \n\r\t\u{1}\u{7f}\u{2028} é 🔴 {\"a\": [1, null]} $1 ? -- \\u0041";
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let subject = SubjectRow { definition: AWKWARD.into(), ..sample::subject(sample::monitor(1), AWKWARD) };
    let line = TimelineRow { text: AWKWARD.into(), ..sample::line(sample::incident_id(1), 0) };
    let empty = TimelineRow { text: String::new(), ..sample::line(sample::incident_id(1), 1) };
    let commit = Commit {
        subjects: vec![subject.clone()],
        timeline: vec![line.clone(), empty.clone()],
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();
    assert_eq!(store.load().await.unwrap().subjects, [subject]);
    assert_eq!(store.timeline(sample::incident_id(1)).await.unwrap(), [line, empty]);
}

pub(super) async fn rows_that_must_not_change_stay_as_they_were_first_written(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Open);
    let event = sample::event(&incident, 0);
    let delivery = sample::delivery(&event, sample::channel_id(1));
    let first = Commit {
        incidents: vec![incident.clone()],
        timeline: vec![sample::line(incident.id, 0)],
        events: vec![event.clone()],
        deliveries: vec![delivery.clone()],
        attempts: vec![sample::attempt(delivery.id, 1)],
        dispatched: vec![event.id],
        ..sample::commit(&lease)
    };
    store.commit(&first).await.unwrap();

    let mut second = first.clone();
    second.timeline[0].text = "another".into();
    second.events[0].body = "another".into();
    second.attempts[0].detail = "another".into();
    second.dispatched.clear();
    store.commit(&second).await.unwrap();
    assert_eq!(store.timeline(incident.id).await.unwrap(), first.timeline);
    assert_eq!(store.event(event.id).await.unwrap(), Some(event));
    assert_eq!(store.load().await.unwrap().undispatched, [], "an event stays dispatched");
    assert_eq!(store.deliveries(incident.id).await.unwrap(), [(delivery, first.attempts)]);
}

pub(super) async fn rows_that_may_change_are_replaced_whole(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Open);
    let mut commit = Commit {
        subjects: vec![sample::subject(sample::monitor(1), "api")],
        states: vec![sample::state(sample::monitor(1), 1)],
        incidents: vec![incident.clone()],
        snapshots: vec![sample::snapshot(7, 1)],
        agents_seen: vec![sample::seen(1, 1, 1)],
        members: vec![sample::member(incident.id, sample::monitor(2), 1)],
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();

    commit.subjects[0].name = "api 2".into();
    commit.subjects[0].definition = "{}".into();
    commit.subjects[0].revision += 1;
    commit.subjects[0].updated_at = sample::at(50);
    commit.states = vec![sample::state(sample::monitor(1), 2)];
    commit.incidents = vec![sample::incident(1, sample::monitor(1), IncidentState::Resolved)];
    commit.incidents[0].body = "{}".into();
    commit.snapshots = vec![sample::snapshot(7, 2)];
    commit.snapshots[0].body = vec![];
    commit.agents_seen = vec![sample::seen(1, 1, 2)];
    commit.members[0].name = "api 3".into();
    commit.members[0].cause = "connection refused".into();
    commit.members[0].left_at = Some(sample::at(32));
    store.commit(&commit).await.unwrap();

    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.subjects, commit.subjects);
    assert_eq!(loaded.states, commit.states);
    assert_eq!(loaded.snapshots, commit.snapshots);
    assert_eq!(loaded.agents_seen, commit.agents_seen);
    assert_eq!(loaded.open_incidents, []);
    assert_eq!(loaded.open_members, []);
    assert_eq!(store.incident(incident.id).await.unwrap().as_ref(), commit.incidents.first());
    assert_eq!(store.members(incident.id, 9).await.unwrap(), (commit.members, 1));
}

pub(super) async fn only_the_newest_epoch_of_an_agent_is_kept(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let put = |agents_seen| Commit { agents_seen, ..sample::commit(&lease) };
    store.commit(&put(vec![sample::seen(1, 4, 1), sample::seen(2, 9, 1)])).await.unwrap();
    store.commit(&put(vec![sample::seen(1, 5, 2)])).await.unwrap();
    let kept = [sample::seen(1, 5, 2), sample::seen(2, 9, 1)];
    assert_eq!(store.load().await.unwrap().agents_seen, kept);

    store.commit(&put(vec![sample::seen(1, 4, 3)])).await.unwrap();
    assert_eq!(store.load().await.unwrap().agents_seen, kept, "an older process is not asked about again");
}

pub(super) async fn a_repeated_commit_changes_nothing(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Open);
    let event = sample::event(&incident, 0);
    let delivery = sample::delivery(&event, sample::channel_id(1));
    let commit = Commit {
        subjects: vec![sample::subject(sample::monitor(1), "api")],
        states: vec![sample::state(sample::monitor(1), 1)],
        timeline: vec![sample::line(incident.id, 0)],
        attempts: vec![sample::attempt(delivery.id, 1)],
        dispatched: vec![event.id],
        incidents: vec![incident.clone()],
        events: vec![event],
        deliveries: vec![delivery],
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();
    let before = (store.load().await.unwrap().states, store.deliveries(incident.id).await.unwrap());
    store.commit(&commit).await.unwrap();
    let after = (store.load().await.unwrap().states, store.deliveries(incident.id).await.unwrap());
    assert_eq!(before, after);
    assert_eq!(store.timeline(incident.id).await.unwrap().len(), 1);
    let all = IncidentQuery { limit: 10, ..IncidentQuery::default() };
    assert_eq!(store.list_incidents(&all).await.unwrap(), [incident]);
}

pub(super) async fn names_are_unique_within_workspace_and_kind(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let put = |subjects| Commit { subjects, ..sample::commit(&lease) };
    store.commit(&put(vec![sample::subject(sample::monitor(1), "api")])).await.unwrap();

    let refused = store.commit(&put(vec![sample::subject(sample::monitor(2), "api")])).await.unwrap_err();
    assert!(matches!(refused, Error::Duplicate(_)), "{refused}");
    assert_eq!(refused.to_string(), "a monitor `api` already exists");
    let both = vec![sample::subject(sample::monitor(2), "new"), sample::subject(sample::monitor(3), "new")];
    assert!(matches!(store.commit(&put(both)).await, Err(Error::Duplicate(_))));
    assert_eq!(store.load().await.unwrap().subjects.len(), 1);

    store.commit(&put(vec![sample::subject(sample::heartbeat(1), "api")])).await.unwrap();
    let other_tenant = SubjectRow { workspace: "other".into(), ..sample::subject(sample::monitor(2), "api") };
    store.commit(&put(vec![other_tenant])).await.unwrap();
    assert_eq!(store.load().await.unwrap().subjects.len(), 3);
}

pub(super) async fn deletion_takes_the_state_and_frees_the_name_but_keeps_incidents(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident(1, sample::monitor(1), IncidentState::Closed);
    let create = Commit {
        subjects: vec![sample::subject(sample::monitor(1), "api")],
        states: vec![sample::state(sample::monitor(1), 1)],
        incidents: vec![incident.clone()],
        ..sample::commit(&lease)
    };
    store.commit(&create).await.unwrap();

    let replace = Commit {
        deleted: vec![sample::monitor(1)],
        subjects: vec![sample::subject(sample::monitor(2), "api")],
        ..sample::commit(&lease)
    };
    store.commit(&replace).await.unwrap();
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.subjects, replace.subjects);
    assert_eq!(loaded.states, []);
    assert_eq!(store.incident(incident.id).await.unwrap(), Some(incident));
}

pub(super) async fn a_deleted_subject_is_not_written_by_the_same_commit(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let commit = Commit {
        subjects: vec![sample::subject(sample::monitor(1), "short-lived")],
        states: vec![sample::state(sample::monitor(1), 1)],
        deleted: vec![sample::monitor(1)],
        ..sample::commit(&lease)
    };
    store.commit(&commit).await.unwrap();
    assert!(is_empty(store).await);
}

pub(super) async fn a_subject_has_at_most_one_open_incident(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let put = |incidents| Commit { incidents, ..sample::commit(&lease) };
    let first = sample::incident(1, sample::monitor(1), IncidentState::Open);
    store.commit(&put(vec![first.clone()])).await.unwrap();
    store.commit(&put(vec![first.clone()])).await.unwrap();

    let second = sample::incident(2, sample::monitor(1), IncidentState::Open);
    let refused = store.commit(&put(vec![second.clone()])).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("an open incident of {} already exists", sample::monitor(1)));
    assert_eq!(store.load().await.unwrap().open_incidents, [first]);

    let others = vec![
        sample::incident(3, sample::monitor(1), IncidentState::Resolved),
        sample::incident(4, sample::monitor(2), IncidentState::Open),
    ];
    store.commit(&put(others)).await.unwrap();
    assert_eq!(store.load().await.unwrap().open_incidents.len(), 2);
}

pub(super) async fn agents_and_the_installation_have_states_and_incidents_without_a_row(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let agent = SubjectId::Agent(sample::agent_id(1));
    let whole = SubjectId::Installation(sample::installation());
    let incidents = vec![
        sample::incident(1, agent, IncidentState::Open),
        sample::incident(2, whole, IncidentState::Open),
    ];
    let events = incidents.iter().map(|incident| sample::event(incident, 0)).collect::<Vec<_>>();
    let mut states = vec![sample::state(agent, 1), sample::state(whole, 1)];
    let (incidents_put, events_put) = (incidents.clone(), events.clone());
    let commit = Commit {
        states: states.clone(),
        incidents: incidents_put,
        events: events_put,
        ..sample::journal_commit(&lease, 1)
    };
    store.commit(&commit).await.unwrap();
    let loaded = store.load().await.unwrap();
    states.sort_unstable_by_key(|row| row.subject);
    assert_eq!((loaded.states, loaded.open_incidents.len()), (states, 2));
    assert_eq!((loaded.subjects, loaded.undispatched.len()), (vec![], 2));
    let query = IncidentQuery { subject: Some(agent), limit: 9, ..IncidentQuery::default() };
    assert_eq!(store.list_incidents(&query).await.unwrap(), [incidents[0].clone()]);
    assert_eq!(store.event(events[1].id).await.unwrap().unwrap().subject, whole);
}

pub(super) async fn one_incident_may_end_and_the_next_open_in_one_commit(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let put = |incidents| Commit { incidents, ..sample::commit(&lease) };
    let subject = sample::monitor(1);
    store.commit(&put(vec![sample::incident(1, subject, IncidentState::Open)])).await.unwrap();
    let next = sample::incident(2, subject, IncidentState::Open);
    let both = vec![next.clone(), sample::incident(1, subject, IncidentState::Resolved)];
    store.commit(&put(both)).await.unwrap();
    assert_eq!(store.load().await.unwrap().open_incidents, [next]);
}

pub(super) async fn a_member_that_left_may_join_again(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let put = |members| Commit { members, ..sample::commit(&lease) };
    let (incident, subject) = (sample::incident_id(1), sample::monitor(1));
    let mut left = sample::member(incident, subject, 1);
    left.left_at = Some(sample::at(5));
    let again = sample::member(incident, subject, 6);
    let elsewhere = sample::member(sample::incident_id(2), subject, 6);
    store.commit(&put(vec![left.clone()])).await.unwrap();
    store.commit(&put(vec![elsewhere.clone(), again.clone()])).await.unwrap();
    assert_eq!(store.members(incident, 9).await.unwrap(), (vec![left, again.clone()], 2));
    assert_eq!(store.load().await.unwrap().open_members, [again, elsewhere], "by incident");
}

pub(super) async fn ten_thousand_members_are_one_commit(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident_id(1);
    let mut members: Vec<_> =
        (0..10_000).map(|n| sample::member(incident, sample::monitor(n), i64::from(n / 100))).collect();
    let put = |members| Commit { members, ..sample::commit(&lease) };
    store.commit(&put(members.clone())).await.unwrap();
    assert_eq!(store.members(incident, 100).await.unwrap(), (members[..100].to_vec(), 10_000));
    assert_eq!(store.load().await.unwrap().open_members, members);

    members.iter_mut().for_each(|row| row.left_at = Some(sample::at(500)));
    store.commit(&put(members)).await.unwrap();
    assert_eq!(store.load().await.unwrap().open_members, []);
}

pub(super) async fn a_journal_position_is_used_once(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    store.commit(&sample::journal_commit(&lease, 4)).await.unwrap();
    let again = store.commit(&sample::journal_commit(&lease, 4)).await;
    assert!(matches!(again, Err(Error::Duplicate(_))), "{again:?}");
    assert_eq!(store.load().await.unwrap().last_position, 4);
}

pub(super) async fn an_empty_commit_only_renews_the_lease(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    store.commit(&Commit { now: sample::at(8), ..sample::commit(&lease) }).await.unwrap();
    assert!(is_empty(store).await);
    assert_eq!(store.claim("main", sample::at(9)).await.unwrap().previous_alive_at, Some(sample::at(8)));
}

pub(super) async fn of_captures_the_first_of_a_period_stays_and_the_latest_is_replaced(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let incident = sample::incident_id(1);
    let put = |captures| Commit { captures, ..sample::commit(&lease) };
    let first = vec![sample::capture(incident, "eu", Some(0)), sample::capture(incident, "eu", None)];
    store.commit(&put(first.clone())).await.unwrap();
    let mut second = first.clone();
    for row in &mut second {
        row.at = sample::at(200);
        row.body = "{}".into();
    }
    let passing = crate::CaptureRow { verdict: CaptureVerdict::Pass, ..second[0].clone() };
    store.commit(&put([second.clone(), vec![passing.clone()]].concat())).await.unwrap();
    let query = CaptureQuery { incident, ends_only: true, after: None, limit: 9 };
    let kept = [first[0].clone(), second[1].clone(), passing];
    assert_eq!(store.captures(&query).await.unwrap(), kept);
    let late = crate::CaptureRow { at: sample::at(150), body: "late".into(), ..second[1].clone() };
    store.commit(&put(vec![late])).await.unwrap();
    assert_eq!(store.captures(&query).await.unwrap(), kept, "what comes late is not the latest");
}
