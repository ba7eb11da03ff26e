//! `Channels`: where notifications go. URLs, tokens and signing secrets are never shown again.

mod fallback;
mod kinds;
mod test_send;

use model::{ChannelId, Timestamp};
use proto::admin::v1 as wire;
use proto::admin::v1::channels_server::Channels;
use store::records::DEFAULT_WORKSPACE;
use store::{ChannelRow, Config, ConfigChange};
use tonic::{Request, Response, Status};

use super::Admin;
use super::convert::instant;
use super::fields::{self, MAX_NAME_CHARS, etag, is_present_etag};
use super::find::{self, require_id};
use super::invalid::Invalid;
use super::paging::{self, Page, Scope};
use super::refusal::{Refusal, not_found, stale, unreadable};
use crate::alert::AlertPolicy;
use crate::notify::Channel;
use crate::notify::channel::{ChannelSettings, Settings, SigningKey, SigningSecret, rotate};

const CHANGEABLE: [&str; 6] = ["name", "url", "signing_secret", "notices", "settings", "fallback"];
const FIXED: [&str; 10] = [
    "id",
    "kind",
    "kind_name",
    "created_at",
    "updated_at",
    "etag",
    "public_key",
    "previous_secret_until",
    "disabled_at",
    "disabled_reason",
];
/// Users of a channel that a refusal names.
const MAX_NAMED: usize = 5;

#[tonic::async_trait]
impl Channels for Admin {
    async fn create_channel(
        &self,
        request: Request<wire::CreateChannelRequest>,
    ) -> Result<Response<wire::Channel>, Status> {
        let asked = request.into_inner().channel.unwrap_or_default();
        let (name, channel) = self.read_new(&asked)?;
        let mut invalid = Invalid::default();
        let fallback = fallback::read(&self.settings.present(), None, &asked.fallback, &mut invalid);
        invalid.refuse()?;
        let notices = asked.notices.unwrap_or(true);
        let settings = ChannelSettings { channel, notices, fallback, disabled: None };
        let now = self.clock.now();
        let row = ChannelRow {
            id: ChannelId::new(now, self.random.as_ref()),
            workspace: DEFAULT_WORKSPACE.into(),
            name,
            settings: settings.to_stored(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let put = row.clone();
        self.settings.change::<Refusal>(|_| Ok(ConfigChange::PutChannel(put))).await?;
        render_with_secret(&row, now).map(Response::new)
    }

    async fn get_channel(
        &self,
        request: Request<wire::GetChannelRequest>,
    ) -> Result<Response<wire::Channel>, Status> {
        let asked = request.into_inner().id;
        let config = self.settings.present();
        render(present(&config, &asked)?, self.clock.now()).map(Response::new)
    }

    async fn list_channels(
        &self,
        request: Request<wire::ListChannelsRequest>,
    ) -> Result<Response<wire::ListChannelsResponse>, Status> {
        let request = request.into_inner();
        let mut invalid = Invalid::default();
        let page =
            Page::read(Scope::new("channels", &[]), request.page_size, &request.page_token, &mut invalid);
        invalid.refuse()?;
        let (config, now) = (self.settings.present(), self.clock.now());
        let all: Vec<(&ChannelRow, wire::Channel)> =
            config.channels.iter().map(|row| Ok((row, render(row, now)?))).collect::<Result<_, Status>>()?;
        let (channels, next_page_token) = paging::cut(
            &page,
            all,
            |(row, _)| (row.name.clone(), *row.id.as_bytes()),
            |(_, channel)| channel.clone(),
        );
        Ok(Response::new(wire::ListChannelsResponse { channels, next_page_token }))
    }

    async fn update_channel(
        &self,
        request: Request<wire::UpdateChannelRequest>,
    ) -> Result<Response<wire::Channel>, Status> {
        let wire::UpdateChannelRequest { channel, update_mask } = request.into_inner();
        let asked = channel.unwrap_or_default();
        let mut invalid = Invalid::default();
        let mask = fields::mask(update_mask, &CHANGEABLE, &FIXED, &mut invalid);
        invalid.refuse()?;
        let now = self.clock.now();
        let config = self.settings.present();
        let read = |before: &ChannelRow| read_change(&config, before, &asked, &mask, now);
        let changed = self.change_channel(&asked.id, &asked.etag, now, read).await?;
        render(&changed, now).map(Response::new)
    }

    async fn delete_channel(
        &self,
        request: Request<wire::DeleteChannelRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let decide = |config: &Config| {
            let row = present(config, &request.id)?;
            if !is_present_etag(&request.etag, row.revision) {
                return Err(Refusal::from(stale("channel", &row.name)));
            }
            self.refuse_while_used(row, config)?;
            fallback::refuse_while_used(config, row)?;
            Ok(ConfigChange::DeleteChannel(row.id))
        };
        self.settings.change(decide).await?;
        Ok(Response::new(()))
    }

    async fn enable_channel(
        &self,
        request: Request<wire::EnableChannelRequest>,
    ) -> Result<Response<wire::Channel>, Status> {
        let asked = request.into_inner().id;
        let now = self.clock.now();
        let read = |before: &ChannelRow| {
            let settings = ChannelSettings { disabled: None, ..settings_of(before)? };
            Ok((before.name.clone(), settings))
        };
        let enabled = self.change_channel(&asked, "", now, read).await?;
        render(&enabled, now).map(Response::new)
    }

    async fn rotate_channel_secret(
        &self,
        request: Request<wire::RotateChannelSecretRequest>,
    ) -> Result<Response<wire::Channel>, Status> {
        let request = request.into_inner();
        let now = self.clock.now();
        let read = |before: &ChannelRow| {
            let mut settings = settings_of(before)?;
            if !settings.channel.is_signed() {
                return Err(Status::failed_precondition(format!(
                    "channel `{}` is no webhook and signs nothing",
                    before.name
                )));
            }
            let secret = settings.channel.new_secret(self.random.as_ref());
            rotate(&mut settings.channel.secrets, secret, now, !request.drop_previous);
            Ok((before.name.clone(), settings))
        };
        let changed = self.change_channel(&request.id, &request.etag, now, read).await?;
        render_with_secret(&changed, now).map(Response::new)
    }

    async fn test_channel(
        &self,
        request: Request<wire::TestChannelRequest>,
    ) -> Result<Response<wire::TestChannelResponse>, Status> {
        let request = request.into_inner();
        let (id, channel) = {
            let config = self.settings.present();
            let row = present(&config, &request.id)?;
            (row.id, settings_of(row)?.channel)
        };
        Ok(Response::new(self.send_test(id, &channel, request.sample()).await))
    }

    async fn list_channel_kinds(
        &self,
        _request: Request<wire::ListChannelKindsRequest>,
    ) -> Result<Response<wire::ListChannelKindsResponse>, Status> {
        Ok(Response::new(wire::ListChannelKindsResponse { kinds: kinds::described() }))
    }
}

impl Admin {
    fn read_new(&self, asked: &wire::Channel) -> Result<(String, Channel), Status> {
        let mut invalid = Invalid::default();
        let name = fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid);
        let provider = kinds::asked(asked, &mut invalid);
        let secret = read_secret(&asked.signing_secret, &mut invalid);
        let channel = provider.and_then(|provider| {
            let settings = kinds::given(&Settings::new(provider), asked, &mut invalid)?;
            let mut channel = Channel::new(settings);
            if channel.is_signed() {
                let secret = secret.unwrap_or_else(|| channel.new_secret(self.random.as_ref()));
                channel.secrets = vec![SigningKey { secret, until: None }];
            } else if !asked.signing_secret.is_empty() {
                invalid.add("signing_secret", "is for webhooks only: leave it empty");
            }
            Some(channel)
        });
        invalid.finish(name.zip(channel))
    }

    /// Writes what `read` makes of a channel as it is now.
    async fn change_channel(
        &self,
        id: &str,
        etag: &str,
        now: Timestamp,
        read: impl FnOnce(&ChannelRow) -> Result<(String, ChannelSettings), Status>,
    ) -> Result<ChannelRow, Status> {
        let mut changed = None;
        let decide = |config: &Config| {
            let before = present(config, id)?;
            if !is_present_etag(etag, before.revision) {
                return Err(Refusal::from(stale("channel", &before.name)));
            }
            let (name, settings) = read(before)?;
            let after = ChannelRow {
                name,
                settings: settings.to_stored(),
                revision: before.revision + 1,
                updated_at: now,
                ..before.clone()
            };
            changed = Some(after.clone());
            Ok(ConfigChange::PutChannel(after))
        };
        self.settings.change(decide).await?;
        changed.ok_or_else(|| not_found("channel", id))
    }

    /// A channel that somebody relies on stays.
    fn refuse_while_used(&self, row: &ChannelRow, config: &Config) -> Result<(), Status> {
        let mut users: Vec<String> = self
            .views
            .all()
            .into_iter()
            .filter(|view| {
                let definition = &view.definition;
                let own = definition.channels().iter().copied();
                own.chain(definition.alert().channels()).any(|id| id == row.id)
            })
            .map(|view| format!("{} `{}`", view.definition.to_kind().as_str(), view.definition.name))
            .collect();
        let policies = config.policies.iter().filter_map(|row| AlertPolicy::from_row(row).ok());
        let uses = |policy: &AlertPolicy| {
            let terms = &policy.terms;
            terms.channels.iter().copied().chain(terms.options.channels()).any(|id| id == row.id)
        };
        users.extend(policies.filter(uses).map(|policy| format!("policy `{}`", policy.name)));
        if users.is_empty() {
            return Ok(());
        }
        users.sort_unstable();
        let more = users.len().saturating_sub(MAX_NAMED);
        users.truncate(MAX_NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Err(Status::failed_precondition(format!(
            "channel `{}` is still notified by {}{more}: take it off them first",
            row.name,
            users.join(", ")
        )))
    }
}

fn present<'a>(config: &'a Config, asked: &str) -> Result<&'a ChannelRow, Status> {
    require_id(asked)?;
    find::channel(config, asked).ok_or_else(|| not_found("channel", asked))
}

/// The name and settings of a channel whose fields in `mask` become what `asked` says.
fn read_change(
    config: &Config,
    before: &ChannelRow,
    asked: &wire::Channel,
    mask: &[&str],
    now: Timestamp,
) -> Result<(String, ChannelSettings), Status> {
    let mut invalid = Invalid::default();
    let named = |field| mask.contains(&field);
    let ChannelSettings { mut channel, mut notices, mut fallback, disabled } = settings_of(before)?;
    if named("notices") {
        notices = asked.notices.unwrap_or(true);
    }
    if named("fallback") {
        fallback = fallback::read(config, Some(before.id), &asked.fallback, &mut invalid);
    }
    let name = if named("name") {
        fields::name("name", &asked.name, MAX_NAME_CHARS, &mut invalid)
    } else {
        Some(before.name.clone())
    };
    if named("url") || named("settings") {
        let mut given = wire::Channel::default();
        if named("url") {
            given.url = asked.url.clone();
            if given.url.trim().is_empty() {
                invalid.add("url", "is required: the receiver's URL, beginning with https:// or http://");
            }
        }
        if named("settings") {
            given.settings = asked.settings.clone();
        }
        if let Some(settings) = kinds::given(&channel.settings, &given, &mut invalid) {
            channel.settings = settings;
        }
    }
    if named("signing_secret") {
        let read = read_secret(&asked.signing_secret, &mut invalid);
        match read {
            _ if !channel.is_signed() => invalid.add("signing_secret", "is for webhooks only"),
            Some(new) => rotate(&mut channel.secrets, new, now, true),
            None if asked.signing_secret.is_empty() => {
                invalid.add("signing_secret", "cannot be taken away: give the new one");
            }
            None => {}
        }
    }
    invalid.finish(name.map(|name| (name, ChannelSettings { channel, notices, fallback, disabled })))
}

fn read_secret(text: &str, invalid: &mut Invalid) -> Option<SigningSecret> {
    if text.is_empty() { None } else { invalid.check("signing_secret", text.parse()) }
}

fn settings_of(row: &ChannelRow) -> Result<ChannelSettings, Status> {
    // The parser's own words may repeat a secret.
    serde_json::from_str(row.settings.expose()).map_err(|_| unreadable(format!("the settings of {}", row.id)))
}

/// A channel with the secret that was made just now, if receivers share it.
fn render_with_secret(row: &ChannelRow, now: Timestamp) -> Result<wire::Channel, Status> {
    let mut channel = render(row, now)?;
    if let Some(key) = settings_of(row)?.channel.secrets.first()
        && key.secret.public_key().is_none()
    {
        channel.signing_secret = key.secret.expose().to_owned();
    }
    Ok(channel)
}

/// A channel without its secrets.
fn render(row: &ChannelRow, now: Timestamp) -> Result<wire::Channel, Status> {
    let ChannelSettings { channel, notices, fallback, disabled } = settings_of(row)?;
    let mut settings = channel.settings.shown();
    let name = channel.provider().name();
    let previous = channel.secrets.iter().filter_map(|key| key.until).filter(|until| *until > now);
    Ok(wire::Channel {
        id: row.id.to_string(),
        name: row.name.clone(),
        kind: kinds::wire_kind(name).into(),
        url: settings.remove("url").unwrap_or_default(),
        signing_secret: String::new(),
        notices: Some(notices),
        created_at: instant(row.created_at),
        updated_at: instant(row.updated_at),
        etag: etag(row.revision),
        settings,
        kind_name: name.to_owned(),
        fallback: fallback.map(|id| id.to_string()).unwrap_or_default(),
        disabled_at: disabled.as_ref().and_then(|disabled| instant(disabled.at)),
        disabled_reason: disabled.map(|disabled| disabled.reason).unwrap_or_default(),
        public_key: channel.secrets.first().and_then(|key| key.secret.public_key()).unwrap_or_default(),
        previous_secret_until: previous.max().and_then(instant),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::admin::v1::monitors_server::Monitors as _;
    use tonic::Code;

    use super::*;
    use crate::admin::bench::{Bench, mask, monitor, refused, said};

    const SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";

    fn webhook(name: &str) -> wire::Channel {
        wire::Channel {
            name: name.into(),
            kind: wire::ChannelKind::Webhook.into(),
            url: "https://receiver.example:8443/in?token=hush".into(),
            ..wire::Channel::default()
        }
    }

    async fn create(bench: &Bench, channel: wire::Channel) -> Result<Response<wire::Channel>, Status> {
        bench.admin.create_channel(Request::new(wire::CreateChannelRequest { channel: Some(channel) })).await
    }

    async fn update(
        bench: &Bench,
        channel: wire::Channel,
        paths: &[&str],
    ) -> Result<Response<wire::Channel>, Status> {
        let request = wire::UpdateChannelRequest { channel: Some(channel), update_mask: mask(paths) };
        bench.admin.update_channel(Request::new(request)).await
    }

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn stored_secrets(bench: &Bench) -> Vec<String> {
        let config = bench.admin.settings.present();
        let channel = settings_of(&config.channels[0]).unwrap().channel;
        channel.secrets.iter().map(|key| key.secret.expose().to_owned()).collect()
    }

    #[tokio::test]
    async fn secrets_are_shown_when_they_are_made_and_never_again() {
        let bench = Bench::start().await;
        let created = said(create(&bench, webhook("ops")).await);
        assert_eq!(created.url, "https://receiver.example:8443/…");
        assert!(created.signing_secret.starts_with("whsec_"));
        assert_eq!(stored_secrets(&bench), std::slice::from_ref(&created.signing_secret));
        let shown =
            said(bench.admin.get_channel(Request::new(wire::GetChannelRequest { id: "ops".into() })).await);
        assert_eq!(shown, wire::Channel { signing_secret: String::new(), ..created.clone() });
        let list = said(bench.admin.list_channels(Request::new(wire::ListChannelsRequest::default())).await);
        let config = bench.admin.settings.present();
        let everything = format!("{list:?} {config:?} {:?}", bench.admin);
        assert!(
            !everything.contains("hush") && !everything.contains(&created.signing_secret[6..]),
            "{everything}"
        );
    }

    #[tokio::test]
    async fn every_wrong_field_is_named() {
        let bench = Bench::start().await;
        let slack = || wire::Channel { kind: wire::ChannelKind::Slack.into(), ..webhook("x") };
        for (wrong, fields) in [
            (wire::Channel::default(), vec!["name", "kind"]),
            (wire::Channel { kind: 99, ..webhook("x") }, vec!["kind"]),
            (wire::Channel { url: String::new(), ..webhook("x") }, vec!["url"]),
            (wire::Channel { kind_name: "pigeon".into(), ..webhook("x") }, vec!["kind_name"]),
            (wire::Channel { kind_name: "discord".into(), ..slack() }, vec!["kind"]),
            (wire::Channel { settings: settings(&[("colour", "hush")]), ..slack() }, vec!["settings.colour"]),
            (wire::Channel { settings: settings(&[("url", "https://b.example/")]), ..slack() }, vec!["url"]),
            (wire::Channel { url: "receiver.example/hush".into(), ..webhook("x") }, vec!["url"]),
            (wire::Channel { url: "ftp://receiver.example".into(), ..slack() }, vec!["url"]),
            (wire::Channel { signing_secret: "whsec_hush".into(), ..webhook("x") }, vec!["signing_secret"]),
            (wire::Channel { signing_secret: SECRET.into(), ..slack() }, vec!["signing_secret"]),
        ] {
            let answer = create(&bench, wrong).await;
            assert!(!format!("{answer:?}").contains("hush"), "{answer:?}");
            let (code, named) = refused(answer);
            assert_eq!(
                (code, named.iter().map(String::as_str).collect::<Vec<_>>()),
                (Code::InvalidArgument, fields)
            );
        }
        said(create(&bench, webhook("x")).await);
        assert_eq!(refused(create(&bench, slack()).await).0, Code::AlreadyExists);
    }

    #[tokio::test]
    async fn updates_keep_what_is_not_named_and_the_secret_before() {
        let bench = Bench::start().await;
        let first = said(create(&bench, webhook("ops")).await);
        let change = || wire::Channel { id: "ops".into(), ..wire::Channel::default() };
        let renamed = wire::Channel { name: "alerts".into(), etag: first.etag.clone(), ..change() };
        let renamed = said(update(&bench, renamed, &["name"]).await);
        assert_eq!((renamed.id.as_str(), renamed.etag.as_str()), (first.id.as_str(), "r2"));
        let id = || wire::Channel { id: first.id.clone(), ..change() };
        let secret = wire::Channel { signing_secret: SECRET.into(), ..id() };
        let changed = said(update(&bench, secret, &["signing_secret"]).await);
        assert_eq!(changed.signing_secret, "");
        assert_eq!(changed.previous_secret_until.unwrap().seconds, 1_700_000_000 + 24 * 3_600);
        assert_eq!(stored_secrets(&bench), [SECRET, &first.signing_secret]);

        assert_eq!(refused(update(&bench, id(), &["signing_secret"]).await).1, ["signing_secret"]);
        assert_eq!(refused(update(&bench, id(), &["kind"]).await).1, ["update_mask"]);
        let shown = wire::Channel { url: renamed.url.clone(), ..id() };
        assert_eq!(refused(update(&bench, shown, &["url"]).await).1, ["url"]);
        let stale = wire::Channel { etag: first.etag.clone(), name: "z".into(), ..id() };
        assert_eq!(refused(update(&bench, stale, &["name"]).await).0, Code::Aborted);
        let nobody = wire::Channel { id: "ops".into(), name: "z".into(), ..change() };
        assert_eq!(refused(update(&bench, nobody, &["name"]).await).0, Code::NotFound);
    }

    #[tokio::test]
    async fn notices_go_there_unless_said_otherwise() {
        let bench = Bench::start().await;
        assert_eq!(said(create(&bench, webhook("ops")).await).notices, Some(true));
        let quiet = said(create(&bench, wire::Channel { notices: Some(false), ..webhook("quiet") }).await);
        assert_eq!(quiet.notices, Some(false));
        let takes = |name: &str| {
            let config = bench.admin.settings.present();
            crate::notify::channel::takes_notices(find::channel(&config, name).unwrap())
        };
        assert!(takes("ops") && !takes("quiet"));
        let change = |notices| wire::Channel { id: "ops".into(), notices, ..wire::Channel::default() };
        assert_eq!(said(update(&bench, change(Some(false)), &["notices"]).await).notices, Some(false));
        assert!(!takes("ops"));
        assert_eq!(said(update(&bench, change(None), &["notices"]).await).notices, Some(true));
        let renamed = wire::Channel { id: quiet.id, name: "mute".into(), ..wire::Channel::default() };
        assert_eq!(said(update(&bench, renamed, &["name"]).await).notices, Some(false));
    }

    #[tokio::test]
    async fn a_kind_can_be_named_and_its_url_be_one_of_its_settings() {
        let bench = Bench::start().await;
        let named = wire::Channel {
            name: "chat".into(),
            kind_name: "discord".into(),
            settings: settings(&[("url", "https://discord.example/hush")]),
            ..wire::Channel::default()
        };
        let created = said(create(&bench, named).await);
        assert_eq!((created.kind(), created.kind_name.as_str()), (wire::ChannelKind::Discord, "discord"));
        assert_eq!((created.url.as_str(), created.settings.len()), ("https://discord.example/…", 0));
        let moved = wire::Channel {
            id: "chat".into(),
            settings: settings(&[("url", "https://other.example/hush")]),
            ..wire::Channel::default()
        };
        assert_eq!(said(update(&bench, moved, &["settings"]).await).url, "https://other.example/…");
        let request = Request::new(wire::ListChannelKindsRequest::default());
        let kinds = said(bench.admin.list_channel_kinds(request).await).kinds;
        let discord = kinds.iter().find(|kind| kind.name == "discord").unwrap();
        assert!(discord.settings[0].required && discord.settings[0].secret, "{discord:?}");
    }

    #[tokio::test]
    async fn a_rotated_secret_is_shown_once_and_the_one_before_ends() {
        let bench = Bench::start().await;
        let first = said(create(&bench, webhook("ops")).await).signing_secret;
        let rotate = async |id: &str, drop_previous| {
            let request =
                wire::RotateChannelSecretRequest { id: id.into(), etag: String::new(), drop_previous };
            bench.admin.rotate_channel_secret(Request::new(request)).await
        };
        let second = said(rotate("ops", false).await);
        assert!(second.previous_secret_until.is_some());
        assert_eq!(stored_secrets(&bench), [second.signing_secret.clone(), first]);
        let pair = wire::Channel {
            id: "ops".into(),
            settings: settings(&[("signature", "ed25519")]),
            ..wire::Channel::default()
        };
        said(update(&bench, pair, &["settings"]).await);
        let third = said(rotate("ops", true).await);
        assert_eq!((third.signing_secret.as_str(), third.previous_secret_until), ("", None));
        assert!(third.public_key.starts_with("whpk_"), "the private half never leaves");
        assert_eq!(stored_secrets(&bench).len(), 1);
        let chat = wire::Channel { kind: wire::ChannelKind::Slack.into(), ..webhook("chat") };
        said(create(&bench, chat).await);
        assert_eq!(rotate("chat", false).await.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(rotate("nobody", false).await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_test_goes_through_the_real_sender_and_says_what_came_of_it() {
        let bench = Bench::start().await;
        let here = wire::Channel {
            url: "http://127.0.0.1:18080/hush".into(),
            settings: settings(&[("title", "{{subject.name}}!")]),
            ..webhook("here")
        };
        said(create(&bench, here).await);
        let request = wire::TestChannelRequest { id: "here".into(), sample: 0 };
        let tried = said(bench.admin.test_channel(Request::new(request)).await);
        assert!(!tried.delivered && tried.status == 0, "{tried:?}");
        assert!(tried.detail.contains("--allow-receiver"), "{}", tried.detail);
        assert_eq!(tried.title, "TEST of a monitor!");
        assert!(tried.text.starts_with("Status: 503"), "{}", tried.text);
    }

    #[tokio::test]
    async fn a_channel_in_use_stays_and_names_its_users() {
        let bench = Bench::with_regions(&["us-east"]).await;
        said(create(&bench, webhook("ops")).await);
        for number in 0..7 {
            let used = wire::Monitor {
                channels: vec!["ops".into()],
                ..monitor(&format!("http://{number}.example"))
            };
            bench.create(used).await.unwrap();
        }
        let delete = || Request::new(wire::DeleteChannelRequest { id: "ops".into(), etag: String::new() });
        let refusal = bench.admin.delete_channel(delete()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::FailedPrecondition);
        assert!(refusal.message().contains("monitor `4.example` and 2 more"), "{refusal}");
        for number in 0..7 {
            let gone = wire::DeleteMonitorRequest { id: format!("{number}.example"), etag: String::new() };
            said(bench.admin.delete_monitor(Request::new(gone)).await);
        }
        said(bench.admin.delete_channel(delete()).await);
        assert_eq!(bench.admin.delete_channel(delete()).await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_fallback_is_another_channel_that_stays_while_it_is_one() {
        let bench = Bench::start().await;
        let pager = said(create(&bench, webhook("pager")).await).id;
        let ops = said(create(&bench, wire::Channel { fallback: "pager".into(), ..webhook("ops") }).await);
        assert_eq!(ops.fallback, pager);
        let delete = || Request::new(wire::DeleteChannelRequest { id: "pager".into(), etag: String::new() });
        let refusal = bench.admin.delete_channel(delete()).await.unwrap_err();
        assert!(refusal.message().contains("the fallback of channel `ops`"), "{refusal}");
        for wrong in ["ops", "pigeon"] {
            let itself = wire::Channel { id: "ops".into(), fallback: wrong.into(), ..Default::default() };
            let expected = (Code::InvalidArgument, vec!["fallback".to_owned()]);
            assert_eq!(refused(update(&bench, itself, &["fallback"]).await), expected);
        }
        let none = wire::Channel { id: "ops".into(), ..Default::default() };
        assert_eq!(said(update(&bench, none, &["fallback"]).await).fallback, "");
        said(bench.admin.delete_channel(delete()).await);
    }

    #[tokio::test]
    async fn a_disabled_channel_says_why_until_it_is_enabled() {
        let bench = Bench::start().await;
        said(create(&bench, webhook("ops")).await);
        let disabled =
            crate::notify::channel::Disabled { at: bench.admin.clock.now(), reason: "gone".into() };
        let disable = |config: &Config| {
            let row = config.channels[0].clone();
            let settings = ChannelSettings { disabled: Some(disabled), ..settings_of(&row)? };
            Ok::<_, Refusal>(ConfigChange::PutChannel(ChannelRow { settings: settings.to_stored(), ..row }))
        };
        bench.admin.settings.change(disable).await.unwrap();
        let get = || bench.admin.get_channel(Request::new(wire::GetChannelRequest { id: "ops".into() }));
        let shown = said(get().await);
        assert!(shown.disabled_at.is_some());
        assert_eq!(shown.disabled_reason, "gone");
        let enable = Request::new(wire::EnableChannelRequest { id: "ops".into() });
        let enabled = said(bench.admin.enable_channel(enable).await);
        assert_eq!((enabled.disabled_at, enabled.disabled_reason.as_str()), (None, ""));
        assert_eq!(said(get().await).disabled_at, None);
    }
}
