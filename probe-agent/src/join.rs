//! `vigilmon-agent join`: from a join token to an agent that can run. Once, by hand, before the first `run`.
//!
//! The agent's own secret is made here and never leaves this machine; the coordinator gets its digest. The secret is on
//! disk before it is registered, so that whoever is interrupted and asks again is the same agent.

mod files;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use model::{Random, Secret};
use proto::probe::join::{InvalidJoinToken, JoinToken};
use proto::probe::token::AgentToken;
use proto::probe::v1;
use proto::probe::v1::agent_message::Message as ToCoordinator;
use proto::probe::v1::coordinator_message::Message as FromCoordinator;
use proto::probe::v1::probe_service_client::ProbeServiceClient;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use url::Url;

use crate::session::dial::{Dial, Unreachable};
use crate::session::{PROTOCOL, bearer};
use files::{Files, Paths};

/// How often the coordinator is asked when it cannot be reached, and the pause before it is asked again.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// Time for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What can be said when joining.
#[derive(Clone, Debug, clap::Args)]
pub struct JoinOptions {
    /// What `vigilctl agent create NAME --region REGION --join` printed; `-` reads it from standard input, which keeps it
    /// out of the shell's history
    #[arg(value_parser = secret)]
    pub token: Secret<String>,
    /// Where to write the configuration; the token goes beside it [default: /etc/vigilmon/agent.toml for root,
    /// $XDG_CONFIG_HOME/vigilmon/agent.toml for others]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the agent keeps its results until the coordinator has them [default: /var/lib/vigilmon-agent for root,
    /// $XDG_STATE_HOME/vigilmon-agent for others]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Replace the token and the configuration of another agent
    #[arg(long)]
    pub force: bool,
}

/// An agent that has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The coordinator that knows it.
    pub coordinator: Url,
    /// The file with its token.
    pub token_file: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Whether there was one that says the same, and maybe more.
    pub is_config_kept: bool,
}

/// Why an agent cannot join.
#[derive(Debug, thiserror::Error)]
pub enum NotJoined {
    /// What was given is no join token.
    #[error("TOKEN: {0}")]
    Token(#[from] InvalidJoinToken),
    /// Nobody says where the files go.
    #[error("neither HOME nor XDG_CONFIG_HOME and XDG_STATE_HOME are set: say --config FILE and --state DIR")]
    NoHome,
    /// There is something that would be overwritten.
    #[error("{0} is there already and is {1}: --force replaces it, --config FILE leaves it alone")]
    Occupied(PathBuf, &'static str),
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// The coordinator does not let this agent in.
    #[error("{0}")]
    Refused(String),
    /// The coordinator does not answer.
    #[error("{coordinator}: {why}; the token stays good until it expires")]
    Unreachable {
        /// Where it should be.
        coordinator: Url,
        /// What happened instead.
        why: String,
    },
}

/// Joins, writes token and configuration, and opens a session to see that they work. An agent that has joined already is
/// told so. `stdin` is read for the token `-`.
///
/// # Errors
/// When that is not possible; then another try with the same token is safe.
pub async fn join(
    options: JoinOptions,
    stdin: impl Read,
    environment: &BTreeMap<String, String>,
    random: &dyn Random,
) -> Result<Joined, NotJoined> {
    let token = read(&options.token, stdin)?;
    let paths = Paths::new(options.config, options.state, environment)?;
    let files = Files::look(paths, &token, options.force)?;
    let dial = Dial::new(&token.address, token.fingerprint);
    let known = if let Some(own) = files.own() {
        // It may be running, and a session from here would end its own.
        let known = register(&dial, &token, own).await?;
        files.keep(&token.address)?;
        known
    } else {
        let own = files.prepare(&token, random)?;
        let known = register(&dial, &token, &own).await.inspect_err(|error| {
            if matches!(error, NotJoined::Refused(_)) {
                files.forget_prepared();
            }
        })?;
        files.keep(&token.address)?;
        insist(&token.address, async || greet(&dial, &own, random).await).await?;
        known
    };
    Ok(Joined {
        name: known.agent_name,
        region: known.region,
        coordinator: token.address,
        token_file: files.paths.token.clone(),
        config: files.paths.config.clone(),
        is_config_kept: files.is_config_kept,
    })
}

fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn read(given: &Secret<String>, stdin: impl Read) -> Result<JoinToken, NotJoined> {
    const MAX_BYTES: u64 = 4096;
    if given.expose() != "-" {
        return Ok(given.expose().parse()?);
    }
    let mut text = String::new();
    let read = stdin.take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| NotJoined::File("standard input".into(), error))?;
    Ok(text.parse()?)
}

/// Has the digest of our own secret registered.
async fn register(dial: &Dial, token: &JoinToken, own: &AgentToken) -> Result<v1::JoinResponse, NotJoined> {
    let request = v1::JoinRequest {
        agent_id: token.agent.as_bytes().to_vec(),
        join_secret: token.secret.expose().to_vec(),
        secret_digest: own.digest().to_vec(),
    };
    let ask = async || {
        let channel = dial.connect().await?;
        Ok(ProbeServiceClient::new(channel).join(request.clone()).await?.into_inner())
    };
    insist(&token.address, ask).await
}

/// Opens a session and leaves it again: what `run` will do first.
async fn greet(dial: &Dial, own: &AgentToken, random: &dyn Random) -> Result<(), Failed> {
    let hello = v1::Hello {
        protocol_min: PROTOCOL,
        protocol_max: PROTOCOL,
        process_nonce: model::random::bytes::<16>(random).to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..v1::Hello::default()
    };
    let (outbox, messages) = mpsc::channel(1);
    let hello = v1::AgentMessage { message: Some(ToCoordinator::Hello(hello)) };
    outbox.try_send(hello).expect("the channel is new and holds one");
    let mut request = Request::new(ReceiverStream::new(messages));
    request.metadata_mut().insert("authorization", bearer(own));
    let channel = dial.connect().await?;
    let mut inbound = ProbeServiceClient::new(channel).session(request).await?.into_inner();
    match inbound.message().await?.and_then(|first| first.message) {
        Some(FromCoordinator::Welcome(_)) => Ok(()),
        _ => Err(Failed::ForNow("it did not welcome the agent".to_owned())),
    }
}

/// What one attempt at asking came to.
enum Failed {
    /// The answer is no.
    Refused(String),
    /// There is another server, or none.
    Unreachable(Unreachable),
    /// There was no answer that means anything.
    ForNow(String),
}

impl From<Unreachable> for Failed {
    fn from(error: Unreachable) -> Self {
        Self::Unreachable(error)
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let reason = model::result::clean(status.message(), 400);
        match status.code() {
            Code::Unimplemented => {
                Self::Refused("the coordinator is older than this agent and knows no joining".to_owned())
            }
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument => Self::Refused(reason),
            code => Self::ForNow(format!("{} ({reason})", code.description())),
        }
    }
}

/// Asks until there is an answer, a few times.
async fn insist<T>(coordinator: &Url, ask: impl AsyncFn() -> Result<T, Failed>) -> Result<T, NotJoined> {
    let mut tries = 1;
    loop {
        let failed = match timeout(ANSWER_TIMEOUT, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failed)) => failed,
            Err(_) => Failed::ForNow(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
        };
        let why = match failed {
            Failed::Refused(why) => return Err(NotJoined::Refused(why)),
            Failed::Unreachable(error @ Unreachable::WrongCertificate) => {
                return Err(NotJoined::Refused(error.to_string()));
            }
            Failed::Unreachable(error) => error.to_string(),
            Failed::ForNow(why) => why,
        };
        if tries == TRIES {
            return Err(NotJoined::Unreachable { coordinator: coordinator.clone(), why });
        }
        tries += 1;
        sleep(PAUSE).await;
    }
}
