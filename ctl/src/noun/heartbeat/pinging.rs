//! How a heartbeat's pings are read: flags of `create` and `edit`.

use clap::{Args, ValueEnum};
use proto::admin::v1::{Heartbeat, PingKeywords};

/// The flags that `edit` needs one of, those of this file.
pub(super) const CHANGES: [&str; 7] =
    ["slug", "post_only", "fail_words", "success_words", "start_words", "without_words", "clear_words"];

/// What is said of pings.
#[derive(Debug, Args)]
pub(crate) struct Pinging {
    /// Word in the URL by which it is pinged with a ping key: lower-case letters, digits, - and _ [default: made from
    /// the name]
    #[arg(long)]
    slug: Option<String>,
    /// GET and HEAD are answered but count for nothing, so that no preview or scanner pings by accident
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    post_only: Option<bool>,
    /// A ping with this text in its body says that the run failed, whatever its URL says; may be repeated
    #[arg(long = "fail-word", value_name = "TEXT")]
    fail_words: Vec<String>,
    /// Otherwise, one with this text says that it ended well; may be repeated
    #[arg(long = "success-word", value_name = "TEXT")]
    success_words: Vec<String>,
    /// Otherwise, one with this text says that it began; may be repeated
    #[arg(long = "start-word", value_name = "TEXT")]
    start_words: Vec<String>,
    /// What a ping without any of these words means [default: ignore]
    #[arg(long, value_enum, value_name = "MEANING")]
    without_words: Option<WithoutWords>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WithoutWords {
    /// Nothing
    Ignore,
    /// That the run failed
    Fail,
}

impl Pinging {
    /// The fields that are given.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            (self.slug.is_some(), "slug"),
            (self.post_only.is_some(), "post_only"),
            (self.keywords().is_some(), "keywords"),
        ];
        given.into_iter().filter(|(given, _)| *given).map(|(_, path)| path)
    }

    /// A heartbeat with them.
    pub(super) fn fields(self) -> Heartbeat {
        Heartbeat {
            keywords: self.keywords(),
            slug: self.slug.unwrap_or_default(),
            post_only: self.post_only.unwrap_or_default(),
            ..Heartbeat::default()
        }
    }

    fn keywords(&self) -> Option<PingKeywords> {
        let words = PingKeywords {
            fail: self.fail_words.clone(),
            success: self.success_words.clone(),
            start: self.start_words.clone(),
            otherwise: match self.without_words {
                None => "",
                Some(WithoutWords::Ignore) => "ignore",
                Some(WithoutWords::Fail) => "fail",
            }
            .into(),
        };
        (words != PingKeywords::default()).then_some(words)
    }
}

/// What a heartbeat's sheet says of keywords.
pub(super) fn keywords_text(heartbeat: &Heartbeat) -> String {
    let Some(words) = &heartbeat.keywords else { return String::new() };
    let part =
        |name: &str, words: &[String]| (!words.is_empty()).then(|| format!("{name}: {}", words.join(", ")));
    let parts = [part("fail", &words.fail), part("success", &words.success), part("start", &words.start)];
    let mut parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.push(format!("otherwise: {}", words.otherwise));
    parts.join("; ")
}
