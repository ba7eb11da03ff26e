//! `Silences`: times in which nobody is told, each with a reason and an end.

use std::time::Duration;

use model::{SilenceId, SubjectId};
use proto::admin::v1 as wire;
use proto::admin::v1::silences_server::Silences;
use store::{Config, ConfigChange, SilenceRow};
use tonic::{Request, Response, Status};

use super::convert::instant;
use super::fields::{self, Allowed};
use super::find::require_id;
use super::invalid::Invalid;
use super::paging::{self, Page, Scope as ListScope};
use super::refusal::{Refusal, not_found, unreadable};
use super::{Admin, scope};
use crate::alert::{LONGEST_SILENCE, Motive, Silence};

const KIND: &str = "silence";
/// Silences that may hold at once.
const MAX_SILENCES: usize = 500;
const MAX_REASON_CHARS: usize = 200;
const MAX_BY_CHARS: usize = 100;
const DURATION: Allowed =
    Allowed { span: Duration::from_secs(1)..=LONGEST_SILENCE, words: "from 1 second to 31 days" };

#[tonic::async_trait]
impl Silences for Admin {
    async fn create_silence(
        &self,
        request: Request<wire::CreateSilenceRequest>,
    ) -> Result<Response<wire::Silence>, Status> {
        let asked = request.into_inner().silence.unwrap_or_default();
        let now = self.clock.now();
        let mut invalid = Invalid::default();
        let (tags, monitors, heartbeats) = (&asked.tags, &asked.monitors, &asked.heartbeats);
        let scope = scope::Asked { all: asked.all, tags, monitors, heartbeats };
        let scope = scope::read(scope, &self.views, &mut invalid);
        let reason = fields::name("reason", &asked.reason, MAX_REASON_CHARS, &mut invalid);
        let by = match asked.by.trim() {
            "" => Some(String::new()),
            by => fields::name("by", by, MAX_BY_CHARS, &mut invalid),
        };
        let lasts = fields::span("duration", asked.duration.as_ref(), None, &DURATION, &mut invalid);
        let read = || Some((Motive { scope, reason: reason?, by: by? }, now.plus(lasts?)));
        let read = read();
        let (motive, expires_at) = invalid.finish(read)?;
        let id = SilenceId::new(now, self.random.as_ref());
        let created = Silence { id, created_at: now, expires_at, motive };
        let decide = |config: &Config| {
            if config.silences.iter().filter(|row| row.expires_at > now).count() >= MAX_SILENCES {
                return Err(Refusal::from(Status::failed_precondition(format!(
                    "there are {MAX_SILENCES} silences already: end those that nobody needs"
                ))));
            }
            Ok(ConfigChange::PutSilence(created.to_row()))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(render(&created)))
    }

    async fn get_silence(
        &self,
        request: Request<wire::GetSilenceRequest>,
    ) -> Result<Response<wire::Silence>, Status> {
        let asked = request.into_inner().id;
        let config = self.settings.present();
        let row = find_row(&config, &asked, self.clock.now())?;
        Ok(Response::new(render(&read_row(row)?)))
    }

    async fn list_silences(
        &self,
        request: Request<wire::ListSilencesRequest>,
    ) -> Result<Response<wire::ListSilencesResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let listing = ListScope::new("silences", &[]);
        let page = Page::read(listing, request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let (config, now) = (self.settings.present(), self.clock.now());
        let present = config.silences.iter().filter(|row| row.expires_at > now);
        let all: Vec<Silence> = present.map(read_row).collect::<Result<_, Status>>()?;
        // As many digits as the last instant has, so that texts are in the order of instants.
        let place =
            |silence: &&Silence| (format!("{:020}", silence.expires_at.as_micros()), *silence.id.as_bytes());
        let (silences, next_page_token) = paging::cut(&page, &all, place, |silence| render(silence));
        Ok(Response::new(wire::ListSilencesResponse { silences, next_page_token }))
    }

    async fn end_silence(&self, request: Request<wire::EndSilenceRequest>) -> Result<Response<()>, Status> {
        let asked = request.into_inner().id;
        let now = self.clock.now();
        let decide = |config: &Config| {
            Ok::<_, Refusal>(ConfigChange::DeleteSilence(find_row(config, &asked, now)?.id))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(()))
    }
}

fn render(silence: &Silence) -> wire::Silence {
    let scope = &silence.motive.scope;
    wire::Silence {
        id: silence.id.to_string(),
        all: scope.all,
        tags: scope.tags.iter().map(ToString::to_string).collect(),
        monitors: scope::named(scope, |id| matches!(id, SubjectId::Monitor(_))),
        heartbeats: scope::named(scope, |id| matches!(id, SubjectId::Heartbeat(_))),
        reason: silence.motive.reason.clone(),
        by: silence.motive.by.clone(),
        duration: None,
        created_at: instant(silence.created_at),
        expires_at: instant(silence.expires_at),
    }
}

/// A silence that holds.
fn find_row<'a>(config: &'a Config, asked: &str, now: model::Timestamp) -> Result<&'a SilenceRow, Status> {
    require_id(asked)?;
    let id: Option<SilenceId> = asked.parse().ok();
    let found = config.silences.iter().find(|row| Some(row.id) == id && row.expires_at > now);
    found.ok_or_else(|| not_found(KIND, asked))
}

fn read_row(row: &SilenceRow) -> Result<Silence, Status> {
    Silence::from_row(row).map_err(unreadable)
}
