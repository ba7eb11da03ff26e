//! `Deliveries`: what was owed to channels and how it went. Read from the store; asking for one again goes to the stage
//! that makes them.

use model::{ChannelId, DeliveryId, EventId, IncidentId};
use proto::admin::v1 as wire;
use proto::admin::v1::deliveries_server::Deliveries;
use store::{AttemptRow, Config, DeliveryPlace, DeliveryQuery, DeliveryRow, DeliveryState};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::{instant, span};
use super::fields;
use super::find::{self, require_id};
use super::invalid::Invalid;
use super::paging::{Filling, Page, Scope};
use super::refusal::{not_found, store_failed};
use crate::delivery::{Replay, Replayed};
use crate::notify::Event;
use crate::settings::find_channel;

/// Ids in one request, and in its answer.
const MAX_IDS: usize = 1_000;
/// Deliveries that one request makes again at most; more need another one.
const MAX_REPLAYED: usize = 10_000;

#[tonic::async_trait]
impl Deliveries for Admin {
    async fn get_delivery(
        &self,
        request: Request<wire::GetDeliveryRequest>,
    ) -> Result<Response<wire::Delivery>, Status> {
        let asked = request.into_inner().id;
        require_id(&asked)?;
        let id: DeliveryId = asked.parse().map_err(|_| not_found("delivery", &asked))?;
        let found = self.store.delivery(id).await.map_err(|error| store_failed(&error))?;
        let (row, attempts) = found.ok_or_else(|| not_found("delivery", &asked))?;
        let event_type = self.event_type(row.event).await?;
        let mut delivery = render(&self.settings.present(), &row, event_type);
        delivery.attempts = attempts.into_iter().map(attempt).collect();
        delivery.body = row.body.unwrap_or_default();
        Ok(Response::new(delivery))
    }

    async fn list_deliveries(
        &self,
        request: Request<wire::ListDeliveriesRequest>,
    ) -> Result<Response<wire::ListDeliveriesResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let scope = Scope::new(
            "deliveries",
            &[&request.channel, &request.incident_id, &request.state, &request.since],
        );
        let page: Page<DeliveryPlace> =
            Page::read(scope, request.page_size, &request.page_token, &mut invalid);
        let state = read_state(request.state(), request.state, &mut invalid);
        let since = fields::instant("since", request.since.as_ref(), &mut invalid);
        invalid.refuse()?;
        let config = self.settings.present();
        let incident = read_incident(&request.incident_id)?;
        let query = DeliveryQuery {
            channel: read_channel(&config, &request.channel)?,
            incident,
            state,
            created_since: since,
            after: page.after,
            // One more than fits says whether there is a next page.
            limit: u32::try_from(page.size + 1).unwrap_or(u32::MAX),
        };
        let rows = self.store.list_deliveries(&query).await.map_err(|error| store_failed(&error))?;
        let mut filling = Filling::new(page.size);
        let mut last = None;
        let mut next_page_token = String::new();
        for row in &rows {
            if filling.is_full() || !filling.add(render(&config, row, self.event_type(row.event).await?)) {
                next_page_token = last.map_or_else(String::new, |place| page.token(&place));
                break;
            }
            last = Some((row.created_at, row.id));
        }
        Ok(Response::new(wire::ListDeliveriesResponse { deliveries: filling.items, next_page_token }))
    }

    async fn redeliver(
        &self,
        request: Request<wire::RedeliverRequest>,
    ) -> Result<Response<wire::RedeliverResponse>, Status> {
        let request = request.into_inner();
        let (wanted, is_exact) = if request.channel.is_empty() {
            (read_ids(&request)?, true)
        } else {
            (self.of_channel(&request).await?, false)
        };
        let mut again: Vec<DeliveryId> = vec![];
        for ids in wanted.chunks(MAX_IDS) {
            let replayed = self.make_again(ids.to_vec()).await?;
            if let (Some(unknown), true) = (replayed.unknown.first(), is_exact) {
                return Err(not_found("delivery", &unknown.to_string()));
            }
            again.extend(replayed.again);
        }
        let count = i32::try_from(again.len()).unwrap_or(i32::MAX);
        again.truncate(MAX_IDS);
        let ids = again.iter().map(ToString::to_string).collect();
        Ok(Response::new(wire::RedeliverResponse { ids, count }))
    }
}

impl Admin {
    /// What an event is called; nothing if it is not there.
    async fn event_type(&self, id: EventId) -> Result<String, Status> {
        let event = self.store.event(id).await.map_err(|error| store_failed(&error))?;
        let event = event.and_then(|row| Event::decode(row.body.as_bytes()).ok());
        Ok(event.map(|event| event.kind.as_str().to_owned()).unwrap_or_default())
    }

    /// The deliveries to a channel that are to be made again, oldest first.
    async fn of_channel(&self, request: &wire::RedeliverRequest) -> Result<Vec<DeliveryId>, Status> {
        let mut invalid = Invalid::default();
        if !request.ids.is_empty() {
            invalid.add("ids", "must be empty where a channel is given: ask for the one or the other");
        }
        let state = match request.state() {
            wire::DeliveryState::Unspecified | wire::DeliveryState::Dead => DeliveryState::Dead,
            wire::DeliveryState::Delivered => DeliveryState::Delivered,
            wire::DeliveryState::Waiting | wire::DeliveryState::Coalesced => {
                invalid.add("state", "must be DELIVERY_STATE_DEAD or DELIVERY_STATE_DELIVERED");
                DeliveryState::Dead
            }
        };
        let since = fields::instant("since", request.since.as_ref(), &mut invalid);
        if state == DeliveryState::Delivered && request.since.is_none() {
            invalid.add("since", "is required with DELIVERY_STATE_DELIVERED: since when to deliver again");
        }
        invalid.refuse()?;
        let mut query = DeliveryQuery {
            channel: read_channel(&self.settings.present(), &request.channel)?,
            state: Some(state),
            created_since: since,
            limit: 1_000,
            ..DeliveryQuery::default()
        };
        let mut ids = vec![];
        while ids.len() < MAX_REPLAYED {
            let rows = self.store.list_deliveries(&query).await.map_err(|error| store_failed(&error))?;
            let Some(last) = rows.last() else { break };
            query.after = Some((last.created_at, last.id));
            ids.extend(rows.iter().map(|row| row.id));
        }
        ids.reverse();
        Ok(ids)
    }

    async fn make_again(&self, deliveries: Vec<DeliveryId>) -> Result<Replayed, Status> {
        let (reply, answer) = oneshot::channel();
        let unavailable =
            || Status::unavailable("nothing can be delivered again now; try again in a few seconds");
        self.redeliver.send(Replay { deliveries, reply }).map_err(|_| unavailable())?;
        answer.await.map_err(|_| unavailable())
    }
}

fn read_ids(request: &wire::RedeliverRequest) -> Result<Vec<DeliveryId>, Status> {
    let mut invalid = Invalid::default();
    if request.ids.is_empty() {
        invalid.add("ids", "is required: ids of deliveries, or else give a channel");
    }
    if request.ids.len() > MAX_IDS {
        invalid.add("ids", format!("at most {MAX_IDS} are allowed"));
    }
    if request.since.is_some() {
        invalid.add("since", "is for a channel's deliveries: leave it out where ids are given");
    }
    invalid.refuse()?;
    request.ids.iter().map(|id| id.parse().map_err(|_| not_found("delivery", id))).collect()
}

fn read_incident(asked: &str) -> Result<Option<IncidentId>, Status> {
    let read = |asked: &str| asked.parse().map_err(|_| not_found("incident", asked));
    Some(asked).filter(|asked| !asked.is_empty()).map(read).transpose()
}

/// Whose deliveries are asked for. Those of a channel that was deleted stay, under its id.
fn read_channel(config: &Config, asked: &str) -> Result<Option<ChannelId>, Status> {
    if asked.is_empty() {
        return Ok(None);
    }
    let id = find::channel(config, asked).map(|row| row.id).or_else(|| asked.parse().ok());
    id.map(Some).ok_or_else(|| not_found("channel", asked))
}

fn read_state(state: wire::DeliveryState, number: i32, invalid: &mut Invalid) -> Option<DeliveryState> {
    match state {
        wire::DeliveryState::Unspecified => {
            if number != 0 {
                invalid.add("state", "is none of DELIVERY_STATE_WAITING, _DELIVERED, _DEAD and _COALESCED");
            }
            None
        }
        wire::DeliveryState::Waiting => Some(DeliveryState::Waiting),
        wire::DeliveryState::Delivered => Some(DeliveryState::Delivered),
        wire::DeliveryState::Dead => Some(DeliveryState::Dead),
        wire::DeliveryState::Coalesced => Some(DeliveryState::Coalesced),
    }
}

/// A delivery without its attempts and its body.
fn render(config: &Config, row: &DeliveryRow, event_type: String) -> wire::Delivery {
    let state = match row.state {
        DeliveryState::Waiting => wire::DeliveryState::Waiting,
        DeliveryState::Delivered => wire::DeliveryState::Delivered,
        DeliveryState::Dead => wire::DeliveryState::Dead,
        DeliveryState::Coalesced => wire::DeliveryState::Coalesced,
    };
    let next = Some(row.next_attempt_at).filter(|_| row.state == DeliveryState::Waiting);
    let channel = find_channel(config, row.channel).map(|channel| channel.name.clone());
    wire::Delivery {
        id: row.id.to_string(),
        event_id: row.event.to_string(),
        event_type,
        channel_id: row.channel.to_string(),
        channel: channel.unwrap_or_else(|| row.channel.to_string()),
        incident_id: row.incident.to_string(),
        subject_id: row.subject.to_string(),
        state: state.into(),
        attempt_count: i32::try_from(row.attempts).unwrap_or(i32::MAX),
        created_at: instant(row.created_at),
        first_attempt_at: row.first_attempt_at.and_then(instant),
        next_attempt_at: next.and_then(instant),
        finished_at: row.finished_at.and_then(instant),
        reason: row.reason.clone(),
        stands_in_for: row.stands_in_for.map(|id| id.to_string()).unwrap_or_default(),
        attempts: vec![],
        body: vec![],
    }
}

fn attempt(row: AttemptRow) -> wire::DeliveryAttempt {
    let micros = |span_us: Option<u64>| span_us.and_then(|us| span(std::time::Duration::from_micros(us)));
    wire::DeliveryAttempt {
        number: i32::try_from(row.number).unwrap_or(i32::MAX),
        started_at: instant(row.started_at),
        duration: span(row.duration),
        status: row.status.map(i32::from).unwrap_or_default(),
        detail: row.detail,
        answer: row.answer,
        resolve_duration: micros(row.timing.resolve_us),
        connect_duration: micros(row.timing.connect_us),
        tls_duration: micros(row.timing.tls_us),
        answer_duration: micros(row.timing.answer_us),
    }
}

#[cfg(test)]
mod tests {
    use model::{HeartbeatId, SubjectId};
    use store::{AttemptTiming, EventRow};
    use tonic::Code;

    use super::*;
    use crate::admin::bench::{Bench, refused, said};
    use crate::shard::DeliveryBatch;

    /// Deliveries to a channel, one a second, every third one dead, and one elsewhere.
    async fn deliveries(bench: &Bench, channel: ChannelId, count: u32) -> Vec<DeliveryRow> {
        let now = bench.admin.clock.now();
        let incident = IncidentId::from_bytes([7; 16]);
        let row = |number: u32, channel| {
            let event = EventRow {
                id: EventId::derive(incident, number),
                incident,
                subject: SubjectId::Heartbeat(HeartbeatId::from_bytes([8; 16])),
                transition: number,
                at: now,
                body: String::new(),
                channels: vec![],
            };
            let id = DeliveryId::derive(bench.admin.store.installation(), event.id, channel);
            let at = now.plus(std::time::Duration::from_secs(number.into()));
            let state = if number.is_multiple_of(3) { DeliveryState::Dead } else { DeliveryState::Delivered };
            DeliveryRow { state, ..DeliveryRow::owed(id, &event, channel, at) }
        };
        let mut rows: Vec<DeliveryRow> = (0..count).map(|number| row(number, channel)).collect();
        rows.push(row(count, ChannelId::from_bytes([9; 16])));
        let batch = DeliveryBatch { deliveries: rows.clone(), ..DeliveryBatch::default() };
        assert!(bench.admin.shards.deliveries(batch).await);
        rows
    }

    async fn list(bench: &Bench, request: wire::ListDeliveriesRequest) -> Vec<String> {
        let (mut ids, mut page_token) = (vec![], String::new());
        loop {
            let request = wire::ListDeliveriesRequest { page_size: 2, page_token, ..request.clone() };
            let page = said(bench.admin.list_deliveries(Request::new(request)).await);
            ids.extend(page.deliveries.into_iter().map(|delivery| delivery.id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return ids;
            }
        }
    }

    #[tokio::test]
    async fn deliveries_are_listed_newest_first_by_channel_state_and_instant() {
        let bench = Bench::start().await;
        let channel = bench.channel("ops").await.id.parse().unwrap();
        let rows = deliveries(&bench, channel, 7).await;
        let ids = |wanted: &dyn Fn(&DeliveryRow) -> bool| -> Vec<String> {
            rows.iter().rev().filter(|row| wanted(row)).map(|row| row.id.to_string()).collect()
        };
        let all = wire::ListDeliveriesRequest::default();
        assert_eq!(list(&bench, all.clone()).await, ids(&|_| true));
        let ops = wire::ListDeliveriesRequest { channel: "ops".into(), ..all.clone() };
        assert_eq!(list(&bench, ops.clone()).await, ids(&|row| row.channel == channel));
        let dead = wire::ListDeliveriesRequest { state: wire::DeliveryState::Dead.into(), ..ops };
        let is_dead = |row: &DeliveryRow| row.channel == channel && row.state == DeliveryState::Dead;
        assert_eq!(list(&bench, dead.clone()).await, ids(&is_dead));
        let late = wire::ListDeliveriesRequest { since: instant(rows[1].created_at), ..dead };
        assert_eq!(list(&bench, late).await, [rows[6].id.to_string(), rows[3].id.to_string()]);
        let gone = wire::ListDeliveriesRequest { channel: rows[7].channel.to_string(), ..all.clone() };
        assert_eq!(list(&bench, gone).await, [rows[7].id.to_string()], "of a channel that was deleted");
        for (wrong, code) in [
            (wire::ListDeliveriesRequest { channel: "opps".into(), ..all.clone() }, Code::NotFound),
            (wire::ListDeliveriesRequest { incident_id: "x".into(), ..all.clone() }, Code::NotFound),
            (wire::ListDeliveriesRequest { state: 99, ..all }, Code::InvalidArgument),
        ] {
            assert_eq!(refused(bench.admin.list_deliveries(Request::new(wrong)).await).0, code);
        }
    }

    #[tokio::test]
    async fn one_delivery_shows_its_attempts_and_what_is_sent() {
        let bench = Bench::start().await;
        let channel = bench.channel("ops").await.id.parse().unwrap();
        let row = deliveries(&bench, channel, 1).await.remove(0);
        let attempt = AttemptRow {
            delivery: row.id,
            number: 1,
            started_at: row.created_at,
            duration: std::time::Duration::from_millis(80),
            status: Some(404),
            detail: "404 Not Found".into(),
            answer: b"no such hook".to_vec(),
            timing: AttemptTiming { connect_us: Some(20_000), ..AttemptTiming::default() },
        };
        let claims = vec![store::ClaimRow { delivery: row.id, body: b"{}".to_vec() }];
        let batch = DeliveryBatch { claims, attempts: vec![attempt], ..DeliveryBatch::default() };
        assert!(bench.admin.shards.deliveries(batch).await);
        let get = |id: String| bench.admin.get_delivery(Request::new(wire::GetDeliveryRequest { id }));
        let shown = said(get(row.id.to_string()).await);
        assert_eq!((shown.channel.as_str(), shown.state()), ("ops", wire::DeliveryState::Dead));
        assert_eq!(shown.body, b"{}");
        let [attempt] = &shown.attempts[..] else { panic!("{:?}", shown.attempts) };
        assert_eq!((attempt.status, attempt.detail.as_str()), (404, "404 Not Found"));
        assert_eq!(attempt.answer, b"no such hook");
        assert_eq!(attempt.connect_duration, span(std::time::Duration::from_millis(20)));
        assert_eq!(attempt.resolve_duration, None);
        assert_eq!(get("dlv_1".into()).await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn what_is_to_be_made_again_is_passed_on_oldest_first() {
        let mut bench = Bench::start().await;
        let channel = bench.channel("ops").await.id.parse().unwrap();
        let rows = deliveries(&bench, channel, 7).await;
        let admin = bench.admin.clone();
        let redeliver = |request| {
            let admin = admin.clone();
            async move { admin.redeliver(Request::new(request)).await }
        };
        let dead = wire::RedeliverRequest { channel: "ops".into(), ..wire::RedeliverRequest::default() };
        let stage = async {
            let Replay { deliveries, reply } = bench.asked.recv().await.unwrap();
            let again = deliveries.clone();
            reply.send(Replayed { again, unknown: vec![] }).unwrap();
            deliveries
        };
        let (answer, asked) = tokio::join!(redeliver(dead), stage);
        assert_eq!(asked, [rows[0].id, rows[3].id, rows[6].id]);
        assert_eq!(said(answer).count, 3);

        let one = wire::RedeliverRequest { ids: vec![rows[1].id.to_string()], ..Default::default() };
        let stage = async {
            let Replay { deliveries, reply } = bench.asked.recv().await.unwrap();
            reply.send(Replayed { again: vec![], unknown: deliveries }).unwrap();
        };
        let (answer, ()) = tokio::join!(redeliver(one), stage);
        assert_eq!(refused(answer).0, Code::NotFound);

        let channel = || wire::RedeliverRequest { channel: "ops".into(), ..Default::default() };
        for (wrong, field) in [
            (wire::RedeliverRequest::default(), "ids"),
            (wire::RedeliverRequest { ids: vec!["dlv_1".into()], ..channel() }, "ids"),
            (wire::RedeliverRequest { state: wire::DeliveryState::Delivered.into(), ..channel() }, "since"),
            (wire::RedeliverRequest { state: wire::DeliveryState::Waiting.into(), ..channel() }, "state"),
        ] {
            assert_eq!(refused(redeliver(wrong).await), (Code::InvalidArgument, vec![field.to_owned()]));
        }
    }
}
