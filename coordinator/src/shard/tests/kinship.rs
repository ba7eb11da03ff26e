//! Dependencies and groups: who is told of what, and that a restart forgets neither.

use store::{Config, MemberRow};

use super::super::recover::recover;
use super::super::stage::{Published, Stage};
use super::super::take::take;
use super::*;
use crate::notify::Event;
use crate::notify::event::EventKind;

const CHANNEL: model::ChannelId = model::ChannelId::from_bytes([8; 16]);
const EU: &str = "eu";

/// Stages, commits and publishes as the owner does, at the instants that a test says.
struct House {
    store: Memory,
    published: Published,
    config: Config,
    now: Timestamp,
    position: store::Position,
    generation: u64,
    seq: u64,
}

impl House {
    /// A coordinator that hears the region `eu`.
    async fn new() -> Self {
        let mut house = Self {
            store: memory(),
            published: Published::default(),
            config: Config::default(),
            now: Timestamp::from_secs(1_700_000_000),
            position: 0,
            generation: 0,
            seq: 0,
        };
        house.start().await;
        house
    }

    async fn start(&mut self) {
        self.generation = self.store.claim("main", self.now).await.unwrap().generation;
        self.turn(|stage| stage.region_live(&EU.parse().unwrap(), true)).await;
    }

    /// As after `kill -9`: only what is stored is left.
    async fn restart(&mut self) {
        let recovered = recover(&self.store, self.now).await.unwrap();
        (self.published, self.position) = (recovered.published, recovered.position);
        self.start().await;
    }

    /// One turn, and the events that it told.
    async fn turn(&mut self, act: impl FnOnce(&mut Stage<'_>)) -> Vec<Event> {
        let mut stage = Stage::new(&self.published, self.store.installation(), &self.config, self.now);
        act(&mut stage);
        stage.tell_of_joined();
        self.position += 1;
        let (mut commit, changes) = stage.finish(self.position);
        (commit.coordinator, commit.generation) = ("main".into(), self.generation);
        self.store.commit(&commit).await.unwrap();
        changes.publish(&mut self.published);
        commit.events.iter().map(|row| Event::decode(row.body.as_bytes()).unwrap()).collect()
    }

    async fn create(&mut self, definition: &Definition) {
        self.turn(|stage| stage.change(&put(definition)).unwrap()).await;
        assert_eq!(self.check(definition, 200).await, [], "well to begin with");
    }

    /// A check of the monitor from `eu`, which decides alone.
    async fn check(&mut self, definition: &Definition, status: u16) -> Vec<Event> {
        self.now = self.now.plus(Duration::from_secs(1));
        self.seq += 1;
        let SubjectId::Monitor(monitor) = definition.id else { panic!("a monitor") };
        let checked = CheckResult { monitor, started_at: self.now, ..result(EU, status) };
        let item = ResultItem { seq: self.seq, result: Some(checked), is_late: false, capture: None };
        let batch = ResultBatch {
            agent: AgentId::from_bytes([7; 16]),
            agent_epoch: 1,
            received_at: self.now,
            items: vec![item],
            acks: mpsc::unbounded_channel().0,
        };
        self.turn(|stage| {
            take(&Input::Results(batch), stage);
        })
        .await
    }

    async fn wait(&mut self, seconds: u64) -> Vec<Event> {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.turn(|_| ()).await
    }

    fn status(&self, definition: &Definition) -> machine::Status {
        let State::Monitor(state) = &self.published.subjects[&definition.id].state else {
            panic!("a monitor")
        };
        state.status()
    }

    /// The members of a monitor's latest incident.
    async fn members(&self, definition: &Definition) -> Vec<MemberRow> {
        let query = IncidentQuery { subject: Some(definition.id), limit: 1, ..IncidentQuery::default() };
        let incident = self.store.list_incidents(&query).await.unwrap().remove(0);
        self.store.members(incident.id, 100).await.unwrap().0
    }
}

/// A monitor on a host of its own that one region decides on, at once both ways.
fn lone(number: u8, name: &str) -> Definition {
    let mut definition = monitor(name);
    definition.id = SubjectId::Monitor(MonitorId::from_bytes([number; 16]));
    let Kind::Monitor(monitor) = &mut definition.kind else { panic!("a monitor") };
    let monitor = Arc::make_mut(monitor);
    monitor.spec.check = Check::from_target(&format!("http://{name}.example/")).unwrap();
    monitor.regions = vec![EU.parse().unwrap()];
    monitor.quorum = quorum::Policy::default();
    monitor.channels = vec![CHANNEL];
    definition
}

fn child_of(parent: &Definition, number: u8, name: &str) -> Definition {
    let mut definition = lone(number, name);
    let Kind::Monitor(monitor) = &mut definition.kind else { panic!("a monitor") };
    let SubjectId::Monitor(parent) = parent.id else { panic!("a monitor") };
    Arc::make_mut(monitor).depends_on = vec![parent];
    definition
}

fn on_host_of(other: &Definition, number: u8, name: &str) -> Definition {
    let mut definition = lone(number, name);
    let Kind::Monitor(monitor) = &mut definition.kind else { panic!("a monitor") };
    let host = other.monitor().unwrap().1.spec.check.host().to_owned();
    Arc::make_mut(monitor).spec.check = Check::from_target(&format!("http://{host}:81/")).unwrap();
    definition
}

fn kinds(events: &[Event]) -> Vec<(EventKind, &str)> {
    events.iter().map(|event| (event.kind, event.subject.name())).collect()
}

use machine::Status::{Down, Unknown, Up};

#[tokio::test]
async fn behind_a_dead_parent_nobody_is_told_of_the_children() {
    let mut house = House::new().await;
    let parent = lone(1, "gateway");
    let children = [child_of(&parent, 2, "shop"), child_of(&parent, 3, "blog")];
    house.create(&parent).await;
    for child in &children {
        house.create(child).await;
    }
    assert_eq!(kinds(&house.check(&parent, 503).await), [(EventKind::Opened, "gateway")]);
    for child in &children {
        assert_eq!(house.check(child, 503).await, []);
        assert_eq!(house.status(child), Unknown);
    }
    let members = house.members(&parent).await;
    assert_eq!(members.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["shop", "blog"]);
    assert_eq!(members[0].cause, "depends on gateway, which is down");
    assert_eq!(house.wait(3_600).await, [], "nor later");

    assert_eq!(kinds(&house.check(&parent, 200).await), [(EventKind::Resolved, "gateway")]);
    assert_eq!(house.check(&children[0], 200).await, []);
    assert_eq!(house.status(&children[0]), Up);
    let left = |members: Vec<MemberRow>| members.iter().filter(|row| row.left_at.is_some()).count();
    assert_eq!(left(house.members(&parent).await), 1);

    // The other one outlives it.
    assert_eq!(kinds(&house.check(&children[1], 503).await), [(EventKind::Opened, "blog")]);
    assert_eq!(house.status(&children[1]), Down);
    assert_eq!(left(house.members(&parent).await), 2);
}

#[tokio::test]
async fn a_child_that_fails_first_waits_for_its_parent() {
    let mut house = House::new().await;
    let parent = lone(1, "gateway");
    let child = child_of(&parent, 2, "shop");
    house.create(&parent).await;
    house.create(&child).await;
    assert_eq!(house.check(&child, 503).await, [], "the parent is asked");
    assert_eq!(house.status(&child), Up, "nothing is decided yet");
    assert_eq!(kinds(&house.check(&parent, 503).await), [(EventKind::Opened, "gateway")]);
    assert_eq!(house.status(&child), Unknown);
    assert_eq!(house.members(&parent).await.len(), 1);
}

#[tokio::test]
async fn a_child_alone_is_told_of_once_its_parent_has_answered() {
    let mut house = House::new().await;
    let parent = lone(1, "gateway");
    let child = child_of(&parent, 2, "shop");
    house.create(&parent).await;
    house.create(&child).await;
    assert_eq!(house.check(&child, 503).await, []);
    assert_eq!(kinds(&house.check(&parent, 200).await), [(EventKind::Opened, "shop")]);
}

#[tokio::test]
async fn a_restart_forgets_neither_parents_nor_members() {
    let mut house = House::new().await;
    let parent = lone(1, "gateway");
    let child = child_of(&parent, 2, "shop");
    house.create(&parent).await;
    house.create(&child).await;
    house.check(&parent, 503).await;
    house.check(&child, 503).await;
    house.restart().await;
    assert_eq!(house.check(&child, 503).await, []);
    assert_eq!(house.status(&child), Unknown);
    assert_eq!(house.members(&parent).await.len(), 1, "it is a member already");
    assert_eq!(house.wait(3_600).await, [], "nobody is told that it is down too");
    assert_eq!(kinds(&house.check(&parent, 200).await), [(EventKind::Resolved, "gateway")]);
    house.check(&child, 200).await;
    assert!(house.members(&parent).await[0].left_at.is_some());
}

#[tokio::test]
async fn cycles_are_refused_by_name_and_parents_cannot_be_deleted() {
    let mut house = House::new().await;
    let a = lone(1, "a");
    let b = child_of(&a, 2, "b");
    let c = child_of(&b, 3, "c");
    for definition in [&a, &b, &c] {
        house.create(definition).await;
    }
    let change = |house: &mut House, request: ChangeRequest| {
        let mut stage = Stage::new(&house.published, house.store.installation(), &house.config, house.now);
        stage.change(&request).unwrap_err()
    };
    let looped = Definition { id: a.id, ..child_of(&c, 1, "a") };
    let request = ChangeRequest::Put { definition: Box::new(looped), expected: Some(1) };
    assert_eq!(change(&mut house, request), ChangeError::DependsOnItself("a → c → b → a".into()));
    let request = ChangeRequest::Delete { id: a.id, expected: None };
    assert_eq!(change(&mut house, request), ChangeError::HasDependents("b".into()));
}

#[tokio::test]
async fn chains_are_at_most_ten_levels_deep_wherever_they_grow() {
    let mut house = House::new().await;
    let mut chain = vec![lone(100, "m100")];
    for number in 101..=110 {
        chain.push(child_of(&chain[chain.len() - 1], number, &format!("m{number}")));
    }
    for definition in &chain {
        house.create(definition).await;
    }
    let refused = |house: &House, definition: Definition, expected| {
        let mut stage = Stage::new(&house.published, house.store.installation(), &house.config, house.now);
        let request = ChangeRequest::Put { definition: Box::new(definition), expected };
        stage.change(&request).unwrap_err()
    };
    let below = child_of(&chain[10], 111, "below");
    assert_eq!(refused(&house, below, None), ChangeError::TooDeep);
    let top = lone(99, "top");
    house.create(&top).await;
    let under_top = Definition { id: chain[0].id, ..child_of(&top, 100, "m100") };
    assert_eq!(refused(&house, under_top, Some(1)), ChangeError::TooDeep);
}

#[tokio::test]
async fn a_dense_web_of_dependencies_is_checked_at_once() {
    let mut house = House::new().await;
    let mut above: Vec<MonitorId> = vec![];
    for level in 0..10_u8 {
        let level: Vec<Definition> = (0..20)
            .map(|place| {
                let number = level * 20 + place;
                let mut definition = lone(number, &format!("m{number}"));
                let Kind::Monitor(monitor) = &mut definition.kind else { panic!("a monitor") };
                Arc::make_mut(monitor).depends_on.clone_from(&above);
                definition
            })
            .collect();
        above = level.iter().map(|definition| definition.monitor().unwrap().0).collect();
        for definition in level {
            house.turn(|stage| stage.change(&put(&definition)).unwrap()).await;
        }
    }
}

#[tokio::test]
async fn monitors_on_one_host_that_fail_together_are_told_of_once() {
    let mut house = House::new().await;
    let first = lone(1, "first");
    let second = on_host_of(&first, 2, "second");
    let third = on_host_of(&first, 3, "third");
    for definition in [&first, &second, &third] {
        house.create(definition).await;
    }
    assert_eq!(kinds(&house.check(&first, 503).await), [(EventKind::Opened, "first")]);
    for other in [&second, &third] {
        assert_eq!(house.check(other, 503).await, []);
        assert_eq!(house.status(other), Down, "it is still shown as what it is");
    }
    assert_eq!(house.wait(30).await, []);
    let told = house.wait(30).await;
    assert_eq!(kinds(&told), [(EventKind::Updated, "first")], "one message names those who joined");
    assert_eq!(told[0].members, ["second", "third"]);
    assert_eq!(house.wait(3_600).await, [], "nothing is new");

    assert_eq!(house.check(&first, 200).await, [], "it is not over");
    house.restart().await;
    assert_eq!(house.check(&second, 200).await, []);
    let ended = house.check(&third, 200).await;
    assert_eq!(kinds(&ended), [(EventKind::Resolved, "first")]);
    assert_eq!(ended[0].incident.resolved_at, Some(house.now), "the downtime is that of all of them");
}

#[tokio::test]
async fn whoever_waits_to_be_told_speaks_for_nobody_else_and_nobody_for_them() {
    let mut house = House::new().await;
    let mut first = lone(1, "first");
    let second = on_host_of(&first, 2, "second");
    let mut third = on_host_of(&first, 3, "third");
    for delayed in [&mut first, &mut third] {
        let Kind::Monitor(monitor) = &mut delayed.kind else { panic!("a monitor") };
        Arc::make_mut(monitor).alert.delay = Duration::from_secs(60);
    }
    for definition in [&first, &second, &third] {
        house.create(definition).await;
        assert_eq!(house.status(definition), Up);
    }
    house.check(&first, 503).await;
    let told = house.check(&second, 503).await;
    assert_eq!(kinds(&told), [(EventKind::Opened, "second")], "the first one's channels know nothing yet");
    house.check(&third, 503).await;
    assert_eq!(house.members(&second).await, [], "it would be named before it may be told");
}

#[tokio::test]
async fn failures_that_have_nothing_in_common_are_told_of_one_by_one() {
    let mut house = House::new().await;
    let (first, second, well) = (lone(1, "first"), lone(2, "second"), lone(3, "well"));
    for definition in [&first, &second, &well] {
        house.create(definition).await;
    }
    house.check(&first, 503).await;
    house.check(&well, 200).await;
    assert_eq!(kinds(&house.check(&second, 503).await), [(EventKind::Opened, "second")]);
}

#[tokio::test]
async fn when_everything_fails_from_a_region_only_the_first_are_told_of() {
    let mut house = House::new().await;
    let monitors: Vec<_> = (1..=5).map(|number| lone(number, &format!("m{number}"))).collect();
    for definition in &monitors {
        house.create(definition).await;
    }
    let mut told = vec![];
    for definition in &monitors {
        told.extend(house.check(definition, 503).await);
    }
    // Two that fail may have nothing to do with each other; the third makes it plain.
    assert_eq!(kinds(&told), [(EventKind::Opened, "m1"), (EventKind::Opened, "m2")]);
}

#[tokio::test]
async fn a_group_whose_leader_is_paused_goes_on_under_another() {
    let mut house = House::new().await;
    let first = lone(1, "first");
    let (second, third) = (on_host_of(&first, 2, "second"), on_host_of(&first, 3, "third"));
    for definition in [&first, &second, &third] {
        house.create(definition).await;
        house.check(definition, 200).await;
    }
    for definition in [&first, &second, &third] {
        house.check(definition, 503).await;
    }
    let told = house.turn(|stage| stage.apply(first.id, Happening::Paused)).await;
    assert_eq!(kinds(&told), [(EventKind::Closed, "first"), (EventKind::Opened, "second")]);
    assert_eq!(told[1].members, ["third"]);
    house.restart().await;
    assert_eq!(house.check(&second, 200).await, []);
    assert_eq!(kinds(&house.check(&third, 200).await), [(EventKind::Resolved, "second")]);
}
