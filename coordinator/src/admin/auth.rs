//! Who may call: the bearer of an API key.

use std::sync::Arc;

use store::Config;
use subtle::{Choice, ConstantTimeEq};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::key;
use crate::settings::Settings;

/// Lets a request pass that carries a key of this installation.
#[derive(Clone, Debug)]
pub(super) struct RequireKey {
    settings: Arc<Settings>,
}

impl RequireKey {
    pub(super) const fn new(settings: Arc<Settings>) -> Self {
        Self { settings }
    }
}

impl Interceptor for RequireKey {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let key = bearer(request.metadata())?;
        if is_known(&self.settings.present(), &key::digest(key)) {
            Ok(request)
        } else {
            Err(Status::unauthenticated("the API key is not one of this installation"))
        }
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    let header = metadata.get("authorization").ok_or_else(|| {
        Status::unauthenticated(
            "an API key is needed: send the metadata `authorization: Bearer vk_…` (vigilctl takes it from \
             VIGILMON_API_KEY)",
        )
    })?;
    header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| Status::unauthenticated("the metadata `authorization` must be `Bearer vk_…`"))
}

/// Takes the same time whichever key it is, and whether it is one.
fn is_known(config: &Config, digest: &[u8; 32]) -> bool {
    let known = |found: Choice, row: &store::KeyRow| found | row.digest.ct_eq(digest);
    config.keys.iter().fold(Choice::from(0), known).into()
}

#[cfg(test)]
mod tests {
    use model::{KeyId, SystemRandom, Timestamp};
    use store::records::DEFAULT_WORKSPACE;
    use store::{ConfigChange, KeyRow};
    use tonic::Code;

    use super::*;
    use crate::admin::bench::Bench;

    #[tokio::test]
    async fn only_the_bearer_of_a_stored_key_passes() {
        let bench = Bench::start().await;
        let (key, digest) = key::generate(&SystemRandom);
        let row = KeyRow {
            id: KeyId::new(Timestamp::from_secs(1), &SystemRandom),
            workspace: DEFAULT_WORKSPACE.into(),
            name: "first".into(),
            digest,
            created_at: Timestamp::from_secs(1),
        };
        let change = |_: &Config| Ok::<_, store::Error>(ConfigChange::PutKey(row));
        bench.admin.settings.change(change).await.unwrap();

        let mut auth = RequireKey::new(Arc::clone(&bench.admin.settings));
        let mut call = |header: Option<&str>| {
            let mut request = Request::new(());
            if let Some(header) = header {
                request.metadata_mut().insert("authorization", header.parse().unwrap());
            }
            auth.call(request).map(drop)
        };
        let key = key.expose();
        assert!(call(Some(&format!("Bearer {key}"))).is_ok());
        assert!(call(Some(&format!("bearer {key}"))).is_ok());
        for (header, word) in [
            (None, "VIGILMON_API_KEY"),
            (Some(key.as_str()), "must be `Bearer"),
            (Some("Basic dXNlcjpwdw=="), "must be `Bearer"),
            (Some("Bearer "), "not one of"),
            (Some(&format!("Bearer {key}x")), "not one of"),
            (Some(&format!("Bearer {}", &key[..45])), "not one of"),
        ] {
            let refusal = call(header).unwrap_err();
            assert_eq!(refusal.code(), Code::Unauthenticated);
            assert!(refusal.message().contains(word) && !refusal.message().contains(&key[3..]), "{refusal}");
        }
    }
}
