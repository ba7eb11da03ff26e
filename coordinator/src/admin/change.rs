//! Changes to monitors and heartbeats: to the owner of their shard, and again when somebody else was faster.

use std::sync::Arc;

use model::SubjectId;
use tonic::Status;

use super::Admin;
use super::fields::is_present_etag;
use super::refusal::{change_failed, not_found, stale};
use crate::definition::{Definition, Kind};
use crate::shard::{ChangeError, ChangeRequest};

/// How often a change without an etag is made anew upon what somebody else changed.
const TRIES: u32 = 5;

impl Admin {
    /// Creates a subject.
    pub(super) async fn create_subject(&self, id: SubjectId, name: String, kind: Kind) -> Result<(), Status> {
        let now = self.clock.now();
        let definition = Definition { id, name, revision: 1, created_at: now, updated_at: now, kind };
        let (kind, name) = (definition.to_kind().as_str(), definition.name.clone());
        let request = ChangeRequest::Put { definition: Box::new(definition), expected: None };
        self.shards.change(request).await.map_err(|error| change_failed(kind, &name, &error))
    }

    /// Gives a subject the name and the kind's part that `edit` makes of the present definition.
    pub(super) async fn redefine(
        &self,
        id: SubjectId,
        etag: &str,
        edit: impl Fn(&Definition) -> Result<(String, Kind), Status> + Send + Sync,
    ) -> Result<(), Status> {
        let kind = kind_of(id);
        for _ in 0..TRIES {
            let view = self.views.get(id).ok_or_else(|| not_found(kind, &id.to_string()))?;
            let before: &Definition = &view.definition;
            if !is_present_etag(etag, before.revision) {
                return Err(stale(kind, &before.name));
            }
            let (name, part) = edit(before)?;
            if name == before.name && part == before.kind {
                return Ok(());
            }
            let definition = Definition {
                id,
                name,
                revision: before.revision + 1,
                created_at: before.created_at,
                updated_at: self.clock.now(),
                kind: part,
            };
            let request =
                ChangeRequest::Put { definition: Box::new(definition), expected: Some(before.revision) };
            match self.shards.change(request).await {
                Err(ChangeError::Stale) if etag.is_empty() => {}
                done => return done.map_err(|error| change_failed(kind, &before.name, &error)),
            }
        }
        Err(stale(kind, &id.to_string()))
    }

    /// Deletes a subject; an open incident is closed.
    pub(super) async fn delete_subject(&self, before: &Arc<Definition>, etag: &str) -> Result<(), Status> {
        let kind = kind_of(before.id);
        if !is_present_etag(etag, before.revision) {
            return Err(stale(kind, &before.name));
        }
        let expected = (!etag.is_empty()).then_some(before.revision);
        let request = ChangeRequest::Delete { id: before.id, expected };
        self.shards.change(request).await.map_err(|error| change_failed(kind, &before.name, &error))?;
        self.forget_badge(before.id).await;
        Ok(())
    }
}

const fn kind_of(id: SubjectId) -> &'static str {
    match id {
        SubjectId::Monitor(_) => "monitor",
        SubjectId::Heartbeat(_) => "heartbeat",
        SubjectId::Agent(_) => "agent",
        SubjectId::Installation(_) => "installation",
    }
}
