//! The channels as deliveries need them: their settings read once for each change of the configuration, not for each
//! delivery.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ChannelId;
use store::Config;

use crate::notify::channel::ChannelSettings;

/// The channels at one revision of the configuration.
#[derive(Debug, Default)]
pub(super) struct Known {
    revision: Option<u64>,
    channels: BTreeMap<ChannelId, KnownChannel>,
}

/// A channel that can be used.
#[derive(Clone, Debug)]
pub(super) struct KnownChannel {
    /// What people call it.
    pub(super) name: String,
    /// Everything else.
    pub(super) settings: Arc<ChannelSettings>,
}

impl Known {
    /// Reads the configuration if it has changed, and says whether it has.
    pub(super) fn refresh(&mut self, config: &Config) -> bool {
        if self.revision == Some(config.revision) {
            return false;
        }
        let read = |row: &store::ChannelRow| {
            let settings = serde_json::from_str(row.settings.expose()).ok()?;
            Some((row.id, KnownChannel { name: row.name.clone(), settings: Arc::new(settings) }))
        };
        self.channels = config.channels.iter().filter_map(read).collect();
        self.revision = Some(config.revision);
        true
    }

    /// A channel, if it exists and its settings can be read.
    pub(super) fn get(&self, id: ChannelId) -> Option<&KnownChannel> {
        self.channels.get(&id)
    }

    /// All of them, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ChannelId, &KnownChannel)> {
        self.channels.iter().map(|(id, channel)| (*id, channel))
    }

    /// Where a channel's deliveries go when it fails: another channel that exists and is not disabled.
    pub(super) fn fallback(&self, id: ChannelId) -> Option<ChannelId> {
        let fallback = self.get(id)?.settings.fallback?;
        let usable = self.get(fallback).is_some_and(|channel| channel.settings.disabled.is_none());
        (usable && fallback != id).then_some(fallback)
    }
}
