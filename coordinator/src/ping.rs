//! Heartbeat pings: a job's HTTP request becomes one committed fact.
//!
//! By HEAD, GET or POST in three families of URLs (`address`): our own, those of Healthchecks' clients and those of
//! Uptime Kuma's push scripts. In comes a request from anybody; out goes the ping to the owner of its shard, and
//! `200 OK` only after the commit. Whatever is not the address of a ping gets the one answer `404 not found`, so that
//! nothing can be learnt by trying; what is wrong with a ping is said only to those who know whose it is. Who cannot be
//! served now is told so with `503`; jobs retry.
//!
//! Paths hold tokens: they are never logged, and no span is opened here.

mod address;
mod answer;
mod body;
mod creation;
mod options;
mod query;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::header::USER_AGENT;
use http::{HeaderMap, Method, Version};
use model::{Clock, HeartbeatId, Random, SubjectId};
use store::journal::{HeardPing, PingMethod};

use crate::settings::Settings;
use crate::shard;
use crate::view::Views;
use crate::web::metrics::{Metrics, PingAnswer};
use address::{Address, Report};
use answer::{Outcome, Voice};
use body::Kept;
use query::Query;

pub use address::token_digest;
pub(crate) use address::{PATH_PREFIX, UUID_PREFIX, is_word, token_as_uuid};
pub(crate) use answer::not_found;
pub use options::{Keywords, MAX_SLUG_BYTES, Options, Otherwise, slug_of};

/// How long a ping may wait for its commit.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a user agent that are kept (Healthchecks' figure).
const USER_AGENT_CHARS: usize = 200;

/// What takes pings.
#[expect(missing_docs, reason = "the parts are documented where they are defined")]
pub struct Pings {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub settings: Arc<Settings>,
    pub views: Arc<Views>,
    pub shards: shard::Handle,
    /// Whether commits succeed.
    pub healthy: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
}

/// The routes of heartbeat URLs.
pub fn router(pings: Arc<Pings>) -> Router {
    // One route for all forms of a family: which are known is decided in one place, with one answer for the others.
    [PATH_PREFIX, UUID_PREFIX, address::PUSH_PREFIX]
        .into_iter()
        .fold(Router::new(), |router, prefix| router.route(&format!("{prefix}{{*rest}}"), any(take)))
        .with_state(pings)
}

async fn take(State(pings): State<Arc<Pings>>, request: Request) -> Response {
    let Some(method) = ping_method(request.method()) else {
        return answer::method_not_allowed();
    };
    let (head, body) = request.into_parts();
    let address = address::parse(head.uri.path());
    let voice = if matches!(address, Some(Address::Push(_))) { Voice::Push } else { Voice::Plain };
    let mut reader = Reader { body: Some(body), is_whole: true };
    let outcome = match address {
        Some(address) => pings.take(address, head.uri.query(), method, &head.headers, &mut reader).await,
        None => Outcome::Unknown,
    };
    pings.metrics.ping(match outcome {
        Outcome::Committed | Outcome::Created => PingAnswer::Committed,
        Outcome::Unavailable => PingAnswer::Unavailable,
        _ => PingAnswer::Unknown,
    });
    let answer = answer::answer(&outcome, voice, pings.random.as_ref());
    // On HTTP/1 nothing else can come on the connection after a body that was not read to its end.
    if reader.is_whole || head.version >= Version::HTTP_2 { answer } else { answer::and_close(answer) }
}

/// A request's body, read once it is known that somebody wants it.
struct Reader {
    body: Option<axum::body::Body>,
    is_whole: bool,
}

impl Reader {
    async fn keep(&mut self) -> Kept {
        let kept = body::keep(self.body.take().unwrap_or_default()).await;
        self.is_whole = kept.is_whole;
        kept
    }
}

impl Pings {
    async fn take(
        &self,
        address: Address<'_>,
        query: Option<&str>,
        method: PingMethod,
        headers: &HeaderMap,
        reader: &mut Reader,
    ) -> Outcome {
        // Before anything is looked up: while nothing can be committed, what is known of tokens may be old.
        if !self.healthy.load(Ordering::Acquire) {
            return Outcome::Unavailable;
        }
        let (found, report) = match address {
            Address::Push(digest) => return self.take_push(&digest, query, method, headers).await,
            Address::CapitalSlug => return Outcome::InvalidUrl,
            Address::Token(digest, report) => {
                (self.views.heartbeat_by_token(&digest).map(Found::There), report)
            }
            Address::Slug(key, slug, report) => (self.by_slug(&key, slug), report),
        };
        let Some(found) = found else { return Outcome::Unknown };
        let Report::Is(kind) = report else { return Outcome::InvalidUrl };
        let Ok(query) = query::parse(query) else { return Outcome::InvalidRun };
        let at = self.clock.now();
        let (heartbeat, done) = match found {
            Found::There(heartbeat) => (heartbeat, Outcome::Committed),
            Found::Several => return Outcome::AmbiguousSlug,
            Found::Absent { .. } if !query.create => return Outcome::Unknown,
            Found::Absent { slug } => match self.create(slug).await {
                Ok(created) => created,
                Err(refused) => return refused,
            },
        };
        let Query { run, .. } = query;
        let kept = reader.keep().await;
        let body = kept.bytes;
        let heard = HeardPing {
            run,
            method,
            body,
            left_out: kept.left_out,
            user_agent: user_agent(headers),
            ..HeardPing::new(heartbeat, kind, at)
        };
        self.commit(heard, done).await
    }

    /// A push tells everything in its query.
    async fn take_push(
        &self,
        digest: &[u8; 32],
        query: Option<&str>,
        method: PingMethod,
        headers: &HeaderMap,
    ) -> Outcome {
        let Some(heartbeat) = self.views.heartbeat_by_token(digest) else { return Outcome::Unknown };
        let push = match query::parse_push(query) {
            Ok(push) => push,
            Err(problem) => return Outcome::InvalidPush(problem),
        };
        let kept = body::keep(push.message.into()).await;
        let heard = HeardPing {
            method,
            body: kept.bytes,
            left_out: kept.left_out,
            user_agent: user_agent(headers),
            ..HeardPing::new(heartbeat, push.kind, self.clock.now())
        };
        self.commit(heard, Outcome::Committed).await
    }

    /// Reads a ping as its heartbeat wants it read, and commits it.
    async fn commit(&self, mut heard: HeardPing, done: Outcome) -> Outcome {
        let view = self.views.get(SubjectId::Heartbeat(heard.heartbeat));
        if let Some((_, definition)) = view.as_ref().and_then(|view| view.definition.heartbeat()) {
            match definition.pings.read(heard.kind, heard.method, &heard.body) {
                Some(kind) => heard.kind = kind,
                None => heard.is_ignored = true,
            }
        }
        match tokio::time::timeout(COMMIT_PATIENCE, self.shards.ping(heard)).await {
            Ok(Ok(())) => done,
            Ok(Err(shard::Unavailable)) | Err(_) => Outcome::Unavailable,
        }
    }
}

/// What an address leads to, if it leads anywhere.
enum Found<'a> {
    There(HeartbeatId),
    /// Nothing yet: whoever asks may have it created.
    Absent {
        slug: &'a str,
    },
    Several,
}

fn ping_method(method: &Method) -> Option<PingMethod> {
    match *method {
        Method::HEAD => Some(PingMethod::Head),
        Method::GET => Some(PingMethod::Get),
        Method::POST => Some(PingMethod::Post),
        _ => None,
    }
}

/// What the client calls itself, cut; nothing if that is no text.
fn user_agent(headers: &HeaderMap) -> String {
    let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().take(USER_AGENT_CHARS).collect()
}

#[cfg(test)]
mod tests;
