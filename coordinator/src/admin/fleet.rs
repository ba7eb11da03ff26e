//! `Fleet`: regions and the probe agents in them. An agent's token is made here and shown once.

mod admission;

use std::collections::BTreeMap;

use engine::ailment::Ailment;
use engine::probe::Flip;
use model::{AgentId, AgentStatus, RegionId, SubjectId, Timestamp};
use proto::admin::v1 as wire;
use proto::admin::v1::fleet_server::Fleet;
use store::{AgentRow, Config, ConfigChange, RegionRow};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::{instant, span};
use super::fields;
use super::find::require_id;
use super::invalid::Invalid;
use super::paging::{self, Page, Scope};
use super::refusal::{Refusal, not_found};
use crate::fleet::Member;
use crate::fleet::report::Report;
use crate::settings::find_region;
use crate::view::QuarantineView;
use admission::{Admission, Shown};

/// The longest name of an agent or a region.
const MAX_NAME_CHARS: usize = 64;

#[tonic::async_trait]
impl Fleet for Admin {
    async fn create_agent(
        &self,
        request: Request<wire::CreateAgentRequest>,
    ) -> Result<Response<wire::CreateAgentResponse>, Status> {
        let asked = request.into_inner();
        let mut invalid = Invalid::default();
        let name = fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid);
        let region = invalid.check("region", RegionId::new(&asked.region));
        let joining = admission::read(self, asked.joining.as_ref(), &mut invalid);
        let (name, region) = invalid.finish(name.zip(region))?;
        let mut admitted = None;
        let decide = |config: &Config| {
            let admission = admission::decide(self, config, &name, &region, joining.as_ref())?;
            let put = ConfigChange::PutAgent(admission.row.clone());
            admitted = Some(admission);
            Ok::<_, Refusal>(put)
        };
        self.settings.change(decide).await?;
        let Admission { row, shown } = admitted.expect("a change that was made was decided");
        let agent = self.render_agent(&row, self.fleet.member(row.id).as_ref(), self.clock.now());
        let mut answer = wire::CreateAgentResponse { agent: Some(agent), ..Default::default() };
        match shown {
            Shown::Credential(token) => answer.token = token.expose(),
            Shown::JoinToken(token) => answer.join_token = token.expose(),
        }
        Ok(Response::new(answer))
    }

    async fn get_agent(
        &self,
        request: Request<wire::GetAgentRequest>,
    ) -> Result<Response<wire::Agent>, Status> {
        let asked = request.into_inner().id;
        require_id(&asked)?;
        let config = self.settings.present();
        let id: Option<AgentId> = asked.parse().ok();
        let by_id = config.agents.iter().find(|row| Some(row.id) == id);
        let found = by_id.or_else(|| config.agents.iter().find(|row| row.name == asked));
        let row = found.ok_or_else(|| not_found("agent", &asked))?;
        Ok(Response::new(self.render_agent(row, self.fleet.member(row.id).as_ref(), self.clock.now())))
    }

    async fn list_agents(
        &self,
        request: Request<wire::ListAgentsRequest>,
    ) -> Result<Response<wire::ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let page =
            Page::read(Scope::new("agents", &[]), request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let (config, members, now) = (self.settings.present(), self.members_by_id(), self.clock.now());
        let (agents, next_page_token) = paging::cut(
            &page,
            &config.agents,
            |row| (row.name.clone(), *row.id.as_bytes()),
            |row| self.render_agent(row, members.get(&row.id), now),
        );
        Ok(Response::new(wire::ListAgentsResponse { agents, next_page_token }))
    }

    async fn create_region(
        &self,
        request: Request<wire::CreateRegionRequest>,
    ) -> Result<Response<wire::Region>, Status> {
        let asked = request.into_inner().region.unwrap_or_default();
        let mut invalid = Invalid::default();
        let id = invalid.check("id", RegionId::new(&asked.id));
        let display_name = if asked.display_name.is_empty() {
            id.as_ref().map(RegionId::default_display_name)
        } else {
            fields::name("display_name", &asked.display_name, MAX_NAME_CHARS, &mut invalid)
        };
        let (id, display_name) = invalid.finish(id.zip(display_name))?;
        let row = RegionRow { id, display_name, created_at: self.clock.now() };
        let put = row.clone();
        let decide = |config: &Config| match find_region(config, &put.id) {
            Some(_) => Err(Refusal::from(Status::already_exists(format!(
                "id: a region `{}` already exists",
                put.id
            )))),
            None => Ok(ConfigChange::PutRegion(put)),
        };
        let config = self.settings.change(decide).await?;
        Ok(Response::new(self.render_region(&row, &config)))
    }

    async fn get_region(
        &self,
        request: Request<wire::GetRegionRequest>,
    ) -> Result<Response<wire::Region>, Status> {
        let asked = request.into_inner().id;
        require_id(&asked)?;
        let config = self.settings.present();
        let row = config.regions.iter().find(|row| row.id.as_str() == asked);
        let row = row.ok_or_else(|| not_found("region", &asked))?;
        Ok(Response::new(self.render_region(row, &config)))
    }

    async fn list_regions(
        &self,
        request: Request<wire::ListRegionsRequest>,
    ) -> Result<Response<wire::ListRegionsResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let page =
            Page::read(Scope::new("regions", &[]), request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let config = self.settings.present();
        let (regions, next_page_token) = paging::cut(
            &page,
            &config.regions,
            |row| (row.id.to_string(), [0; 16]),
            |row| self.render_region(row, &config),
        );
        Ok(Response::new(wire::ListRegionsResponse { regions, next_page_token }))
    }
}

impl Admin {
    fn members_by_id(&self) -> BTreeMap<AgentId, Member> {
        self.fleet.members().into_iter().map(|member| (member.who.agent, member)).collect()
    }

    /// An agent as stored, as heard since the coordinator's start, and as it is thought of.
    fn render_agent(&self, row: &AgentRow, member: Option<&Member>, now: Timestamp) -> wire::Agent {
        let fleet = self.views.fleet();
        let quarantine = fleet.quarantines.get(&row.id).map(|quarantine| self.render_quarantine(quarantine));
        wire::Agent { quarantine, ..render_agent(row, member, now) }
    }

    fn render_quarantine(&self, quarantine: &QuarantineView) -> wire::Quarantine {
        let name = |flip: &Flip| {
            let view = self.views.get(SubjectId::Monitor(flip.monitor));
            view.map(|view| view.definition.name.clone()).unwrap_or_default()
        };
        let evidence = quarantine.evidence.iter().map(|flip| wire::ContradictedFailure {
            monitor_id: flip.monitor.to_string(),
            monitor_name: name(flip),
            host: flip.host.clone(),
            failed_at: instant(flip.failed_at),
            contradicted_by: flip.contradicted_by.iter().map(ToString::to_string).collect(),
        });
        wire::Quarantine {
            since: instant(quarantine.since),
            decided_at: instant(quarantine.decided_at),
            reason: quarantine.reason.clone(),
            evidence: evidence.collect(),
            incident_id: quarantine.incident.map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    fn render_region(&self, row: &RegionRow, config: &Config) -> wire::Region {
        let now = self.clock.now();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let agents = config.agents.iter().filter(|agent| agent.region == row.id).count();
        let connected = self.fleet.members().into_iter().filter(|member| member.who.region == row.id);
        wire::Region {
            id: row.id.to_string(),
            display_name: row.display_name.clone(),
            agents: count(agents),
            connected_agents: count(connected.filter(|member| is_connected(member, now)).count()),
        }
    }
}

fn is_connected(member: &Member, now: Timestamp) -> bool {
    member.session.is_some() && member.is_live(now)
}

/// An agent as stored, and as heard since the coordinator's start.
fn render_agent(row: &AgentRow, member: Option<&Member>, now: Timestamp) -> wire::Agent {
    wire::Agent {
        id: row.id.to_string(),
        name: row.name.clone(),
        region: row.region.to_string(),
        connected: member.is_some_and(|member| is_connected(member, now)),
        last_seen_at: member.and_then(|member| instant(member.heard_at)),
        epoch: row.epoch,
        version: member.map(|member| member.who.version.clone()).unwrap_or_default(),
        assigned_monitors: member
            .filter(|member| member.is_live(now))
            .and_then(|member| member.assigned)
            .unwrap_or(0),
        created_at: instant(row.created_at),
        dropped_results: member.map_or(0, |member| member.report.dropped()),
        clock_offset: member.and_then(|member| member.report.clock_offset_micros()).map(signed_span),
        quarantine: None,
        join_expires_at: row
            .join
            .filter(|join| join.joined_at.is_none())
            .and_then(|join| instant(join.expires_at)),
        status: member.and_then(|member| render_status(&member.report)),
        capabilities: member.map(|member| member.who.capabilities.names.to_vec()).unwrap_or_default(),
        warnings: member.map(|member| render_warnings(&member.report)).unwrap_or_default(),
    }
}

fn render_status(report: &Report) -> Option<wire::AgentStatus> {
    let (reported_at, status) = report.said.as_ref()?;
    let AgentStatus { uptime, machine, work, backlog, failing_canaries, .. } = &**status;
    Some(wire::AgentStatus {
        reported_at: instant(*reported_at),
        uptime: span(*uptime),
        load: machine.load,
        cores: machine.cores,
        memory_bytes: machine.memory_bytes,
        open_files: machine.open_files,
        open_files_limit: machine.open_files_limit,
        period: span(work.period),
        checks_started: work.started,
        checks_skipped: work.skipped,
        lateness_p50: work.lateness.and_then(|lateness| span(lateness.p50)),
        lateness_p99: work.lateness.and_then(|lateness| span(lateness.p99)),
        lateness_max: work.lateness.and_then(|lateness| span(lateness.max)),
        checks_running: work.running,
        checks_queued: work.queued,
        longest_wait: span(work.longest_wait),
        waiting_results: backlog.results,
        oldest_waiting_age: backlog.oldest_age.and_then(span),
        spool_bytes: backlog.bytes,
        spool_capacity_bytes: backlog.capacity_bytes,
        failing_canaries: failing_canaries.clone(),
    })
}

fn render_warnings(report: &Report) -> Vec<wire::AgentWarning> {
    let warning =
        |ailment: &Ailment| wire::AgentWarning { kind: ailment.kind().into(), text: ailment.to_string() };
    report.ailments.iter().map(warning).collect()
}

/// A span that may be negative, for the wire.
const fn signed_span(micros: i64) -> prost_types::Duration {
    // The remainder has the sign of the dividend, as the message demands of its two parts.
    prost_types::Duration { seconds: micros / 1_000_000, nanos: (micros % 1_000_000) as i32 * 1_000 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::Clock as _;
    use model::agent_status::{Backlog, Machine, Work};
    use tokio::sync::mpsc;
    use tonic::Code;

    use proto::probe::join::JoinToken;
    use proto::probe::token::AgentToken;

    use super::*;
    use crate::admin::bench::{Bench, refused, said};
    use crate::fleet::Introduction;

    async fn create(
        bench: &Bench,
        name: &str,
        region: &str,
    ) -> Result<Response<wire::CreateAgentResponse>, Status> {
        create_with(bench, name, region, None).await
    }

    async fn create_with(
        bench: &Bench,
        name: &str,
        region: &str,
        joining: Option<wire::Joining>,
    ) -> Result<Response<wire::CreateAgentResponse>, Status> {
        let request = wire::CreateAgentRequest { name: name.into(), region: region.into(), joining };
        bench.admin.create_agent(Request::new(request)).await
    }

    #[tokio::test]
    async fn an_agent_comes_with_its_region_and_a_token_that_is_shown_once() {
        let bench = Bench::start().await;
        let created = said(create(&bench, "probe-1", "us-east").await);
        let token: AgentToken = created.token.parse().unwrap();
        let agent = created.agent.unwrap();
        assert_eq!((token.agent.to_string(), token.fingerprint), (agent.id.clone(), [7; 32]));
        let config = bench.admin.settings.present();
        assert!(token.credential().matches(&config.agents[0].secret_digest));

        let get = wire::GetAgentRequest { id: "probe-1".into() };
        let shown = said(bench.admin.get_agent(Request::new(get)).await);
        assert_eq!(
            (shown.id.as_str(), shown.connected, shown.last_seen_at),
            (agent.id.as_str(), false, None)
        );
        let region = wire::GetRegionRequest { id: "us-east".into() };
        let region = said(bench.admin.get_region(Request::new(region)).await);
        assert_eq!((region.display_name.as_str(), region.agents, region.connected_agents), ("US-East", 1, 0));
        let list = said(bench.admin.list_agents(Request::new(wire::ListAgentsRequest::default())).await);
        assert!(!format!("{list:?} {shown:?}").contains("vat_"));
    }

    #[tokio::test]
    async fn an_agent_that_is_to_join_gets_a_token_that_is_replaced_by_the_next() {
        let bench = Bench::start().await;
        let joining = || Some(wire::Joining::default());
        let created = said(create_with(&bench, "probe-1", "us-east", joining()).await);
        let token: JoinToken = created.join_token.parse().unwrap();
        let agent = created.agent.unwrap();
        assert_eq!(created.token, "");
        assert_eq!((token.agent.to_string(), token.fingerprint), (agent.id.clone(), [7; 32]));
        assert_eq!(token.address.as_str(), "https://agents.example.com:8443/");
        assert_eq!(agent.join_expires_at.unwrap().seconds, 1_700_000_000 + 900);

        let address = "https://10.0.0.1:9".to_owned();
        let valid_for = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let again =
            said(create_with(&bench, "probe-1", "us-east", Some(wire::Joining { valid_for, address })).await);
        let newer: JoinToken = again.join_token.parse().unwrap();
        assert_eq!((newer.agent, newer.address.as_str()), (token.agent, "https://10.0.0.1:9/"));
        let config = bench.admin.settings.present();
        let kept = config.agents[0].join.unwrap();
        let is_kept = |token: &JoinToken| proto::probe::join::matches(token.secret.expose(), &kept.digest);
        assert!(is_kept(&newer) && !is_kept(&token));

        assert_eq!(refused(create(&bench, "probe-1", "us-east").await).0, Code::AlreadyExists);
        let elsewhere = create_with(&bench, "probe-1", "eu-west", joining()).await;
        assert_eq!(refused(elsewhere).0, Code::AlreadyExists);
        let wrong = wire::Joining {
            valid_for: Some(prost_types::Duration { seconds: 90_000, nanos: 0 }),
            address: "10.0.0.1:9".into(),
        };
        let (_, fields) = refused(create_with(&bench, "probe-2", "us-east", Some(wrong)).await);
        assert_eq!(fields, ["joining.valid_for", "joining.address"]);
    }

    #[tokio::test]
    async fn a_connected_agent_is_shown_as_such() {
        let bench = Bench::start().await;
        let id = said(create(&bench, "probe-1", "us-east").await).agent.unwrap().id;
        let who = Introduction {
            agent: id.parse().unwrap(),
            name: "probe-1".into(),
            region: RegionId::new("us-east").unwrap(),
            process_nonce: [1; 16],
            epoch: 1,
            version: "0.1.0".into(),
            capacity: 0,
            digest: vec![],
            dropped_results: 4,
            clock_offset_micros: Some(-9_500_000),
            capabilities: ["http", "ipv6"].map(str::to_owned).into_iter().collect(),
            is_embedded: false,
        };
        let (outgoing, _session) = mpsc::unbounded_channel();
        let session = bench.admin.fleet.join(who.clone(), outgoing).unwrap();
        let get = async || {
            let id = who.agent.to_string();
            said(bench.admin.get_agent(Request::new(wire::GetAgentRequest { id })).await)
        };
        let shown = get().await;
        assert!(shown.connected && shown.last_seen_at.is_some());
        assert_eq!((shown.version.as_str(), shown.dropped_results), ("0.1.0", 4));
        assert_eq!(shown.capabilities, ["http", "ipv6"]);
        assert_eq!((shown.clock_offset.unwrap().seconds, &shown.status), (-9, &None));

        let status = AgentStatus {
            wall: bench.clock.wall().minus(Duration::from_secs(8)),
            uptime: Duration::from_secs(60),
            machine: Machine { open_files: Some(99), open_files_limit: Some(100), ..Machine::default() },
            work: Work { started: 7, ..Work::default() },
            backlog: Backlog { results: 12, dropped: 4, ..Backlog::default() },
            failing_canaries: vec!["one.example".into()],
        };
        bench.admin.fleet.note_status(who.agent, session.number, status);
        let shown = get().await;
        let status = shown.status.unwrap();
        assert_eq!((status.checks_started, status.waiting_results, status.open_files), (7, 12, Some(99)));
        assert_eq!((status.lateness_p99, status.failing_canaries), (None, vec!["one.example".to_owned()]));
        assert_eq!(status.reported_at, instant(bench.clock.now()));
        assert_eq!(shown.clock_offset.unwrap().seconds, -8);
        let kinds: Vec<_> = shown.warnings.iter().map(|warning| warning.kind.as_str()).collect();
        assert_eq!(kinds, ["clock", "files"]);
        let regions = said(bench.admin.list_regions(Request::new(wire::ListRegionsRequest::default())).await);
        assert_eq!(regions.regions[0].connected_agents, 1);
    }

    #[tokio::test]
    async fn wrong_and_taken_names_are_refused_by_field() {
        let bench = Bench::with_regions(&["eu-west"]).await;
        let (code, fields) = refused(create(&bench, "", "EU West").await);
        assert_eq!((code, fields), (Code::InvalidArgument, vec!["name".to_owned(), "region".to_owned()]));
        said(create(&bench, "probe-1", "us-east").await);
        assert_eq!(refused(create(&bench, "probe-1", "eu-west").await).0, Code::AlreadyExists);

        let region = |id: &str, display_name: &str| {
            let region =
                wire::Region { id: id.into(), display_name: display_name.into(), ..wire::Region::default() };
            bench.admin.create_region(Request::new(wire::CreateRegionRequest { region: Some(region) }))
        };
        assert_eq!(refused(region("us-east", "").await).0, Code::AlreadyExists);
        let long = "x".repeat(65);
        let (_, fields) = refused(region("-", &long).await);
        assert_eq!(fields, ["id", "display_name"]);
        assert_eq!(said(region("af-south", "Cape Town").await).display_name, "Cape Town");
    }
}
