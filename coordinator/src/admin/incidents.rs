//! `Incidents`: outages with the votes that decided them. Read from the store; all that can be done about one is to say
//! that somebody takes care of it.

mod captures;

use engine::effect::{CloseReason, Evidence};
use model::{IncidentId, SubjectId, Timestamp};
use proto::admin::v1 as wire;
use proto::admin::v1::incidents_server::Incidents;
use store::{CaptureQuery, IncidentQuery, IncidentRow, IncidentState, MemberRow};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::{component, instant, vote_table};
use super::fields;
use super::find::{Found, require_id};
use super::invalid::Invalid;
use super::paging::{Filling, Page, Scope};
use super::refusal::{change_failed, not_found, store_failed, unreadable};
use crate::incident::Incident;
use crate::shard::ChangeRequest;

/// Members that one answer has.
const MEMBERS_SHOWN: u32 = 100;
/// Captures that one answer may have: four of each region.
const MAX_ENDS: u32 = 400;

/// The longest name of who acknowledges, and the longest reason.
const MAX_BY_CHARS: usize = 100;
const MAX_REASON_CHARS: usize = 200;

/// A place in the list, newest opening first.
type Place = (Timestamp, IncidentId);

#[tonic::async_trait]
impl Incidents for Admin {
    async fn get_incident(
        &self,
        request: Request<wire::GetIncidentRequest>,
    ) -> Result<Response<wire::Incident>, Status> {
        let asked = request.into_inner().id;
        require_id(&asked)?;
        self.whole_incident(&asked).await.map(Response::new)
    }

    async fn list_incidents(
        &self,
        request: Request<wire::ListIncidentsRequest>,
    ) -> Result<Response<wire::ListIncidentsResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let scope = Scope::new("incidents", &[&request.subject_id, &request.open_only]);
        let page: Page<Place> = Page::read(scope, request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let query = IncidentQuery {
            subject: self.subject_of(&request.subject_id)?,
            open_only: request.open_only,
            opened_since: None,
            after: page.after,
            // One more than fits says whether there is a next page.
            limit: u32::try_from(page.size + 1).unwrap_or(u32::MAX),
        };
        let rows = self.store.list_incidents(&query).await.map_err(|error| store_failed(&error))?;
        let mut filling = Filling::new(page.size);
        let mut last = None;
        let mut next_page_token = String::new();
        for row in &rows {
            if !filling.add(render(row)?) {
                next_page_token = last.map_or_else(String::new, |place| page.token(&place));
                break;
            }
            last = Some((row.opened_at, row.id));
        }
        Ok(Response::new(wire::ListIncidentsResponse { incidents: filling.items, next_page_token }))
    }

    async fn list_captures(
        &self,
        request: Request<wire::ListCapturesRequest>,
    ) -> Result<Response<wire::ListCapturesResponse>, Status> {
        let request = request.into_inner();
        require_id(&request.id)?;
        let mut invalid = Invalid::default();
        let scope = Scope::new("captures", &[&request.id]);
        let page: Page<captures::Place> =
            Page::read(scope, request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let incident: IncidentId = request.id.parse().map_err(|_| not_found("incident", &request.id))?;
        let known = self.store.incident(incident).await.map_err(|error| store_failed(&error))?;
        known.ok_or_else(|| not_found("incident", &request.id))?;
        let after = page.after.clone().map(captures::Place::into_place);
        let limit = u32::try_from(page.size + 1).unwrap_or(u32::MAX);
        let query = CaptureQuery { incident, ends_only: false, after, limit };
        let rows = self.store.captures(&query).await.map_err(|error| store_failed(&error))?;
        let mut filling = Filling::new(page.size);
        let mut last = None;
        let mut next_page_token = String::new();
        for row in &rows {
            if !filling.add(captures::render(row)?) {
                next_page_token = last.map_or_else(String::new, |place| page.token(&place));
                break;
            }
            last = Some(captures::Place::of(row));
        }
        Ok(Response::new(wire::ListCapturesResponse { captures: filling.items, next_page_token }))
    }

    async fn acknowledge_incident(
        &self,
        request: Request<wire::AcknowledgeIncidentRequest>,
    ) -> Result<Response<wire::Incident>, Status> {
        let request = request.into_inner();
        require_id(&request.id)?;
        let mut invalid = Invalid::default();
        let by = fields::name("by", &request.by, MAX_BY_CHARS, &mut invalid);
        let reason = match request.reason.trim() {
            "" => Some(String::new()),
            reason => fields::name("reason", reason, MAX_REASON_CHARS, &mut invalid),
        };
        let (by, reason) = invalid.finish(by.zip(reason))?;
        let incident: IncidentId = request.id.parse().map_err(|_| not_found("incident", &request.id))?;
        let known = self.store.incident(incident).await.map_err(|error| store_failed(&error))?;
        let subject = known.ok_or_else(|| not_found("incident", &request.id))?.subject;
        let change = ChangeRequest::Acknowledge { subject, incident, by, reason };
        let made = self.shards.change(change).await;
        made.map_err(|error| change_failed("incident", &request.id, &error))?;
        self.whole_incident(&request.id).await.map(Response::new)
    }
}

impl Admin {
    /// An incident with all that is kept of it.
    async fn whole_incident(&self, asked: &str) -> Result<wire::Incident, Status> {
        let id: IncidentId = asked.parse().map_err(|_| not_found("incident", asked))?;
        let row = self.store.incident(id).await.map_err(|error| store_failed(&error))?;
        let mut incident = render(&row.ok_or_else(|| not_found("incident", asked))?)?;
        let lines = self.store.timeline(id).await.map_err(|error| store_failed(&error))?;
        incident.timeline = lines
            .into_iter()
            .map(|line| wire::TimelineEntry { at: instant(line.at), text: line.text })
            .collect();
        let members = self.store.members(id, MEMBERS_SHOWN).await;
        let (members, member_count) = members.map_err(|error| store_failed(&error))?;
        incident.members = members.iter().map(member).collect();
        incident.member_count = u32::try_from(member_count).unwrap_or(u32::MAX);
        let ends = CaptureQuery { incident: id, ends_only: true, after: None, limit: MAX_ENDS };
        let ends = self.store.captures(&ends).await.map_err(|error| store_failed(&error))?;
        incident.captures =
            captures::distinct(ends).iter().map(captures::render).collect::<Result<_, _>>()?;
        Ok(incident)
    }

    /// Whose incidents are asked for. The incidents of what was deleted stay, under its id.
    fn subject_of(&self, asked: &str) -> Result<Option<SubjectId>, Status> {
        if asked.is_empty() {
            return Ok(None);
        }
        match (self.find_subject(asked), SubjectId::parse(asked)) {
            (Found::One(view), _) => Ok(Some(view.definition.id)),
            (Found::Nothing, Some(id)) => Ok(Some(id)),
            (Found::Nothing, None) => self.operational(asked).map(Some),
            (Found::Several, _) => {
                Err(Invalid::one("subject_id", "a monitor and a heartbeat have that name: use the id"))
            }
        }
    }
}

impl Admin {
    /// What only operators hear of: an agent by its name, or the coverage.
    fn operational(&self, asked: &str) -> Result<SubjectId, Status> {
        if asked == "coverage" {
            return Ok(SubjectId::Installation(self.store.installation()));
        }
        let config = self.settings.present();
        let agent = config.agents.iter().find(|row| row.name == asked);
        agent
            .map(|row| SubjectId::Agent(row.id))
            .ok_or_else(|| not_found("monitor, heartbeat or agent", asked))
    }
}

/// An incident without its timeline and its members.
fn render(row: &IncidentRow) -> Result<wire::Incident, Status> {
    let incident = Incident::from_row(row).ok_or_else(|| unreadable(format!("the body of {}", row.id)))?;
    let body = incident.body;
    let (state, resolution) = match (incident.state, body.closed_reason) {
        (IncidentState::Open, _) => (wire::IncidentState::Open, ""),
        (IncidentState::Resolved, _) => (wire::IncidentState::Resolved, "recovered"),
        (IncidentState::Closed, Some(CloseReason::Paused)) => (wire::IncidentState::Closed, "paused"),
        (IncidentState::Closed, Some(CloseReason::Deleted)) => (wire::IncidentState::Closed, "deleted"),
        (IncidentState::Closed, None) => (wire::IncidentState::Closed, "closed"),
    };
    let table = |evidence: &Evidence| match evidence {
        Evidence::Votes(table) => Some(vote_table(table)),
        Evidence::Heartbeat(_) | Evidence::Probe(_) | Evidence::Coverage(_) => None,
    };
    Ok(wire::Incident {
        id: incident.id.to_string(),
        subject_id: incident.subject.to_string(),
        subject_name: body.subject_name,
        state: state.into(),
        started_at: instant(incident.started_at),
        opened_at: instant(incident.opened_at),
        resolved_at: incident.resolved_at.and_then(instant),
        cause: body.cause,
        resolution: resolution.into(),
        opening_votes: table(&body.opening),
        closing_votes: body.closing.as_ref().and_then(table),
        timeline: vec![],
        failing_components: body.failing.iter().map(component).collect(),
        lead_id: body.lead.map(|lead| lead.to_string()).unwrap_or_default(),
        members: vec![],
        member_count: 0,
        captures: vec![],
        acknowledged_at: body.acknowledged.as_ref().and_then(|it| instant(it.at)),
        acknowledged_by: body.acknowledged.as_ref().map(|it| it.by.clone()).unwrap_or_default(),
        acknowledge_reason: body.acknowledged.map(|it| it.reason).unwrap_or_default(),
        alert_due_at: body.alert.and_then(|alert| alert.due_at()).and_then(instant),
    })
}

fn member(row: &MemberRow) -> wire::Member {
    wire::Member {
        subject_id: row.subject.to_string(),
        subject_name: row.name.clone(),
        cause: row.cause.clone(),
        joined_at: instant(row.joined_at),
        left_at: row.left_at.and_then(instant),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::heartbeat::PingKind;
    use model::{AgentId, Capture, Excerpt, Failure, FailureKind, MonitorId, Outcome, Phases};
    use proto::admin::v1::heartbeats_server::Heartbeats as _;
    use store::journal::HeardPing;
    use tonic::Code;

    use super::*;
    use crate::admin::bench::{Bench, refused, said};
    use crate::capture::{Body, Captured};

    /// Opens an incident of a job that reports failure; a later success resolves it.
    async fn report(bench: &Bench, job: &wire::Heartbeat, kind: PingKind) {
        let id = job.id.parse().unwrap();
        let at = bench.admin.clock.now();
        bench.admin.shards.ping(HeardPing::new(id, kind, at)).await.unwrap();
        bench.clock.advance(Duration::from_secs(1));
    }

    async fn list(bench: &Bench, request: wire::ListIncidentsRequest) -> wire::ListIncidentsResponse {
        said(bench.admin.list_incidents(Request::new(request)).await)
    }

    #[tokio::test]
    async fn incidents_tell_how_they_began_and_ended() {
        let bench = Bench::start().await;
        let job = bench.heartbeat("job").await;
        report(&bench, &job, PingKind::Exit(3)).await;
        let open = list(&bench, wire::ListIncidentsRequest { open_only: true, ..Default::default() })
            .await
            .incidents;
        assert_eq!(
            (open.len(), open[0].state(), open[0].resolution.as_str()),
            (1, wire::IncidentState::Open, "")
        );
        assert_eq!((open[0].subject_id.as_str(), open[0].subject_name.as_str()), (job.id.as_str(), "job"));
        report(&bench, &job, PingKind::Success).await;
        let request = wire::GetIncidentRequest { id: open[0].id.clone() };
        let closed = said(bench.admin.get_incident(Request::new(request)).await);
        assert_eq!(
            (closed.state(), closed.resolution.as_str()),
            (wire::IncidentState::Resolved, "recovered")
        );
        assert!(closed.resolved_at.is_some() && !closed.cause.is_empty() && !closed.timeline.is_empty());

        report(&bench, &job, PingKind::Fail).await;
        let pause = wire::PauseHeartbeatRequest { id: "job".into() };
        said(bench.admin.pause_heartbeat(Request::new(pause)).await);
        let newest = list(&bench, wire::ListIncidentsRequest::default()).await.incidents.remove(0);
        assert_eq!((newest.state(), newest.resolution.as_str()), (wire::IncidentState::Closed, "paused"));
    }

    #[tokio::test]
    async fn lists_walk_all_of_a_subject_newest_first_even_when_it_is_gone() {
        let bench = Bench::start().await;
        let (job, other) = (bench.heartbeat("job").await, bench.heartbeat("other").await);
        for _ in 0..5 {
            for kind in [PingKind::Fail, PingKind::Success] {
                report(&bench, &job, kind).await;
                report(&bench, &other, kind).await;
            }
        }
        let delete = wire::DeleteHeartbeatRequest { id: "job".into(), etag: String::new() };
        said(bench.admin.delete_heartbeat(Request::new(delete)).await);
        for (subject_id, expected) in [("", 10), (job.id.as_str(), 5), ("other", 5)] {
            let (mut opened, mut page_token) = (vec![], String::new());
            loop {
                let subject_id = subject_id.to_owned();
                let request =
                    wire::ListIncidentsRequest { page_size: 2, page_token, subject_id, ..Default::default() };
                let page = list(&bench, request).await;
                opened.extend(page.incidents.into_iter().map(|it| (it.opened_at.unwrap().seconds, it.id)));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(opened.len(), expected, "{subject_id}");
            assert!(opened.windows(2).all(|pair| pair[0] > pair[1]), "{opened:?}");
        }
    }

    #[tokio::test]
    async fn a_group_shows_its_first_members_and_how_many_there_are_and_a_member_its_leader() {
        let bench = Bench::start().await;
        let store = &bench.admin.store;
        for name in ["lead", "member"] {
            let job = bench.heartbeat(name).await;
            report(&bench, &job, PingKind::Fail).await;
        }
        let listed = list(&bench, wire::ListIncidentsRequest::default()).await.incidents;
        let [follower, lead] = [0, 1].map(|at| listed[at].id.parse::<IncidentId>().unwrap());
        let subject: SubjectId = SubjectId::parse(&listed[0].subject_id).unwrap();
        let member = |second| MemberRow {
            incident: lead,
            subject,
            name: "member".into(),
            cause: "reported failure".into(),
            joined_at: Timestamp::from_secs(second),
            left_at: (second < 150).then(|| Timestamp::from_secs(second + 1)),
        };
        let row = store.incident(follower).await.unwrap().unwrap();
        let mut grouped = Incident::from_row(&row).unwrap();
        grouped.body.lead = Some(lead);
        let commit = store::Commit {
            coordinator: "main".into(),
            generation: 1,
            now: bench.admin.clock.now(),
            incidents: vec![grouped.to_row()],
            members: (0..150).map(|n| member(n + 1)).rev().collect(),
            ..store::Commit::default()
        };
        store.commit(&commit).await.unwrap();

        let get = async |id: IncidentId| {
            let request = wire::GetIncidentRequest { id: id.to_string() };
            said(bench.admin.get_incident(Request::new(request)).await)
        };
        let (lead_shown, follower_shown) = (get(lead).await, get(follower).await);
        assert_eq!((lead_shown.members.len(), lead_shown.member_count), (100, 150));
        let first = wire::Member {
            subject_id: subject.to_string(),
            subject_name: "member".into(),
            cause: "reported failure".into(),
            joined_at: instant(Timestamp::from_secs(1)),
            left_at: instant(Timestamp::from_secs(2)),
        };
        assert_eq!(lead_shown.members[0], first);
        assert_eq!((lead_shown.lead_id.as_str(), follower_shown.lead_id), ("", lead.to_string()));
        assert_eq!((follower_shown.members.len(), follower_shown.member_count), (0, 0));
        let listed = list(&bench, wire::ListIncidentsRequest::default()).await.incidents;
        assert_eq!(listed[0].lead_id, lead.to_string(), "lists tell too");
    }

    #[tokio::test]
    async fn what_checks_met_is_shown_by_its_ends_and_listed_by_the_minute() {
        let bench = Bench::start().await;
        let job = bench.heartbeat("job").await;
        report(&bench, &job, PingKind::Fail).await;
        let listed = list(&bench, wire::ListIncidentsRequest::default()).await.incidents;
        let id = listed[0].id.clone();
        let (incident, began) = (id.parse().unwrap(), Timestamp::from_secs(1_000));
        let captured = |region: &str, minute: u64, outcome: Outcome| Captured {
            monitor: MonitorId::from_bytes([1; 16]),
            region: region.parse().unwrap(),
            at: began.plus(Duration::from_secs(60 * minute)),
            body: Body {
                agent: AgentId::from_bytes([2; 16]),
                outcome,
                duration: Duration::from_millis(81),
                phases: Phases::default(),
                http_status: Some(503),
                peer: None,
                capture: Capture {
                    headers: vec![("x-request-id".into(), format!("{region}-{minute}"))],
                    body: Some(Excerpt { text: "down".into(), is_cut: true }),
                    ..Capture::default()
                },
            },
        };
        let failure = || Outcome::Fail(Failure::new(FailureKind::Status, "503 Service Unavailable"));
        for captured in [0, 1, 2, 3]
            .map(|minute| captured("eu", minute, failure()))
            .into_iter()
            .chain([captured("us", 0, failure()), captured("us", 4, Outcome::Pass)])
        {
            let commit = store::Commit {
                coordinator: "main".into(),
                generation: 1,
                now: bench.admin.clock.now(),
                captures: captured.to_rows(incident, began).to_vec(),
                ..store::Commit::default()
            };
            bench.admin.store.commit(&commit).await.unwrap();
        }
        let ids = |captures: &[wire::IncidentCapture]| -> Vec<String> {
            captures.iter().map(|it| it.capture.as_ref().unwrap().request_id.clone()).collect()
        };
        let request = wire::GetIncidentRequest { id: id.clone() };
        let shown = said(bench.admin.get_incident(Request::new(request)).await).captures;
        assert_eq!(ids(&shown), ["eu-0", "us-0", "eu-3", "us-4"]);
        let first = shown[0].result.as_ref().unwrap();
        assert_eq!((first.outcome.as_str(), first.detail.as_str()), ("fail", "503 Service Unavailable"));
        assert!(shown[0].capture.as_ref().unwrap().body_cut);

        let (mut all, mut page_token) = (vec![], String::new());
        loop {
            let request = wire::ListCapturesRequest { id: id.clone(), page_size: 2, page_token };
            let page = said(bench.admin.list_captures(Request::new(request)).await);
            all.extend(ids(&page.captures));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(all, ["eu-0", "us-0", "eu-1", "eu-2", "eu-3", "us-4"]);
        let request = wire::ListCapturesRequest { id: "inc_1".into(), ..Default::default() };
        assert_eq!(refused(bench.admin.list_captures(Request::new(request)).await).0, Code::NotFound);
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let bench = Bench::start().await;
        for id in ["inc_00000000000000000000000000000000", "nonsense"] {
            let request = wire::GetIncidentRequest { id: id.into() };
            assert_eq!(refused(bench.admin.get_incident(Request::new(request)).await).0, Code::NotFound);
        }
        let request = wire::ListIncidentsRequest { subject_id: "nobody".into(), ..Default::default() };
        assert_eq!(refused(bench.admin.list_incidents(Request::new(request)).await).0, Code::NotFound);
    }
}
