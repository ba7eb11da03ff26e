//! Who is there: the agents with a session, how long ago each was heard, and the way to say something to them.
//!
//! An agent counts as live until it has been silent for [`SILENCE`], session or not: a reconnect is no event. A region is
//! live while one of its live agents is equipped: its present process has been sent what it is to check. Of two processes
//! with one token the newer stays; the older is refused as long as the newer is live.

pub mod once;
pub mod report;
mod silence;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::placement::{Candidate, able, place};
use model::{AgentId, Capabilities, Clock, MonitorId, RegionId, Timestamp};
use proto::probe::convert::Assignment;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::shard::AskRegions;
use report::Report;

/// Silence after which an agent is gone.
pub const SILENCE: Duration = engine::coverage::SESSION_SILENCE;
/// Checks per second that an agent is taken to be able to run when it does not say.
const DEFAULT_CAPACITY: u32 = 1_000;
/// Replaced processes that are remembered per agent.
const MAX_SUPERSEDED: usize = 16;

/// What a session is to send.
#[derive(Clone, Debug)]
pub enum ToAgent {
    /// What to check.
    Assignments {
        /// Whether it is the whole set.
        full: bool,
        /// New or changed.
        assigned: Vec<Assignment>,
        /// No longer its own.
        removed: Vec<MonitorId>,
        /// Digest of the set after this message.
        digest: [u8; 32],
        /// Rises with every change.
        revision: u64,
    },
    /// Check this once, for somebody who is waiting.
    CheckOnce(Box<Assignment>),
    /// Check these now.
    Verify {
        /// What.
        monitor: MonitorId,
        /// Which version of its specification.
        spec_revision: u64,
        /// For which round.
        round: u32,
    },
}

/// An agent as a session introduces it.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Which agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: RegionId,
    /// Which of its processes.
    pub process_nonce: [u8; 16],
    /// The epoch that its numbering of results was given.
    pub epoch: u64,
    /// Its version.
    pub version: String,
    /// Checks per second it is willing to run; 0: it does not say.
    pub capacity: u32,
    /// The digest of the assignments it holds.
    pub digest: Vec<u8>,
    /// Results it had to drop.
    pub dropped_results: u64,
    /// The agent's wall clock minus ours, in microseconds, when it connected.
    pub clock_offset_micros: Option<i64>,
    /// What it says that it can do.
    pub capabilities: Declared,
    /// Whether it runs in this very process.
    pub is_embedded: bool,
}

/// What an agent says that it can do.
#[derive(Clone, Debug)]
pub struct Declared {
    /// In its own words.
    pub names: Arc<[String]>,
    /// As far as those words are known here.
    pub able: Capabilities,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Member {
    /// As it introduced itself last.
    pub who: Introduction,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// Its session, if it has one.
    pub session: Option<Session>,
    /// Monitors assigned to it as primary, as last computed; `None`: its present process was not sent its set yet.
    pub assigned: Option<u32>,
    /// Whether its canaries fail; `None`: it has none.
    pub canaries_fail: Option<bool>,
    /// How it is, as far as it says.
    pub report: Report,
}

/// A session with an agent.
#[derive(Clone, Debug)]
pub struct Session {
    /// Different for each session.
    pub number: u64,
    /// What it is to send.
    pub outgoing: mpsc::UnboundedSender<ToAgent>,
    /// Ends the session: a newer one has taken its place.
    pub closed: CancellationToken,
}

/// A newer process with the agent's token is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer process with this agent's token is connected")]
pub struct Superseded;

/// All agents heard of since the start. Shared.
pub struct Fleet {
    clock: Arc<dyn Clock>,
    members: Mutex<Members>,
    /// Wakes [`Fleet::watch_silence`].
    liveness: Notify,
    /// Wakes [`Fleet::placement_changed`].
    placement: Notify,
}

#[derive(Debug, Default)]
struct Members {
    by_id: BTreeMap<AgentId, Member>,
    sessions: u64,
    /// Nonces of processes that a newer one has replaced, oldest first.
    superseded: BTreeMap<AgentId, VecDeque<[u8; 16]>>,
    /// Agents whose votes do not count.
    set_aside: BTreeSet<AgentId>,
    /// Since when every one of at least two remote agents has been silent.
    all_silent_since: Option<Timestamp>,
    /// Single checks that somebody waits for, by the ids of their requests.
    single_checks: BTreeMap<MonitorId, once::Pending>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("members", &self.lock().by_id.len()).finish_non_exhaustive()
    }
}

impl Fleet {
    /// An empty fleet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, members: Mutex::default(), liveness: Notify::new(), placement: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session; the agent's earlier one, if any, is closed.
    ///
    /// # Errors
    /// [`Superseded`] when a newer process of the agent has joined before this one came so far.
    pub fn join(
        &self,
        who: Introduction,
        outgoing: mpsc::UnboundedSender<ToAgent>,
    ) -> Result<Session, Superseded> {
        let now = self.clock.now();
        let mut members = self.lock();
        let (agent, embedded) = (who.agent, who.is_embedded);
        let before = members.by_id.get(&agent).map(|before| before.who.clone());
        if before.as_ref().is_some_and(|before| before.epoch > who.epoch) {
            members.supersede(agent, who.process_nonce);
            return Err(Superseded);
        }
        members.reinstate(agent, who.process_nonce);
        if let Some(before) = before.filter(|before| before.process_nonce != who.process_nonce) {
            members.supersede(agent, before.process_nonce);
        }
        members.sessions += 1;
        let session = Session { number: members.sessions, outgoing, closed: CancellationToken::new() };
        let known = members.by_id.remove(&agent);
        // A process that reconnects still holds what it was sent.
        let assigned =
            known.as_ref().filter(|known| known.who.epoch == who.epoch).and_then(|known| known.assigned);
        let report = Report::begin(known.as_ref().map(|known| known.report.clone()), &who, now);
        if let Some(Member { session: Some(old), .. }) = known {
            info!(agent.id = %agent, "a newer session of the agent has taken over");
            old.closed.cancel();
        }
        let member = Member {
            who,
            heard_at: now,
            session: Some(session.clone()),
            assigned,
            canaries_fail: None,
            report,
        };
        members.by_id.insert(agent, member);
        drop(members);
        if !embedded {
            info!(agent.id = %agent, session = session.number, "agent connected");
        }
        self.liveness.notify_one();
        self.placement.notify_one();
        Ok(session)
    }

    /// Whether that process of the agent was replaced by a newer one which is live.
    #[must_use]
    pub fn is_superseded(&self, agent: AgentId, process_nonce: [u8; 16]) -> bool {
        let now = self.clock.now();
        let members = self.lock();
        members.superseded.get(&agent).is_some_and(|nonces| nonces.contains(&process_nonce))
            && members.by_id.get(&agent).is_some_and(|member| member.is_live(now))
    }

    /// Notes that an agent was heard in a session.
    pub fn heard(&self, agent: AgentId, session: u64) {
        let now = self.clock.now();
        if let Some(member) = self.lock().by_id.get_mut(&agent)
            && member.session.as_ref().is_some_and(|present| present.number == session)
        {
            member.heard_at = now;
        }
    }

    /// Ends a session. The agent stays live until it has been silent long enough.
    pub fn leave(&self, agent: AgentId, session: u64) {
        if let Some(member) = self.lock().by_id.get_mut(&agent)
            && member.session.as_ref().is_some_and(|present| present.number == session)
        {
            member.session = None;
            info!(agent.id = %agent, session, "agent disconnected");
        }
    }

    /// Waits until somebody has come or gone. For one waiter.
    pub async fn placement_changed(&self) {
        self.placement.notified().await;
    }

    /// Every agent heard of since the start.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.lock().by_id.values().cloned().collect()
    }

    /// One agent.
    #[must_use]
    pub fn member(&self, agent: AgentId) -> Option<Member> {
        self.lock().by_id.get(&agent).cloned()
    }

    /// Notes that an agent was sent its set in a session, and of how many monitors it is the primary.
    pub fn note_assigned(&self, agent: AgentId, session: u64, count: u32) {
        if let Some(member) = self.lock().by_id.get_mut(&agent)
            && member.session.as_ref().is_some_and(|present| present.number == session)
            && member.assigned.replace(count).is_none()
        {
            self.liveness.notify_one();
        }
    }

    /// Agents whose votes do not count.
    #[must_use]
    pub fn set_aside_agents(&self) -> BTreeSet<AgentId> {
        self.lock().set_aside.clone()
    }

    /// Notes what an agent's canaries say.
    pub fn note_canaries(&self, agent: AgentId, session: u64, failing: Option<bool>) {
        if let Some(member) = self.lock().by_id.get_mut(&agent)
            && member.session.as_ref().is_some_and(|present| present.number == session)
            && member.canaries_fail != failing
        {
            member.canaries_fail = failing;
            self.liveness.notify_one();
        }
    }

    /// The live agents of each region, as candidates for placement.
    #[must_use]
    pub fn candidates(&self) -> BTreeMap<RegionId, Vec<Candidate>> {
        let now = self.clock.now();
        let mut regions: BTreeMap<RegionId, Vec<Candidate>> = BTreeMap::new();
        for (id, member) in self.lock().by_id.iter().filter(|(_, member)| member.is_live(now)) {
            let able = member.who.capabilities.able;
            let candidate = Candidate { agent: *id, weight: member.who.weight(), able };
            regions.entry(member.who.region.clone()).or_default().push(candidate);
        }
        regions
    }
}

/// Those of a region's agents whose votes count; all of them if none does.
#[must_use]
pub fn believed(agents: &[Candidate], set_aside: &BTreeSet<AgentId>) -> Vec<Candidate> {
    let believed: Vec<Candidate> =
        agents.iter().filter(|candidate| !set_aside.contains(&candidate.agent)).copied().collect();
    if believed.is_empty() { agents.to_vec() } else { believed }
}

impl Members {
    fn supersede(&mut self, agent: AgentId, process_nonce: [u8; 16]) {
        let nonces = self.superseded.entry(agent).or_default();
        if nonces.contains(&process_nonce) {
            return;
        }
        if nonces.len() == MAX_SUPERSEDED {
            nonces.pop_front();
        }
        nonces.push_back(process_nonce);
    }

    /// A replaced process whose successor is gone is the agent again.
    fn reinstate(&mut self, agent: AgentId, process_nonce: [u8; 16]) {
        if let Some(nonces) = self.superseded.get_mut(&agent) {
            nonces.retain(|nonce| *nonce != process_nonce);
        }
    }
}

impl Member {
    /// Whether it has been heard lately.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now.since(self.heard_at) < SILENCE
    }
}

impl FromIterator<String> for Declared {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let names: Arc<[String]> = names.into_iter().collect();
        Self { able: Capabilities::of_agent(names.iter()), names }
    }
}

impl Introduction {
    fn weight(&self) -> u32 {
        if self.capacity == 0 { DEFAULT_CAPACITY } else { self.capacity }
    }
}

impl AskRegions for Fleet {
    fn verify(
        &self,
        monitor: MonitorId,
        needs: Capabilities,
        spec_revision: u64,
        round: u32,
        regions: &[RegionId],
    ) {
        let candidates = self.candidates();
        let members = self.lock();
        for region in regions {
            let placed = candidates
                .get(region)
                .map(|agents| place(monitor, &believed(&able(agents, needs), &members.set_aside)));
            // The standby answers for a primary whose session has just ended.
            let asked =
                placed.into_iter().flat_map(|placement| [placement.primary, placement.standby]).flatten();
            // A process that was not sent its set yet would not know the monitor; its region is asked once it does.
            let equipped = asked
                .filter_map(|agent| members.by_id.get(&agent))
                .filter(|member| member.assigned.is_some());
            let session = equipped.filter_map(|member| member.session.as_ref()).next();
            if let Some(session) = session {
                drop(session.outgoing.send(ToAgent::Verify { monitor, spec_revision, round }));
            }
        }
    }

    fn set_aside(&self, agents: BTreeSet<AgentId>) {
        let mut members = self.lock();
        if members.set_aside != agents {
            members.set_aside = agents;
            drop(members);
            self.placement.notify_one();
        }
    }

    fn capacity(&self) -> f64 {
        let now = self.clock.now();
        let members = self.lock();
        members
            .by_id
            .values()
            .filter(|member| member.is_live(now))
            .map(|member| f64::from(member.who.weight()))
            .sum()
    }
}

#[cfg(test)]
mod tests;
