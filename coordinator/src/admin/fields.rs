//! Fields that several resources have: names, spans, instants, update masks, etags.

use std::ops::RangeInclusive;
use std::time::Duration;

use model::tag::MAX_TAGS;
use model::{Tag, Timestamp};
use prost_types::FieldMask;
use proto::probe::convert::{duration_from_wire, timestamp_from_wire};

use super::invalid::Invalid;

/// The longest name of anything.
pub(super) const MAX_NAME_CHARS: usize = 200;

/// Reads a name: one line, not empty. Space around it is dropped.
pub(super) fn name(field: &str, text: &str, max_chars: usize, invalid: &mut Invalid) -> Option<String> {
    let text = text.trim();
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.is_empty() || text.chars().count() > max_chars || text.contains(breaks) {
        invalid.add(field, format!("must be 1 to {max_chars} characters on one line"));
        return None;
    }
    Some(text.to_owned())
}

/// Reads tags, sorted, each once.
pub(super) fn tags(asked: &[String], invalid: &mut Invalid) -> Vec<Tag> {
    const FIELD: &str = "tags";
    if asked.len() > MAX_TAGS {
        invalid.add(FIELD, format!("at most {MAX_TAGS} are allowed"));
        return vec![];
    }
    let mut tags: Vec<Tag> =
        asked.iter().filter_map(|tag| invalid.check(FIELD, tag.trim().parse())).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Spans that a field may hold, and how that is said.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    pub(super) span: RangeInclusive<Duration>,
    pub(super) words: &'static str,
}

/// Reads a span; `default` where there is none.
pub(super) fn span(
    field: &str,
    wire: Option<&prost_types::Duration>,
    default: Option<Duration>,
    allowed: &Allowed,
    invalid: &mut Invalid,
) -> Option<Duration> {
    let read = match (wire, default) {
        (None, Some(default)) => return Some(default),
        (None, None) => None,
        (Some(_), _) => duration_from_wire(wire, field).ok(),
    };
    let read = read.filter(|span| allowed.span.contains(span));
    if read.is_none() {
        invalid.add(field, format!("must be {}", allowed.words));
    }
    read
}

/// Reads an instant that may be absent.
pub(super) fn instant(
    field: &str,
    wire: Option<&prost_types::Timestamp>,
    invalid: &mut Invalid,
) -> Option<Timestamp> {
    wire?;
    let read = timestamp_from_wire(wire, field).map_err(|error| error.problem);
    invalid.check(field, read)
}

/// The fields an update names. All of them can be changed, or the request is refused.
pub(super) fn mask(
    wire: Option<FieldMask>,
    changeable: &[&'static str],
    fixed: &[&str],
    invalid: &mut Invalid,
) -> Vec<&'static str> {
    const FIELD: &str = "update_mask";
    let paths = wire.map(|mask| mask.paths).unwrap_or_default();
    let allowed = || changeable.join(", ");
    if paths.is_empty() {
        invalid.add(FIELD, format!("must name what to change: {}", allowed()));
    }
    let mut named = vec![];
    for path in &paths {
        match changeable.iter().find(|field| **field == path.as_str()) {
            Some(field) => named.push(*field),
            None if fixed.contains(&path.as_str()) => {
                invalid.add(FIELD, format!("`{path}` cannot be changed; these can: {}", allowed()));
            }
            None => {
                let path: String = path.chars().take(40).collect();
                invalid.add(FIELD, format!("`{path}` is not a field; these can be changed: {}", allowed()));
            }
        }
    }
    named
}

/// The etag of a revision.
pub(super) fn etag(revision: u64) -> String {
    format!("r{revision}")
}

/// Whether an etag, if one was sent, is that of a revision.
pub(super) fn is_present_etag(sent: &str, revision: u64) -> bool {
    sent.is_empty() || sent == etag(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_trimmed_line() {
        let mut invalid = Invalid::default();
        assert_eq!(name("name", "  Acme API ✓ ", 10, &mut invalid).as_deref(), Some("Acme API ✓"));
        for bad in ["", "  ", "a\nb", "a\u{2028}b", "12345678901"] {
            let mut invalid = Invalid::default();
            assert_eq!(name("name", bad, 10, &mut invalid), None);
            let refusal = invalid.refuse().unwrap_err();
            assert_eq!(refusal.message(), "name: must be 1 to 10 characters on one line");
        }
    }

    #[test]
    fn spans_outside_what_is_allowed_are_refused_negative_ones_too() {
        let allowed = Allowed {
            span: Duration::from_secs(1)..=Duration::from_secs(60),
            words: "from 1 second to 1 minute",
        };
        let wire = |seconds, nanos| prost_types::Duration { seconds, nanos };
        let mut invalid = Invalid::default();
        let read = span("interval", Some(&wire(1, 500)), None, &allowed, &mut invalid);
        assert_eq!(read, Some(Duration::from_secs(1)));
        assert_eq!(span("interval", None, read, &allowed, &mut invalid), read);
        invalid.refuse().unwrap();
        for wire in [wire(0, 999_999_999), wire(-5, 0), wire(60, 1_000), wire(2, -1), wire(i64::MAX, 0)] {
            let mut invalid = Invalid::default();
            assert_eq!(span("interval", Some(&wire), read, &allowed, &mut invalid), None);
            assert!(invalid.refuse().unwrap_err().message().contains("interval: must be from 1 second"));
        }
    }

    #[test]
    fn masks_name_fields_that_can_be_changed_and_at_least_one() {
        let read = |paths: &[&str]| {
            let mut invalid = Invalid::default();
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            let named = mask(Some(FieldMask { paths }), &["name", "url"], &["status"], &mut invalid);
            invalid.refuse().map(|()| named).map_err(|refusal| refusal.message().to_owned())
        };
        assert_eq!(read(&["url", "name"]), Ok(vec!["url", "name"]));
        assert_eq!(read(&[]).unwrap_err(), "update_mask: must name what to change: name, url");
        assert!(read(&["status"]).unwrap_err().contains("`status` cannot be changed"));
        assert!(
            read(&["nmae"]).unwrap_err().contains("`nmae` is not a field; these can be changed: name, url")
        );
    }
}
