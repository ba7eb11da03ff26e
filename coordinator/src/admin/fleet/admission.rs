//! How a new agent gets its credential: made here and shown once, or made by the agent itself, which joins with a token
//! that is good once.

use std::time::Duration;

use model::{AgentId, Random, RegionId, Secret, random};
use proto::admin::v1 as wire;
use proto::probe::join::{self, JoinToken};
use proto::probe::token::AgentToken;
use store::{AgentRow, Config, JoinRow};
use tonic::Status;
use url::Url;

use super::super::Admin;
use super::super::fields::{self, Allowed};
use super::super::invalid::Invalid;

/// How long a join token is good unless it is said otherwise.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(15 * 60);

/// An agent that may be admitted, and what its operator carries to it.
pub(super) struct Admission {
    pub(super) row: AgentRow,
    /// The answer's `token`, or its `join_token`.
    pub(super) shown: Shown,
}

/// A secret that is shown once.
pub(super) enum Shown {
    Credential(AgentToken),
    JoinToken(JoinToken),
}

/// What was asked for a join token.
pub(super) struct Joining {
    valid_for: Duration,
    address: Url,
}

/// Reads how the agent is to join, if it is.
pub(super) fn read(admin: &Admin, wire: Option<&wire::Joining>, invalid: &mut Invalid) -> Option<Joining> {
    let asked = wire?;
    let allowed = Allowed {
        span: Duration::from_secs(60)..=Duration::from_secs(24 * 3_600),
        words: "1 minute to 24 hours",
    };
    let field = "joining.valid_for";
    let valid_for = fields::span(field, asked.valid_for.as_ref(), Some(DEFAULT_VALIDITY), &allowed, invalid);
    let address = if asked.address.is_empty() {
        Some(admin.agent_address.clone())
    } else {
        invalid.check("joining.address", join::agent_address(&asked.address))
    };
    Some(Joining { valid_for: valid_for?, address: address? })
}

/// Admits an agent with this name. One that still waits to join may be given another join token.
///
/// # Errors
/// When the name is another agent's.
pub(super) fn decide(
    admin: &Admin,
    config: &Config,
    name: &str,
    region: &RegionId,
    joining: Option<&Joining>,
) -> Result<Admission, Status> {
    let now = admin.clock.now();
    let random: &dyn Random = admin.random.as_ref();
    let known = config.agents.iter().find(|row| row.name == name);
    let waits = |row: &&AgentRow| row.join.is_some_and(|join| join.joined_at.is_none());
    let known = match (known, joining) {
        (None, _) => None,
        (Some(row), Some(_)) if waits(&row) && row.region == *region => Some(row),
        (Some(row), _) => {
            return Err(Status::already_exists(format!(
                "name: an agent `{name}` already exists, in {}: names are unique, choose another",
                row.region
            )));
        }
    };
    let fingerprint = admin.agent_fingerprint;
    // Of an agent that joins nobody has this secret: until it has joined there is no credential that is right.
    let secret = Secret::new(random::bytes(random));
    let agent = known.map_or_else(|| AgentId::new(now, random), |row| row.id);
    let credential = AgentToken { agent, secret, fingerprint };
    let join_token = joining.map(|joining| JoinToken {
        agent,
        secret: Secret::new(random::bytes(random)),
        fingerprint,
        address: joining.address.clone(),
    });
    let row = AgentRow {
        id: agent,
        name: name.to_owned(),
        region: region.clone(),
        secret_digest: credential.digest(),
        epoch: 0,
        process_nonce: None,
        created_at: known.map_or(now, |row| row.created_at),
        join: joining.zip(join_token.as_ref()).map(|(joining, token)| JoinRow {
            digest: join::digest(token.secret.expose()),
            expires_at: now.plus(joining.valid_for),
            joined_at: None,
        }),
    };
    let shown = join_token.map_or(Shown::Credential(credential), Shown::JoinToken);
    Ok(Admission { row, shown })
}
