//! Agents, their sessions with the coordinator, and the messages between them.
//!
//! All of it follows from the faults, so it is known before the simulation begins: when which process runs, when it has
//! a session, when the coordinator takes it for live, and which agent of a region was told to check on schedule. Only
//! single messages are asked for as they come: [`Network::delivery`].

use std::time::Duration;

use model::Timestamp;

use crate::fault::{self, AGENTS_PER_REGION, Absence, Class, Fault, REGIONS};
use crate::random::Source;
use crate::span::{Calendar, START, Span};

/// An agent that has been silent for so long is gone, for both sides.
const SILENCE: Duration = Duration::from_secs(15);
/// How often an agent sends what can wait, or that it is there.
const BEAT: Duration = Duration::from_secs(5);
/// A cut that is shorter is bridged by the transport: messages wait.
const BRIDGED: Duration = Duration::from_secs(12);
/// What is urgent waits so long for company.
const COALESCE: Duration = Duration::from_millis(5);
/// From the decision to who checks what, until the agent has heard of it.
const ASSIGNING: Duration = Duration::from_millis(100);
/// After a fault: sessions are back, what was spooled has arrived, everybody is live again.
const AFTERMATH: Duration = Duration::from_secs(180);
/// Before a fault: what was sent has arrived.
const FOREBODING: Duration = Duration::from_secs(20);

/// The agents and the coordinator they talk to.
#[derive(Debug)]
pub struct Network {
    /// By region, the agents of a region one after the other.
    pub agents: Vec<Agent>,
    /// When the coordinator is absent.
    pub coordinator: Calendar<Absence>,
    /// What the coordinator's fleet tells the shards, in order.
    pub news: Vec<(Timestamp, News)>,
    /// Per region: when something about it is out of the ordinary.
    pub disturbed: Vec<Calendar<()>>,
    source: Source,
}

/// What the shards are told of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A region can be asked from now on, or no longer.
    Region {
        /// Which.
        region: usize,
        /// Whether it can.
        live: bool,
    },
    /// All agents were silent at once since then.
    Silence(Timestamp),
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// Its number.
    pub number: usize,
    /// When it is faulty and how.
    pub faults: Calendar<Fault>,
    /// Its processes.
    pub processes: Calendar<()>,
    /// When it can say something and hear.
    pub sessions: Calendar<()>,
    /// When the coordinator takes it for live.
    pub live: Calendar<()>,
    /// For monitors that prefer the region's first agent, and for those that prefer its second: since when it has been
    /// told to check on schedule, or not to.
    told: [Vec<(Timestamp, bool)>; AGENTS_PER_REGION],
    /// How far its schedule is behind the coordinator's clock.
    pub lag: Duration,
    delay: Duration,
    source: Source,
}

/// Why a session ends.
struct Break {
    span: Span,
    /// The coordinator hears nothing from here on.
    silent_from: Timestamp,
    /// The coordinator takes it for gone from here on, whatever the silence; `None`: after the silence.
    gone_at: Option<Timestamp>,
    kills: bool,
}

/// When a message arrives, and when it arrives once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it is sent at last.
    pub sent_at: Timestamp,
    /// When it arrives.
    pub at: Timestamp,
    /// When it arrives again, because the link duplicates or because its ack was lost.
    pub again: Option<Timestamp>,
}

impl Network {
    /// The network of a world that has these classes of faults.
    #[must_use]
    pub fn new(classes: &[Class], coordinator: Calendar<Absence>, end: Timestamp, source: Source) -> Self {
        let faults = fault::of_agents(classes, end, source.of(0));
        let mut agents: Vec<Agent> = faults
            .into_iter()
            .enumerate()
            .map(|(number, faults)| {
                Agent::new(number, faults, &coordinator, end, source.of(1).of(number as u64))
            })
            .collect();
        for region in 0..REGIONS.len() {
            tell_roles(&mut agents[region * AGENTS_PER_REGION..][..AGENTS_PER_REGION]);
        }
        let mut news: Vec<(Timestamp, News)> = (0..REGIONS.len())
            .flat_map(|region| {
                region_news(region, &agents[region * AGENTS_PER_REGION..][..AGENTS_PER_REGION])
            })
            .chain(common_silences(&agents, &coordinator))
            .collect();
        news.sort_by_key(|(at, _)| *at);
        let disturbed =
            (0..REGIONS.len()).map(|region| disturbances(region, &agents, &coordinator)).collect();
        Self { agents, coordinator, news, disturbed, source: source.of(2) }
    }

    /// The agents of a region.
    #[must_use]
    pub fn of_region(&self, region: usize) -> &[Agent] {
        &self.agents[region * AGENTS_PER_REGION..][..AGENTS_PER_REGION]
    }

    /// When what an agent has to say from `ready_at` on reaches the coordinator; `None`: never, because its process dies
    /// before that.
    #[must_use]
    pub fn delivery(
        &self,
        agent: &Agent,
        ready_at: Timestamp,
        urgent: bool,
        source: Source,
    ) -> Option<Delivery> {
        let (process, ()) = agent.processes.at(ready_at)?;
        let mut ready_at = ready_at;
        for attempt in 0..64 {
            let source = source.of(attempt);
            let (session, backlog) = match agent.sessions.at(ready_at) {
                Some((session, ())) => (session, false),
                None => (&agent.sessions.next(ready_at)?.0, true),
            };
            let sent_at = if backlog {
                // The spool is sent newest first, a batch at a time.
                session.from.plus(source.of(0).between(Duration::ZERO, Duration::from_secs(2)))
            } else if urgent {
                ready_at.plus(COALESCE)
            } else {
                agent.beat(ready_at)
            };
            let at = self.arrival(agent, sent_at, source.of(1));
            if sent_at >= process.to {
                return None;
            }
            if at < session.to && at < process.to {
                let lost_ack = at.plus(Duration::from_secs(1)) >= session.to && source.of(2).chance(0.5);
                let again = if lost_ack {
                    agent.sessions.next(at).map(|(next, ())| next.from).filter(|next| *next < process.to)
                } else {
                    let jumbled = matches!(agent.faults.at(sent_at), Some((_, Fault::Jumbled)));
                    (jumbled && source.of(3).chance(0.3)).then_some(at)
                };
                let again =
                    again.map(|at| at.plus(source.of(4).between(Duration::ZERO, Duration::from_secs(30))));
                let again = again.map(|at| self.when_there(at));
                return Some(Delivery { sent_at, at, again });
            }
            ready_at = session.to.max(ready_at.plus(Duration::from_millis(1)));
        }
        None
    }

    /// When what the coordinator tells an agent at `at` reaches it, if it does.
    #[must_use]
    pub fn request(&self, agent: &Agent, at: Timestamp, source: Source) -> Option<Timestamp> {
        let arrival = at.plus(agent.delay_at(at, source));
        let (session, ()) = agent.sessions.at(at)?;
        let deaf = matches!(agent.faults.at(arrival), Some((_, Fault::CutDown | Fault::Cut | Fault::CutUp)));
        (arrival < session.to && !deaf).then_some(arrival)
    }

    /// When a message sent at an instant arrives if nothing breaks.
    fn arrival(&self, agent: &Agent, sent_at: Timestamp, source: Source) -> Timestamp {
        let at = sent_at.plus(agent.delay_at(sent_at, source));
        // A short cut only delays.
        let at = match agent.faults.at(at) {
            Some((cut, Fault::Cut | Fault::CutUp)) if cut.length() < BRIDGED => {
                cut.to.plus(source.of(9).between(Duration::ZERO, cut.length()))
            }
            _ => at,
        };
        self.when_there(at)
    }

    /// A frozen coordinator takes what has come when it goes on.
    fn when_there(&self, at: Timestamp) -> Timestamp {
        match self.coordinator.at(at) {
            Some((span, Absence::Frozen)) => span.to.plus(Duration::from_millis(5)),
            Some((span, Absence::Killed)) => span.to.plus(Duration::from_secs(31)),
            _ => at,
        }
    }

    /// How many checks per second the fleet can run, as the coordinator counts.
    #[must_use]
    pub fn capacity(&self, at: Timestamp) -> f64 {
        const EACH: f64 = 1_000.0;
        self.agents.iter().filter(|agent| agent.live.at(at).is_some()).count() as f64 * EACH
    }

    /// Randomness for facts that belong to no agent.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }
}

impl Agent {
    fn new(
        number: usize,
        faults: Calendar<Fault>,
        coordinator: &Calendar<Absence>,
        end: Timestamp,
        source: Source,
    ) -> Self {
        let mut agent = Self {
            number,
            faults,
            processes: Calendar::default(),
            sessions: Calendar::default(),
            live: Calendar::default(),
            told: [vec![], vec![]],
            lag: source.of(0).between(Duration::from_millis(5), Duration::from_millis(150)),
            delay: source.of(1).between(Duration::from_millis(2), Duration::from_millis(140)),
            source: source.of(2),
        };
        agent.live_through(&agent.breaks(coordinator), end);
        agent
    }

    fn breaks(&self, coordinator: &Calendar<Absence>) -> Vec<Break> {
        let beat_before =
            |at: Timestamp| at.minus(self.source.of(at.as_micros() as u64).between(Duration::ZERO, BEAT));
        let own = self.faults.iter().filter_map(|&(span, fault)| match fault {
            Fault::Dead => {
                Some(Break { span, silent_from: beat_before(span.from), gone_at: None, kills: true })
            }
            Fault::Cut | Fault::CutUp if span.length() >= BRIDGED => {
                Some(Break { span, silent_from: beat_before(span.from), gone_at: None, kills: false })
            }
            Fault::CutDown if span.length() >= BRIDGED => {
                let silent_from = span.to.min(span.from.plus(SILENCE));
                Some(Break { span, silent_from, gone_at: None, kills: false })
            }
            _ => None,
        });
        let common = coordinator.iter().filter_map(|&(span, absence)| match absence {
            Absence::Killed => {
                Some(Break { span, silent_from: span.from, gone_at: Some(span.from), kills: false })
            }
            Absence::Frozen if span.length() >= SILENCE => {
                Some(Break { span, silent_from: span.from, gone_at: Some(span.to), kills: false })
            }
            Absence::Isolated => {
                Some(Break { span, silent_from: beat_before(span.from), gone_at: None, kills: false })
            }
            _ => None,
        });
        let mut breaks: Vec<Break> = own.chain(common).collect();
        breaks.sort_by_key(|it| it.span.from);
        breaks
    }

    /// From what breaks to when it runs, has a session, and is taken for live.
    fn live_through(&mut self, breaks: &[Break], end: Timestamp) {
        let equipping = Duration::from_millis(100);
        let (mut process_from, mut session_from) = (START, START.plus(self.lag));
        let mut live_from = Some(session_from.plus(equipping));
        // Until when it is taken for live though it has no session.
        let mut live_to: Option<Timestamp> = None;
        for (number, it) in (0..).zip(breaks) {
            if session_from < it.span.from {
                match (live_to, live_from) {
                    (Some(to), Some(from)) if to < session_from => {
                        self.live.push(Span { from, to }, ());
                        live_from = Some(session_from.plus(equipping));
                    }
                    (_, None) => live_from = Some(session_from.plus(equipping)),
                    (_, Some(_)) => {}
                }
                let to = it.silent_from.max(it.span.from);
                self.sessions.push(Span { from: session_from, to }, ());
                live_to = Some(it.gone_at.unwrap_or_else(|| next_sweep(it.silent_from.plus(SILENCE))));
            } else if let (Some(gone_at), Some(to)) = (it.gone_at, live_to) {
                live_to = Some(to.min(gone_at));
            }
            let forgotten = it.kills || it.gone_at.is_some();
            if forgotten && let (Some(from), Some(to)) = (live_from, live_to) {
                let to = if it.kills { to.min(it.span.to) } else { to };
                self.live.push(Span { from, to: to.max(from) }, ());
                live_from = None;
            }
            if it.kills {
                self.processes.push(Span { from: process_from, to: it.span.from }, ());
                process_from = it.span.to;
            }
            // Full jitter below a ceiling that doubles from half a second to thirty.
            let ceiling = (it.span.length() / 2).clamp(Duration::from_millis(500), Duration::from_secs(30));
            let pause = self.source.of(number).between(Duration::from_millis(50), ceiling);
            session_from = session_from.max(it.span.to.plus(pause).plus(self.delay * 3));
        }
        match (live_to, live_from) {
            (Some(to), Some(from)) if to < session_from => {
                self.live.push(Span { from, to }, ());
                self.live.push(Span { from: session_from.plus(equipping), to: end }, ());
            }
            (_, Some(from)) => self.live.push(Span { from, to: end }, ()),
            (_, None) => self.live.push(Span { from: session_from.plus(equipping), to: end }, ()),
        }
        self.processes.push(Span { from: process_from, to: end }, ());
        self.sessions.push(Span { from: session_from, to: end }, ());
    }

    /// Whether it was told to check a monitor on schedule: one that prefers the `preferred`-th agent of the region.
    #[must_use]
    pub fn is_on_duty(&self, preferred: usize, at: Timestamp) -> bool {
        let told = &self.told[preferred];
        let after = told.partition_point(|(since, _)| *since <= at);
        after > 0 && told[after - 1].1 && self.processes.at(at).is_some()
    }

    fn beat(&self, at: Timestamp) -> Timestamp {
        let phase = self.source.of(1_000).between(Duration::ZERO, BEAT);
        let beat = BEAT.as_micros() as i64;
        let phase = phase.as_micros() as i64;
        let micros = at.as_micros() - START.as_micros() - phase;
        let beats = micros.div_euclid(beat) + i64::from(micros.rem_euclid(beat) != 0);
        Timestamp::from_micros(START.as_micros() + phase + beats * beat)
    }

    fn delay_at(&self, at: Timestamp, source: Source) -> Duration {
        let usual = self.delay + source.of(10).between(Duration::ZERO, self.delay / 2);
        match self.faults.at(at) {
            Some((_, Fault::SlowLink)) => {
                usual + source.of(11).between(Duration::ZERO, Duration::from_secs(8))
            }
            Some((_, Fault::Jumbled)) if source.of(12).chance(0.4) => {
                usual + source.of(13).between(Duration::ZERO, Duration::from_secs(10))
            }
            _ => usual,
        }
    }
}

/// The fleet looks for silence every second.
fn next_sweep(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.as_secs() + 1)
}

/// Tells the agents of one region who checks on schedule: the preferred one while it is live, else the other. Who has no
/// session goes on as before and hears of it in the next.
fn tell_roles(agents: &mut [Agent]) {
    let mut changes: Vec<Timestamp> = agents
        .iter()
        .flat_map(|agent| agent.live.iter().flat_map(|(span, ())| [span.from, span.to]))
        .collect();
    changes.sort_unstable();
    changes.dedup();
    for preferred in 0..AGENTS_PER_REGION {
        let order = [preferred, 1 - preferred];
        let primary = |at: Timestamp| order.into_iter().find(|&agent| agents[agent].live.at(at).is_some());
        let told: Vec<Vec<(Timestamp, bool)>> = (0..AGENTS_PER_REGION)
            .map(|me| {
                let agent = &agents[me];
                let births = agent.processes.iter().map(|(process, ())| (process.from, false));
                let hears = |at: Timestamp| match agent.sessions.at(at) {
                    Some(_) => Some(at),
                    None => agent.sessions.next(at).map(|(session, ())| session.from),
                };
                let news = changes.iter().filter_map(|&at| {
                    let heard = hears(at)?;
                    Some((heard.plus(ASSIGNING), primary(at.max(heard))? == me))
                });
                let joins = agent.sessions.iter().filter_map(|(session, ())| {
                    let at = session.from.plus(ASSIGNING);
                    Some((at, primary(at)? == me))
                });
                let mut told: Vec<_> = births.chain(news).chain(joins).collect();
                told.sort_by_key(|(at, _)| *at);
                told
            })
            .collect();
        for (agent, told) in agents.iter_mut().zip(told) {
            agent.told[preferred] = told;
        }
    }
}

/// When a region comes and goes; told again when one of its agents comes anew.
fn region_news(region: usize, agents: &[Agent]) -> Vec<(Timestamp, News)> {
    let spans: Vec<Span> =
        agents.iter().flat_map(|agent| agent.live.iter().map(|(span, ())| *span)).collect();
    let arrivals: Vec<Timestamp> = spans.iter().map(|span| span.from).collect();
    let union = Calendar::union(spans);
    let leaves = union.iter().map(|(span, ())| (span.to, News::Region { region, live: false }));
    let comes = arrivals.into_iter().map(|at| (at, News::Region { region, live: true }));
    let mut news: Vec<_> = leaves.chain(comes).collect();
    // At one instant the end of one span before the beginning of the next.
    news.sort_by_key(|(at, news)| (*at, matches!(news, News::Region { live: true, .. })));
    news
}

/// When all agents are silent at once though the coordinator is there: told when it is noticed and when it ends.
fn common_silences(agents: &[Agent], coordinator: &Calendar<Absence>) -> Vec<(Timestamp, News)> {
    let live =
        Calendar::union(agents.iter().flat_map(|agent| agent.live.iter().map(|(span, ())| *span)).collect());
    let spans: Vec<Span> = live.iter().map(|(span, ())| *span).collect();
    let mut news = vec![];
    for pair in spans.windows(2) {
        let gap = Span { from: pair[0].to, to: pair[1].from };
        let was_there = coordinator
            .within(Span { from: gap.from.minus(SILENCE), to: gap.to })
            .all(|(_, absence)| !matches!(absence, Absence::Killed | Absence::Frozen));
        if was_there {
            let since = gap.from.minus(SILENCE);
            news.extend([(gap.from, News::Silence(since)), (gap.to, News::Silence(since))]);
        }
    }
    news
}

fn disturbances(region: usize, agents: &[Agent], coordinator: &Calendar<Absence>) -> Calendar<()> {
    let widened = |span: Span| Span { from: span.from.minus(FOREBODING), to: span.to.plus(AFTERMATH) };
    let own = agents[region * AGENTS_PER_REGION..][..AGENTS_PER_REGION]
        .iter()
        .flat_map(|agent| agent.faults.iter().map(|(span, _)| *span));
    let common = coordinator.iter().map(|(span, _)| *span);
    Calendar::union(own.chain(common).map(widened).collect())
}
