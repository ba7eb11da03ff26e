//! `Retry-After` (RFC 9110 §10.2.3): seconds, or the date after which to come back.

use std::time::Duration;

use http::HeaderValue;
use jiff::fmt::rfc2822;

use model::Timestamp;

/// How long the receiver asks us to wait from `wall` on; `None` if it does not say so in a form that is in use.
/// Of dates, that is the preferred one (`Sun, 06 Nov 1994 08:49:37 GMT`). A date that has passed is no wait.
pub(super) fn parse(value: &HeaderValue, wall: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        // More seconds than fit are still a wish to wait long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_micros(date.as_microsecond()).since(wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_garbage_is_not() {
        let wall = Timestamp::parse_rfc3339("1994-11-06T08:49:30Z").unwrap();
        for (value, wait) in [
            ("1", Some(1)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("1000000000", Some(1_000_000_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let parsed = parse(&HeaderValue::from_str(value).unwrap(), wall);
            assert_eq!(parsed, wait.map(Duration::from_secs), "{value}");
        }
        assert_eq!(parse(&HeaderValue::from_bytes(b"\xff").unwrap(), wall), None);
    }
}
