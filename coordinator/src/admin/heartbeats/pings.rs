//! A heartbeat's pings at the door: how they are to be read, and what was heard.

use model::{HeartbeatId, Timestamp};
use proto::admin::v1 as wire;
use store::Record;
use store::journal::{HeardPing, PingMethod};

use crate::admin::convert::{self, instant};
use crate::admin::invalid::Invalid;
use crate::ping::{self, Keywords, MAX_SLUG_BYTES, Options, Otherwise};

const MAX_KEYWORDS: usize = 20;
const MAX_KEYWORD_CHARS: usize = 200;

impl Options {
    /// The options of a heartbeat that is created under a name: a slug that nobody chose is made from it, and stays when
    /// the name changes.
    pub(super) fn for_new(self, name: &str) -> Self {
        Self { slug: self.slug.or_else(|| ping::slug_of(name)), ..self }
    }
}

/// Reads what a user says of a heartbeat's pings.
pub(super) fn read(asked: &wire::Heartbeat, invalid: &mut Invalid) -> Options {
    let slug = asked.slug.as_str();
    let is_lower = !slug.bytes().any(|c| c.is_ascii_uppercase());
    let is_fit = ping::is_word(slug) && is_lower && slug.len() <= MAX_SLUG_BYTES;
    if !(is_fit || slug.is_empty()) {
        invalid.add(
            "slug",
            format!("must be 1 to {MAX_SLUG_BYTES} lower-case letters, digits, hyphens and underscores"),
        );
    }
    Options {
        slug: is_fit.then(|| slug.to_owned()),
        post_only: asked.post_only,
        keywords: asked.keywords.as_ref().and_then(|keywords| read_keywords(keywords, invalid)),
    }
}

/// A draft with the fields of a change that are about pings: those in `mask` as asked for, the others as they are.
pub(super) fn present_or_asked(present: &Options, asked: &wire::Heartbeat, mask: &[&str]) -> wire::Heartbeat {
    let named = |field| mask.contains(&field);
    let present = answer(present);
    wire::Heartbeat {
        slug: if named("slug") { asked.slug.clone() } else { present.slug },
        post_only: if named("post_only") { asked.post_only } else { present.post_only },
        keywords: if named("keywords") { asked.keywords.clone() } else { present.keywords },
        ..asked.clone()
    }
}

/// An answer with the fields that are about pings.
pub(super) fn answer(options: &Options) -> wire::Heartbeat {
    let keywords = options.keywords.as_ref().map(|keywords| wire::PingKeywords {
        fail: keywords.fail.clone(),
        success: keywords.success.clone(),
        start: keywords.start.clone(),
        otherwise: match keywords.otherwise {
            Otherwise::Ignore => "ignore",
            Otherwise::Fail => "fail",
        }
        .into(),
    });
    wire::Heartbeat {
        slug: options.slug.clone().unwrap_or_default(),
        post_only: options.post_only,
        keywords,
        ..wire::Heartbeat::default()
    }
}

/// A record as a heartbeat's ping with its instant, if it is one.
pub(super) fn listed(record: Record, of: HeartbeatId) -> Option<(Timestamp, wire::Ping)> {
    let heard = match record {
        Record::Heard(heard) => heard,
        Record::Ping { heartbeat, kind, at, method, body } => {
            HeardPing { method, body, ..HeardPing::new(heartbeat, kind, at) }
        }
        _ => return None,
    };
    let method = match heard.method {
        PingMethod::Head => "HEAD",
        PingMethod::Get => "GET",
        PingMethod::Post => "POST",
    };
    let ping = wire::Ping {
        at: instant(heard.at),
        kind: convert::ping_kind(heard.kind),
        method: method.into(),
        body: heard.body,
        left_out_bytes: heard.left_out,
        run_id: heard.run.map(|run| run.to_string()).unwrap_or_default(),
        ignored: heard.is_ignored,
        user_agent: heard.user_agent,
    };
    (heard.heartbeat == of).then_some((heard.at, ping))
}

fn read_keywords(asked: &wire::PingKeywords, invalid: &mut Invalid) -> Option<Keywords> {
    let mut words = |field: &str, words: &[String]| {
        let is_fit = |word: &String| !word.is_empty() && word.chars().count() <= MAX_KEYWORD_CHARS;
        if words.len() > MAX_KEYWORDS || !words.iter().all(is_fit) {
            invalid.add(
                field,
                format!("must be at most {MAX_KEYWORDS} words of 1 to {MAX_KEYWORD_CHARS} characters"),
            );
        }
        words.to_vec()
    };
    let keywords = Keywords {
        fail: words("keywords.fail", &asked.fail),
        success: words("keywords.success", &asked.success),
        start: words("keywords.start", &asked.start),
        otherwise: match asked.otherwise.as_str() {
            "fail" => Otherwise::Fail,
            "" | "ignore" => Otherwise::Ignore,
            _ => {
                invalid.add("keywords.otherwise", "must be ignore or fail");
                Otherwise::Ignore
            }
        },
    };
    let is_nothing = keywords == Keywords::default();
    (!is_nothing).then_some(keywords)
}
