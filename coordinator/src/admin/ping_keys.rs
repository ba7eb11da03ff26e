//! `PingKeys`: who may ping heartbeats by their slugs. A key is random, shown once and kept as its digest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{KeyId, random};
use proto::admin::v1 as wire;
use proto::admin::v1::ping_keys_server::PingKeys;
use store::records::DEFAULT_WORKSPACE;
use store::{ConfigChange, PingKeyRow};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::instant;
use super::fields::{self, MAX_NAME_CHARS};
use super::find::require_id;
use super::invalid::Invalid;
use super::paging::{self, Page, Scope};
use super::refusal::{Refusal, not_found};
use crate::ping;

#[tonic::async_trait]
impl PingKeys for Admin {
    async fn create_ping_key(
        &self,
        request: Request<wire::CreatePingKeyRequest>,
    ) -> Result<Response<wire::PingKey>, Status> {
        let mut invalid = Invalid::default();
        let name = fields::name("name", &request.into_inner().name, MAX_NAME_CHARS, &mut invalid);
        let name = invalid.finish(name)?;
        let now = self.clock.now();
        let key = URL_SAFE_NO_PAD.encode(random::bytes::<16>(self.random.as_ref()));
        let row = PingKeyRow {
            id: KeyId::new(now, self.random.as_ref()),
            workspace: DEFAULT_WORKSPACE.into(),
            name,
            digest: ping::token_digest(&key),
            created_at: now,
        };
        let put = row.clone();
        self.settings.change::<Refusal>(|_| Ok(ConfigChange::PutPingKey(put))).await?;
        let ping_url_prefix = self.public_url(&format!("{}{key}/", ping::UUID_PREFIX));
        Ok(Response::new(wire::PingKey { key, ping_url_prefix, ..answer(&row) }))
    }

    async fn list_ping_keys(
        &self,
        request: Request<wire::ListPingKeysRequest>,
    ) -> Result<Response<wire::ListPingKeysResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let scope = Scope::new("ping_keys", &[]);
        let page = Page::read(scope, request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let config = self.settings.present();
        let (ping_keys, next_page_token) = paging::cut(
            &page,
            &config.ping_keys,
            |row| (row.name.clone(), *row.id.as_bytes()),
            |row| answer(row),
        );
        Ok(Response::new(wire::ListPingKeysResponse { ping_keys, next_page_token }))
    }

    async fn delete_ping_key(
        &self,
        request: Request<wire::DeletePingKeyRequest>,
    ) -> Result<Response<()>, Status> {
        let asked = request.into_inner().id;
        require_id(&asked)?;
        let config = self.settings.present();
        let id: Option<KeyId> = asked.parse().ok();
        let row = config.ping_keys.iter().find(|row| Some(row.id) == id || row.name == asked);
        let id = row.ok_or_else(|| not_found("ping key", &asked))?.id;
        self.settings.change::<Refusal>(|_| Ok(ConfigChange::DeletePingKey(id))).await?;
        Ok(Response::new(()))
    }
}

fn answer(row: &PingKeyRow) -> wire::PingKey {
    wire::PingKey {
        id: row.id.to_string(),
        name: row.name.clone(),
        created_at: instant(row.created_at),
        ..wire::PingKey::default()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::admin::bench::{Bench, refused, said};

    #[tokio::test]
    async fn a_key_is_shown_once_and_taken_until_it_is_deleted() {
        let bench = Bench::start().await;
        let create = async |name: &str| {
            let request = wire::CreatePingKeyRequest { name: name.into() };
            bench.admin.create_ping_key(Request::new(request)).await
        };
        let made = said(create("jobs").await);
        assert_eq!(made.key.len(), 22);
        assert_eq!(made.ping_url_prefix, format!("https://status.example.com/ping/{}/", made.key));
        let stored = || bench.admin.settings.present().ping_keys.clone();
        assert_eq!(stored()[0].digest, ping::token_digest(&made.key));
        assert_eq!(refused(create("jobs").await).0, Code::AlreadyExists);
        assert_eq!(refused(create(" ").await), (Code::InvalidArgument, vec!["name".to_owned()]));
        let list = said(bench.admin.list_ping_keys(Request::new(wire::ListPingKeysRequest::default())).await);
        assert_eq!(
            list.ping_keys,
            [wire::PingKey { key: String::new(), ping_url_prefix: String::new(), ..made }]
        );
        let delete = async |id: &str| {
            bench.admin.delete_ping_key(Request::new(wire::DeletePingKeyRequest { id: id.into() })).await
        };
        said(delete("jobs").await);
        assert_eq!(stored(), []);
        assert_eq!(refused(delete("jobs").await).0, Code::NotFound);
    }
}
