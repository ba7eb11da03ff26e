//! What a policy or a silence covers: the flags, and how they look.

use clap::Args;

/// What can be covered.
#[derive(Debug, Args)]
pub(super) struct ScopeFlags {
    /// Cover every monitor and heartbeat, and what only operators hear of
    #[arg(long, conflicts_with_all = ["monitors", "heartbeats", "tags"])]
    pub(super) all: bool,
    /// Cover this monitor, by id or name; several are allowed
    #[arg(long = "monitor", num_args = 1.., value_name = "MONITOR")]
    pub(super) monitors: Vec<String>,
    /// Cover this heartbeat, by id or name; several are allowed
    #[arg(long = "heartbeat", num_args = 1.., value_name = "HEARTBEAT")]
    pub(super) heartbeats: Vec<String>,
    /// Cover whatever carries this tag; several are allowed
    #[arg(long = "tag", value_delimiter = ',', num_args = 1.., value_name = "TAG")]
    pub(super) tags: Vec<String>,
}

/// `everything`, or how much of what.
pub(super) fn covers(all: bool, tags: &[String], monitors: usize, heartbeats: usize) -> String {
    if all {
        return "everything".to_owned();
    }
    let counted = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        more => Some(format!("{more} {word}s")),
    };
    let tags = (!tags.is_empty()).then(|| format!("tags {}", tags.join(", ")));
    let parts = [tags, counted(monitors, "monitor"), counted(heartbeats, "heartbeat")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
