//! `StatusPages`: what the public sees.

use model::{PageId, SubjectId};
use proto::admin::v1 as wire;
use proto::admin::v1::status_pages_server::StatusPages;
use store::records::DEFAULT_WORKSPACE;
use store::{ConfigChange, PageRow};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::instant;
use super::fields::{self, MAX_NAME_CHARS};
use super::find::{Found, require_id, shorten};
use super::invalid::Invalid;
use super::paging::{self, Page, Scope};
use super::refusal::{Refusal, not_found};

/// The longest slug.
const MAX_SLUG_CHARS: usize = 63;

#[tonic::async_trait]
impl StatusPages for Admin {
    async fn create_status_page(
        &self,
        request: Request<wire::CreateStatusPageRequest>,
    ) -> Result<Response<wire::StatusPage>, Status> {
        let asked = request.into_inner().status_page.unwrap_or_default();
        let now = self.clock.now();
        let id = PageId::new(now, self.random.as_ref());
        let mut invalid = Invalid::default();
        let name = fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid);
        let slug = if asked.slug.is_empty() {
            name.as_deref().map(|name| slug_from(name, id))
        } else {
            read_slug(&asked.slug, &mut invalid)
        };
        let components = self.read_components(&asked.components, &mut invalid);
        let (name, slug) = invalid.finish(name.zip(slug))?;
        let row =
            PageRow { id, workspace: DEFAULT_WORKSPACE.into(), name, slug, components, created_at: now };
        let put = row.clone();
        self.settings.change::<Refusal>(|_| Ok(ConfigChange::PutPage(put))).await?;
        Ok(Response::new(self.render_page(&row)))
    }

    async fn get_status_page(
        &self,
        request: Request<wire::GetStatusPageRequest>,
    ) -> Result<Response<wire::StatusPage>, Status> {
        let asked = request.into_inner().id;
        require_id(&asked)?;
        let config = self.settings.present();
        let id: Option<PageId> = asked.parse().ok();
        let pages = || config.pages.iter();
        let row = pages()
            .find(|row| Some(row.id) == id)
            .or_else(|| pages().find(|row| row.name == asked))
            .or_else(|| pages().find(|row| row.slug == asked))
            .ok_or_else(|| not_found("status page", &asked))?;
        Ok(Response::new(self.render_page(row)))
    }

    async fn list_status_pages(
        &self,
        request: Request<wire::ListStatusPagesRequest>,
    ) -> Result<Response<wire::ListStatusPagesResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let page = Page::read(Scope::new("pages", &[]), request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let config = self.settings.present();
        let (status_pages, next_page_token) = paging::cut(
            &page,
            &config.pages,
            |row| (row.name.clone(), *row.id.as_bytes()),
            |row| self.render_page(row),
        );
        Ok(Response::new(wire::ListStatusPagesResponse { status_pages, next_page_token }))
    }
}

impl Admin {
    /// What is to stand on a page, in order, each once.
    fn read_components(&self, asked: &[String], invalid: &mut Invalid) -> Vec<SubjectId> {
        let mut components = vec![];
        for asked in asked {
            match self.find_subject(asked) {
                Found::One(view) if components.contains(&view.definition.id) => {}
                Found::One(view) => components.push(view.definition.id),
                Found::Nothing => invalid
                    .add("components", format!("there is no monitor or heartbeat `{}`", shorten(asked))),
                Found::Several => invalid.add(
                    "components",
                    format!("both a monitor and a heartbeat are named `{}`: use the id", shorten(asked)),
                ),
            }
        }
        components
    }

    fn render_page(&self, row: &PageRow) -> wire::StatusPage {
        wire::StatusPage {
            id: row.id.to_string(),
            name: row.name.clone(),
            slug: row.slug.clone(),
            components: row.components.iter().map(ToString::to_string).collect(),
            url: self.public_url(&format!("/status/{}", row.slug)),
            created_at: instant(row.created_at),
        }
    }
}

fn read_slug(text: &str, invalid: &mut Invalid) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let sound = text.len() <= MAX_SLUG_CHARS && text.chars().all(allowed) && text.trim_matches('-') == text;
    if !sound {
        invalid.add(
            "slug",
            format!(
                "must be 1 to {MAX_SLUG_CHARS} of a-z, 0-9 and `-`, beginning and ending with a letter or digit, \
                 such as acme-api"
            ),
        );
    }
    sound.then(|| text.to_owned())
}

/// A slug made from a page's name: `Acme API Status` is `acme-api-status`. A name without any Latin letter or digit
/// gives one made from the page's id.
fn slug_from(name: &str, id: PageId) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    slug.truncate(MAX_SLUG_CHARS);
    let slug = slug.trim_matches('-');
    if slug.is_empty() { format!("page-{:08x}", id.hash() >> 32) } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::admin::bench::{Bench, monitor, refused, said};

    async fn create(
        bench: &Bench,
        name: &str,
        slug: &str,
        components: &[&str],
    ) -> Result<Response<wire::StatusPage>, Status> {
        let page = wire::StatusPage {
            name: name.into(),
            slug: slug.into(),
            components: components.iter().map(|component| (*component).to_owned()).collect(),
            ..wire::StatusPage::default()
        };
        let request = wire::CreateStatusPageRequest { status_page: Some(page) };
        bench.admin.create_status_page(Request::new(request)).await
    }

    #[tokio::test]
    async fn a_page_has_a_public_url_and_its_components_in_order() {
        let bench = Bench::with_regions(&["us-east"]).await;
        let site = bench.create(monitor("http://a.example")).await.unwrap();
        let job = bench.heartbeat("job").await;
        let page = said(create(&bench, "Acme API Status", "", &["job", &site.id, "a.example"]).await);
        assert_eq!(
            (page.slug.as_str(), page.components.as_slice()),
            ("acme-api-status", [job.id, site.id].as_slice())
        );
        assert_eq!(page.url, "https://status.example.com/status/acme-api-status");
        for asked in [page.id.as_str(), "Acme API Status", "acme-api-status"] {
            let request = wire::GetStatusPageRequest { id: asked.into() };
            assert_eq!(said(bench.admin.get_status_page(Request::new(request)).await), page);
        }
        let list =
            said(bench.admin.list_status_pages(Request::new(wire::ListStatusPagesRequest::default())).await);
        assert_eq!(list.status_pages, [page]);
    }

    #[tokio::test]
    async fn wrong_fields_are_named_and_names_and_slugs_are_unique() {
        let bench = Bench::with_regions(&["us-east"]).await;
        bench.heartbeat("api").await;
        bench.create(wire::Monitor { name: "api".into(), ..monitor("http://a.example") }).await.unwrap();
        let wrong = create(&bench, "", "Not A Slug", &["nothing"]).await;
        assert_eq!(
            refused(wrong),
            (Code::InvalidArgument, vec!["name".into(), "slug".into(), "components".into()])
        );
        let ambiguous = create(&bench, "x", "", &["api"]).await;
        assert!(ambiguous.as_ref().unwrap_err().message().contains("use the id"));
        assert_eq!(refused(ambiguous).1, ["components"]);
        for slug in ["-a", "a-", "ä", &"a".repeat(64)] {
            assert_eq!(refused(create(&bench, "x", slug, &[]).await).1, ["slug"], "{slug}");
        }
        said(create(&bench, "Acme", "", &[]).await);
        assert_eq!(refused(create(&bench, "Acme", "other", &[]).await).0, Code::AlreadyExists);
        assert_eq!(refused(create(&bench, "ACME", "", &[]).await).0, Code::AlreadyExists);
    }

    #[tokio::test]
    async fn a_name_without_latin_letters_still_gives_a_slug() {
        let bench = Bench::start().await;
        let page = said(create(&bench, "状态页", "", &[]).await);
        assert!(page.slug.starts_with("page-") && page.slug.len() == 13, "{}", page.slug);
        let long = said(create(&bench, &"very ".repeat(30), "", &[]).await);
        assert!(long.slug.len() <= MAX_SLUG_CHARS && !long.slug.ends_with('-'), "{}", long.slug);
    }
}
