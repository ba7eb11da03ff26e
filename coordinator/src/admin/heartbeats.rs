//! `Heartbeats`: passive checks. The token of a ping URL is random, shown once and kept as its digest.

mod pings;
mod schedule;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::alert::Options;
use engine::heartbeat;
use model::{ChannelId, HeartbeatId, Secret, SubjectId, Tag, Timestamp, random};
use proto::admin::v1 as wire;
use proto::admin::v1::heartbeats_server::Heartbeats;
use store::Config;
use tonic::{Request, Response, Status};

use super::convert::{self, instant};
use super::fields::{self, Allowed, MAX_NAME_CHARS, etag};
use super::find;
use super::history::{Asked, Window};
use super::invalid::Invalid;
use super::maintenances;
use super::monitors::Paused;
use super::paging::{self, Page, Scope};
use super::refusal::not_found;
use super::{Admin, alert};
use crate::definition::{Definition, HeartbeatDefinition, Kind};
use crate::maintenance::Calendar;
use crate::ping;
use crate::shard::State;
use crate::view::{self, SubjectView};

use schedule::Expectations;

/// What can be changed besides the schedule.
const CHANGEABLE: [&str; 7] = ["name", "channels", "tags", "slug", "post_only", "keywords", "alert"];
const FIXED: [&str; 15] = [
    "id",
    "status",
    "status_since",
    "last_ping_at",
    "expected_at",
    "open_incident_id",
    "created_at",
    "updated_at",
    "etag",
    "ping_url",
    "uuid_ping_url",
    "unverified_since",
    "maintenance_id",
    "maintenance_until",
    "upcoming",
];

const DAY: u64 = 86_400;
const INTERVAL: Allowed = Allowed {
    span: Duration::from_secs(1)..=Duration::from_secs(366 * DAY),
    words: "from 1 second to 366 days",
};
const GRACE: Allowed = Allowed {
    span: Duration::from_secs(1)..=Duration::from_secs(31 * DAY),
    words: "from 1 second to 31 days",
};

#[tonic::async_trait]
impl Heartbeats for Admin {
    async fn create_heartbeat(
        &self,
        request: Request<wire::CreateHeartbeatRequest>,
    ) -> Result<Response<wire::Heartbeat>, Status> {
        let asked = request.into_inner().heartbeat.unwrap_or_default();
        let draft = read(&asked, &self.settings.present(), self.clock.now())?;
        let id = HeartbeatId::new(self.clock.now(), self.random.as_ref());
        let token: [u8; 16] = random::bytes(self.random.as_ref());
        let token = Secret::new(URL_SAFE_NO_PAD.encode(token));
        let definition = HeartbeatDefinition {
            schedule: draft.expected.schedule,
            grace: draft.expected.grace,
            timing: draft.expected.timing,
            channels: draft.channels,
            alert: draft.alert,
            tags: draft.tags,
            paused: false,
            token_digest: ping::token_digest(token.expose()),
            pings: draft.pings.for_new(&draft.name),
        };
        let kind = Kind::Heartbeat(Arc::new(definition));
        self.create_subject(SubjectId::Heartbeat(id), draft.name, kind).await?;
        let mut created = self.heartbeat_now(id).await?;
        let answer = created.get_mut();
        answer.ping_url = self.public_url(&format!("{}{}", ping::PATH_PREFIX, token.expose()));
        if let Some(uuid) = ping::token_as_uuid(token.expose()) {
            answer.uuid_ping_url = self.public_url(&format!("{}{uuid}", ping::UUID_PREFIX));
        }
        Ok(created)
    }

    async fn get_heartbeat(
        &self,
        request: Request<wire::GetHeartbeatRequest>,
    ) -> Result<Response<wire::Heartbeat>, Status> {
        self.heartbeat_now(self.heartbeat_asked_for(&request.into_inner().id)?).await
    }

    async fn list_heartbeats(
        &self,
        request: Request<wire::ListHeartbeatsRequest>,
    ) -> Result<Response<wire::ListHeartbeatsResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let page =
            Page::read(Scope::new("heartbeats", &[]), request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let calendar = self.calendar();
        let views = self.views.all().into_iter().filter(|view| view.definition.heartbeat().is_some());
        let (heartbeats, next_page_token) = paging::cut(
            &page,
            views,
            |view| (view.definition.name.clone(), *view.definition.id.as_bytes()),
            |view| from_view(view, &calendar),
        );
        Ok(Response::new(wire::ListHeartbeatsResponse { heartbeats, next_page_token }))
    }

    async fn update_heartbeat(
        &self,
        request: Request<wire::UpdateHeartbeatRequest>,
    ) -> Result<Response<wire::Heartbeat>, Status> {
        let wire::UpdateHeartbeatRequest { heartbeat, update_mask } = request.into_inner();
        let asked = heartbeat.unwrap_or_default();
        let mut invalid = Invalid::default();
        let changeable = [&CHANGEABLE[..], &schedule::CHANGEABLE].concat();
        let mask = fields::mask(update_mask, &changeable, &FIXED, &mut invalid);
        invalid.refuse()?;
        let id = self.heartbeat_asked_for(&asked.id)?;
        let (config, now) = (self.settings.present(), self.clock.now());
        let edit = |before: &Definition| {
            let (_, heartbeat) = before.heartbeat().ok_or_else(|| not_found("heartbeat", &asked.id))?;
            changed(before, heartbeat, &asked, &mask, &config, now)
        };
        self.redefine(SubjectId::Heartbeat(id), &asked.etag, edit).await?;
        self.heartbeat_now(id).await
    }

    async fn delete_heartbeat(
        &self,
        request: Request<wire::DeleteHeartbeatRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let view = self.find_heartbeat(&request.id)?;
        self.delete_subject(&view.definition, &request.etag).await.map(Response::new)
    }

    async fn pause_heartbeat(
        &self,
        request: Request<wire::PauseHeartbeatRequest>,
    ) -> Result<Response<wire::Heartbeat>, Status> {
        self.set_heartbeat_paused(&request.into_inner().id, Paused::Yes).await
    }

    async fn resume_heartbeat(
        &self,
        request: Request<wire::ResumeHeartbeatRequest>,
    ) -> Result<Response<wire::Heartbeat>, Status> {
        self.set_heartbeat_paused(&request.into_inner().id, Paused::No).await
    }

    async fn list_pings(
        &self,
        request: Request<wire::ListPingsRequest>,
    ) -> Result<Response<wire::ListPingsResponse>, Status> {
        let request = request.into_inner();
        let id = self.heartbeat_asked_for(&request.heartbeat_id)?;
        let window = Window {
            since: request.since.as_ref(),
            until: request.until.as_ref(),
            page_size: request.page_size,
            page_token: &request.page_token,
        };
        let asked = Asked::read("pings", &id.to_string(), window, self.clock.now())?;
        let pick =
            |_, record| pings::listed(record, id).filter(|(at, _)| asked.spans(*at)).map(|(_, ping)| ping);
        let (pings, next_page_token) = asked.page(self.store.as_ref(), pick).await?;
        Ok(Response::new(wire::ListPingsResponse { pings, next_page_token }))
    }
}

impl Admin {
    fn heartbeat_asked_for(&self, asked: &str) -> Result<HeartbeatId, Status> {
        let view = self.find_heartbeat(asked)?;
        view.definition.heartbeat().map(|(id, _)| id).ok_or_else(|| not_found("heartbeat", asked))
    }

    /// The heartbeat as its shard's owner knows it; while the owner is shutting down, as it was shown last.
    async fn heartbeat_now(&self, id: HeartbeatId) -> Result<Response<wire::Heartbeat>, Status> {
        let subject = SubjectId::Heartbeat(id);
        let inspected = self.shards.inspect(subject).await;
        let view = self.views.get(subject).ok_or_else(|| not_found("heartbeat", &id.to_string()))?;
        let mut answer = from_view(&view, &self.calendar());
        if let Some((_, definition)) = view.definition.heartbeat() {
            answer.upcoming = schedule::upcoming(definition, self.clock.now());
        }
        if let (Some(State::Heartbeat(state)), Some((_, definition))) =
            (inspected.map(|it| it.state), view.definition.heartbeat())
        {
            answer.last_ping_at = state.last_ping_at().and_then(instant);
            // In maintenance it moves on with the time that passes.
            let expected_at = state.expected_at(&definition.policy());
            answer.expected_at = expected_at.filter(|_| !state.is_in_maintenance()).and_then(instant);
        }
        Ok(Response::new(answer))
    }

    async fn set_heartbeat_paused(
        &self,
        asked: &str,
        paused: Paused,
    ) -> Result<Response<wire::Heartbeat>, Status> {
        let id = self.heartbeat_asked_for(asked)?;
        let edit = |before: &Definition| {
            let (_, heartbeat) = before.heartbeat().ok_or_else(|| not_found("heartbeat", asked))?;
            let paused = paused == Paused::Yes;
            let after = HeartbeatDefinition { paused, ..HeartbeatDefinition::clone(heartbeat) };
            Ok((before.name.clone(), Kind::Heartbeat(Arc::new(after))))
        };
        self.redefine(SubjectId::Heartbeat(id), "", edit).await?;
        self.heartbeat_now(id).await
    }
}

/// What a user says of a heartbeat.
struct Draft {
    name: String,
    expected: Expectations,
    channels: Vec<ChannelId>,
    alert: Options,
    tags: Vec<Tag>,
    pings: ping::Options,
}

fn read(asked: &wire::Heartbeat, config: &Config, now: Timestamp) -> Result<Draft, Status> {
    let mut invalid = Invalid::default();
    let name = fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid);
    let expected = schedule::read(asked, now, &mut invalid);
    let channels = find::channels(config, &asked.channels, &mut invalid);
    let alert = alert::read(asked.alert.as_ref(), config, &mut invalid);
    let tags = fields::tags(&asked.tags, &mut invalid);
    let pings = pings::read(asked, &mut invalid);
    let read = || Some(Draft { name: name?, expected: expected?, channels, alert, tags, pings });
    let read = read();
    invalid.finish(read)
}

/// The name and definition of a heartbeat whose fields in `mask` become what `asked` says.
fn changed(
    before: &Definition,
    heartbeat: &HeartbeatDefinition,
    asked: &wire::Heartbeat,
    mask: &[&str],
    config: &Config,
    now: Timestamp,
) -> Result<(String, Kind), Status> {
    let named = |field| mask.contains(&field);
    let mut draft = pings::present_or_asked(&heartbeat.pings, asked, mask);
    draft.name = if named("name") { asked.name.clone() } else { before.name.clone() };
    draft.channels = if named("channels") { asked.channels.clone() } else { vec![] };
    draft.tags = if named("tags") { asked.tags.clone() } else { vec![] };
    draft.alert = if named("alert") { asked.alert.clone() } else { None };
    schedule::keep(heartbeat, mask, &mut draft);
    let draft = read(&draft, config, now)?;
    let after = HeartbeatDefinition {
        schedule: draft.expected.schedule,
        grace: draft.expected.grace,
        timing: draft.expected.timing,
        // A channel that is gone does not stand in the way of other changes.
        channels: if named("channels") { draft.channels } else { heartbeat.channels.clone() },
        alert: if named("alert") { draft.alert } else { heartbeat.alert.clone() },
        tags: if named("tags") { draft.tags } else { heartbeat.tags.clone() },
        pings: draft.pings,
        ..heartbeat.clone()
    };
    Ok((draft.name, Kind::Heartbeat(Arc::new(after))))
}

/// A heartbeat as the last commit left it. When it is expected is said to within what our own downtime excused.
fn from_view(view: &SubjectView, calendar: &Calendar) -> wire::Heartbeat {
    let definition = &view.definition;
    let Some((id, heartbeat)) = definition.heartbeat() else { return wire::Heartbeat::default() };
    let (status, last_ping_at) = match view.status {
        view::Status::Heartbeat(status, last_ping_at) => (status, last_ping_at),
        view::Status::Monitor(..) => return wire::Heartbeat::default(),
    };
    use heartbeat::Status::{Maintenance, New, Paused};
    let expects = !matches!(status, New | Paused | Maintenance);
    let (maintenance_id, maintenance_until) = match status {
        Maintenance => maintenances::of_subject(calendar, definition),
        _ => Default::default(),
    };
    let expected_at = last_ping_at.filter(|_| expects).and_then(|at| heartbeat.policy().expected_after(at));
    let mut answer = wire::Heartbeat {
        id: id.to_string(),
        name: definition.name.clone(),
        channels: heartbeat.channels.iter().map(ToString::to_string).collect(),
        status: convert::heartbeat_status(status).into(),
        status_since: instant(view.status_since),
        last_ping_at: last_ping_at.and_then(instant),
        expected_at: expected_at.and_then(instant),
        open_incident_id: view.incident.map(|id| id.to_string()).unwrap_or_default(),
        created_at: instant(definition.created_at),
        updated_at: instant(definition.updated_at),
        etag: etag(definition.revision),
        unverified_since: view.unverified_since.and_then(instant),
        alert: alert::render(&heartbeat.alert),
        tags: heartbeat.tags.iter().map(ToString::to_string).collect(),
        maintenance_id,
        maintenance_until,
        slug: definition.slug().map(Cow::into_owned).unwrap_or_default(),
        ..pings::answer(&heartbeat.pings)
    };
    schedule::write(heartbeat, &mut answer);
    answer
}
