//! `Policies`: who is told of the incidents of whatever carries a tag, and how.

use engine::alert::MAX_CHANNELS;
use model::{PolicyId, SubjectId};
use proto::admin::v1 as wire;
use proto::admin::v1::policies_server::Policies;
use store::{Config, ConfigChange, PolicyRow};
use tonic::{Request, Response, Status};

use super::convert::instant;
use super::fields::{self, MAX_NAME_CHARS, etag, is_present_etag};
use super::find::{self, require_id};
use super::invalid::Invalid;
use super::paging::{self, Page, Scope as ListScope};
use super::refusal::{Refusal, not_found, stale, unreadable};
use super::{Admin, alert, scope};
use crate::alert::{AlertPolicy, Terms};
use crate::view::Views;

const KIND: &str = "policy";
/// Policies that an installation may have.
const MAX_POLICIES: usize = 500;
const CHANGEABLE: [&str; 7] = ["name", "all", "tags", "monitors", "heartbeats", "channels", "alert"];
const FIXED: [&str; 4] = ["id", "created_at", "updated_at", "etag"];

#[tonic::async_trait]
impl Policies for Admin {
    async fn create_policy(
        &self,
        request: Request<wire::CreatePolicyRequest>,
    ) -> Result<Response<wire::Policy>, Status> {
        let asked = request.into_inner().policy.unwrap_or_default();
        let now = self.clock.now();
        let (name, terms) = read(&asked, &self.settings.present(), &self.views)?;
        let id = PolicyId::new(now, self.random.as_ref());
        let created = AlertPolicy { id, name, revision: 1, created_at: now, updated_at: now, terms };
        let decide = |config: &Config| {
            if config.policies.len() >= MAX_POLICIES {
                return Err(Refusal::from(Status::failed_precondition(format!(
                    "there are {MAX_POLICIES} policies already: delete those that nobody needs"
                ))));
            }
            Ok(ConfigChange::PutPolicy(created.to_row()))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(render(&created)))
    }

    async fn get_policy(
        &self,
        request: Request<wire::GetPolicyRequest>,
    ) -> Result<Response<wire::Policy>, Status> {
        let found = present(&self.settings.present(), &request.into_inner().id)?;
        Ok(Response::new(render(&found)))
    }

    async fn list_policies(
        &self,
        request: Request<wire::ListPoliciesRequest>,
    ) -> Result<Response<wire::ListPoliciesResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let listing = ListScope::new("policies", &[]);
        let page = Page::read(listing, request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let config = self.settings.present();
        let all: Vec<AlertPolicy> = config.policies.iter().map(read_row).collect::<Result<_, Status>>()?;
        let place = |policy: &&AlertPolicy| (policy.name.clone(), *policy.id.as_bytes());
        let (policies, next_page_token) = paging::cut(&page, &all, place, |policy| render(policy));
        Ok(Response::new(wire::ListPoliciesResponse { policies, next_page_token }))
    }

    async fn update_policy(
        &self,
        request: Request<wire::UpdatePolicyRequest>,
    ) -> Result<Response<wire::Policy>, Status> {
        let wire::UpdatePolicyRequest { policy, update_mask } = request.into_inner();
        let asked = policy.unwrap_or_default();
        let mut invalid = Invalid::default();
        let mask = fields::mask(update_mask, &CHANGEABLE, &FIXED, &mut invalid);
        invalid.refuse()?;
        let now = self.clock.now();
        let mut changed = None;
        let decide = |config: &Config| {
            let before = present(config, &asked.id)?;
            if !is_present_etag(&asked.etag, before.revision) {
                return Err(Refusal::from(stale(KIND, &before.name)));
            }
            let (name, terms) = read_change(&before, &asked, &mask, config, &self.views)?;
            let after = AlertPolicy { name, terms, revision: before.revision + 1, updated_at: now, ..before };
            let row = after.to_row();
            changed = Some(after);
            Ok(ConfigChange::PutPolicy(row))
        };
        self.settings.change(decide).await?;
        let changed = changed.ok_or_else(|| not_found(KIND, &asked.id))?;
        Ok(Response::new(render(&changed)))
    }

    async fn delete_policy(
        &self,
        request: Request<wire::DeletePolicyRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let decide = |config: &Config| {
            // Not read: what cannot be read can still be deleted.
            let row = find_row(config, &request.id)?;
            if !is_present_etag(&request.etag, row.revision) {
                return Err(Refusal::from(stale(KIND, &row.name)));
            }
            Ok(ConfigChange::DeletePolicy(row.id))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(()))
    }
}

fn read(asked: &wire::Policy, config: &Config, views: &Views) -> Result<(String, Terms), Status> {
    let mut invalid = Invalid::default();
    let name = fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid);
    let (tags, monitors, heartbeats) = (&asked.tags, &asked.monitors, &asked.heartbeats);
    let scope = scope::Asked { all: asked.all, tags, monitors, heartbeats };
    let scope = scope::read(scope, views, &mut invalid);
    let channels = find::channels(config, &asked.channels, &mut invalid);
    if channels.len() > MAX_CHANNELS {
        invalid.add("channels", format!("at most {MAX_CHANNELS} are allowed"));
    }
    let options = alert::read(asked.alert.as_ref(), config, &mut invalid);
    if asked.channels.is_empty() && options.escalation.steps.is_empty() {
        invalid.add("channels", "nobody is told: name a channel, or an escalation");
    }
    invalid.finish(name.map(|name| (name, Terms { scope, channels, options })))
}

/// A policy whose fields in `mask` become what `asked` says.
fn read_change(
    before: &AlertPolicy,
    asked: &wire::Policy,
    mask: &[&str],
    config: &Config,
    views: &Views,
) -> Result<(String, Terms), Status> {
    let named = |field: &str| mask.contains(&field);
    let mut draft = render(before);
    if named("all") && asked.all {
        (draft.tags, draft.monitors, draft.heartbeats) = Default::default();
    } else if ["tags", "monitors", "heartbeats"].into_iter().any(named) {
        draft.all = false;
    }
    macro_rules! take {
        ($($field:ident),+) => { $(
            if named(stringify!($field)) {
                draft.$field.clone_from(&asked.$field);
            }
        )+ };
    }
    take!(name, all, tags, monitors, heartbeats, channels, alert);
    // What is gone does not stand in the way of other changes.
    let is_there = |text: &String| SubjectId::parse(text).is_none_or(|id| views.get(id).is_some());
    if !named("monitors") {
        draft.monitors.retain(is_there);
    }
    if !named("heartbeats") {
        draft.heartbeats.retain(is_there);
    }
    if !named("channels") {
        draft.channels.retain(|text| find::channel(config, text).is_some());
    }
    if let Some(alert) = draft.alert.as_mut().filter(|_| !named("alert")) {
        for step in &mut alert.escalation {
            step.channels.retain(|text| find::channel(config, text).is_some());
        }
        alert.escalation.retain(|step| !step.channels.is_empty());
    }
    read(&draft, config, views)
}

fn render(policy: &AlertPolicy) -> wire::Policy {
    let Terms { scope, channels, options } = &policy.terms;
    wire::Policy {
        id: policy.id.to_string(),
        name: policy.name.clone(),
        all: scope.all,
        tags: scope.tags.iter().map(ToString::to_string).collect(),
        monitors: scope::named(scope, |id| matches!(id, SubjectId::Monitor(_))),
        heartbeats: scope::named(scope, |id| matches!(id, SubjectId::Heartbeat(_))),
        channels: channels.iter().map(ToString::to_string).collect(),
        alert: alert::render(options),
        created_at: instant(policy.created_at),
        updated_at: instant(policy.updated_at),
        etag: etag(policy.revision),
    }
}

/// A policy by id or name.
fn present(config: &Config, asked: &str) -> Result<AlertPolicy, Status> {
    read_row(find_row(config, asked)?)
}

fn find_row<'a>(config: &'a Config, asked: &str) -> Result<&'a PolicyRow, Status> {
    require_id(asked)?;
    let id: Option<PolicyId> = asked.parse().ok();
    let rows = || config.policies.iter();
    let found = rows().find(|row| Some(row.id) == id).or_else(|| rows().find(|row| row.name == asked));
    found.ok_or_else(|| not_found(KIND, asked))
}

fn read_row(row: &PolicyRow) -> Result<AlertPolicy, Status> {
    AlertPolicy::from_row(row).map_err(unreadable)
}
