//! Who checks what: from the monitors and the live agents to each agent's set, sent as a whole once and then as changes.
//!
//! A function of what is there, computed anew whenever that changes: losing a wake-up costs a second, never correctness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::monitor::Status as MonitorStatus;
use engine::placement::{Candidate, phase, place};
use model::{AgentId, MonitorId, RegionId};
use proto::probe::convert::{Assignment, Placement, Role, assignments_digest};
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, Session, ToAgent};
use crate::view::{Status, SubjectView, Views};

/// Changes that come together are sent together.
const COALESCE: Duration = Duration::from_millis(20);
/// Looked at this often even when nobody says that something changed.
const SAFETY_INTERVAL: Duration = Duration::from_secs(1);

/// An agent's whole set.
type Desired = BTreeMap<MonitorId, Assignment>;

/// What an agent was sent in its present session.
#[derive(Debug)]
struct Sent {
    session: u64,
    revision: u64,
    set: BTreeMap<MonitorId, Placement>,
}

/// Keeps every agent's assignments up to date until told to stop.
pub async fn run(views: Arc<Views>, fleet: Arc<Fleet>, drain: CancellationToken) {
    let mut sent: BTreeMap<AgentId, Sent> = BTreeMap::new();
    let mut seen = views.watch();
    let mut computed: Option<(u64, BTreeMap<RegionId, Vec<Candidate>>)> = None;
    let mut desired = BTreeMap::new();
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            changed = seen.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(SAFETY_INTERVAL) => {}
        }
        tokio::time::sleep(COALESCE).await;
        let version = *seen.borrow_and_update();
        let candidates = fleet.candidates();
        if computed.as_ref() != Some(&(version, candidates.clone())) {
            desired = desired_sets(&views.all(), &candidates);
            computed = Some((version, candidates));
        }
        let nothing = Desired::new();
        for member in fleet.members() {
            let Some(session) = &member.session else { continue };
            let wanted = desired.get(&member.who.agent).unwrap_or(&nothing);
            bring_up_to_date(&mut sent, member.who.agent, session, &member.who.digest, wanted);
            let primary = wanted.values().filter(|assignment| assignment.role == Role::Primary).count();
            fleet.note_assigned(member.who.agent, u32::try_from(primary).unwrap_or(u32::MAX));
        }
    }
}

/// Every live agent's set.
fn desired_sets(
    subjects: &[Arc<SubjectView>],
    candidates: &BTreeMap<RegionId, Vec<Candidate>>,
) -> BTreeMap<AgentId, Desired> {
    let mut sets: BTreeMap<AgentId, Desired> = BTreeMap::new();
    for view in subjects {
        let Some((id, monitor)) = view.definition.monitor() else { continue };
        if monitor.paused {
            continue;
        }
        for (rank, region) in monitor.regions.iter().enumerate() {
            let Some(agents) = candidates.get(region) else { continue };
            let placement = place(id, agents);
            for (agent, role) in [(placement.primary, Role::Primary), (placement.standby, Role::Standby)] {
                let Some(agent) = agent else { continue };
                let assignment = Assignment {
                    monitor: id,
                    spec_revision: monitor.spec_revision,
                    check: Some(monitor.spec.check.clone()),
                    interval: monitor.spec.interval,
                    timeout: monitor.spec.timeout,
                    phase: phase(id, rank, monitor.regions.len(), monitor.spec.interval),
                    role,
                    check_now: matches!(view.status, Status::Monitor(MonitorStatus::Pending, _)),
                };
                sets.entry(agent).or_default().insert(id, assignment);
            }
        }
    }
    sets
}

/// Sends an agent what it does not have yet.
fn bring_up_to_date(
    sent: &mut BTreeMap<AgentId, Sent>,
    agent: AgentId,
    session: &Session,
    held_digest: &[u8],
    desired: &Desired,
) {
    let wanted: BTreeMap<MonitorId, Placement> =
        desired.iter().map(|(id, assignment)| (*id, assignment.placement())).collect();
    let digest = || assignments_digest(wanted.values().copied());
    let before = sent.get(&agent).filter(|before| before.session == session.number);
    let message = match before {
        None => {
            let digest = digest();
            let revision = sent.get(&agent).map_or(1, |before| before.revision + 1);
            let same = held_digest == digest;
            sent.insert(agent, Sent { session: session.number, revision, set: wanted });
            let assigned = desired.values().cloned().collect();
            (!same).then_some(ToAgent::Assignments {
                full: true,
                assigned,
                removed: vec![],
                digest,
                revision,
            })
        }
        Some(before) if before.set == wanted => None,
        Some(before) => {
            let news = |assignment: &&Assignment| {
                before.set.get(&assignment.monitor) != Some(&assignment.placement())
            };
            let changed = |assignment: &Assignment| {
                let known = before.set.get(&assignment.monitor);
                // New here because it is new, changed or resumed; not because it moved from another agent.
                let new = known.is_none_or(|placement| placement.spec_revision != assignment.spec_revision);
                Assignment {
                    check_now: new && (assignment.check_now || known.is_some()),
                    ..assignment.clone()
                }
            };
            let assigned = desired.values().filter(news).map(changed).collect();
            let removed = before.set.keys().filter(|id| !wanted.contains_key(*id)).copied().collect();
            let (digest, revision) = (digest(), before.revision + 1);
            sent.insert(agent, Sent { session: session.number, revision, set: wanted });
            Some(ToAgent::Assignments { full: false, assigned, removed, digest, revision })
        }
    };
    if let Some(message) = message {
        // A session that has just ended: the next one is sent the whole set.
        drop(session.outgoing.send(message));
    }
}
