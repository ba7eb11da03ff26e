//! Single checks that somebody waits for: asked of one agent of a region, answered by that agent only, kept nowhere.

use engine::placement::{able, place};
use model::{AgentId, CheckResult, RegionId};
use proto::probe::convert::Assignment;
use tokio::sync::oneshot;

use super::{Fleet, ToAgent, believed};

/// Most that may be waited for at the same time.
const MAX_PENDING: usize = 1_000;

/// A check that was asked for.
#[derive(Debug)]
pub(super) struct Pending {
    agent: AgentId,
    reply: oneshot::Sender<CheckResult>,
}

/// A check that an agent is making.
#[derive(Debug)]
pub struct Asked {
    /// Which agent.
    pub agent: AgentId,
    /// Its name.
    pub agent_name: String,
    /// What it finds; nothing if it never says.
    pub answer: oneshot::Receiver<CheckResult>,
}

/// Why nobody could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// No agent of the region has a session.
    #[error("no agent of this region is connected")]
    NobodyThere,
    /// Others are waiting already.
    #[error("too many checks are being waited for: try again in a moment")]
    TooMany,
}

impl Fleet {
    /// Asks an agent of a region for one check. The assignment's id is the request's own and must be new.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub fn check_once(&self, region: &RegionId, assignment: Assignment) -> Result<Asked, Unasked> {
        let route = &assignment.options.route;
        let needs = assignment.check.as_ref().map(|check| check.needs(route)).unwrap_or_default();
        let candidates = able(&self.candidates().remove(region).unwrap_or_default(), needs);
        let mut members = self.lock();
        members.single_checks.retain(|_, pending| !pending.reply.is_closed());
        if members.single_checks.len() >= MAX_PENDING {
            return Err(Unasked::TooMany);
        }
        let id = assignment.monitor;
        let placed = place(id, &believed(&candidates, &members.set_aside));
        let mut placed = [placed.primary, placed.standby].into_iter().flatten();
        let (agent, agent_name, session) = placed
            .find_map(|agent| {
                let member = members.by_id.get(&agent)?;
                Some((agent, member.who.name.clone(), member.session.clone()?))
            })
            .ok_or(Unasked::NobodyThere)?;
        let (reply, answer) = oneshot::channel();
        session.outgoing.send(ToAgent::CheckOnce(Box::new(assignment))).map_err(|_| Unasked::NobodyThere)?;
        members.single_checks.insert(id, Pending { agent, reply });
        Ok(Asked { agent, agent_name, answer })
    }

    /// Takes an agent's answer. One that was not asked for, or not of this agent, is dropped.
    pub fn checked(&self, agent: AgentId, result: CheckResult) {
        let mut members = self.lock();
        if members.single_checks.get(&result.monitor).is_some_and(|pending| pending.agent == agent)
            && let Some(pending) = members.single_checks.remove(&result.monitor)
        {
            // Whoever asked may have gone.
            drop(pending.reply.send(result));
        }
    }
}
