//! A coordinator's admin API that answers canned data and remembers what it was asked.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::result::Result;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use model::Timestamp;
use proto::admin::v1::*;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::canned;

/// A running fake; dropped, it ends.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: Background,
}

/// How the fake answers.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// What "now" is for the canned data.
    pub(crate) base: Timestamp,
    /// Every answer, if set.
    pub(crate) refusal: Option<Status>,
    /// Whether to answer at all.
    pub(crate) silent: bool,
}

struct State {
    behaviour: Behaviour,
    seen: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let state = Arc::new(State { behaviour, seen: Mutex::default() });
        let (send, receive) = std::sync::mpsc::channel();
        let admin = Admin(Arc::clone(&state));
        let task = Background::start(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap()).unwrap();
            let server = Server::builder()
                .add_service(monitors_server::MonitorsServer::new(admin.clone()))
                .add_service(heartbeats_server::HeartbeatsServer::new(admin.clone()))
                .add_service(runs_server::RunsServer::new(admin.clone()))
                .add_service(ping_keys_server::PingKeysServer::new(admin.clone()))
                .add_service(badges_server::BadgesServer::new(admin.clone()))
                .add_service(incidents_server::IncidentsServer::new(admin.clone()))
                .add_service(channels_server::ChannelsServer::new(admin.clone()))
                .add_service(deliveries_server::DeliveriesServer::new(admin.clone()))
                .add_service(fleet_server::FleetServer::new(admin.clone()))
                .add_service(status_pages_server::StatusPagesServer::new(admin.clone()))
                .add_service(maintenances_server::MaintenancesServer::new(admin.clone()))
                .add_service(policies_server::PoliciesServer::new(admin.clone()))
                .add_service(silences_server::SilencesServer::new(admin));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        let address = receive.recv().unwrap();
        Self { address, state, task }
    }

    /// Answers canned data around `base`.
    pub(crate) fn at(base: Timestamp) -> Self {
        Self::start(Behaviour { base, ..Behaviour::default() })
    }

    /// Refuses everything.
    pub(crate) fn refusing(refusal: Status) -> Self {
        Self::start(Behaviour { refusal: Some(refusal), ..Behaviour::default() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, with the credential that came with them.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Ends the server now.
    pub(crate) fn stop(self) {
        drop(self.task);
    }
}

/// A runtime in a thread of its own, so that tests may block.
pub(crate) struct Background {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) -> Self {
        let (end, ended) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = task => {}
                    _ = ended => {}
                }
            });
        };
        Self { end: Some(end), thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().unwrap().join();
    }
}

#[derive(Clone)]
struct Admin(Arc<State>);

impl Admin {
    async fn answer<Q: Debug, A>(&self, request: Request<Q>, answer: A) -> Result<Response<A>, Status> {
        let key = request.metadata().get("authorization").map(|key| key.to_str().unwrap().to_owned());
        let line = format!("{} {:?}", key.unwrap_or_default(), request.get_ref());
        self.0.seen.lock().unwrap().push(line);
        if self.0.behaviour.silent {
            std::future::pending::<()>().await;
        }
        match &self.0.behaviour.refusal {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(answer)),
        }
    }
}

/// Writes a service out of lines `method(Request) -> Answer = |base, request| answer`.
macro_rules! service {
    ($service:path {
        $($method:ident($ask:ty) -> $answer:ty = |$base:ident, $request:ident| $body:expr;)+
    } $($besides:tt)*) => {
        #[tonic::async_trait]
        impl $service for Admin {
            $(async fn $method(&self, request: Request<$ask>) -> Result<Response<$answer>, Status> {
                let $base = self.0.behaviour.base;
                let $request = request.get_ref().clone();
                let _ = (&$base, &$request);
                self.answer(request, $body).await
            })+
            $($besides)*
        }
    };
}

service! { monitors_server::Monitors {
    create_monitor(CreateMonitorRequest) -> Monitor = |base, _q| canned::monitor(base);
    get_monitor(GetMonitorRequest) -> Monitor = |base, _q| canned::monitor(base);
    // Two pages of one monitor each.
    list_monitors(ListMonitorsRequest) -> ListMonitorsResponse = |base, q| match q.page_token.as_str() {
        "" => ListMonitorsResponse { monitors: vec![canned::monitor(base)], next_page_token: "2".into() },
        _ => ListMonitorsResponse { monitors: vec![canned::other_monitor(base)], next_page_token: String::new() },
    };
    update_monitor(UpdateMonitorRequest) -> Monitor = |base, _q| canned::monitor(base);
    delete_monitor(DeleteMonitorRequest) -> () = |_b, _q| ();
    pause_monitor(PauseMonitorRequest) -> Monitor = |base, _q| canned::monitor(base);
    resume_monitor(ResumeMonitorRequest) -> Monitor = |base, _q| canned::monitor(base);
    explain_monitor(ExplainMonitorRequest) -> Explanation = |base, _q| canned::explanation(base);
    // Without end, as many per page as were asked for.
    list_results(ListResultsRequest) -> ListResultsResponse = |base, q| ListResultsResponse {
        results: (1..=i64::from(q.page_size)).map(|slot| canned::result(base, slot)).collect(),
        next_page_token: "more".into(),
    };
    replay_monitor(ReplayMonitorRequest) -> ReplayMonitorResponse = |base, q| match q.quorum.as_str() {
        "" => ReplayMonitorResponse { results: 7, ..ReplayMonitorResponse::default() },
        _ => canned::replay(base),
    };
}
    type RunCheckStream = Answers;

    async fn run_check(&self, request: Request<RunCheckRequest>) -> Result<Response<Answers>, Status> {
        let answers: Vec<_> = canned::checks(self.0.behaviour.base).into_iter().map(Ok).collect();
        self.answer(request, tokio_stream::iter(answers)).await
    }
}

type Answers = tokio_stream::Iter<std::vec::IntoIter<Result<RunCheckResponse, Status>>>;

service! { heartbeats_server::Heartbeats {
    create_heartbeat(CreateHeartbeatRequest) -> Heartbeat = |base, _q| Heartbeat {
        ping_url: "http://127.0.0.1:8080/api/heartbeat/t0ken".into(),
        ..canned::heartbeat(base)
    };
    get_heartbeat(GetHeartbeatRequest) -> Heartbeat = |base, q| match q.id.as_str() {
        "backup" => canned::backup(base),
        _ => canned::heartbeat(base),
    };
    list_heartbeats(ListHeartbeatsRequest) -> ListHeartbeatsResponse = |base, _q| ListHeartbeatsResponse {
        heartbeats: vec![canned::heartbeat(base), canned::backup(base)],
        next_page_token: String::new(),
    };
    update_heartbeat(UpdateHeartbeatRequest) -> Heartbeat = |base, _q| canned::heartbeat(base);
    delete_heartbeat(DeleteHeartbeatRequest) -> () = |_b, _q| ();
    pause_heartbeat(PauseHeartbeatRequest) -> Heartbeat = |base, _q| canned::heartbeat(base);
    resume_heartbeat(ResumeHeartbeatRequest) -> Heartbeat = |base, _q| canned::heartbeat(base);
    list_pings(ListPingsRequest) -> ListPingsResponse = |base, _q| ListPingsResponse {
        pings: vec![canned::ping(base)],
        next_page_token: String::new(),
    };
} }

service! { runs_server::Runs {
    list_runs(ListRunsRequest) -> ListRunsResponse = |base, _q| canned::runs(base);
    get_run(GetRunRequest) -> Run = |base, _q| canned::run(base);
} }

service! { ping_keys_server::PingKeys {
    create_ping_key(CreatePingKeyRequest) -> PingKey = |base, _q| PingKey {
        key: "p1ngk3y".into(),
        ping_url_prefix: "http://127.0.0.1:8080/ping/p1ngk3y/".into(),
        ..canned::ping_key(base)
    };
    list_ping_keys(ListPingKeysRequest) -> ListPingKeysResponse = |base, _q| ListPingKeysResponse {
        ping_keys: vec![canned::ping_key(base)],
        next_page_token: String::new(),
    };
    delete_ping_key(DeletePingKeyRequest) -> () = |_b, _q| ();
} }

service! { badges_server::Badges {
    create_badge(CreateBadgeRequest) -> Badge = |_b, q| Badge {
        subject_id: q.subject_id,
        url: "http://127.0.0.1:8080/badge/b4dge.svg".into(),
        created_at: None,
    };
    delete_badge(DeleteBadgeRequest) -> () = |_b, _q| ();
} }

service! { incidents_server::Incidents {
    get_incident(GetIncidentRequest) -> Incident = |base, q| match q.id.as_str() {
        "inc_2" => canned::grouped_incident(base),
        _ => canned::incident(base),
    };
    list_incidents(ListIncidentsRequest) -> ListIncidentsResponse = |base, _q| ListIncidentsResponse {
        incidents: vec![canned::grouped_incident(base), canned::incident(base)],
        next_page_token: String::new(),
    };
    list_captures(ListCapturesRequest) -> ListCapturesResponse = |base, _q| ListCapturesResponse {
        captures: canned::captures(base),
        next_page_token: String::new(),
    };
    acknowledge_incident(AcknowledgeIncidentRequest) -> Incident = |base, _q| canned::incident(base);
} }

service! { policies_server::Policies {
    create_policy(CreatePolicyRequest) -> Policy = |base, _q| canned::policy(base);
    get_policy(GetPolicyRequest) -> Policy = |base, _q| canned::policy(base);
    list_policies(ListPoliciesRequest) -> ListPoliciesResponse = |base, _q| ListPoliciesResponse {
        policies: vec![canned::policy(base)],
        next_page_token: String::new(),
    };
    update_policy(UpdatePolicyRequest) -> Policy = |base, _q| canned::policy(base);
    delete_policy(DeletePolicyRequest) -> () = |_b, _q| ();
} }

service! { silences_server::Silences {
    create_silence(CreateSilenceRequest) -> Silence = |base, _q| canned::silence(base);
    get_silence(GetSilenceRequest) -> Silence = |base, _q| canned::silence(base);
    list_silences(ListSilencesRequest) -> ListSilencesResponse = |base, _q| ListSilencesResponse {
        silences: vec![canned::silence(base)],
        next_page_token: String::new(),
    };
    end_silence(EndSilenceRequest) -> () = |_b, _q| ();
} }

service! { channels_server::Channels {
    create_channel(CreateChannelRequest) -> Channel = |base, q| {
        let kind_name = q.channel.unwrap_or_default().kind_name;
        let signing_secret = if kind_name == "webhook" { "whsec_c2VjcmV0" } else { "" }.into();
        Channel { kind_name, signing_secret, ..canned::channel(base) }
    };
    get_channel(GetChannelRequest) -> Channel = |base, _q| canned::channel(base);
    list_channels(ListChannelsRequest) -> ListChannelsResponse = |base, _q| ListChannelsResponse {
        channels: vec![canned::channel(base)],
        next_page_token: String::new(),
    };
    update_channel(UpdateChannelRequest) -> Channel = |base, _q| canned::channel(base);
    delete_channel(DeleteChannelRequest) -> () = |_b, _q| ();
    rotate_channel_secret(RotateChannelSecretRequest) -> Channel = |base, _q| Channel {
        signing_secret: "whsec_bmV3".into(),
        ..canned::channel(base)
    };
    test_channel(TestChannelRequest) -> TestChannelResponse = |_b, q| canned::tried(q.id != "lost");
    enable_channel(EnableChannelRequest) -> Channel = |base, _q| canned::channel(base);
    list_channel_kinds(ListChannelKindsRequest) -> ListChannelKindsResponse = |_b, _q| ListChannelKindsResponse {
        kinds: vec![canned::channel_kind()],
    };
} }

service! { deliveries_server::Deliveries {
    get_delivery(GetDeliveryRequest) -> Delivery = |base, _q| canned::delivery(base);
    list_deliveries(ListDeliveriesRequest) -> ListDeliveriesResponse = |base, _q| ListDeliveriesResponse {
        deliveries: vec![Delivery { attempts: vec![], body: vec![], ..canned::delivery(base) }],
        next_page_token: String::new(),
    };
    redeliver(RedeliverRequest) -> RedeliverResponse = |_b, q| RedeliverResponse {
        count: i32::try_from(q.ids.len()).unwrap(),
        ids: q.ids,
    };
} }

service! { fleet_server::Fleet {
    create_agent(CreateAgentRequest) -> CreateAgentResponse = |base, _q| CreateAgentResponse {
        agent: Some(canned::agent(base)),
        token: "vat_t0ken".into(),
        join_token: "vjt_t0ken".into(),
    };
    get_agent(GetAgentRequest) -> Agent = |base, _q| canned::agent(base);
    list_agents(ListAgentsRequest) -> ListAgentsResponse = |base, _q| ListAgentsResponse {
        agents: vec![canned::agent(base), canned::silent_agent(base), canned::waiting_agent(base)],
        next_page_token: String::new(),
    };
    create_region(CreateRegionRequest) -> Region = |_b, _q| canned::region();
    get_region(GetRegionRequest) -> Region = |_b, _q| canned::region();
    list_regions(ListRegionsRequest) -> ListRegionsResponse = |_b, _q| ListRegionsResponse {
        regions: vec![canned::region()],
        next_page_token: String::new(),
    };
} }

service! { status_pages_server::StatusPages {
    create_status_page(CreateStatusPageRequest) -> StatusPage = |base, _q| canned::page(base);
    get_status_page(GetStatusPageRequest) -> StatusPage = |base, _q| canned::page(base);
    list_status_pages(ListStatusPagesRequest) -> ListStatusPagesResponse = |base, _q| ListStatusPagesResponse {
        status_pages: vec![canned::page(base)],
        next_page_token: String::new(),
    };
} }

service! { maintenances_server::Maintenances {
    create_maintenance(CreateMaintenanceRequest) -> Maintenance = |base, _q| canned::maintenance(base);
    get_maintenance(GetMaintenanceRequest) -> Maintenance = |base, q| match q.id.as_str() {
        "move" => canned::single_maintenance(base),
        _ => canned::maintenance(base),
    };
    list_maintenances(ListMaintenancesRequest) -> ListMaintenancesResponse = |base, _q| ListMaintenancesResponse {
        maintenances: vec![canned::single_maintenance(base), canned::maintenance(base)],
        next_page_token: String::new(),
    };
    update_maintenance(UpdateMaintenanceRequest) -> Maintenance = |base, _q| canned::maintenance(base);
    delete_maintenance(DeleteMaintenanceRequest) -> () = |_b, _q| ();
    end_maintenance(EndMaintenanceRequest) -> Maintenance = |base, _q| canned::maintenance(base);
} }
