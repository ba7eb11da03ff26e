//! Heartbeats found by their slug, and those that a first ping creates (`?create=1`), as Healthchecks does it.

use std::sync::Arc;
use std::time::Duration;

use engine::schedule::Schedule;
use model::{HeartbeatId, SubjectId, random};
use subtle::{Choice, ConstantTimeEq};
use tracing::warn;

use super::answer::Outcome;
use super::{Found, Options, Pings};
use crate::definition::{Definition, HeartbeatDefinition, Kind, Timing};
use crate::shard::{ChangeError, ChangeRequest};

/// With so many heartbeats none is created by a ping any more: a ping key is in the hands of many scripts.
const MAX_HEARTBEATS: usize = 10_000;
/// What is expected of a heartbeat that a ping created (Healthchecks' figures).
const INTERVAL: Duration = Duration::from_secs(86_400);
const GRACE: Duration = Duration::from_secs(3_600);

impl Pings {
    /// What a slug leads to for whoever has that key; `None`: there is no such key.
    pub(super) fn by_slug<'a>(&self, key: &[u8; 32], slug: &'a str) -> Option<Found<'a>> {
        let config = self.settings.present();
        // Takes the same time whichever key it is, and whether it is one.
        let known = |found: Choice, row: &store::PingKeyRow| found | row.digest.ct_eq(key);
        if !bool::from(config.ping_keys.iter().fold(Choice::from(0), known)) {
            return None;
        }
        Some(match self.views.heartbeats_by_slug(slug)[..] {
            [] => Found::Absent { slug },
            [heartbeat] => Found::There(heartbeat),
            [..] => Found::Several,
        })
    }

    /// Creates a heartbeat of that slug and name; it notifies every channel there is, since nobody is there to choose.
    pub(super) async fn create(&self, slug: &str) -> Result<(HeartbeatId, Outcome), Outcome> {
        if self.views.heartbeats() >= MAX_HEARTBEATS {
            warn!(heartbeat.slug = slug, "a ping created no heartbeat: there are {MAX_HEARTBEATS} already");
            return Err(Outcome::Unknown);
        }
        let now = self.clock.now();
        let id = HeartbeatId::new(now, self.random.as_ref());
        // Nobody is told its token: it is known by its slug.
        let token: [u8; 32] = random::bytes(self.random.as_ref());
        let definition = HeartbeatDefinition {
            schedule: Schedule::Every(INTERVAL),
            grace: GRACE,
            timing: Timing::default(),
            channels: self.settings.present().channels.iter().map(|channel| channel.id).collect(),
            alert: engine::alert::Options::default(),
            tags: vec![],
            paused: false,
            token_digest: token,
            pings: Options { slug: Some(slug.to_owned()), ..Options::default() },
        };
        let definition = Box::new(Definition {
            id: SubjectId::Heartbeat(id),
            name: slug.to_owned(),
            revision: 1,
            created_at: now,
            updated_at: now,
            kind: Kind::Heartbeat(Arc::new(definition)),
        });
        match self.shards.change(ChangeRequest::Put { definition, expected: None }).await {
            Ok(()) => Ok((id, Outcome::Created)),
            // Another ping was faster, or another heartbeat is called so.
            Err(ChangeError::NameTaken(_)) => match self.views.heartbeats_by_slug(slug)[..] {
                [heartbeat] => Ok((heartbeat, Outcome::Committed)),
                _ => Err(Outcome::AmbiguousSlug),
            },
            Err(_) => Err(Outcome::Unavailable),
        }
    }
}
