use std::collections::BTreeSet;

use model::{CheckResult, Clock as _, TestClock};

use super::once::Unasked;
use super::silence::Process;
use super::*;
use crate::shard::Input;

const REGION: &str = "us-east";

struct Stage {
    clock: Arc<TestClock>,
    fleet: Fleet,
    told: BTreeMap<RegionId, BTreeSet<Process>>,
}

impl Stage {
    fn new() -> Self {
        let clock = Arc::new(TestClock::at(Timestamp::from_secs(1_700_000_000)));
        Self { fleet: Fleet::new(Arc::clone(&clock) as _), clock, told: BTreeMap::new() }
    }

    /// A process of the one agent joins.
    fn join(&self, nonce: u8, epoch: u64) -> Result<(Session, mpsc::UnboundedReceiver<ToAgent>), Superseded> {
        let (outgoing, received) = mpsc::unbounded_channel();
        Ok((self.fleet.join(introduction(nonce, epoch), outgoing)?, received))
    }

    fn is_superseded(&self, nonce: u8) -> bool {
        self.fleet.is_superseded(agent(), [nonce; 16])
    }

    /// Whether the region was told live, for each telling.
    fn news(&mut self) -> Vec<bool> {
        let news = self.fleet.region_news(&mut self.told);
        let live = |input| match input {
            Input::RegionLive { live, .. } => live,
            other => panic!("not about a region: {other:?}"),
        };
        news.into_iter().map(live).collect()
    }
}

fn agent() -> AgentId {
    AgentId::from_bytes([1; 16])
}

fn region() -> RegionId {
    REGION.parse().unwrap()
}

fn introduction(nonce: u8, epoch: u64) -> Introduction {
    Introduction {
        agent: agent(),
        name: "probe-1".into(),
        region: region(),
        process_nonce: [nonce; 16],
        epoch,
        version: "0.1.0".into(),
        capacity: 0,
        digest: vec![],
        dropped_results: 0,
        clock_offset_micros: None,
        capabilities: [].into_iter().collect(),
        is_embedded: false,
    }
}

#[test]
fn of_two_processes_with_one_token_the_newer_stays() {
    let stage = Stage::new();
    let (older, _wire) = stage.join(1, 1).unwrap();
    let (newer, _wire) = stage.join(2, 2).unwrap();
    assert!(older.closed.is_cancelled() && !newer.closed.is_cancelled());
    assert!(stage.is_superseded(1) && !stage.is_superseded(2));

    // A moment without a session does not let the older one back in.
    stage.fleet.leave(agent(), newer.number);
    assert!(stage.is_superseded(1));
}

#[test]
fn the_older_process_is_the_agent_again_when_the_newer_has_gone() {
    let stage = Stage::new();
    stage.join(1, 1).unwrap();
    stage.join(2, 2).unwrap();
    stage.clock.advance(SILENCE);
    assert!(!stage.is_superseded(1));

    stage.join(1, 3).unwrap();
    assert!(stage.is_superseded(2) && !stage.is_superseded(1));
}

#[test]
fn an_older_epoch_never_evicts_a_newer_session() {
    let stage = Stage::new();
    let (newer, _wire) = stage.join(2, 2).unwrap();
    assert_eq!(stage.join(1, 1).unwrap_err(), Superseded);
    assert!(!newer.closed.is_cancelled());
    assert!(stage.is_superseded(1));
}

#[test]
fn replaced_processes_are_remembered_in_a_bounded_number() {
    let stage = Stage::new();
    for nonce in 1..=40 {
        stage.join(nonce, u64::from(nonce)).unwrap();
    }
    assert_eq!(stage.fleet.lock().superseded[&agent()].len(), MAX_SUPERSEDED);
    assert!(stage.is_superseded(39) && !stage.is_superseded(1));
}

#[test]
fn a_region_is_live_once_an_agent_of_it_was_sent_its_set_even_an_empty_one() {
    let mut stage = Stage::new();
    let (session, _wire) = stage.join(1, 1).unwrap();
    assert_eq!(stage.news(), [false]);
    stage.fleet.note_assigned(agent(), session.number, 0);
    assert_eq!(stage.news(), [true]);
    assert!(stage.news().is_empty());
    stage.clock.advance(SILENCE);
    assert_eq!(stage.news(), [false]);
}

#[test]
fn a_reconnect_is_no_news_and_a_new_process_is() {
    let mut stage = Stage::new();
    let (first, _wire) = stage.join(1, 1).unwrap();
    stage.fleet.note_assigned(agent(), first.number, 3);
    assert_eq!(stage.news(), [true]);
    stage.join(1, 1).unwrap();
    assert!(stage.news().is_empty());

    let (session, _wire) = stage.join(2, 2).unwrap();
    // What was sent to its predecessor says nothing about it.
    stage.fleet.note_assigned(agent(), first.number, 3);
    assert_eq!(stage.fleet.member(agent()).unwrap().assigned, None);
    stage.fleet.note_assigned(agent(), session.number, 3);
    assert_eq!(stage.news(), [true], "its rounds are to be asked anew");
}

#[test]
fn a_process_is_asked_to_verify_only_after_it_was_sent_its_set() {
    let stage = Stage::new();
    let (session, mut wire) = stage.join(1, 1).unwrap();
    let verify =
        || stage.fleet.verify(MonitorId::from_bytes([5; 16]), Capabilities::default(), 1, 1, &[region()]);
    verify();
    assert!(wire.try_recv().is_err());
    stage.fleet.note_assigned(agent(), session.number, 1);
    verify();
    assert!(matches!(wire.try_recv(), Ok(ToAgent::Verify { round: 1, .. })));
}

#[test]
fn canaries_that_fail_from_every_live_region_say_nothing_of_an_agent() {
    use engine::probe::Canaries::{Failing, FailingEverywhere, Well};
    let stage = Stage::new();
    let join = |number: u8, region: &str| {
        let agent = AgentId::from_bytes([number; 16]);
        let who = Introduction { agent, region: region.parse().unwrap(), ..introduction(number, 1) };
        let (outgoing, wire) = mpsc::unbounded_channel();
        (agent, stage.fleet.join(who, outgoing).unwrap().number, wire)
    };
    let mut told = BTreeMap::new();
    let mut news = || {
        let said = |input| match input {
            Input::Canaries { agent, say } => (agent.as_bytes()[0], say),
            other => panic!("not about canaries: {other:?}"),
        };
        stage.fleet.canary_news(&mut told).into_iter().map(said).collect::<Vec<_>>()
    };
    let (first, one, _wire) = join(1, "us-east");
    let (second, two, _wire) = join(2, "eu-west");
    assert_eq!(news(), [], "nobody has canaries");
    stage.fleet.note_canaries(first, one, Some(false));
    assert_eq!(news(), [(1, Well)]);
    assert_eq!(news(), []);
    stage.fleet.note_canaries(first, one, Some(true));
    assert_eq!(news(), [(1, Failing)], "the other region has none that fail");
    stage.fleet.note_canaries(second, two, Some(true));
    assert_eq!(news(), [(1, FailingEverywhere), (2, FailingEverywhere)]);
    stage.fleet.note_canaries(second, two, Some(false));
    assert_eq!(news(), [(1, Failing), (2, Well)]);
    stage.fleet.note_canaries(first, one, None);
    assert_eq!(news(), [(1, Well)], "taken away");
}

fn single_check(id: u8) -> Assignment {
    Assignment {
        monitor: MonitorId::from_bytes([id; 16]),
        spec_revision: 1,
        check: Some(model::Check::from_target("http://a.example").unwrap()),
        options: model::check::Options::default(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        phase: Duration::ZERO,
        role: proto::probe::convert::Role::Primary,
        check_now: false,
    }
}

fn found(id: u8) -> CheckResult {
    CheckResult {
        monitor: MonitorId::from_bytes([id; 16]),
        spec_revision: 1,
        region: region(),
        slot: 0,
        attempt: 0,
        round: 0,
        started_at: Timestamp::EPOCH,
        duration: Duration::ZERO,
        outcome: model::Outcome::Pass,
        phases: model::Phases::default(),
        http_status: None,
        peer: None,
        health: None,
    }
}

#[test]
fn a_single_check_is_answered_by_the_agent_that_was_asked_and_by_no_other() {
    let stage = Stage::new();
    assert_eq!(stage.fleet.check_once(&region(), single_check(1)).unwrap_err(), Unasked::NobodyThere);
    let (_session, mut wire) = stage.join(1, 1).unwrap();
    let mut asked = stage.fleet.check_once(&region(), single_check(1)).unwrap();
    assert_eq!((asked.agent, asked.agent_name.as_str()), (agent(), "probe-1"));
    assert!(matches!(wire.try_recv(), Ok(ToAgent::CheckOnce(sent)) if *sent == single_check(1)));

    stage.fleet.checked(AgentId::from_bytes([2; 16]), found(1));
    stage.fleet.checked(agent(), found(9));
    assert!(asked.answer.try_recv().is_err(), "a stranger's word, or about something else");
    stage.fleet.checked(agent(), found(1));
    assert_eq!(asked.answer.try_recv(), Ok(found(1)));
    // A second answer is nobody's.
    stage.fleet.checked(agent(), found(1));
}

#[test]
fn single_checks_that_nobody_waits_for_make_room_for_others() {
    let stage = Stage::new();
    let (_session, _wire) = stage.join(1, 1).unwrap();
    let ask = |id: u16| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        let assignment = Assignment { monitor: MonitorId::from_bytes(bytes), ..single_check(0) };
        stage.fleet.check_once(&region(), assignment)
    };
    let mut waiting: Vec<_> = (0..1_000).map(|id| ask(id).unwrap()).collect();
    assert_eq!(ask(1_000).unwrap_err(), Unasked::TooMany);
    waiting.pop();
    ask(1_001).unwrap();
}

fn status(wall: Timestamp, dropped: u64) -> model::AgentStatus {
    model::AgentStatus {
        wall,
        uptime: Duration::ZERO,
        machine: model::agent_status::Machine::default(),
        work: model::agent_status::Work::default(),
        backlog: model::agent_status::Backlog { dropped, ..Default::default() },
        failing_canaries: vec![],
    }
}

#[test]
fn an_agents_clock_is_as_the_quickest_of_its_last_messages_shows_it() {
    let stage = Stage::new();
    let who = Introduction { clock_offset_micros: Some(-900_000), ..introduction(1, 1) };
    let (outgoing, _wire) = mpsc::unbounded_channel();
    let session = stage.fleet.join(who, outgoing).unwrap();
    let offset = || stage.fleet.member(agent()).unwrap().report.clock_offset_micros();
    assert_eq!(offset(), Some(-900_000));
    let mut says = |behind_millis: u64| {
        let wall = stage.clock.wall().minus(Duration::from_millis(behind_millis));
        stage.fleet.note_status(agent(), session.number, status(wall, 0));
        offset().unwrap()
    };
    // Two messages were under way for a while.
    let seen = [40, 700, 300, 1_000, 45].map(&mut says);
    assert_eq!(seen, [-40_000, -40_000, -40_000, -300_000, -45_000]);
    stage.fleet.note_status(agent(), session.number + 1, status(Timestamp::EPOCH, 0));
    assert_eq!(offset(), Some(-45_000), "of another session nothing is taken");
}

#[test]
fn what_is_not_as_it_should_be_is_known_until_it_is() {
    let stage = Stage::new();
    let (session, _wire) = stage.join(1, 1).unwrap();
    let kinds = || {
        let member = stage.fleet.member(agent()).unwrap();
        member.report.ailments.iter().map(engine::ailment::Ailment::kind).collect::<Vec<_>>()
    };
    let says = |session: &Session, ahead_secs: u64, dropped| {
        let wall = stage.clock.wall().plus(Duration::from_secs(ahead_secs));
        stage.fleet.note_status(agent(), session.number, status(wall, dropped));
        kinds()
    };
    assert_eq!(says(&session, 0, 0), [""; 0]);
    assert_eq!(says(&session, 6, 0), ["clock"]);
    assert_eq!(says(&session, 6, 2), ["clock", "drops"]);

    // It comes back with more that it had to give up while it was cut off.
    let (outgoing, _wire) = mpsc::unbounded_channel();
    stage.clock.advance(Duration::from_secs(700));
    let session =
        stage.fleet.join(Introduction { dropped_results: 5, ..introduction(1, 1) }, outgoing).unwrap();
    assert_eq!(kinds(), ["clock", "drops"], "what it said last");
    assert_eq!(says(&session, 0, 5), ["drops"]);
    stage.clock.advance(Duration::from_secs(700));
    assert_eq!(says(&session, 0, 5), [""; 0]);
    assert_eq!(stage.fleet.member(agent()).unwrap().report.dropped(), 5);
}

#[test]
fn a_region_lacks_what_none_of_its_live_agents_can() {
    let stage = Stage::new();
    let join = |number: u8, name: &str, capabilities: &[&str]| {
        let who = Introduction {
            agent: AgentId::from_bytes([number; 16]),
            name: name.into(),
            capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
            ..introduction(number, 1)
        };
        let (outgoing, wire) = mpsc::unbounded_channel();
        stage.fleet.join(who, outgoing).unwrap();
        wire
    };
    let needs = Capabilities::of_agent(["icmp", "ipv6"]);
    let lacking = || stage.fleet.abilities().lacking(&region(), needs);
    assert_eq!(lacking(), None, "nobody is there to ask");
    let _wires = [join(1, "one", &["http"]), join(2, "two", &["http", "ipv6"])];
    assert!(lacking().is_some_and(|why| why.starts_with("two may not send ICMP echo requests")));
    let _wire = join(3, "three", &["icmp", "ipv6"]);
    assert_eq!(lacking(), None);
    stage.clock.advance(SILENCE);
    assert_eq!(lacking(), None);
}

#[test]
fn a_round_is_asked_of_the_agent_that_can_make_the_check() {
    let stage = Stage::new();
    let mut wires = vec![];
    for (number, capabilities) in [(1, ["http", "icmp"]), (2, ["http", "tcp"])] {
        let agent = AgentId::from_bytes([number; 16]);
        let capabilities = capabilities.map(str::to_owned).into_iter().collect();
        let (outgoing, wire) = mpsc::unbounded_channel();
        let who = Introduction { agent, capabilities, ..introduction(number, 1) };
        let session = stage.fleet.join(who, outgoing).unwrap();
        stage.fleet.note_assigned(agent, session.number, 1);
        wires.push(wire);
    }
    for number in 1..=20 {
        let needs = Capabilities::of_agent(["icmp"]);
        stage.fleet.verify(MonitorId::from_bytes([number; 16]), needs, 1, 1, &[region()]);
        assert!(wires[0].try_recv().is_ok() && wires[1].try_recv().is_err());
    }
    for number in 1..=20 {
        let ping = model::Check::from_target("icmp://a.example").unwrap();
        let asked = Assignment { check: Some(ping), ..single_check(number) };
        stage.fleet.check_once(&region(), asked).unwrap();
        assert!(matches!(wires[0].try_recv(), Ok(ToAgent::CheckOnce(_))) && wires[1].try_recv().is_err());
    }
}
