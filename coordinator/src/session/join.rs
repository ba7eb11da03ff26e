//! A new agent joins: it shows its join token's secret and registers the digest of the secret it has made for itself.
//! Storing the one and using up the other is one commit. The only thing here that a stranger may ask.

use std::sync::Arc;
use std::time::Duration;

use model::{AgentId, Timestamp};
use proto::probe::join;
use proto::probe::v1;
use store::{AgentRow, ConfigChange, JoinRow};
use tokio::sync::Semaphore;
use tonic::Status;
use tracing::info;

use super::Service;
use crate::settings::find_agent;

/// How long a refusal takes, and how many are under way at most: what a stranger can ask is bounded, and the right
/// secret never waits.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
const MAX_REFUSALS: usize = 16;

/// Holds back refusals. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Doorkeeper(Arc<Semaphore>);

impl Default for Doorkeeper {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REFUSALS)))
    }
}

impl Doorkeeper {
    /// The refusal, a while later.
    async fn refuse(&self, refusal: Status) -> Status {
        let Ok(_place) = self.0.try_acquire() else {
            return Status::resource_exhausted("too many agents ask to join: try again in a few seconds");
        };
        tokio::time::sleep(REFUSAL_PAUSE).await;
        refusal
    }
}

/// What is to be done about a request.
enum Decision {
    /// It was granted before, and the answer did not arrive.
    Granted,
    /// Store this.
    Admit(AgentRow),
}

/// What stops a decision from being carried out.
enum Stopped {
    /// Nothing has to be stored.
    Granted,
    Refused(Status),
    Store(store::Error),
}

impl From<store::Error> for Stopped {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Lets an agent join, or says why not.
pub(super) async fn join(service: &Service, request: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
    let read = |field: &str, bytes: &[u8]| {
        <[u8; 32]>::try_from(bytes)
            .map_err(|_| Status::invalid_argument(format!("{field}: must be 32 bytes")))
    };
    let agent: [u8; 16] = request
        .agent_id
        .as_slice()
        .try_into()
        .map_err(|_| Status::invalid_argument("agent_id: must be 16 bytes"))?;
    let agent = AgentId::from_bytes(agent);
    let (secret, digest) =
        (read("join_secret", &request.join_secret)?, read("secret_digest", &request.secret_digest)?);
    let now = service.clock.now();
    let changed = service
        .settings
        .change(|config| match decide(find_agent(config, agent), &secret, digest, now) {
            Ok(Decision::Admit(row)) => Ok(ConfigChange::PutAgent(row)),
            Ok(Decision::Granted) => Err(Stopped::Granted),
            Err(refusal) => Err(Stopped::Refused(refusal)),
        })
        .await;
    match changed {
        Ok(_) => info!(agent.id = %agent, "an agent has joined"),
        Err(Stopped::Granted) => {}
        Err(Stopped::Refused(refusal)) => return Err(service.doorkeeper.refuse(refusal).await),
        Err(Stopped::Store(error)) => {
            return Err(Status::unavailable(format!("the agent cannot be registered now: {error}")));
        }
    }
    let config = service.settings.present();
    let row = find_agent(&config, agent).ok_or_else(|| Status::unavailable("try again in a moment"))?;
    Ok(v1::JoinResponse { agent_name: row.name.clone(), region: row.region.to_string() })
}

fn decide(
    row: Option<&AgentRow>,
    secret: &[u8; 32],
    secret_digest: [u8; 32],
    now: Timestamp,
) -> Result<Decision, Status> {
    let again = "`vigilctl agent create NAME --region REGION --join` makes a new one";
    // One answer for every reason: whether an agent exists is nobody's business.
    let unknown = || Status::unauthenticated(format!("this join token is not known here: {again}"));
    let (row, join) = row
        .and_then(|row| Some((row, row.join?)))
        .filter(|(_, join)| join::matches(secret, &join.digest))
        .ok_or_else(unknown)?;
    if join.joined_at.is_some() {
        return if row.secret_digest == secret_digest {
            Ok(Decision::Granted)
        } else {
            Err(Status::already_exists(
                "this join token was used before: if that was not you, whoever did can vote for the region; \
                 create another agent for this machine",
            ))
        };
    }
    if join.expires_at <= now {
        let late = now.since(join.expires_at).as_secs() / 60;
        return Err(Status::failed_precondition(format!(
            "this join token expired {late} min ago: {again}, with --valid-for if 15 min are too short"
        )));
    }
    let join = Some(JoinRow { joined_at: Some(now), ..join });
    Ok(Decision::Admit(AgentRow { secret_digest, join, ..row.clone() }))
}
