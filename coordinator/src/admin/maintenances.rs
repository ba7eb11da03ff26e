//! `Maintenances`: planned times in which nothing is judged.
//!
//! A plan is a row of the settings. The shards' owner looks at them whenever the settings or the clock bring a change
//! (`shard::maintenance`), so an answer may be a moment ahead of the statuses of what it covers.

mod draft;
#[cfg(test)]
mod tests;

use engine::maintenance::{Schedule, Window};
use model::{MaintenanceId, SubjectId};
use proto::admin::v1 as wire;
use proto::admin::v1::maintenances_server::Maintenances;
use store::{Config, ConfigChange, MaintenanceRow};
use tonic::{Request, Response, Status};

use super::convert::{instant, span};
use super::fields::{self, etag, is_present_etag};
use super::find::require_id;
use super::invalid::Invalid;
use super::paging::{self, Page, Scope};
use super::refusal::{Refusal, not_found, stale, unreadable};
use super::{Admin, scope};
use crate::definition::Definition;
use crate::maintenance::{Calendar, Maintenance};

const KIND: &str = "maintenance";
/// Plans that an installation may have.
const MAX_PLANS: usize = 500;

#[tonic::async_trait]
impl Maintenances for Admin {
    async fn create_maintenance(
        &self,
        request: Request<wire::CreateMaintenanceRequest>,
    ) -> Result<Response<wire::Maintenance>, Status> {
        let asked = request.into_inner().maintenance.unwrap_or_default();
        let now = self.clock.now();
        let (name, plan) = draft::new(&asked, &self.views, now)?;
        let id = MaintenanceId::new(now, self.random.as_ref());
        let created = Maintenance { id, name, revision: 1, created_at: now, updated_at: now, plan };
        let decide = |config: &Config| {
            if config.maintenances.len() >= MAX_PLANS {
                return Err(Refusal::from(Status::failed_precondition(format!(
                    "there are {MAX_PLANS} maintenances already: delete those that are over"
                ))));
            }
            Ok(ConfigChange::PutMaintenance(created.to_row()))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(self.render_maintenance(&created)))
    }

    async fn get_maintenance(
        &self,
        request: Request<wire::GetMaintenanceRequest>,
    ) -> Result<Response<wire::Maintenance>, Status> {
        let found = present(&self.settings.present(), &request.into_inner().id)?;
        Ok(Response::new(self.render_maintenance(&found)))
    }

    async fn list_maintenances(
        &self,
        request: Request<wire::ListMaintenancesRequest>,
    ) -> Result<Response<wire::ListMaintenancesResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let scope = Scope::new("maintenances", &[]);
        let page = Page::read(scope, request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let config = self.settings.present();
        let all: Vec<Maintenance> =
            config.maintenances.iter().map(read_row).collect::<Result<_, Status>>()?;
        let (maintenances, next_page_token) = paging::cut(
            &page,
            &all,
            |maintenance| (maintenance.name.clone(), *maintenance.id.as_bytes()),
            |maintenance| self.render_maintenance(maintenance),
        );
        Ok(Response::new(wire::ListMaintenancesResponse { maintenances, next_page_token }))
    }

    async fn update_maintenance(
        &self,
        request: Request<wire::UpdateMaintenanceRequest>,
    ) -> Result<Response<wire::Maintenance>, Status> {
        let wire::UpdateMaintenanceRequest { maintenance, update_mask } = request.into_inner();
        let asked = maintenance.unwrap_or_default();
        let mut invalid = Invalid::default();
        let mask = fields::mask(update_mask, &draft::CHANGEABLE, &draft::FIXED, &mut invalid);
        invalid.refuse()?;
        let now = self.clock.now();
        let edit = |before: &Maintenance| {
            if !is_present_etag(&asked.etag, before.revision) {
                return Err(stale(KIND, &before.name));
            }
            let (name, plan) = draft::changed(before, &asked, &mask, &self.views, now)?;
            Ok(Maintenance { name, plan, ..before.clone() })
        };
        self.change_maintenance(&asked.id, edit).await
    }

    async fn delete_maintenance(
        &self,
        request: Request<wire::DeleteMaintenanceRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let decide = |config: &Config| {
            // Not read: what cannot be read can still be deleted.
            let row = find(config, &request.id)?;
            if !is_present_etag(&request.etag, row.revision) {
                return Err(Refusal::from(stale(KIND, &row.name)));
            }
            Ok(ConfigChange::DeleteMaintenance(row.id))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(()))
    }

    async fn end_maintenance(
        &self,
        request: Request<wire::EndMaintenanceRequest>,
    ) -> Result<Response<wire::Maintenance>, Status> {
        let asked = request.into_inner().id;
        let now = self.clock.now();
        let edit = |before: &Maintenance| {
            let open = before.plan.active_at(now).ok_or_else(|| {
                Status::failed_precondition(format!("maintenance `{}` is not in progress", before.name))
            })?;
            let mut after = before.clone();
            after.plan.ended = Some(Window { start: now, end: open.end });
            Ok(after)
        };
        self.change_maintenance(&asked, edit).await
    }
}

impl Admin {
    async fn change_maintenance(
        &self,
        asked: &str,
        edit: impl FnOnce(&Maintenance) -> Result<Maintenance, Status>,
    ) -> Result<Response<wire::Maintenance>, Status> {
        let now = self.clock.now();
        let mut changed = None;
        let decide = |config: &Config| {
            let before = present(config, asked)?;
            let after = Maintenance { revision: before.revision + 1, updated_at: now, ..edit(&before)? };
            let row = after.to_row();
            changed = Some(after);
            Ok(ConfigChange::PutMaintenance(row))
        };
        self.settings.change::<Refusal>(decide).await?;
        let changed = changed.ok_or_else(|| not_found(KIND, asked))?;
        Ok(Response::new(self.render_maintenance(&changed)))
    }

    fn render_maintenance(&self, maintenance: &Maintenance) -> wire::Maintenance {
        let now = self.clock.now();
        let window = |window: Window| wire::MaintenanceWindow {
            start: instant(window.start),
            end: instant(window.end),
        };
        let current = maintenance.plan.active_at(now).map(window);
        wire::Maintenance {
            active: current.is_some(),
            current,
            next: maintenance.plan.next_after(now).map(window),
            created_at: instant(maintenance.created_at),
            updated_at: instant(maintenance.updated_at),
            etag: etag(maintenance.revision),
            ..configured(maintenance)
        }
    }

    /// The plans as of now, to say which of them a monitor or heartbeat is subject to.
    pub(super) fn calendar(&self) -> Calendar {
        Calendar::at(&self.settings.present(), self.clock.now())
    }
}

/// The plan that a subject's maintenance follows longest, and until when; nothing if it is in none.
pub(super) fn of_subject(
    calendar: &Calendar,
    definition: &Definition,
) -> (String, Option<prost_types::Timestamp>) {
    let last = calendar.covering(definition).max_by_key(|(maintenance, window)| (window.end, maintenance.id));
    last.map_or_else(Default::default, |(maintenance, window)| {
        (maintenance.id.to_string(), instant(window.end))
    })
}

/// What a user configured, without whether a window is open.
fn configured(maintenance: &Maintenance) -> wire::Maintenance {
    let plan = &maintenance.plan;
    let asked = wire::Maintenance {
        id: maintenance.id.to_string(),
        name: maintenance.name.clone(),
        description: plan.description.clone(),
        all: plan.scope.all,
        tags: plan.scope.tags.iter().map(ToString::to_string).collect(),
        monitors: scope::named(&plan.scope, |id| matches!(id, SubjectId::Monitor(_))),
        heartbeats: scope::named(&plan.scope, |id| matches!(id, SubjectId::Heartbeat(_))),
        ..wire::Maintenance::default()
    };
    match &plan.schedule {
        Schedule::Once(window) => {
            wire::Maintenance { start: instant(window.start), end: instant(window.end), ..asked }
        }
        Schedule::Recurring(recurring) => wire::Maintenance {
            cron: recurring.cron().into(),
            time_zone: recurring.zone().into(),
            duration: span(recurring.duration()),
            ..asked
        },
    }
}

/// A plan by id or name.
fn present(config: &Config, asked: &str) -> Result<Maintenance, Status> {
    read_row(find(config, asked)?)
}

fn find<'a>(config: &'a Config, asked: &str) -> Result<&'a MaintenanceRow, Status> {
    require_id(asked)?;
    let id: Option<MaintenanceId> = asked.parse().ok();
    let rows = || config.maintenances.iter();
    let found = rows().find(|row| Some(row.id) == id).or_else(|| rows().find(|row| row.name == asked));
    found.ok_or_else(|| not_found(KIND, asked))
}

fn read_row(row: &MaintenanceRow) -> Result<Maintenance, Status> {
    Maintenance::from_row(row).map_err(unreadable)
}
