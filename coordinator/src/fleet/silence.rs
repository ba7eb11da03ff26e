//! What the shards are told about the fleet: which regions can be asked, and when all agents fall silent together.
//!
//! Looked for every second and whenever an agent comes or is equipped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::probe::Canaries;
use model::{AgentId, RegionId};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Fleet, Member};
use crate::shard::{self, Input};

/// How often silence is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One process of an agent: the agent with its epoch.
pub(super) type Process = (AgentId, u64);

impl Fleet {
    /// Tells the shards which regions can be asked and which no longer, and when all agents fall silent together, until
    /// told to stop.
    pub async fn watch_silence(self: Arc<Self>, shards: shard::Handle, drain: CancellationToken) {
        let mut told: BTreeMap<RegionId, BTreeSet<Process>> = BTreeMap::new();
        let mut told_canaries: BTreeMap<AgentId, Canaries> = BTreeMap::new();
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.liveness.notified() => {}
            }
            let news: Vec<Input> =
                self.common_silence().into_iter().chain(self.region_news(&mut told)).collect();
            if !news.is_empty() {
                self.placement.notify_one();
            }
            for input in news.into_iter().chain(self.canary_news(&mut told_canaries)) {
                shards.tell(input).await;
            }
        }
    }

    /// What changed since `told`. A region that was live already is told again when another process is equipped: what
    /// its predecessor was asked, or could not be, is asked anew.
    pub(super) fn region_news(&self, told: &mut BTreeMap<RegionId, BTreeSet<Process>>) -> Vec<Input> {
        let mut news = vec![];
        for (region, equipped) in self.equipped() {
            let before = told.get(&region);
            let is_news = before
                .is_none_or(|before| before.is_empty() != equipped.is_empty() || !equipped.is_subset(before));
            if is_news {
                news.push(Input::RegionLive { region: region.clone(), live: !equipped.is_empty() });
            }
            told.insert(region, equipped);
        }
        news
    }

    /// What canaries say that they did not before, and all that fail. Canaries that fail from every live region say something of
    /// themselves, not of an agent.
    pub(super) fn canary_news(&self, told: &mut BTreeMap<AgentId, Canaries>) -> Vec<Input> {
        let now = self.clock.now();
        let members = self.lock();
        let live: Vec<(&AgentId, &Member)> =
            members.by_id.iter().filter(|(_, member)| member.is_live(now)).collect();
        let regions: BTreeSet<&RegionId> = live.iter().map(|(_, member)| &member.who.region).collect();
        let fails_from = |region: &&RegionId| {
            let mut here = live.iter().filter(|(_, member)| member.who.region == **region);
            here.any(|(_, member)| member.canaries_fail == Some(true))
        };
        let everywhere = regions.iter().all(fails_from);
        let mut news = vec![];
        for (agent, member) in live {
            let say = match member.canaries_fail {
                None if !told.contains_key(agent) => continue,
                None | Some(false) => Canaries::Well,
                Some(true) if everywhere => Canaries::FailingEverywhere,
                Some(true) => Canaries::Failing,
            };
            // What fails is said again and again: it is forgotten when states are loaded anew.
            if told.insert(*agent, say) != Some(say) || say == Canaries::Failing {
                news.push(Input::Canaries { agent: *agent, say });
            }
        }
        news
    }

    /// The equipped processes of each region's live agents.
    fn equipped(&self) -> BTreeMap<RegionId, BTreeSet<Process>> {
        let now = self.clock.now();
        let mut regions: BTreeMap<RegionId, BTreeSet<Process>> = BTreeMap::new();
        for (id, member) in &self.lock().by_id {
            let processes = regions.entry(member.who.region.clone()).or_default();
            if member.is_live(now) && member.assigned.is_some() {
                processes.insert((*id, member.who.epoch));
            }
        }
        regions
    }

    /// At least two remote agents silent at once: it is our own uplink. Told when it begins and when it ends.
    fn common_silence(&self) -> Option<Input> {
        let now = self.clock.now();
        let mut members = self.lock();
        let remote: Vec<&Member> = members.by_id.values().filter(|member| !member.who.is_embedded).collect();
        let all_silent = remote.len() >= 2 && remote.iter().all(|member| !member.is_live(now));
        let last_heard = remote.iter().map(|member| member.heard_at).max();
        match (members.all_silent_since, all_silent) {
            (None, true) => {
                let from = last_heard.unwrap_or(now);
                warn!(%from, "every agent fell silent at once: taken for a fault of our own uplink");
                members.all_silent_since = Some(from);
                Some(Input::Blind { from, to: now })
            }
            (Some(from), false) => {
                members.all_silent_since = None;
                Some(Input::Blind { from, to: now })
            }
            (Some(_), true) | (None, false) => None,
        }
    }
}
