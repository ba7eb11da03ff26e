//! Agents that are not believed, through the owner: facts from results, one notice, and nothing forgotten by a restart.

use engine::monitor::table;

use super::*;

const SICK: AgentId = AgentId::from_bytes([1; 16]);
const WELL: AgentId = AgentId::from_bytes([2; 16]);
const MONITORS: u8 = 6;

fn id(number: u8) -> MonitorId {
    MonitorId::from_bytes([10 + number; 16])
}

fn numbered(number: u8) -> Definition {
    let mut definition = monitor(&format!("m{number}"));
    definition.id = SubjectId::Monitor(id(number));
    let Kind::Monitor(kind) = &mut definition.kind else { unreachable!("it is a monitor's") };
    let check = Check::from_target(&format!("http://host-{}.example/", number % 4)).unwrap();
    Arc::make_mut(kind).spec.check = check;
    definition
}

/// One agent says the same of every monitor.
async fn say(world: &mut World, agent: AgentId, seq: u64, status: u16) {
    let region = if agent == SICK { "eu" } else { "us" };
    let results = (0..MONITORS).map(|number| CheckResult { monitor: id(number), ..result(region, status) });
    let items = (seq..).zip(results);
    let items =
        items.map(|(seq, result)| ResultItem { seq, result: Some(result), is_late: false, capture: None });
    let (acks, items) = (world.acks.0.clone(), items.collect());
    let batch = ResultBatch { agent, agent_epoch: 1, received_at: now(), items, acks };
    world.handle.results(batch).await;
    world.acked().await;
}

/// A world in which one of two agents failed everywhere, the other passed, and what came of that was committed.
async fn with_a_sick_agent(fault: Option<Fault>) -> World {
    let mut world = start(memory()).await;
    for number in 0..MONITORS {
        world.handle.change(put(&numbered(number))).await.unwrap();
    }
    say(&mut world, SICK, 1, 200).await;
    say(&mut world, WELL, 1, 200).await;
    say(&mut world, SICK, 100, 503).await;
    if let Some(fault) = fault {
        world.faults.once(fault);
    }
    say(&mut world, WELL, 100, 200).await;
    world
}

fn notices(world: &mut World) -> Vec<EventRow> {
    std::iter::from_fn(|| world._events.try_recv().ok()).collect()
}

async fn reason(world: &World, number: u8) -> String {
    let inspection = world.handle.inspect(SubjectId::Monitor(id(number))).await.unwrap();
    let (State::Monitor(state), Kind::Monitor(kind)) = (&inspection.state, &inspection.definition.kind)
    else {
        panic!("not a monitor")
    };
    let table = table(state, &kind.policy(), inspection.now);
    table.rows.into_iter().find(|row| row.region.as_str() == "eu").unwrap().reason
}

#[tokio::test]
async fn a_sick_agent_is_one_incident_of_its_own_and_its_votes_do_not_count() {
    let mut world = with_a_sick_agent(None).await;
    let fleet = world.views.fleet();
    let quarantine = &fleet.quarantines[&SICK];
    assert_eq!((fleet.quarantines.len(), quarantine.evidence.len()), (1, 5), "the fifth decides");
    assert!(quarantine.reason.starts_with("5 contradicted failures on 4 hosts in "), "{}", quarantine.reason);
    let incidents = world.incidents().await;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!((incidents[0].subject, Some(incidents[0].id)), (SubjectId::Agent(SICK), quarantine.incident));
    assert!(!world.store.timeline(incidents[0].id).await.unwrap().is_empty());
    let told = notices(&mut world);
    assert_eq!((told.len(), told[0].subject), (1, SubjectId::Agent(SICK)));
    for number in 0..MONITORS {
        let reason = reason(&world, number).await;
        assert!(reason.contains("quarantined since"), "{number}: {reason}");
    }
}

#[tokio::test]
async fn a_restart_forgets_no_quarantine_and_tells_of_none_again() {
    let world = with_a_sick_agent(None).await;
    let before = world.views.fleet();
    let mut world = start(world.kill().await).await;
    assert_eq!(world.views.fleet(), before);
    assert!(reason(&world, 0).await.contains("quarantined since"));
    // Created now, and told as well.
    world.handle.change(put(&numbered(MONITORS))).await.unwrap();
    let unlike = CheckResult { monitor: id(MONITORS), ..result("eu", 503) };
    let items = vec![ResultItem { seq: 200, result: Some(unlike), is_late: false, capture: None }];
    let acks = world.acks.0.clone();
    let batch = ResultBatch { agent: SICK, agent_epoch: 1, received_at: now(), items, acks };
    world.handle.results(batch).await;
    world.acked().await;
    assert!(reason(&world, MONITORS).await.contains("quarantined since"));
    say(&mut world, SICK, 300, 503).await;
    say(&mut world, WELL, 300, 200).await;
    assert_eq!((notices(&mut world).len(), world.incidents().await.len()), (0, 1));
}

#[tokio::test]
async fn a_commit_that_failed_quarantined_nobody_and_the_next_one_does_once() {
    for fault in [Fault::Unavailable, Fault::UnknownAfterCommit, Fault::UnknownWithoutCommit] {
        let mut world = with_a_sick_agent(Some(fault)).await;
        // What lies before a time in which nothing could be committed speaks against nobody.
        for seq in [200, 300] {
            say(&mut world, SICK, seq, 200).await;
            say(&mut world, SICK, seq + 50, 503).await;
            say(&mut world, WELL, seq, 200).await;
        }
        assert_eq!(world.views.fleet().quarantines.len(), 1, "{fault:?}");
        assert_eq!(world.incidents().await.len(), 1, "{fault:?}");
        assert_eq!(notices(&mut world).len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_region_without_agents_is_seen_and_told_of_only_after_a_minute() {
    let mut world = start(memory()).await;
    for number in 0..MONITORS {
        world.handle.change(put(&numbered(number))).await.unwrap();
    }
    let region: RegionId = "us".parse().unwrap();
    world.handle.tell(Input::RegionLive { region: region.clone(), live: false }).await;
    let mut changes = world.views.watch();
    let seen = async {
        while !world.views.fleet().offline.contains_key(&region) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(5), seen).await.expect("looked for every second");
    assert_eq!(world.views.fleet().offline.len(), 1);
    assert_eq!((world.incidents().await.len(), notices(&mut world).len()), (0, 0));
}
