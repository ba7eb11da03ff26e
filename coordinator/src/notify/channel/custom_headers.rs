//! Headers that a user wants sent with a webhook: `Name: value`, a line each.
//!
//! Neither can a line break come out of a value, nor can a header be given that HTTP, the signature or the body's form
//! depend on.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const MAX_HEADERS: usize = 16;
const MAX_BYTES: usize = 4_096;
/// What only we set. Besides these everything beginning with `webhook-` or `proxy-`.
const OURS: [&str; 13] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "accept-encoding",
    "user-agent",
];

/// The check of a setting that holds headers.
pub(super) fn check(value: &str) -> Result<String, String> {
    parse(value)?;
    Ok(value.trim().to_owned())
}

/// Reads lines into headers whose values are not shown.
pub(super) fn parse(text: &str) -> Result<HeaderMap, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("must be at most {MAX_BYTES} bytes"));
    }
    let mut headers = HeaderMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').ok_or("must be lines of `Name: value`")?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| "has a name that is no header's: letters, digits and - are allowed".to_owned())?;
        if OURS.contains(&name.as_str())
            || name.as_str().starts_with("webhook-")
            || name.as_str().starts_with("proxy-")
        {
            return Err(format!("must not set {name}: it is set by the server"));
        }
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| {
            format!("has a value of {name} that no header can have: visible ASCII is allowed")
        })?;
        value.set_sensitive(true);
        if headers.insert(name.clone(), value).is_some() {
            return Err(format!("sets {name} twice"));
        }
    }
    if headers.len() > MAX_HEADERS {
        return Err(format!("must be at most {MAX_HEADERS} headers"));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line() {
        let headers = parse("Authorization: Bearer a:b\r\n\nX-Team:  ops \n").unwrap();
        assert_eq!(
            (headers["authorization"].to_str().unwrap(), &headers["x-team"]),
            ("Bearer a:b", &HeaderValue::from_static("ops"))
        );
        assert!(!format!("{headers:?}").contains("Bearer"));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_requests_depend_on_cannot_be_set_and_no_value_is_repeated() {
        let many: String = (0..17).map(|number| format!("x-{number}: hush\n")).collect();
        for bad in [
            "hush",
            "x y: hush",
            ": hush",
            "x: hush\u{1}",
            "x: hush\rHost: hush",
            "Host: hush",
            "content-LENGTH: 1",
            "Transfer-Encoding: chunked",
            "Connection: hush",
            "Webhook-Signature: v1,hush",
            "webhook-timestamp: 1",
            "Proxy-Authorization: hush",
            "x: hush\nX: hush",
            &many,
            &"h".repeat(5_000),
        ] {
            let problem = check(bad).unwrap_err();
            assert!(!problem.contains("hush"), "{problem}");
        }
    }
}
