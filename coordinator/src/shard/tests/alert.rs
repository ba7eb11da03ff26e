//! Alerts through the owner: what is told by the clock, what holds it back, and that a restart forgets none of it.

use engine::alert::{Escalation, Options, Reminders, Step};
use engine::maintenance::Scope;
use model::{ChannelId, SilenceId};

use super::*;
use crate::alert::{Motive, Silence};
use crate::notify::Event;
use crate::notify::event::EventKind;

const CHANNEL: ChannelId = ChannelId::from_bytes([1; 16]);
const BOSS: ChannelId = ChannelId::from_bytes([2; 16]);

fn job(alert: Options) -> Definition {
    let mut definition = heartbeat(Duration::from_secs(3_600), Duration::from_secs(60));
    let Kind::Heartbeat(kind) = &mut definition.kind else { unreachable!("it is a heartbeat's") };
    let kind = Arc::make_mut(kind);
    (kind.channels, kind.alert) = (vec![CHANNEL], alert);
    definition
}

/// The next event that somebody is told of, and who.
async fn told(world: &mut World) -> (Event, Vec<ChannelId>) {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(15), world._events.recv()).await;
        let row = next.expect("somebody should have been told").unwrap();
        if !row.channels.is_empty() {
            return (Event::decode(row.body.as_bytes()).unwrap(), row.channels);
        }
    }
}

async fn timeline(world: &World) -> Vec<String> {
    let incident = world.incidents().await[0].id;
    world.store.timeline(incident).await.unwrap().into_iter().map(|line| line.text).collect()
}

async fn silence(world: &World, lasts: Duration) -> SilenceId {
    let row = Silence {
        id: SilenceId::new(now(), &SystemRandom),
        created_at: now(),
        expires_at: now().plus(lasts),
        motive: Motive {
            scope: Scope { all: true, ..Scope::default() },
            reason: "rollout".into(),
            by: String::new(),
        },
    };
    let put = row.to_row();
    world.settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutSilence(put))).await.unwrap();
    row.id
}

fn acknowledgement(incident: IncidentId, by: &str) -> ChangeRequest {
    ChangeRequest::Acknowledge {
        subject: SubjectId::Heartbeat(HEARTBEAT),
        incident,
        by: by.into(),
        reason: "on it".into(),
    }
}

#[tokio::test]
async fn reminders_and_escalations_come_by_the_clock_until_somebody_acknowledges() {
    let mut world = start(memory()).await;
    let steps = vec![Step { after: Duration::from_millis(1_500), channels: vec![BOSS] }];
    let alert = Options {
        reminders: Some(Reminders {
            every: Duration::from_secs(1),
            backoff: engine::alert::Backoff::None,
            max: 0,
        }),
        escalation: Escalation { steps, repeat: 0 },
        ..Options::default()
    };
    world.handle.change(put(&job(alert))).await.unwrap();
    world.ping(PingKind::Fail).await.unwrap();
    let (opened, channels) = told(&mut world).await;
    assert_eq!((opened.kind, channels), (EventKind::Opened, vec![CHANNEL]));
    let (reminder, channels) = told(&mut world).await;
    assert_eq!((reminder.kind, reminder.reminder, channels), (EventKind::Reminder, Some(1), vec![CHANNEL]));
    let (escalated, channels) = told(&mut world).await;
    assert_eq!(
        (escalated.kind, escalated.escalation_step, channels),
        (EventKind::Escalated, Some(1), vec![BOSS])
    );

    let incident = opened.incident.id;
    world.handle.change(acknowledgement(incident, "ana")).await.unwrap();
    loop {
        // A reminder may have come just before.
        let (event, channels) = told(&mut world).await;
        if event.kind == EventKind::Acknowledged {
            assert_eq!(channels, [CHANNEL, BOSS]);
            assert_eq!(event.incident.acknowledged.unwrap().by, "ana");
            break;
        }
        assert_eq!(event.kind, EventKind::Reminder);
    }
    world.handle.change(acknowledgement(incident, "ben")).await.unwrap();
    assert_eq!(world.incidents().await[0].alert_due_at, None, "nothing more comes by the clock");
    world.ping(PingKind::Success).await.unwrap();
    let (ended, channels) = told(&mut world).await;
    assert_eq!((ended.kind, channels), (EventKind::Resolved, vec![CHANNEL, BOSS]));
    assert_eq!(ended.incident.acknowledged.unwrap().by, "ana", "whoever was first stays");
    let lines = timeline(&world).await;
    assert!(lines.contains(&"acknowledged by ana: on it".to_owned()), "{lines:?}");
    assert!(lines.contains(&"not acknowledged: escalation step 1 taken".to_owned()), "{lines:?}");
    let over = world.handle.change(acknowledgement(incident, "ana")).await;
    assert_eq!(over, Err(ChangeError::IncidentOver));
}

#[tokio::test]
async fn an_end_that_a_silence_holds_back_is_told_after_it_even_by_the_next_process() {
    let mut world = start(memory()).await;
    world.handle.change(put(&job(Options::default()))).await.unwrap();
    world.ping(PingKind::Fail).await.unwrap();
    assert_eq!(told(&mut world).await.0.kind, EventKind::Opened);
    silence(&world, Duration::from_secs(2)).await;
    world.ping(PingKind::Success).await.unwrap();
    let owed = world.incidents().await.remove(0);
    assert_eq!(owed.state, IncidentState::Resolved);
    assert!(owed.alert_due_at.is_some(), "the end is owed");

    let store = world.kill().await;
    let mut world = start(store).await;
    let (ended, channels) = told(&mut world).await;
    assert_eq!((ended.kind, channels), (EventKind::Resolved, vec![CHANNEL]));
    assert_eq!(world.incidents().await[0].alert_due_at, None);
    let lines = timeline(&world).await;
    assert!(lines.iter().any(|line| line.ends_with("silenced (rollout)")), "{lines:?}");
}

#[tokio::test]
async fn what_opened_in_a_silence_is_told_when_the_silence_is_ended() {
    let mut world = start(memory()).await;
    world.handle.change(put(&job(Options::default()))).await.unwrap();
    let id = silence(&world, Duration::from_secs(3_600)).await;
    world.ping(PingKind::Fail).await.unwrap();
    assert!(world.incidents().await[0].alert_due_at.is_some());
    world.settings.change(|_| Ok::<_, store::Error>(ConfigChange::DeleteSilence(id))).await.unwrap();
    let (opened, channels) = told(&mut world).await;
    assert_eq!((opened.kind, channels), (EventKind::Opened, vec![CHANNEL]));
    assert_eq!(opened.occurred_at, opened.incident.opened_at, "it happened then, whenever it is told");
}

#[tokio::test]
async fn a_delay_keeps_quiet_about_what_ends_before_also_across_a_restart() {
    let world = start(memory()).await;
    let alert = Options { delay: Duration::from_secs(3_600), ..Options::default() };
    world.handle.change(put(&job(alert))).await.unwrap();
    world.ping(PingKind::Fail).await.unwrap();
    let store = world.kill().await;
    let mut world = start(store).await;
    world.ping(PingKind::Success).await.unwrap();
    assert_eq!(world.incidents().await[0].state, IncidentState::Resolved);
    while let Ok(row) = world._events.try_recv() {
        assert_eq!(row.channels, [], "nobody was told of the opening");
    }
}
