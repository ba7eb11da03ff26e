//! `Badges`: the addresses under which the world may see how a monitor or heartbeat is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{SubjectId, random};
use proto::admin::v1 as wire;
use proto::admin::v1::badges_server::Badges;
use store::records::DEFAULT_WORKSPACE;
use store::{BadgeRow, ConfigChange};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::instant;
use super::find::{Found, require_id, shorten};
use super::invalid::Invalid;
use super::refusal::{Refusal, not_found};
use crate::web::badge;

#[tonic::async_trait]
impl Badges for Admin {
    async fn create_badge(
        &self,
        request: Request<wire::CreateBadgeRequest>,
    ) -> Result<Response<wire::Badge>, Status> {
        let subject = self.badge_subject(&request.into_inner().subject_id)?;
        if let Some(row) = self.badge_of(subject) {
            return Ok(Response::new(self.render_badge(&row)));
        }
        let row = BadgeRow {
            id: URL_SAFE_NO_PAD.encode(random::bytes::<16>(self.random.as_ref())),
            workspace: DEFAULT_WORKSPACE.into(),
            subject,
            created_at: self.clock.now(),
        };
        let put = row.clone();
        self.settings.change::<Refusal>(|_| Ok(ConfigChange::PutBadge(put))).await?;
        Ok(Response::new(self.render_badge(&row)))
    }

    async fn delete_badge(&self, request: Request<wire::DeleteBadgeRequest>) -> Result<Response<()>, Status> {
        let asked = request.into_inner().subject_id;
        let subject = self.badge_subject(&asked)?;
        if self.badge_of(subject).is_none() {
            return Err(not_found("badge", &asked));
        }
        self.settings.change::<Refusal>(|_| Ok(ConfigChange::DeleteBadge(subject))).await?;
        Ok(Response::new(()))
    }
}

impl Admin {
    /// A monitor or heartbeat by id, or by a name that only one has.
    fn badge_subject(&self, asked: &str) -> Result<SubjectId, Status> {
        require_id(asked)?;
        match self.find_subject(asked) {
            Found::One(view) => Ok(view.definition.id),
            Found::Nothing => Err(not_found("monitor or heartbeat", asked)),
            Found::Several => Err(Invalid::one(
                "subject_id",
                format!("both a monitor and a heartbeat are named `{}`: use the id", shorten(asked)),
            )),
        }
    }

    /// Takes away the badge of a subject that is gone. Where that fails its address leads nowhere all the same.
    pub(super) async fn forget_badge(&self, subject: SubjectId) {
        if self.badge_of(subject).is_some() {
            let deleted = self.settings.change::<Refusal>(|_| Ok(ConfigChange::DeleteBadge(subject))).await;
            if deleted.is_err() {
                tracing::debug!(subject.id = %subject, "the badge of a deleted subject is still stored");
            }
        }
    }

    fn badge_of(&self, subject: SubjectId) -> Option<BadgeRow> {
        self.settings.present().badges.iter().find(|row| row.subject == subject).cloned()
    }

    fn render_badge(&self, row: &BadgeRow) -> wire::Badge {
        wire::Badge {
            subject_id: row.subject.to_string(),
            url: self.public_url(&format!("{}{}.svg", badge::PATH_PREFIX, row.id)),
            created_at: instant(row.created_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::admin::v1::monitors_server::Monitors as _;
    use tonic::Code;

    use super::*;
    use crate::admin::bench::{Bench, monitor, refused, said};

    #[tokio::test]
    async fn a_badge_keeps_its_address_until_it_is_revoked() {
        let bench = Bench::with_regions(&["us-east"]).await;
        let job = bench.heartbeat("job").await.id;
        let site = bench.create(monitor("http://a.example")).await.unwrap().id;
        let create = async |subject: &str| {
            let request = wire::CreateBadgeRequest { subject_id: subject.into() };
            bench.admin.create_badge(Request::new(request)).await
        };
        let first = said(create("job").await);
        assert_eq!(
            (first.subject_id.as_str(), said(create(&job).await).url == first.url),
            (job.as_str(), true)
        );
        assert!(first.url.starts_with("https://status.example.com/badge/") && first.url.ends_with(".svg"));
        assert!(!first.url.contains(&job) && said(create(&site).await).url != first.url);
        assert_eq!(refused(create("nobody").await).0, Code::NotFound);

        let delete = async |subject: &str| {
            let request = wire::DeleteBadgeRequest { subject_id: subject.into() };
            bench.admin.delete_badge(Request::new(request)).await
        };
        said(delete("job").await);
        assert_eq!(refused(delete("job").await).0, Code::NotFound);
        assert_ne!(said(create("job").await).url, first.url);
        let request = wire::DeleteMonitorRequest { id: site, etag: String::new() };
        said(bench.admin.delete_monitor(Request::new(request)).await);
        assert_eq!(bench.admin.settings.present().badges.len(), 1, "the monitor's went with it");
    }
}
