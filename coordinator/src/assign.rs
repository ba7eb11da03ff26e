//! Who checks what: from the monitors and the live agents to each agent's set, sent as a whole once and then as changes.
//!
//! A function of what is there, computed anew whenever that changes: losing a wake-up costs a second, never correctness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::placement::{Candidate, able, phase, place};
use model::check::Options;
use model::{AgentId, Capabilities, MonitorId, RegionId};
use proto::probe::convert::{Assignment, Placement, Role, assignments_digest};
use tokio_util::sync::CancellationToken;

use crate::definition::MonitorDefinition;
use crate::fleet::{Fleet, Member, Session, ToAgent, believed};
use crate::view::{SubjectView, Views};

/// Changes that come together are sent together.
const COALESCE: Duration = Duration::from_millis(20);
/// Looked at this often even when nobody says that something changed.
const SAFETY_INTERVAL: Duration = Duration::from_secs(1);

/// The live agents of each region.
type Candidates = BTreeMap<RegionId, Vec<Candidate>>;

/// An agent's whole set.
type Desired = BTreeMap<MonitorId, Wanted>;

/// One assignment before it is written out.
#[derive(Debug)]
struct Wanted {
    definition: Arc<MonitorDefinition>,
    phase: Duration,
    role: Role,
    check_now: bool,
    placement: Placement,
}

/// Every agent's set, as last computed.
#[derive(Default)]
struct Plan {
    /// Rises whenever it is computed anew.
    version: u64,
    /// From which definitions.
    definitions: u64,
    /// For whom.
    candidates: Candidates,
    /// Agents whose votes do not count.
    set_aside: BTreeSet<AgentId>,
    sets: BTreeMap<AgentId, Arc<Desired>>,
}

/// What an agent was sent in its present session.
#[derive(Debug)]
struct Sent {
    session: u64,
    revision: u64,
    /// The plan's version that it was compared with last.
    version: u64,
    set: Arc<Desired>,
}

/// Keeps every agent's assignments up to date until told to stop.
pub async fn run(views: Arc<Views>, fleet: Arc<Fleet>, drain: CancellationToken) {
    let mut sent: BTreeMap<AgentId, Sent> = BTreeMap::new();
    let mut definitions = views.watch_definitions();
    let mut plan = Plan::default();
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            changed = definitions.changed() => if changed.is_err() { return },
            () = fleet.placement_changed() => {}
            () = tokio::time::sleep(SAFETY_INTERVAL) => {}
        }
        tokio::time::sleep(COALESCE).await;
        let seen = *definitions.borrow_and_update();
        let candidates = fleet.candidates();
        let set_aside = fleet.set_aside_agents();
        let is_new = plan.definitions != seen || plan.candidates != candidates || plan.set_aside != set_aside;
        if plan.version == 0 || is_new {
            let sets = desired_sets(&views.all(), &candidates, &set_aside);
            plan = Plan { version: plan.version + 1, definitions: seen, candidates, set_aside, sets };
        }
        for member in fleet.members() {
            if let Some(session) = &member.session
                && plan.is_for(&member)
            {
                let count = bring_up_to_date(&mut sent, &member, session, &plan);
                fleet.note_assigned(member.who.agent, session.number, count);
            }
        }
    }
}

impl Plan {
    /// Whether it was made with that agent. An agent that is connected but was not heard for a moment keeps what it has:
    /// taking all away would only make it come back to nothing.
    fn is_for(&self, member: &Member) -> bool {
        let agents = self.candidates.get(&member.who.region);
        agents.is_some_and(|agents| agents.iter().any(|candidate| candidate.agent == member.who.agent))
    }
}

/// Every live agent's set. One whose votes do not count keeps what it checks, so that it can show that it is well again;
/// another agent of its region, if there is one, checks the same and votes.
fn desired_sets(
    subjects: &[Arc<SubjectView>],
    candidates: &Candidates,
    set_aside: &BTreeSet<AgentId>,
) -> BTreeMap<AgentId, Arc<Desired>> {
    let mut sets: BTreeMap<AgentId, Desired> = BTreeMap::new();
    // Many monitors need the same.
    let mut chosen: BTreeMap<(&RegionId, Capabilities), Choice> = BTreeMap::new();
    for view in subjects {
        let Some((id, monitor)) = view.definition.monitor() else { continue };
        if monitor.paused {
            continue;
        }
        let needs = monitor.spec.needs();
        for (rank, region) in monitor.regions.iter().enumerate() {
            let Some((region, agents)) = candidates.get_key_value(region) else { continue };
            let Choice { agents, trusted } =
                chosen.entry((region, needs)).or_insert_with(|| Choice::of(agents, needs, set_aside));
            let placement = place(id, trusted);
            let distrusted = if agents.len() == trusted.len() { None } else { place(id, agents).primary };
            let distrusted = distrusted.filter(|agent| Some(*agent) != placement.primary);
            let phase = phase(id, rank, monitor.regions.len(), monitor.spec.interval);
            let primaries = [(placement.primary, Role::Primary), (distrusted, Role::Primary)];
            let standby = (placement.standby.filter(|agent| Some(*agent) != distrusted), Role::Standby);
            for (agent, role) in primaries.into_iter().chain([standby]) {
                let Some(agent) = agent else { continue };
                let wanted = Wanted::new(id, monitor, phase, role, view.status.is_pending());
                sets.entry(agent).or_default().insert(id, wanted);
            }
        }
    }
    sets.into_iter().map(|(agent, set)| (agent, Arc::new(set))).collect()
}

/// Who may make the checks of a region that need the same.
struct Choice {
    /// Those that can.
    agents: Vec<Candidate>,
    /// Those of them that are believed.
    trusted: Vec<Candidate>,
}

impl Choice {
    fn of(agents: &[Candidate], needs: Capabilities, set_aside: &BTreeSet<AgentId>) -> Self {
        let agents = able(agents, needs);
        Self { trusted: believed(&agents, set_aside), agents }
    }
}

impl Wanted {
    fn new(
        id: MonitorId,
        definition: &Arc<MonitorDefinition>,
        phase: Duration,
        role: Role,
        check_now: bool,
    ) -> Self {
        let bare = Assignment {
            monitor: id,
            spec_revision: definition.spec_revision,
            check: None,
            options: Options::default(),
            interval: definition.spec.interval,
            timeout: definition.spec.timeout,
            phase,
            role,
            check_now,
        };
        Self { definition: Arc::clone(definition), phase, role, check_now, placement: bare.placement() }
    }

    /// The assignment in full.
    fn assignment(&self) -> Assignment {
        Assignment {
            monitor: self.placement.monitor,
            spec_revision: self.definition.spec_revision,
            check: Some(self.definition.spec.check.clone()),
            options: self.definition.spec.options.clone(),
            interval: self.definition.spec.interval,
            timeout: self.definition.spec.timeout,
            phase: self.phase,
            role: self.role,
            check_now: self.check_now,
        }
    }
}

/// Sends an agent what it does not have yet. Says of how many monitors it is the primary.
fn bring_up_to_date(
    sent: &mut BTreeMap<AgentId, Sent>,
    member: &Member,
    session: &Session,
    plan: &Plan,
) -> u32 {
    let agent = member.who.agent;
    let desired = plan.sets.get(&agent).map(Arc::clone).unwrap_or_default();
    let count = primaries(&desired);
    let known = sent.get_mut(&agent);
    let revision = known.as_ref().map_or(0, |known| known.revision);
    let message = match known.filter(|known| known.session == session.number) {
        Some(known) if known.version == plan.version => return count,
        Some(known) if is_same(&known.set, &desired) => {
            known.version = plan.version;
            return count;
        }
        Some(known) => Some(changes(&known.set, &desired, revision + 1)),
        None => whole(&desired, &member.who.digest, revision + 1),
    };
    if let Some(message) = message {
        // A session that has just ended: the next one is sent the whole set.
        drop(session.outgoing.send(message));
    }
    let now = Sent { session: session.number, revision: revision + 1, version: plan.version, set: desired };
    sent.insert(agent, now);
    count
}

fn primaries(set: &Desired) -> u32 {
    let count = set.values().filter(|wanted| wanted.role == Role::Primary).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn is_same(before: &Desired, after: &Desired) -> bool {
    let placements = |set: &Desired| set.values().map(|wanted| wanted.placement).collect::<Vec<_>>();
    before.len() == after.len() && placements(before) == placements(after)
}

fn digest(set: &Desired) -> [u8; 32] {
    assignments_digest(set.values().map(|wanted| wanted.placement))
}

/// The whole set, unless that is what the agent holds.
fn whole(desired: &Desired, held_digest: &[u8], revision: u64) -> Option<ToAgent> {
    let digest = digest(desired);
    let assigned = || desired.values().map(Wanted::assignment).collect();
    (held_digest != digest).then(|| ToAgent::Assignments {
        full: true,
        assigned: assigned(),
        removed: vec![],
        digest,
        revision,
    })
}

/// What turns one set into the other.
fn changes(before: &Desired, after: &Desired, revision: u64) -> ToAgent {
    let mut assigned = vec![];
    for (id, wanted) in after {
        let known = before.get(id).map(|known| known.placement);
        if known != Some(wanted.placement) {
            // New here because it is new, changed or resumed; not because it moved from another agent.
            let new = known.is_none_or(|known| known.spec_revision != wanted.placement.spec_revision);
            let check_now = new && (wanted.check_now || known.is_some());
            assigned.push(Assignment { check_now, ..wanted.assignment() });
        }
    }
    let removed = before.keys().filter(|id| !after.contains_key(*id)).copied().collect();
    ToAgent::Assignments { full: false, assigned, removed, digest: digest(after), revision }
}

#[cfg(test)]
mod tests;
