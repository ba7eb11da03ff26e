//! The service put together: bind, run, drain.
//!
//! Binding takes the data directory, the lease and the ports and restores every state; nothing is decided before all of
//! that has succeeded. Running starts one task per stage. Draining lets what is under way end in flow order: agents and
//! requests first, then deliveries, the commits last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use model::{Clock, KeyId, Random, Secret};
use store::{ConfigChange, KeyRow, Store};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;
use url::Url;

use crate::acknowledge_link::AcknowledgeLinks;
use crate::admin::{self, Admin};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::delivery::{self, Deliveries, Owed};
use crate::fleet::Fleet;
use crate::lifecycle::{Supervisor, Task};
use crate::notify::Sender;
use crate::notify::send::Limits;
use crate::settings::Settings;
use crate::shard::{self, Owner, Recovered};
use crate::tenure::Tenure;
use crate::view::Views;
use crate::web::metrics::Metrics;
use crate::{agent_listener, assign, http, outbox, session, web};

/// The id of the one coordinator of a SQLite installation.
const COORDINATOR: &str = "main";
/// The file that holds the first admin key.
pub const ADMIN_KEY_FILE: &str = "admin.key";

/// The service, bound and restored, not yet running.
pub struct App {
    /// Where people, jobs and admin clients connect.
    pub http_address: SocketAddr,
    /// Where agents connect.
    pub agent_address: SocketAddr,
    /// How people reach the HTTP listener.
    pub public_url: Url,
    /// What agents that join are to dial.
    agent_url: Url,
    /// The first admin key, if it was made just now.
    pub new_admin_key: Option<Secret<String>>,
    /// The ends that others may hold on to.
    pub parts: Parts,
    data: DataDir,
    http: TcpListener,
    agents: TcpListener,
    identity: agent_listener::Identity,
    sender: Arc<Sender>,
    links: Arc<AcknowledgeLinks>,
    lanes: shard::Lanes,
    lease: store::Lease,
    tenure: Arc<Tenure>,
    recovered: Recovered,
}

/// What stages share.
#[derive(Clone)]
#[expect(missing_docs, reason = "the parts are documented where they are defined")]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub store: Arc<dyn Store>,
    pub settings: Arc<Settings>,
    pub views: Arc<Views>,
    pub fleet: Arc<Fleet>,
    pub shards: shard::Handle,
    pub supervisor: Supervisor,
    /// Whether commits succeed.
    pub healthy: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
    /// SHA-256 of the agent listener's certificate.
    pub agent_fingerprint: [u8; 32],
    /// Names of agents inside this process.
    pub embedded: Vec<String>,
}

impl App {
    /// Takes everything the service needs and restores its states.
    ///
    /// # Errors
    /// Says what is missing or taken, for a person.
    pub async fn bind(
        config: &Config,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        embedded: Vec<String>,
    ) -> anyhow::Result<Self> {
        let data = DataDir::take_over(&config.data).await?;
        let identity =
            agent_listener::identity(&data).context("cannot use the agent listener's certificate")?;
        let links = AcknowledgeLinks::open(&data, config.public_url.clone(), random.as_ref());
        let links = Arc::new(links.context("cannot use the key of acknowledgement links")?);

        let store = open_store(config, clock.as_ref(), random.as_ref()).await?;
        let claimed_at = clock.now();
        let lease = store.claim(COORDINATOR, claimed_at).await.context("cannot claim the shards")?;
        let tenure = Arc::new(Tenure::claimed(lease.ttl, claimed_at));
        let settings = Settings::load(Arc::clone(&store), Arc::clone(&clock)).await?;
        let new_admin_key = first_admin_key(&settings, &data, clock.as_ref(), random.as_ref()).await?;
        let recovered =
            shard::recover(store.as_ref(), clock.now()).await.context("cannot restore the states")?;

        let http = listen(config.http_listen, "--http-listen").await?;
        let agents = listen(config.agent_listen, "--agent-listen").await?;
        let (http_address, agent_address) = (http.local_addr()?, agents.local_addr()?);
        let sender = Sender::new(
            Arc::clone(&clock),
            Limits {
                allow: config.allow_receiver.clone(),
                own: vec![http_address, agent_address],
                ..Limits::default()
            },
            config.receiver_ca.as_deref(),
        )
        .context("receiver_ca_file")?;
        let public_url = match &config.public_url {
            Some(url) => url.clone(),
            None => Url::parse(&format!("http://{http_address}"))?,
        };
        let agent_url = match &config.agent_address {
            Some(url) => url.clone(),
            None => agent_url(&public_url, agent_address)?,
        };
        let (shards, lanes) = shard::lanes();
        let parts = Parts {
            fleet: Arc::new(Fleet::new(Arc::clone(&clock))),
            clock,
            random,
            store,
            settings: Arc::new(settings),
            views: Arc::new(Views::default()),
            shards,
            supervisor: Supervisor::new(),
            healthy: Arc::new(AtomicBool::new(true)),
            metrics: Arc::new(Metrics::default()),
            agent_fingerprint: identity.fingerprint,
            embedded,
        };
        Ok(Self {
            http_address,
            agent_address,
            public_url,
            agent_url,
            new_admin_key,
            parts,
            data,
            http,
            agents,
            identity,
            sender: Arc::new(sender),
            links,
            lanes,
            lease,
            tenure,
            recovered,
        })
    }

    /// Starts every stage.
    pub fn start(self) -> Running {
        let Parts {
            clock, random, store, settings, views, fleet, shards, supervisor, healthy, metrics, ..
        } = self.parts.clone();
        let drain = || supervisor.drain().clone();
        let (events, from_shards) = mpsc::unbounded_channel();
        let (owed, from_outbox) = mpsc::unbounded_channel();
        for event in &self.recovered.undispatched {
            drop(events.send(event.clone()));
        }
        for row in &self.recovered.unfinished {
            drop(owed.send(Owed { row: row.clone(), event: None }));
        }

        // The shards are the last to drain: they commit what the deliveries have to say.
        let delivered = CancellationToken::new();
        let owner = Owner::new(shard::Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            settings: Arc::clone(&settings),
            views: Arc::clone(&views),
            fleet: Arc::clone(&fleet) as Arc<dyn shard::AskRegions>,
            outbox: events,
            lanes: self.lanes,
            healthy: Arc::clone(&healthy),
            metrics: Arc::clone(&metrics),
            lease: self.lease,
            tenure: Arc::clone(&self.tenure),
            links: Arc::clone(&self.links),
            recovered: self.recovered,
        });
        supervisor.spawn(Task::Shards, owner.run(delivered.clone()));

        let installation = store.installation();
        let fan_out = outbox::run(
            from_shards,
            owed,
            shards.clone(),
            Arc::clone(&settings),
            Arc::clone(&clock),
            installation,
            drain(),
        );
        supervisor.spawn(Task::Outbox, fan_out);
        let deliveries = Deliveries::new(delivery::Parts {
            store,
            clock: Arc::clone(&clock),
            random,
            settings: Arc::clone(&settings),
            shards: shards.clone(),
            sender: Arc::clone(&self.sender),
            metrics: Arc::clone(&metrics),
            supervisor: supervisor.clone(),
            tenure: self.tenure,
        });
        let redeliver = deliveries.replays();
        supervisor.spawn(Task::Delivery, deliveries.run(from_outbox, drain(), delivered));

        supervisor.spawn(Task::Settings, Arc::clone(&settings).poll(drain()));
        supervisor.spawn(Task::Assign, assign::run(Arc::clone(&views), Arc::clone(&fleet), drain()));
        supervisor.spawn(Task::Fleet, Arc::clone(&fleet).watch_silence(shards.clone(), drain()));

        let sessions = session::Service::new(
            clock,
            settings,
            views,
            fleet,
            shards,
            supervisor.clone(),
            self.parts.embedded.clone(),
        );
        let agents = agent_listener::serve(self.agents, self.identity, sessions, supervisor.clone());
        supervisor.spawn(Task::AgentListener, agents);

        let admin = admin::routes(Admin {
            clock: Arc::clone(&self.parts.clock),
            random: Arc::clone(&self.parts.random),
            store: Arc::clone(&self.parts.store),
            settings: Arc::clone(&self.parts.settings),
            views: Arc::clone(&self.parts.views),
            fleet: Arc::clone(&self.parts.fleet),
            sender: self.sender,
            shards: self.parts.shards.clone(),
            redeliver,
            // One holds some 70 MB and a core.
            replays: Arc::new(tokio::sync::Semaphore::new(1)),
            public_url: self.public_url.clone(),
            agent_fingerprint: self.parts.agent_fingerprint,
            agent_address: self.agent_url,
            healthy: Arc::clone(&healthy),
        });
        let pages = web::router(web::Parts {
            clock: Arc::clone(&self.parts.clock),
            random: Arc::clone(&self.parts.random),
            store: Arc::clone(&self.parts.store),
            settings: Arc::clone(&self.parts.settings),
            views: Arc::clone(&self.parts.views),
            fleet: Arc::clone(&self.parts.fleet),
            shards: self.parts.shards.clone(),
            healthy,
            metrics,
            links: self.links,
        });
        let app = pages.merge(admin.into_axum_router().layer(tonic_web::GrpcWebLayer::new()));
        supervisor.spawn(Task::HttpListener, http::serve(self.http, app, supervisor.clone()));
        info!(http = %self.http_address, agents = %self.agent_address, "listening");
        Running { parts: self.parts, _data: self.data }
    }
}

/// A running service.
pub struct Running {
    /// What stages share.
    pub parts: Parts,
    /// Held until the very end.
    _data: DataDir,
}

impl Running {
    /// Runs until a signal or a fault, then drains. `true`: ended as asked.
    pub async fn until_signal(self) -> bool {
        self.parts.supervisor.run_until_signal().await
    }
}

/// Opens the database, migrating it if needed.
///
/// # Errors
/// Says what is wrong with it.
pub async fn open_store(
    config: &Config,
    clock: &dyn Clock,
    random: &dyn Random,
) -> anyhow::Result<Arc<dyn Store>> {
    let store = store::sqlite::Sqlite::open(&database_options(config), clock.now(), random)
        .await
        .with_context(|| format!("cannot open the database {}", config.database.display()))?;
    Ok(Arc::new(store))
}

/// How the configuration wants the database opened.
#[must_use]
pub fn database_options(config: &Config) -> store::sqlite::OpenOptions {
    let mut options = store::sqlite::OpenOptions::new(&config.database);
    if !config.synchronous {
        options.synchronous = store::sqlite::Synchronous::Off;
    }
    options
}

/// Where agents reach us unless it is said: the host that people use, at the port for agents.
fn agent_url(public_url: &Url, agents: SocketAddr) -> anyhow::Result<Url> {
    let host = public_url.host_str().context("the public URL has a host")?;
    Ok(Url::parse(&format!("https://{host}:{}", agents.port()))?)
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another {option}"))
}

/// Makes the first admin key when there is none and puts it into the data directory.
async fn first_admin_key(
    settings: &Settings,
    data: &DataDir,
    clock: &dyn Clock,
    random: &dyn Random,
) -> anyhow::Result<Option<Secret<String>>> {
    if !settings.present().keys.is_empty() {
        return Ok(None);
    }
    let (key, digest) = admin::key::generate(random);
    // The file first: a key that is in force but nowhere to be read would lock its owner out.
    data.write_secret(ADMIN_KEY_FILE, &key).context("cannot write the first admin key")?;
    let now = clock.now();
    let row = KeyRow {
        id: KeyId::new(now, random),
        workspace: store::records::DEFAULT_WORKSPACE.into(),
        name: "first admin key".into(),
        digest,
        created_at: now,
    };
    settings.change(|_| Ok::<_, store::Error>(ConfigChange::PutKey(row))).await?;
    Ok(Some(key))
}
