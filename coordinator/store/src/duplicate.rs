//! What [`crate::Error::Duplicate`] says, the same in every form of the store.

use crate::{
    AgentRow, ChannelRow, IncidentRow, IncidentState, JournalRow, MaintenanceRow, PageRow, PingKeyRow,
    PolicyRow, SubjectRow,
};

impl SubjectRow {
    /// Of a batch, the database only says that one name is taken.
    pub(crate) fn taken(batch: &[&Self]) -> String {
        let mut names = batch.iter().map(|row| format!("{} `{}`", row.kind().as_str(), row.name));
        match (names.next(), names.next()) {
            (Some(only), None) => format!("a {only}"),
            _ => "one of several monitors and heartbeats".into(),
        }
    }
}

impl IncidentRow {
    pub(crate) fn taken(batch: &[Self]) -> String {
        let mut open = batch.iter().filter(|row| row.state == IncidentState::Open);
        match (open.next(), open.next()) {
            (Some(only), None) => format!("an open incident of {}", only.subject),
            _ => "an open incident of one of several subjects".into(),
        }
    }
}

impl JournalRow {
    pub(crate) fn taken(&self) -> String {
        format!("journal position {}", self.position)
    }
}

impl AgentRow {
    pub(crate) fn taken(&self) -> String {
        format!("an agent `{}`", self.name)
    }
}

impl ChannelRow {
    pub(crate) fn taken(&self) -> String {
        format!("a channel `{}`", self.name)
    }
}

impl PageRow {
    pub(crate) fn taken_name(&self) -> String {
        format!("a status page `{}`", self.name)
    }

    pub(crate) fn taken_slug(&self) -> String {
        format!("a status page at `{}`", self.slug)
    }
}

impl PolicyRow {
    pub(crate) fn taken(&self) -> String {
        format!("a policy `{}`", self.name)
    }
}

impl MaintenanceRow {
    pub(crate) fn taken(&self) -> String {
        format!("maintenance `{}`", self.name)
    }
}

impl PingKeyRow {
    pub(crate) fn taken(&self) -> String {
        format!("a ping key `{}`", self.name)
    }
}
