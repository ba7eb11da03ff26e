//! Any script gives the same answers in every form.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::directory::TestDirectory;
use super::{memory_store, sample, sqlite_store};
use crate::{
    CaptureQuery, CaptureVerdict, ClaimRow, Commit, ConfigChange, DeliveryQuery, DeliveryState,
    IncidentQuery, IncidentState, JournalQuery, JournalRow, Lease, Position, RunQuery, Store,
};

/// How many different keys a script uses of each kind: few, so that they meet.
const KEYS: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Claim(usize),
    Commit(usize, Box<Plan>),
    Change(ConfigChange),
}

/// A commit but for lease, instants and positions. Maps, because no two rows of a vector have the same key.
#[derive(Clone, Debug)]
struct Plan {
    shards: Vec<usize>,
    /// How far the journal's position rises; 0 uses the last one again.
    rise: Option<u64>,
    subjects: BTreeMap<u32, u32>,
    deleted: Vec<u32>,
    states: Vec<u32>,
    incidents: BTreeMap<u32, IncidentState>,
    lines: Vec<(u32, u32)>,
    /// Incident, subject and second of joining; whether it has left.
    members: BTreeMap<(u32, u32, i64), bool>,
    /// Incident, period and whether the check passed.
    captures: Vec<(u32, Option<u32>, bool)>,
    /// Heartbeat, second and whether it ended.
    runs: Vec<(u32, i64, bool)>,
    events: Vec<(u32, u32)>,
    deliveries: BTreeMap<(u32, u32, u32), DeliveryState>,
    dispatched: Vec<(u32, u32)>,
    attempts: Vec<((u32, u32, u32), u32)>,
    claims: Vec<(u32, u32, u32)>,
    marks: BTreeMap<(u32, u32, u32), DeliveryState>,
    snapshots: Vec<u16>,
    agents_seen: Vec<(u32, u64)>,
    folds: bool,
    trim: Option<i64>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..2_usize).prop_map(Step::Claim),
        8 => (0..2_usize, plan()).prop_map(|(by, plan)| Step::Commit(by, Box::new(plan))),
        2 => change().prop_map(Step::Change),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let key = || 0..KEYS;
    let incident_state =
        prop_oneof![Just(IncidentState::Open), Just(IncidentState::Resolved), Just(IncidentState::Closed)];
    let delivery_state = prop_oneof![
        3 => Just(DeliveryState::Waiting),
        1 => Just(DeliveryState::Delivered),
        1 => Just(DeliveryState::Dead),
        1 => Just(DeliveryState::Coalesced),
    ];
    let delivery = move || (0..KEYS, 0..2_u32, 0..2_u32);
    (
        (
            vec(0..1_024_usize, 0..3),
            option::of(0..3_u64),
            btree_map(key(), key(), 0..3),
            vec(key(), 0..2),
            btree_set(key(), 0..3),
        ),
        (
            btree_map(key(), incident_state, 0..3),
            btree_set((key(), key()), 0..3),
            btree_set((key(), 0..2_u32), 0..3),
            btree_map(delivery(), delivery_state.clone(), 0..3),
            btree_set((key(), 0..2_u32), 0..2),
        ),
        (
            btree_set((delivery(), 0..3_u32), 0..3),
            btree_set(0..4_u16, 0..2),
            btree_set((key(), 0..2_u64), 0..2),
            any::<bool>(),
            option::of(0..30_i64),
            btree_map((key(), key(), 0..2_i64), any::<bool>(), 0..4),
            btree_set((key(), option::of(0..2_u32), any::<bool>()), 0..4),
            btree_map((key(), 0..6_i64), any::<bool>(), 0..4),
            btree_set(delivery(), 0..2),
            btree_map(delivery(), delivery_state, 0..3),
        ),
    )
        .prop_map(|(first, second, third)| Plan {
            shards: first.0,
            rise: first.1,
            subjects: first.2,
            deleted: first.3,
            states: first.4.into_iter().collect(),
            incidents: second.0,
            lines: second.1.into_iter().collect(),
            events: second.2.into_iter().collect(),
            deliveries: second.3,
            dispatched: second.4.into_iter().collect(),
            attempts: third.0.into_iter().collect(),
            snapshots: third.1.into_iter().collect(),
            agents_seen: third.2.into_iter().collect(),
            folds: third.3,
            trim: third.4,
            members: third.5,
            captures: third.6.into_iter().collect(),
            runs: third.7.into_iter().map(|((of, second), ended)| (of, second, ended)).collect(),
            claims: third.8.into_iter().collect(),
            marks: third.9,
        })
}

fn change() -> impl Strategy<Value = ConfigChange> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("c")];
    prop_oneof![
        (0..KEYS).prop_map(|n| ConfigChange::PutRegion(sample::region(n))),
        (0..KEYS, name()).prop_map(|(n, name)| ConfigChange::PutAgent(sample::agent(n, name))),
        (0..KEYS, name()).prop_map(|(n, name)| ConfigChange::PutChannel(sample::channel(n, name))),
        (0..KEYS).prop_map(|n| ConfigChange::DeleteChannel(sample::channel_id(n))),
        (0..KEYS, name(), name())
            .prop_map(|(n, name, slug)| ConfigChange::PutPage(sample::page(n, name, slug))),
        (0..KEYS).prop_map(|n| ConfigChange::PutKey(sample::key(n))),
        (0..KEYS, name()).prop_map(|(n, name)| ConfigChange::PutPingKey(sample::ping_key(n, name))),
        (0..KEYS).prop_map(|n| ConfigChange::DeletePingKey(sample::ping_key(n, "").id)),
        (0..KEYS).prop_map(|n| ConfigChange::PutBadge(sample::badge(&n.to_string(), subject(n % 2)))),
        (0..KEYS).prop_map(|n| ConfigChange::DeleteBadge(subject(n))),
    ]
}

/// Even keys are monitors, odd ones heartbeats.
fn subject(key: u32) -> model::SubjectId {
    if key.is_multiple_of(2) { sample::monitor(key) } else { sample::heartbeat(key) }
}

/// An incident never changes its subject; several share one.
fn subject_of(incident: u32) -> model::SubjectId {
    subject(incident % 2)
}

/// A plan as the `now`-th commit, after `position`. Bodies tell the commits apart.
fn commit(plan: &Plan, lease: &Lease, now: i64, position: Position) -> Commit {
    let event = |(incident, transition): (u32, u32)| {
        sample::event(&sample::incident(incident, subject_of(incident), IncidentState::Open), transition)
    };
    let delivery = |(incident, transition, channel): (u32, u32, u32)| {
        sample::delivery(&event((incident, transition)), sample::channel_id(channel))
    };
    let marked = |body: &mut String| body.push_str(&now.to_string());
    let mut commit = Commit {
        epochs: plan.shards.iter().map(|&shard| lease.epochs[shard]).collect(),
        now: sample::at(now),
        journal: plan.rise.map(|rise| JournalRow {
            position: position + rise,
            at: sample::at(now),
            blob: now.to_be_bytes().to_vec(),
        }),
        subjects: plan
            .subjects
            .iter()
            .map(|(&id, name)| sample::subject(subject(id), &name.to_string()))
            .collect(),
        deleted: plan.deleted.iter().copied().map(subject).collect(),
        states: plan.states.iter().map(|&id| sample::state(subject(id), position)).collect(),
        incidents: plan
            .incidents
            .iter()
            .map(|(&number, &state)| sample::incident(number, subject_of(number), state))
            .collect(),
        timeline: plan
            .lines
            .iter()
            .map(|&(incident, ordinal)| sample::line(sample::incident_id(incident), ordinal))
            .collect(),
        members: plan
            .members
            .iter()
            .map(|(&(incident, id, joined), &left)| {
                let left_at = left.then(|| sample::at(now));
                crate::MemberRow {
                    left_at,
                    ..sample::member(sample::incident_id(incident), subject(id), joined)
                }
            })
            .collect(),
        captures: plan
            .captures
            .iter()
            .map(|&(incident, period, passes)| crate::CaptureRow {
                verdict: if passes { CaptureVerdict::Pass } else { CaptureVerdict::Fail },
                at: sample::at(now),
                ..sample::capture(sample::incident_id(incident), "eu", period)
            })
            .collect(),
        runs: plan
            .runs
            .iter()
            .map(|&(heartbeat, second, ended)| crate::RunRow {
                ended_at: ended.then(|| sample::at(now)),
                log: if ended { now.to_be_bytes().to_vec() } else { vec![] },
                ..sample::run(heartbeat, second)
            })
            .collect(),
        events: plan.events.iter().copied().map(event).collect(),
        deliveries: plan
            .deliveries
            .iter()
            .map(|(&key, &state)| {
                let body = (now % 2 == 0).then(|| now.to_be_bytes().to_vec());
                crate::DeliveryRow { state, body, finished_at: Some(sample::at(now)), ..delivery(key) }
            })
            .collect(),
        dispatched: plan.dispatched.iter().map(|&key| event(key).id).collect(),
        attempts: plan
            .attempts
            .iter()
            .map(|&(key, number)| sample::attempt(delivery(key).id, number))
            .collect(),
        claims: plan
            .claims
            .iter()
            .map(|&key| ClaimRow { delivery: delivery(key).id, body: now.to_be_bytes().to_vec() })
            .collect(),
        marks: plan
            .marks
            .iter()
            .map(|(&key, &state)| {
                let finished_at = (state != DeliveryState::Waiting).then(|| sample::at(now));
                let first_attempt_at = (now % 2 == 0).then(|| sample::at(now));
                crate::DeliveryRow { state, finished_at, first_attempt_at, ..delivery(key) }.mark()
            })
            .collect(),
        snapshots: plan.snapshots.iter().map(|&shard| sample::snapshot(shard, position)).collect(),
        agents_seen: plan
            .agents_seen
            .iter()
            .map(|&(agent, epoch)| sample::seen(agent, epoch, position))
            .collect(),
        replay_from: plan.folds.then_some(position),
        trim_journal_before: plan.trim.map(sample::at),
        trim_captures_before: plan.trim.map(sample::at),
        trim_runs_before: plan.trim.map(|second| sample::at(second / 6)),
        trim_runs_of: plan.states.iter().map(|&id| sample::heartbeat_id(id)).collect(),
        trim_deliveries_before: plan
            .trim
            .filter(|second| second % 5 == 0)
            .map(|second| sample::at(second / 10)),
        ..sample::commit(lease)
    };
    commit.subjects.iter_mut().for_each(|row| marked(&mut row.definition));
    commit.incidents.iter_mut().for_each(|row| marked(&mut row.body));
    commit.timeline.iter_mut().for_each(|row| marked(&mut row.text));
    commit.members.iter_mut().for_each(|row| marked(&mut row.cause));
    commit.captures.iter_mut().for_each(|row| marked(&mut row.body));
    commit.runs.iter_mut().for_each(|row| marked(&mut row.body));
    commit.events.iter_mut().for_each(|row| marked(&mut row.body));
    commit.attempts.iter_mut().for_each(|row| marked(&mut row.detail));
    commit
}

/// Runs a script and returns every answer, then everything that can be read.
async fn answers(store: &dyn Store, script: &[Step]) -> Vec<String> {
    let names = ["a", "b"];
    let mut leases = Vec::new();
    for name in names {
        leases.push(store.claim(name, sample::at(0)).await.unwrap());
    }
    let mut position = 0;
    let mut answers = Vec::new();
    for (step, now) in script.iter().zip(1_i64..) {
        answers.push(match step {
            Step::Claim(by) => {
                leases[*by] = store.claim(names[*by], sample::at(now)).await.unwrap();
                format!("{:?}", leases[*by])
            }
            Step::Commit(by, plan) => {
                let commit = commit(plan, &leases[*by], now, position);
                let answer = store.commit(&commit).await;
                if let (Ok(()), Some(row)) = (&answer, &commit.journal) {
                    position = row.position;
                }
                format!("{answer:?}")
            }
            Step::Change(change) => format!("{:?}", store.change_config(change, sample::at(now)).await),
        });
    }
    answers.extend(everything(store).await);
    answers
}

async fn everything(store: &dyn Store) -> Vec<String> {
    let mut all = vec![
        format!("{:?}", store.load().await),
        format!("{:?}", store.config().await),
        format!("{:?}", store.config_revision().await),
        format!("{:?}", store.journal_after(3, 5).await),
        format!("{:?}", store.journal_after(0, 1_000).await),
    ];
    for not_before in [0, 5, 12] {
        let query = JournalQuery { before: Some(9), not_before: sample::at(not_before), limit: 4 };
        all.push(format!("{:?}", store.journal_page(query).await));
        all.push(format!("{:?}", store.journal_page(JournalQuery { before: None, ..query }).await));
    }
    for key in 0..KEYS {
        for open_only in [false, true] {
            let query = IncidentQuery {
                subject: Some(subject(key)),
                open_only,
                limit: 2,
                ..IncidentQuery::default()
            };
            all.push(format!("{:?}", store.list_incidents(&query).await));
            let query =
                IncidentQuery { subject: None, opened_since: Some(sample::at(i64::from(key))), ..query };
            all.push(format!("{:?}", store.list_incidents(&query).await));
        }
        let incident = sample::incident_id(key);
        all.push(format!("{:?}", store.incident(incident).await));
        all.push(format!("{:?}", store.timeline(incident).await));
        all.push(format!("{:?}", store.members(incident, key).await));
        for ends_only in [false, true] {
            let query = CaptureQuery { incident, ends_only, after: None, limit: 5 };
            all.push(format!("{:?}", store.captures(&query).await));
        }
        all.push(format!("{:?}", store.deliveries(incident).await));
        let query = RunQuery {
            heartbeat: sample::heartbeat_id(key),
            since: sample::at(1),
            after: Some((sample::at(4), None)),
            run: None,
            limit: 3,
        };
        all.push(format!("{:?}", store.runs(query).await));
        all.push(format!("{:?}", store.runs(RunQuery { after: None, ..query }).await));
        all.push(format!("{:?}", store.channel_record(sample::channel_id(key)).await));
        for (channel, incident) in [(true, false), (false, true), (false, false)] {
            let query = DeliveryQuery {
                channel: channel.then(|| sample::channel_id(key)),
                incident: incident.then_some(sample::incident_id(key)),
                limit: 9,
                ..DeliveryQuery::default()
            };
            all.push(format!("{:?}", store.list_deliveries(&query).await));
        }
        all.push(format!("{:?}", store.event(model::EventId::derive(incident, 0)).await));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_form_gives_the_same_answers_to_any_script(script in vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (in_memory, in_sqlite) = runtime.block_on(async {
            let directory = TestDirectory::new();
            let sqlite = sqlite_store(&directory).await;
            let both = (answers(&memory_store(), &script).await, answers(&sqlite, &script).await);
            sqlite.close().await;
            both
        });
        for (in_memory, in_sqlite) in in_memory.iter().zip(&in_sqlite) {
            prop_assert_eq!(in_memory, in_sqlite);
        }
    }
}
