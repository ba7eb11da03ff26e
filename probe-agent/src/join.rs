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
use proto::probe::v1::probe_service_client::ProbeServiceClient;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use url::Url;

use crate::session::dial::{Dial, Unreachable};
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

/// Joins, and writes token and configuration. An agent that has joined already is told so. `stdin` is read for the
/// token `-`. No session is opened: the coordinator would rely on an agent that does not run yet.
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
    let answer = if let Some(own) = files.own() {
        register(&dial, &token, own).await
    } else {
        let own = files.prepare(&token, random)?;
        register(&dial, &token, &own).await.inspect_err(|failed| {
            if matches!(failed, Failed::Verdict(_)) {
                files.forget_prepared();
            }
        })
    };
    let known = answer.map_err(|failed| failed.at(&token.address))?;
    files.keep(&token.address)?;
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
async fn register(dial: &Dial, token: &JoinToken, own: &AgentToken) -> Result<v1::JoinResponse, Failed> {
    let request = v1::JoinRequest {
        agent_id: token.agent.as_bytes().to_vec(),
        join_secret: token.secret.expose().to_vec(),
        secret_digest: own.digest().to_vec(),
    };
    let ask = async || {
        let channel = dial.connect().await?;
        Ok(ProbeServiceClient::new(channel).join(request.clone()).await?.into_inner())
    };
    insist(ask).await
}

/// What asking came to, when it was for nothing.
#[derive(Debug)]
enum Failed {
    /// The coordinator has decided: our secret is not registered, and with this token it will not be.
    Verdict(String),
    /// Asking again is of no use, but an earlier try may have been granted.
    Hopeless(String),
    /// There was no answer that means anything.
    ForNow(String),
}

impl Failed {
    fn at(self, coordinator: &Url) -> NotJoined {
        match self {
            Self::Verdict(why) | Self::Hopeless(why) => NotJoined::Refused(why),
            Self::ForNow(why) => NotJoined::Unreachable { coordinator: coordinator.clone(), why },
        }
    }
}

impl From<Unreachable> for Failed {
    fn from(error: Unreachable) -> Self {
        let why = error.to_string();
        match error {
            Unreachable::WrongCertificate => Self::Hopeless(why),
            Unreachable::Timeout | Unreachable::Connect(_) | Unreachable::Http2(_) => Self::ForNow(why),
        }
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let reason = model::result::clean(status.message(), 400);
        match status.code() {
            Code::Unauthenticated | Code::AlreadyExists | Code::FailedPrecondition => Self::Verdict(reason),
            Code::PermissionDenied | Code::InvalidArgument => Self::Hopeless(reason),
            Code::Unimplemented => {
                Self::Hopeless("the coordinator is older than this agent and knows no joining".to_owned())
            }
            code => Self::ForNow(format!("{} ({reason})", code.description())),
        }
    }
}

/// Asks until there is an answer, a few times.
async fn insist<T>(ask: impl AsyncFn() -> Result<T, Failed>) -> Result<T, Failed> {
    let late = |_| Err(Failed::ForNow(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())));
    let mut tries = 1;
    loop {
        match timeout(ANSWER_TIMEOUT, ask()).await.unwrap_or_else(late) {
            Err(Failed::ForNow(_)) if tries < TRIES => tries += 1,
            answer => return answer,
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_what_the_coordinator_decides_proves_that_a_secret_is_not_registered() {
        let of = |code| Failed::from(Status::new(code, "no"));
        for code in [Code::Unauthenticated, Code::AlreadyExists, Code::FailedPrecondition] {
            assert!(matches!(of(code), Failed::Verdict(_)), "{code:?}");
        }
        for code in [Code::Unimplemented, Code::PermissionDenied, Code::InvalidArgument] {
            assert!(matches!(of(code), Failed::Hopeless(_)), "{code:?}");
        }
        assert!(matches!(Failed::from(Unreachable::WrongCertificate), Failed::Hopeless(_)));
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::Unknown, Code::OutOfRange] {
            assert!(matches!(of(code), Failed::ForNow(_)), "{code:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_asked_again() {
        for (code, expected) in
            [(Code::Unavailable, TRIES), (Code::Unimplemented, 1), (Code::AlreadyExists, 1)]
        {
            let asked = Cell::new(0);
            let ask = async || {
                asked.set(asked.get() + 1);
                Err::<(), _>(Failed::from(Status::new(code, "no")))
            };
            assert!(insist(ask).await.is_err());
            assert_eq!(asked.get(), expected, "{code:?}");
        }
    }
}
