//! The stage over a store in memory, the real owner of the shards, a clock that stands, and a receiver whose every
//! answer the test gives.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request as HttpRequest, State};
use http::StatusCode;
use model::{EventId, HeartbeatId, InstallationId, Secret, SubjectId, SystemRandom, TestClock};
use store::records::DEFAULT_WORKSPACE;
use store::{ChannelRow, Commit, ConfigChange, DeliveryState};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::notify::Event;
use crate::notify::channel::{ChannelSettings, WEBHOOK_ID};
use crate::notify::event::{EventFailure, EventIncident, EventKind, EventSubject};
use crate::notify::send::Limits;
use crate::settings::find_channel;
use crate::shard::DeliveryBatch;
use crate::web::stage::{NOW, Stage};

const CHANNEL: ChannelId = ChannelId::from_bytes([1; 16]);
const OTHER_CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
const THIRD_CHANNEL: ChannelId = ChannelId::from_bytes([3; 16]);
const SUBJECT: HeartbeatId = HeartbeatId::from_bytes([8; 16]);
/// Longer than the first pauses, and long enough for the text to change: `Last ping: 25 hours ago`.
const HOURS: Duration = Duration::from_secs(5 * 3_600);
/// Nothing takes that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn deliveries_of_one_incident_to_one_channel_follow_each_other_and_wait_for_no_others() {
    let mut bench = Bench::start().await;
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    let first = bench.knock().await;
    assert_eq!(first.id, id(CHANNEL, 1, 0));

    life.owe(bench.owed(CHANNEL, 1, 1).await);
    life.owe(bench.owed(CHANNEL, 2, 0).await);
    life.owe(bench.owed(OTHER_CHANNEL, 1, 1).await);
    let mut others = [bench.knock().await.id, bench.knock().await.id];
    others.sort_unstable();
    let mut expected = [id(CHANNEL, 2, 0), id(OTHER_CHANNEL, 1, 1)];
    expected.sort_unstable();
    assert_eq!(others, expected, "the second of the incident waits for the first");

    first.answer(StatusCode::OK);
    let second = bench.knock().await;
    assert_eq!(second.id, id(CHANNEL, 1, 1));
    second.answer(StatusCode::GONE);
    bench.stored(id(CHANNEL, 1, 1), |row| row.state == DeliveryState::Dead).await;
    bench.until_disabled(CHANNEL).await;
    bench.put_channel(CHANNEL, |settings| settings.disabled = None).await;
    life.owe(bench.owed(CHANNEL, 1, 2).await);
    assert_eq!(bench.knock().await.id, id(CHANNEL, 1, 2), "a given-up one counts as finished");
}

#[tokio::test]
async fn two_that_wait_and_were_never_attempted_go_as_one_under_the_later_id() {
    let mut bench = Bench::start().await;
    let life = bench.live_with(
        bench.stage.clock.clone(),
        vec![
            bench.owed(CHANNEL, 1, 1).await,
            bench.owed(CHANNEL, 1, 0).await,
            bench.owed(CHANNEL, 1, 2).await,
        ],
    );
    let knock = bench.knock().await;
    assert_eq!(knock.id, id(CHANNEL, 1, 2));
    for transition in [0, 1] {
        let row = bench.stored(id(CHANNEL, 1, transition), |row| row.state == DeliveryState::Coalesced).await;
        assert_eq!((row.attempts, row.finished_at), (0, Some(NOW)));
    }
    knock.answer(StatusCode::OK);
    bench.stored(id(CHANNEL, 1, 2), |row| row.state == DeliveryState::Delivered).await;
    life.owe(bench.owed(CHANNEL, 1, 3).await);
    assert_eq!(bench.knock().await.id, id(CHANNEL, 1, 3), "the earlier ones are never sent");
}

#[tokio::test]
async fn the_body_is_stored_before_the_first_attempt_and_the_same_in_every_one() {
    let mut bench = Bench::start().await;
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    let first = bench.knock().await;
    assert_eq!(bench.row(first.id).await.unwrap().body.as_ref(), Some(&first.body));
    let body = first.body.clone();
    first.answer(StatusCode::SERVICE_UNAVAILABLE);
    bench.stored(id(CHANNEL, 1, 0), |row| row.attempts == 1).await;

    // An event that comes now must neither replace what was attempted nor go before it.
    life.owe(bench.owed(CHANNEL, 1, 1).await);
    bench.stage.clock.advance(HOURS);
    let again = bench.knock().await;
    assert_eq!((again.id, &again.body), (id(CHANNEL, 1, 0), &body));
    again.answer(StatusCode::OK);
    let next = bench.knock().await;
    assert_eq!(next.id, id(CHANNEL, 1, 1));
    assert_ne!(next.body, body, "rendered later, it would have read otherwise");
}

#[tokio::test]
async fn a_restart_goes_on_with_what_is_unfinished_and_the_stored_body() {
    let mut bench = Bench::start().await;
    let first_life = bench.live(bench.stage.clock.clone());
    first_life.owe(bench.owed(CHANNEL, 1, 0).await);
    let cut_off = bench.knock().await;
    let _never_claimed = bench.owed(CHANNEL, 2, 0).await;
    first_life.supervisor.stop().cancel();
    first_life.finished.cancelled().await;

    bench.stage.clock.advance(HOURS);
    let unfinished = bench.stage.store.load().await.unwrap().unfinished;
    assert_eq!(unfinished.len(), 2);
    let unfinished = unfinished.into_iter().map(|row| Owed { row, event: None }).collect();
    let _second_life = bench.live_with(bench.stage.clock.clone(), unfinished);
    let (mut again, mut other) = (bench.knock().await, bench.knock().await);
    if again.id != cut_off.id {
        std::mem::swap(&mut again, &mut other);
    }
    assert_eq!((again.id, &again.body), (cut_off.id, &cut_off.body));
    assert_eq!(other.id, id(CHANNEL, 2, 0), "rendered from the stored event");
    assert_ne!(other.body, again.body);
    again.answer(StatusCode::OK);
    let row = bench.stored(cut_off.id, |row| row.state == DeliveryState::Delivered).await;
    assert_eq!(row.attempts, 1, "one that was cut off is not known to have been made");
}

#[tokio::test]
async fn a_deleted_channels_deliveries_are_given_up_without_an_attempt() {
    let mut bench = Bench::start().await;
    let deletion = ConfigChange::DeleteChannel(CHANNEL);
    bench.stage.parts.settings.change(|_| Ok::<_, store::Error>(deletion)).await.unwrap();
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    life.owe(bench.owed(OTHER_CHANNEL, 1, 0).await);
    let row = bench.stored(id(CHANNEL, 1, 0), |row| row.state == DeliveryState::Dead).await;
    assert_eq!((row.attempts, row.body), (0, None));
    assert_eq!(bench.knock().await.id, id(OTHER_CHANNEL, 1, 0));
}

#[tokio::test]
async fn draining_finishes_the_attempts_under_way_and_starts_no_more() {
    let mut bench = Bench::start().await;
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    let under_way = bench.knock().await;
    life.supervisor.drain().cancel();
    life.owe(bench.owed(CHANNEL, 2, 0).await);
    tokio::task::yield_now().await;
    assert!(!life.finished.is_cancelled());

    let delivery = under_way.id;
    under_way.answer(StatusCode::OK);
    tokio::time::timeout(PATIENCE, life.finished.cancelled()).await.unwrap();
    assert_eq!(bench.row(delivery).await.unwrap().state, DeliveryState::Delivered);
    assert!(bench.knocks.try_recv().is_err());
}

#[tokio::test]
async fn an_attempt_that_panics_has_failed_and_is_made_again() {
    let mut bench = Bench::start().await;
    let clock = Arc::new(Broken { clock: bench.stage.clock.clone(), is_broken: AtomicBool::new(true) });
    let life = bench.live(clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    let row = bench.stored(id(CHANNEL, 1, 0), |row| row.attempts == 1).await;
    assert_eq!(row.state, DeliveryState::Waiting);
    let (_, attempts) = bench.stage.store.deliveries(row.incident).await.unwrap().remove(0);
    assert_eq!(attempts[0].detail, "internal error");

    clock.is_broken.store(false, Ordering::SeqCst);
    bench.stage.clock.advance(HOURS);
    bench.knock().await.answer(StatusCode::OK);
    bench.stored(row.id, |row| row.state == DeliveryState::Delivered).await;
    life.supervisor.drain().cancel();
    tokio::time::timeout(PATIENCE, life.finished.cancelled()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_now_is_not_polled_for() {
    let bench = Bench::start().await;
    let mut deliveries = Deliveries::new(bench.parts(bench.stage.clock.clone(), Supervisor::new()));
    for incident in 0..=255 {
        deliveries.add(bench.unstored(CHANNEL, incident, 0));
    }
    deliveries.places.is_failing(CHANNEL);
    assert_eq!(deliveries.pause(false), Duration::ZERO, "something is due");
    assert_eq!(deliveries.pause(true), MAX_PAUSE, "but not while draining");
    assert_eq!(deliveries.take_due().len(), 2, "a channel that fails is not claimed for far ahead");
    assert_eq!(deliveries.take_due(), []);
    assert_eq!(deliveries.pause(false), MAX_PAUSE, "the others are parked");
}

#[tokio::test]
async fn nothing_starts_without_the_tenure_though_its_body_is_stored() {
    let bench = Bench::start().await;
    let tenure = Arc::new(Tenure::claimed(store::DEFAULT_LEASE_TTL, NOW));
    let parts = bench.parts(bench.stage.clock.clone(), Supervisor::new());
    let mut deliveries = Deliveries::new(Parts { tenure: Arc::clone(&tenure), ..parts });
    let mut retry = bench.unstored(CHANNEL, 1, 0);
    (retry.row.attempts, retry.row.body) = (1, Some(b"{}".to_vec()));
    deliveries.add(retry);
    bench.stage.clock.advance(store::DEFAULT_LEASE_TTL);
    assert_eq!(deliveries.take_due(), [], "another coordinator may send it by now");
    assert_eq!(deliveries.pause(false), MAX_PAUSE, "nor is it polled for");

    tenure.renewed(bench.stage.clock.now());
    assert_eq!(deliveries.pause(false), Duration::ZERO);
    assert_eq!(deliveries.take_due(), [(CHANNEL, incident_id(1))]);
}

#[tokio::test]
async fn what_fails_for_a_minute_is_told_to_the_fallback_too_once_and_goes_on_being_tried() {
    let mut bench = Bench::start().await;
    bench.put_channel(THIRD_CHANNEL, |_| {}).await;
    bench.put_channel(CHANNEL, |settings| settings.fallback = Some(THIRD_CHANNEL)).await;
    bench.put_channel(THIRD_CHANNEL, |settings| settings.fallback = Some(CHANNEL)).await;
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    bench.knock().await.answer(StatusCode::SERVICE_UNAVAILABLE);
    bench.stored(id(CHANNEL, 1, 0), |row| row.attempts == 1).await;
    bench.stage.clock.advance(Duration::from_secs(30));
    bench.knock().await.answer(StatusCode::SERVICE_UNAVAILABLE);
    bench.stored(id(CHANNEL, 1, 0), |row| row.attempts == 2).await;
    assert_eq!(bench.row(id(THIRD_CHANNEL, 1, 0)).await, None, "not yet");

    bench.stage.clock.advance(Duration::from_secs(31));
    let mut knocks = [bench.knock().await, bench.knock().await];
    knocks.sort_by_key(|knock| knock.id != id(THIRD_CHANNEL, 1, 0));
    let [stand_in, retry] = knocks;
    assert_eq!((stand_in.id, retry.id), (id(THIRD_CHANNEL, 1, 0), id(CHANNEL, 1, 0)));
    let row = bench.stored(stand_in.id, |_| true).await;
    assert_eq!(row.stands_in_for, Some(retry.id));
    stand_in.answer(StatusCode::SERVICE_UNAVAILABLE);
    retry.answer(StatusCode::OK);
    bench.stored(id(CHANNEL, 1, 0), |row| row.state == DeliveryState::Delivered).await;

    bench.stage.clock.advance(HOURS);
    let again = bench.knock().await;
    assert_eq!(again.id, id(THIRD_CHANNEL, 1, 0), "nothing stands in for a stand-in");
    again.answer(StatusCode::OK);
    bench.stored(id(THIRD_CHANNEL, 1, 0), |row| row.state == DeliveryState::Delivered).await;
    assert!(bench.knocks.try_recv().is_err());
}

#[tokio::test]
async fn an_event_that_goes_to_the_fallback_anyway_is_told_there_once() {
    let mut bench = Bench::start().await;
    bench.put_channel(CHANNEL, |settings| settings.fallback = Some(OTHER_CHANNEL)).await;
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    bench.knock().await.answer(StatusCode::GONE);
    bench.stored(id(CHANNEL, 1, 0), |row| row.state == DeliveryState::Dead).await;
    life.owe(bench.owed(OTHER_CHANNEL, 1, 1).await);
    assert_eq!(bench.knock().await.id, id(OTHER_CHANNEL, 1, 1));
    assert_eq!(bench.row(id(OTHER_CHANNEL, 1, 0)).await, None, "the outbox makes that one");
}

#[tokio::test]
async fn a_receiver_that_is_gone_has_its_channel_disabled_and_operators_told_elsewhere() {
    let mut bench = Bench::start().await;
    let life = bench.live(bench.stage.clock.clone());
    life.owe(bench.owed(CHANNEL, 1, 0).await);
    bench.knock().await.answer(StatusCode::GONE);
    bench.until_disabled(CHANNEL).await;

    life.owe(bench.owed(CHANNEL, 2, 0).await);
    let row = bench.stored(id(CHANNEL, 2, 0), |row| row.state == DeliveryState::Dead).await;
    assert_eq!((row.attempts, row.reason.as_str()), (0, "the channel is disabled"));
    let notices = async {
        loop {
            let mut waiting = bench.stage.store.load().await.unwrap().undispatched;
            waiting.retain(|event| matches!(event.subject, SubjectId::Installation(_)));
            if let [notice] = &waiting[..] {
                return notice.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let notice = tokio::time::timeout(PATIENCE, notices).await.unwrap();
    assert_eq!(notice.channels, [OTHER_CHANNEL], "not where nothing is sent");
    assert!(notice.body.contains("410 Gone"), "{}", notice.body);
}

#[tokio::test]
async fn a_channel_that_has_taken_nothing_for_five_days_is_disabled_by_a_late_failure() {
    let mut bench = Bench::start().await;
    let life = bench.live(bench.stage.clock.clone());
    let mut old = bench.unstored(CHANNEL, 1, 0);
    (old.row.attempts, old.row.body) = (12, Some(b"{}".to_vec()));
    old.row.first_attempt_at = Some(NOW);
    let rows = DeliveryBatch { deliveries: vec![old.row.clone()], ..DeliveryBatch::default() };
    assert!(bench.stage.parts.shards.deliveries(rows).await);
    bench.stage.clock.advance(Duration::from_secs(5 * 86_400));
    life.owe(old);
    bench.knock().await.answer(StatusCode::SERVICE_UNAVAILABLE);
    bench.until_disabled(CHANNEL).await;
}

#[tokio::test]
async fn a_dead_letter_is_delivered_again_under_its_id_with_a_fresh_schedule() {
    let mut bench = Bench::start().await;
    let life = bench.live(bench.stage.clock.clone());
    let mut dead = bench.unstored(CHANNEL, 1, 0).row;
    (dead.attempts, dead.state, dead.body) = (15, DeliveryState::Dead, Some(b"{\"kept\":1}".to_vec()));
    let rows = DeliveryBatch { deliveries: vec![dead.clone()], ..DeliveryBatch::default() };
    assert!(bench.stage.parts.shards.deliveries(rows).await);
    let unknown = id(CHANNEL, 2, 9);
    let replayed = life.redeliver(vec![dead.id, unknown]).await;
    assert_eq!(replayed, Replayed { again: vec![dead.id], unknown: vec![unknown] });
    let knock = bench.knock().await;
    assert_eq!((knock.id, Some(&knock.body)), (dead.id, dead.body.as_ref()));
    knock.answer(StatusCode::SERVICE_UNAVAILABLE);
    let row = bench.stored(dead.id, |row| row.attempts == 16).await;
    assert_eq!((row.state, row.replayed_after), (DeliveryState::Waiting, 15), "it is not given up again");

    assert_eq!(life.redeliver(vec![dead.id]).await.again, [dead.id], "what waits is tried at once");
    bench.knock().await.answer(StatusCode::OK);
    bench.stored(dead.id, |row| row.state == DeliveryState::Delivered).await;
    assert_eq!(life.redeliver(vec![dead.id]).await.again, [dead.id], "what was delivered, too");
    assert_eq!(bench.knock().await.id, dead.id);
}

/// A coordinator that knows two channels, both at one receiver.
struct Bench {
    stage: Stage,
    sender: Arc<Sender>,
    url: String,
    knocks: mpsc::UnboundedReceiver<Knock>,
}

/// One run of the stage. Ends when it is told to, or with the test.
struct Life {
    owed: mpsc::UnboundedSender<Owed>,
    replays: mpsc::UnboundedSender<Replay>,
    supervisor: Supervisor,
    finished: CancellationToken,
}

/// A request at the receiver, which waits for its answer; for ever, if it is dropped.
#[derive(Debug)]
struct Knock {
    id: DeliveryId,
    body: Vec<u8>,
    answer: oneshot::Sender<StatusCode>,
}

impl Bench {
    async fn start() -> Self {
        let mut stage = Stage::new().await;
        stage.start_owner().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (knocking, knocks) = mpsc::unbounded_channel();
        let receiver = Router::new().fallback(receive).with_state(knocking);
        stage.supervisor.spawn(Task::Connection, async { axum::serve(listener, receiver).await.unwrap() });
        for channel in [CHANNEL, OTHER_CHANNEL] {
            let put = ConfigChange::PutChannel(channel_row(channel, &url));
            stage.parts.settings.change(|_| Ok::<_, store::Error>(put)).await.unwrap();
        }
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        let limits = Limits { deadline: PATIENCE, allow, own: vec![] };
        let sender = Sender::new(stage.clock.clone(), limits, None).unwrap();
        let bench = Self { stage, sender: Arc::new(sender), url, knocks };
        let events = [(1, 0), (1, 1), (2, 0)].map(|(incident, at)| event_row(incident, at)).into();
        let commit =
            Commit { coordinator: "main".into(), generation: 1, now: NOW, events, ..Commit::default() };
        bench.stage.store.commit(&commit).await.unwrap();
        bench
    }

    fn parts(&self, clock: Arc<dyn Clock>, supervisor: Supervisor) -> Parts {
        Parts {
            store: Arc::clone(&self.stage.store),
            clock,
            random: Arc::new(SystemRandom),
            settings: Arc::clone(&self.stage.parts.settings),
            shards: self.stage.parts.shards.clone(),
            sender: Arc::clone(&self.sender),
            metrics: Arc::clone(&self.stage.parts.metrics),
            supervisor,
            tenure: Arc::clone(&self.stage.tenure),
        }
    }

    fn live(&self, clock: Arc<dyn Clock>) -> Life {
        self.live_with(clock, vec![])
    }

    /// Starts the stage with deliveries that it finds all at once.
    fn live_with(&self, clock: Arc<dyn Clock>, owed: Vec<Owed>) -> Life {
        let (sender, receiver) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new();
        let deliveries = Deliveries::new(self.parts(clock, supervisor.clone()));
        let replays = deliveries.replays();
        let life = Life { owed: sender, replays, supervisor, finished: CancellationToken::new() };
        owed.into_iter().for_each(|delivery| life.owe(delivery));
        let run = deliveries.run(receiver, life.supervisor.drain().clone(), life.finished.clone());
        life.supervisor.spawn(Task::Delivery, run);
        life
    }

    /// A delivery as the outbox makes it.
    fn unstored(&self, channel: ChannelId, incident: u8, transition: u32) -> Owed {
        let event = event_row(incident, transition);
        let now = self.stage.clock.now();
        let row = DeliveryRow::owed(id(channel, incident, transition), &event, channel, now);
        Owed { row, event: Some(Arc::new(event)) }
    }

    /// The same, as a row in the store too.
    async fn owed(&self, channel: ChannelId, incident: u8, transition: u32) -> Owed {
        let owed = self.unstored(channel, incident, transition);
        let rows = DeliveryBatch { deliveries: vec![owed.row.clone()], ..DeliveryBatch::default() };
        assert!(self.stage.parts.shards.deliveries(rows).await);
        owed
    }

    /// Creates a channel at the receiver, or changes one.
    async fn put_channel(&self, id: ChannelId, change: impl FnOnce(&mut ChannelSettings)) {
        let put = |config: &store::Config| {
            let row = find_channel(config, id).cloned().unwrap_or_else(|| channel_row(id, &self.url));
            let mut settings: ChannelSettings = serde_json::from_str(row.settings.expose()).unwrap();
            change(&mut settings);
            Ok::<_, store::Error>(ConfigChange::PutChannel(ChannelRow {
                settings: settings.to_stored(),
                ..row
            }))
        };
        self.stage.parts.settings.change(put).await.unwrap();
    }

    async fn until_disabled(&self, id: ChannelId) {
        let is_disabled = || {
            let config = self.stage.parts.settings.present();
            let row = find_channel(&config, id).unwrap();
            serde_json::from_str::<ChannelSettings>(row.settings.expose()).unwrap().disabled.is_some()
        };
        let look = async {
            while !is_disabled() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap();
    }

    async fn knock(&mut self) -> Knock {
        tokio::time::timeout(PATIENCE, self.knocks.recv()).await.unwrap().unwrap()
    }

    async fn row(&self, id: DeliveryId) -> Option<DeliveryRow> {
        for incident in [1, 2] {
            let deliveries = self.stage.store.deliveries(incident_id(incident)).await.unwrap();
            if let Some((row, _)) = deliveries.into_iter().find(|(row, _)| row.id == id) {
                return Some(row);
            }
        }
        None
    }

    /// The stored row, once it is as wanted.
    async fn stored(&self, id: DeliveryId, wanted: impl Fn(&DeliveryRow) -> bool) -> DeliveryRow {
        let look = async {
            loop {
                if let Some(row) = self.row(id).await.filter(&wanted) {
                    return row;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap()
    }
}

impl Life {
    fn owe(&self, delivery: Owed) {
        // After its end nobody takes it, which is what a test may want to see.
        drop(self.owed.send(delivery));
    }

    async fn redeliver(&self, deliveries: Vec<DeliveryId>) -> Replayed {
        let (reply, answer) = oneshot::channel();
        self.replays.send(Replay { deliveries, reply }).unwrap();
        tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.supervisor.stop().cancel();
    }
}

impl Knock {
    fn answer(self, status: StatusCode) {
        self.answer.send(status).unwrap();
    }
}

/// A clock whose wall time, which only attempts ask for, panics.
struct Broken {
    clock: Arc<TestClock>,
    is_broken: AtomicBool,
}

impl Clock for Broken {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        assert!(!self.is_broken.load(Ordering::SeqCst), "as ordered");
        self.clock.wall()
    }
}

async fn receive(State(knocks): State<mpsc::UnboundedSender<Knock>>, request: HttpRequest) -> StatusCode {
    let id = request.headers()[WEBHOOK_ID].to_str().unwrap().parse().unwrap();
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap().to_vec();
    let (answer, answered) = oneshot::channel();
    drop(knocks.send(Knock { id, body, answer }));
    match answered.await {
        Ok(status) => status,
        Err(_) => pending().await,
    }
}

fn channel_row(id: ChannelId, url: &str) -> ChannelRow {
    let settings = format!(r#"{{"kind":"slack","settings":{{"url":"{url}"}}}}"#);
    ChannelRow {
        id,
        workspace: DEFAULT_WORKSPACE.into(),
        name: id.to_string(),
        settings: Secret::new(settings),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn incident_id(number: u8) -> IncidentId {
    IncidentId::from_bytes([number; 16])
}

fn id(channel: ChannelId, incident: u8, transition: u32) -> DeliveryId {
    let event = EventId::derive(incident_id(incident), transition);
    DeliveryId::derive(InstallationId::from_bytes([7; 16]), event, channel)
}

/// A missed ping. Its text tells how long ago the last one was.
fn event_row(incident: u8, transition: u32) -> EventRow {
    let interval = Duration::from_secs(3_600);
    let event = Event {
        version: Event::VERSION,
        id: EventId::derive(incident_id(incident), transition),
        kind: EventKind::Opened,
        occurred_at: NOW,
        incident: EventIncident {
            id: incident_id(incident),
            number: 1,
            failure: EventFailure::Missed,
            cause: "no ping for an hour".into(),
            started_at: NOW,
            opened_at: NOW,
            resolved_at: None,
            closed_reason: None,
            acknowledged: None,
        },
        subject: EventSubject::Heartbeat {
            id: SUBJECT,
            name: "nightly_cleanup".into(),
            interval: Some(interval),
            calendar: None,
            grace: Duration::from_secs(60),
        },
        members: vec![],
        status: None,
        regions: vec![],
        failing_components: vec![],
        last_ping_at: Some(NOW.minus(interval)),
        votes: None,
        reminder: None,
        escalation_step: None,
        acknowledge_url: None,
    };
    EventRow {
        id: event.id,
        incident: event.incident.id,
        subject: SubjectId::Heartbeat(SUBJECT),
        transition,
        at: NOW,
        body: String::from_utf8(event.encode()).unwrap(),
        channels: vec![CHANNEL, OTHER_CHANNEL],
    }
}
