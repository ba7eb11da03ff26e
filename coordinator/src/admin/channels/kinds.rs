//! Kinds of channels and their settings, as the wire has them.

use proto::admin::v1 as wire;

use crate::admin::invalid::Invalid;
use crate::notify::channel::provider::{self, Provider};
use crate::notify::channel::{Setting, Settings, setting};

/// Every kind with what can be set.
pub(super) fn described() -> Vec<wire::ChannelKindDescription> {
    let describe = |provider: &'static dyn Provider| wire::ChannelKindDescription {
        name: provider.name().to_owned(),
        description: provider.about().to_owned(),
        settings: setting::table(provider).map(describe_setting).collect(),
    };
    provider::ALL.iter().copied().map(describe).collect()
}

fn describe_setting(setting: &Setting) -> wire::ChannelSetting {
    wire::ChannelSetting {
        name: setting.name.to_owned(),
        description: setting.about.to_owned(),
        required: setting.is_required,
        secret: setting.is_secret,
        default_value: setting.default.unwrap_or_default().to_owned(),
    }
}

/// The kind that is asked for, by name or as one of the three oldest.
pub(super) fn asked(asked: &wire::Channel, invalid: &mut Invalid) -> Option<&'static dyn Provider> {
    let by_number = match asked.kind() {
        wire::ChannelKind::Webhook => "webhook",
        wire::ChannelKind::Slack => "slack",
        wire::ChannelKind::Discord => "discord",
        wire::ChannelKind::Unspecified => "",
    };
    let (field, name) = match asked.kind_name.trim() {
        "" => ("kind", by_number),
        name => ("kind_name", name),
    };
    let found = provider::find(name);
    match found {
        None => {
            let known: Vec<_> = provider::ALL.iter().map(|provider| provider.name()).collect();
            invalid.add(field, format!("must be one of {}", known.join(", ")));
        }
        Some(_) if !by_number.is_empty() && by_number != name => {
            invalid.add("kind", "is another one than kind_name: give one of them");
        }
        Some(_) => {}
    }
    found
}

/// The number of a kind that has one.
pub(super) fn wire_kind(name: &str) -> wire::ChannelKind {
    match name {
        "webhook" => wire::ChannelKind::Webhook,
        "slack" => wire::ChannelKind::Slack,
        "discord" => wire::ChannelKind::Discord,
        _ => wire::ChannelKind::Unspecified,
    }
}

/// The settings with what `asked` gives, in `settings` and as `url`.
pub(super) fn given(before: &Settings, asked: &wire::Channel, invalid: &mut Invalid) -> Option<Settings> {
    let mut given = asked.settings.clone();
    if !asked.url.is_empty() && given.insert("url".to_owned(), asked.url.clone()).is_some() {
        invalid.add("url", "is given twice: as a field and as a setting");
    }
    match before.changed(&given) {
        Ok(settings) => Some(settings),
        Err(problems) => {
            for problem in problems {
                let field = match problem.name.as_str() {
                    "url" => problem.name,
                    name => format!("settings.{name}"),
                };
                invalid.add(&field, problem.problem);
            }
            None
        }
    }
}
