//! What an agent says of itself, kept in memory alone: it says it again with every session. Changes for the worse and
//! for the better are logged, once each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::ailment::{Ailment, ailments};
use model::{AgentId, AgentStatus, Capabilities, RegionId, Timestamp};
use tracing::{info, warn};

use super::{Fleet, Introduction};

/// Sightings of an agent's clock that are kept. A message that was under way for a while makes the clock seem to be
/// behind, and nothing makes it seem to be ahead: the greatest is the nearest.
const CLOCK_SIGHTINGS: usize = 3;
/// How long results that were given up are worth a warning.
const DROPS_MATTER_FOR: Duration = Duration::from_secs(600);

/// What is known of how an agent is.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it said last, and when that came.
    pub said: Option<(Timestamp, Arc<AgentStatus>)>,
    /// What an operator should look at.
    pub ailments: Vec<Ailment>,
    /// Its wall clock minus ours, in microseconds, the newest last.
    clock_sightings: Vec<i64>,
    /// The results that it had given up when it was heard last.
    dropped: Option<u64>,
    /// When it was heard to have given up more.
    dropped_at: Option<Timestamp>,
}

/// What the live agents of each region can do.
#[derive(Clone, Debug, Default)]
pub struct Abilities(BTreeMap<RegionId, Vec<(String, Capabilities)>>);

impl Report {
    /// Of an agent that opens a session, known from before or not.
    pub(super) fn begin(before: Option<Self>, who: &Introduction, now: Timestamp) -> Self {
        let mut report = before.unwrap_or_default();
        report.clock_sightings = who.clock_offset_micros.into_iter().collect();
        report.note_dropped(who.dropped_results, now);
        report
    }

    /// The agent's wall clock minus ours, in microseconds.
    #[must_use]
    pub fn clock_offset_micros(&self) -> Option<i64> {
        self.clock_sightings.iter().max().copied()
    }

    /// How many results the agent has given up, since its spool was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.unwrap_or_default()
    }

    /// Takes what the agent says. Returns what has come up, and the kinds that have gone.
    fn take(
        &mut self,
        status: AgentStatus,
        clock_offset_micros: i64,
        now: Timestamp,
    ) -> (Vec<Ailment>, Vec<&'static str>) {
        if self.clock_sightings.len() == CLOCK_SIGHTINGS {
            self.clock_sightings.remove(0);
        }
        self.clock_sightings.push(clock_offset_micros);
        self.note_dropped(status.backlog.dropped, now);
        let has_dropped = self.dropped_at.is_some_and(|at| now.since(at) < DROPS_MATTER_FOR);
        let before = std::mem::take(&mut self.ailments);
        self.ailments = ailments(&status, self.clock_offset_micros(), has_dropped);
        self.said = Some((now, Arc::new(status)));
        let is_in = |list: &[Ailment], kind| list.iter().any(|ailment| ailment.kind() == kind);
        let come = self.ailments.iter().filter(|ailment| !is_in(&before, ailment.kind())).copied().collect();
        let gone = before.iter().map(Ailment::kind).filter(|kind| !is_in(&self.ailments, kind)).collect();
        (come, gone)
    }

    fn note_dropped(&mut self, dropped: u64, now: Timestamp) {
        if self.dropped.replace(dropped).is_some_and(|before| before < dropped) {
            self.dropped_at = Some(now);
        }
    }
}

impl Fleet {
    /// Takes what an agent says of itself in a session.
    pub fn note_status(&self, agent: AgentId, session: u64, status: AgentStatus) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let mut members = self.lock();
        let Some(member) = members.by_id.get_mut(&agent) else { return };
        if member.session.as_ref().is_none_or(|present| present.number != session) {
            return;
        }
        let offset = status.wall.as_micros().saturating_sub(wall.as_micros());
        let (come, gone) = member.report.take(status, offset, now);
        let name = member.who.name.clone();
        drop(members);
        for ailment in come {
            warn!(agent.id = %agent, kind = ailment.kind(), "agent {name}: {ailment}");
        }
        for kind in gone {
            info!(agent.id = %agent, kind, "agent {name}: {kind} is well again");
        }
    }

    /// What the live agents can do.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let now = self.clock.now();
        let mut abilities = Abilities::default();
        for member in self.lock().by_id.values().filter(|member| member.is_live(now)) {
            let agents = abilities.0.entry(member.who.region.clone()).or_default();
            agents.push((member.who.name.clone(), member.who.capabilities.able));
        }
        abilities
    }
}

impl Abilities {
    /// Why a region cannot make a check that needs all of this: the first thing that its nearest agent lacks. `None`: one of its agents
    /// can, or none is there to ask.
    #[must_use]
    pub fn lacking(&self, region: &RegionId, needs: Capabilities) -> Option<String> {
        let agents = self.0.get(region)?;
        if agents.iter().any(|(_, able)| able.meet(needs)) {
            return None;
        }
        let (name, able) = agents.iter().min_by_key(|(_, able)| needs.without(*able).iter().count())?;
        let lack = needs.without(*able).iter().next()?;
        Some(format!("{name} {}", lack.lack()))
    }
}
