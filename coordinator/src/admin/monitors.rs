//! `Monitors`: active checks. Lists come from the views; one monitor, with its votes, from the owner of its shard.

pub(super) mod answer;
mod draft;
mod replay;
mod run;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use engine::monitor;
use model::check::MAX_INTERVAL;
use model::{MonitorId, SubjectId};
use proto::admin::v1 as wire;
use proto::admin::v1::monitors_server::Monitors;
use store::{Config, Record};
use tonic::{Request, Response, Status};

use self::draft::Known;
use super::Admin;
use super::convert::{instant, phase, span};
use super::history::{Asked, Window};
use super::invalid::Invalid;
use super::paging::{self, Page, Scope};
use super::refusal::not_found;
use super::{convert, fields};
use crate::definition::{Definition, Kind, MonitorDefinition};
use crate::shard::{Inspection, State};

#[tonic::async_trait]
impl Monitors for Admin {
    async fn create_monitor(
        &self,
        request: Request<wire::CreateMonitorRequest>,
    ) -> Result<Response<wire::Monitor>, Status> {
        let asked = request.into_inner().monitor.unwrap_or_default();
        let (name, monitor) = draft::new(&asked, self.known(&self.settings.present()))?;
        let id = MonitorId::new(self.clock.now(), self.random.as_ref());
        self.create_subject(SubjectId::Monitor(id), name, Kind::Monitor(Arc::new(monitor))).await?;
        self.monitor_now(id).await
    }

    async fn get_monitor(
        &self,
        request: Request<wire::GetMonitorRequest>,
    ) -> Result<Response<wire::Monitor>, Status> {
        let (id, _) = self.monitor_asked_for(&request.into_inner().id)?;
        self.monitor_now(id).await
    }

    async fn list_monitors(
        &self,
        request: Request<wire::ListMonitorsRequest>,
    ) -> Result<Response<wire::ListMonitorsResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let page =
            Page::read(Scope::new("monitors", &[]), request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let (calendar, fleet) = (self.calendar(), self.fleet.abilities());
        let views = self.views.all().into_iter().filter(|view| view.definition.monitor().is_some());
        let (monitors, next_page_token) = paging::cut(
            &page,
            views,
            |view| (view.definition.name.clone(), *view.definition.id.as_bytes()),
            |view| answer::from_view(view, &calendar, &fleet),
        );
        Ok(Response::new(wire::ListMonitorsResponse { monitors, next_page_token }))
    }

    async fn update_monitor(
        &self,
        request: Request<wire::UpdateMonitorRequest>,
    ) -> Result<Response<wire::Monitor>, Status> {
        let wire::UpdateMonitorRequest { monitor, update_mask } = request.into_inner();
        let asked = monitor.unwrap_or_default();
        let mut invalid = Invalid::default();
        let mask = fields::mask(update_mask, &draft::CHANGEABLE, &draft::FIXED, &mut invalid);
        invalid.refuse()?;
        let (id, _) = self.monitor_asked_for(&asked.id)?;
        let config = self.settings.present();
        let edit = |before: &Definition| {
            let (_, monitor) = before.monitor().ok_or_else(|| not_found("monitor", &asked.id))?;
            let (name, after) = draft::changed(before, monitor, &asked, &mask, self.known(&config))?;
            Ok((name, Kind::Monitor(Arc::new(after))))
        };
        self.redefine(SubjectId::Monitor(id), &asked.etag, edit).await?;
        self.monitor_now(id).await
    }

    async fn delete_monitor(
        &self,
        request: Request<wire::DeleteMonitorRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let view = self.find_monitor(&request.id)?;
        self.delete_subject(&view.definition, &request.etag).await.map(Response::new)
    }

    async fn pause_monitor(
        &self,
        request: Request<wire::PauseMonitorRequest>,
    ) -> Result<Response<wire::Monitor>, Status> {
        self.set_paused(&request.into_inner().id, Paused::Yes).await
    }

    async fn resume_monitor(
        &self,
        request: Request<wire::ResumeMonitorRequest>,
    ) -> Result<Response<wire::Monitor>, Status> {
        self.set_paused(&request.into_inner().id, Paused::No).await
    }

    type RunCheckStream = run::Findings;

    async fn run_check(
        &self,
        request: Request<wire::RunCheckRequest>,
    ) -> Result<Response<run::Findings>, Status> {
        let asked = request.into_inner().monitor.unwrap_or_default();
        // A check that is made once has no interval that its timeout could exceed.
        let asked = wire::Monitor { interval: span(MAX_INTERVAL), ..asked };
        let (_, monitor) = draft::new(&asked, self.known(&self.settings.present()))?;
        Ok(Response::new(self.run_check_everywhere(&monitor.spec, &monitor.regions)))
    }

    async fn explain_monitor(
        &self,
        request: Request<wire::ExplainMonitorRequest>,
    ) -> Result<Response<wire::Explanation>, Status> {
        let asked = request.into_inner().id;
        let (id, _) = self.monitor_asked_for(&asked)?;
        let Some(Inspection { definition, state: State::Monitor(state), now }) =
            self.shards.inspect(SubjectId::Monitor(id)).await
        else {
            return Err(Status::unavailable("the coordinator is shutting down; try again in a few seconds"));
        };
        let (_, monitor) = definition.monitor().ok_or_else(|| not_found("monitor", &asked))?;
        let explanation = monitor::explain(&state, &monitor.policy(), now);
        let table = convert::vote_table(&explanation.table);
        Ok(Response::new(wire::Explanation {
            status: convert::monitor_status(explanation.status).into(),
            phase: phase(explanation.phase),
            policy: table.policy,
            arithmetic: table.arithmetic,
            votes: table.votes,
            decision: explanation.decision,
            would_change: explanation.would_change,
            next_decision_at: explanation.next_decision_at.and_then(instant),
        }))
    }

    async fn list_results(
        &self,
        request: Request<wire::ListResultsRequest>,
    ) -> Result<Response<wire::ListResultsResponse>, Status> {
        let request = request.into_inner();
        let (id, _) = self.monitor_asked_for(&request.monitor_id)?;
        let window = Window {
            since: request.since.as_ref(),
            until: request.until.as_ref(),
            page_size: request.page_size,
            page_token: &request.page_token,
        };
        let asked = Asked::read("results", &id.to_string(), window, self.clock.now())?;
        let pick = |committed_at, record| match record {
            Record::Result { agent, agent_epoch, seq, result, .. }
            | Record::LateResult { agent, agent_epoch, seq, result, .. }
                if result.monitor == id && asked.spans(result.started_at) =>
            {
                Some(answer::result(committed_at, agent, agent_epoch, seq, &result))
            }
            _ => None,
        };
        let (mut results, next_page_token) = asked.page(self.store.as_ref(), pick).await?;
        // The journal has them in the order of their commits, which for results of several agents is not quite this.
        results.sort_by_key(|result| {
            std::cmp::Reverse(result.started_at.as_ref().map(|at| (at.seconds, at.nanos)))
        });
        Ok(Response::new(wire::ListResultsResponse { results, next_page_token }))
    }

    async fn replay_monitor(
        &self,
        request: Request<wire::ReplayMonitorRequest>,
    ) -> Result<Response<wire::ReplayMonitorResponse>, Status> {
        self.replay(request.get_ref()).await.map(Response::new)
    }
}

/// Whether a subject rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paused {
    Yes,
    No,
}

impl Admin {
    fn monitor_asked_for(&self, asked: &str) -> Result<(MonitorId, Arc<Definition>), Status> {
        let view = self.find_monitor(asked)?;
        let (id, _) = view.definition.monitor().ok_or_else(|| not_found("monitor", asked))?;
        Ok((id, Arc::clone(&view.definition)))
    }

    /// The monitor as its shard's owner knows it; while the owner is shutting down, as it was shown last.
    async fn monitor_now(&self, id: MonitorId) -> Result<Response<wire::Monitor>, Status> {
        let subject = SubjectId::Monitor(id);
        let inspected = self.shards.inspect(subject).await;
        let (calendar, fleet) = (self.calendar(), self.fleet.abilities());
        let installation = self.store.installation();
        let present = inspected.and_then(|it| answer::from_inspection(&it, installation, &calendar, &fleet));
        let shown = || self.views.get(subject).map(|view| answer::from_view(&view, &calendar, &fleet));
        present.or_else(shown).map(Response::new).ok_or_else(|| not_found("monitor", &id.to_string()))
    }

    fn known<'a>(&'a self, config: &'a Config) -> Known<'a> {
        Known { config, views: &self.views }
    }

    async fn set_paused(&self, asked: &str, paused: Paused) -> Result<Response<wire::Monitor>, Status> {
        let (id, _) = self.monitor_asked_for(asked)?;
        let edit = |before: &Definition| {
            let (_, monitor) = before.monitor().ok_or_else(|| not_found("monitor", asked))?;
            let after =
                MonitorDefinition { paused: paused == Paused::Yes, ..MonitorDefinition::clone(monitor) };
            Ok((before.name.clone(), Kind::Monitor(Arc::new(after))))
        };
        self.redefine(SubjectId::Monitor(id), "", edit).await?;
        self.monitor_now(id).await
    }
}
