//! The URL of a receiver. Its path and query are a secret: whoever knows them can post.

use std::fmt;

use http::Uri;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Position, Url};

use model::Secret;

/// An absolute `http:` or `https:` URL without credentials. `Display` and `Debug` show scheme and host only.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverUrl(Secret<Url>);

/// Why a text is not the URL of a receiver. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("url: {problem}")]
pub struct InvalidUrl {
    problem: &'static str,
}

impl InvalidUrl {
    /// What is wrong, without the field's name.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        self.problem
    }
}

impl ReceiverUrl {
    /// The longest URL, in bytes.
    pub const MAX_LEN: usize = 2_048;

    /// Reads a URL as a user writes it.
    ///
    /// # Errors
    /// When it cannot be requested, or says more than a request may: another scheme than http and https, or
    /// credentials.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = |problem| InvalidUrl { problem };
        if text.len() > Self::MAX_LEN {
            return Err(invalid("is longer than 2,048 bytes"));
        }
        let mut url = Url::parse(text.trim()).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => {
                invalid("has no scheme: write it in full, beginning with https:// or http://")
            }
            _ => invalid("cannot be read: write it in full, as in https://HOST/PATH"),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("must begin with https:// or http://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("has no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must not hold a user name or password; signatures prove who sends"));
        }
        url.set_fragment(None);
        if request_target(&url).parse::<Uri>().is_err() {
            return Err(invalid("has characters that must be percent-encoded"));
        }
        Ok(Self(Secret::new(url)))
    }

    /// The URL itself.
    #[must_use]
    pub const fn expose(&self) -> &Url {
        self.0.expose()
    }

    /// This URL with further path segments, each percent-encoded whole: none can add another, a query or a host.
    #[must_use]
    pub fn with_segments(&self, segments: &[&str]) -> Self {
        let mut url = self.expose().clone();
        // Only URLs that cannot be a base have no segments, and no http: URL is one.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(Secret::new(url))
    }

    /// This URL with further parts of its query, percent-encoded.
    #[must_use]
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> Self {
        let mut url = self.expose().clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Self(Secret::new(url))
    }

    /// What stands in a request's first line: path and query.
    #[must_use]
    pub fn request_target(&self) -> &str {
        request_target(self.expose())
    }
}

fn request_target(url: &Url) -> &str {
    &url[Position::BeforePath..Position::AfterQuery]
}

impl fmt::Display for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expose()[..Position::BeforePath])
    }
}

impl fmt::Debug for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/[redacted]")
    }
}

impl Serialize for ReceiverUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose().as_str())
    }
}

impl<'de> Deserialize<'de> for ReceiverUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_shown() {
        let url = ReceiverUrl::parse("https://hooks.example:8443/services/hush?key=hush#hush").unwrap();
        assert_eq!(url.to_string(), "https://hooks.example:8443");
        assert_eq!(format!("{url:?}"), "https://hooks.example:8443/[redacted]");
        assert_eq!(url.request_target(), "/services/hush?key=hush");
        assert_eq!(ReceiverUrl::parse("http://a.example").unwrap().request_target(), "/");
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused_by_field_without_being_repeated() {
        let long = format!("https://a.example/{}", "hush".repeat(1_000));
        for (text, word) in [
            ("hooks.example/hush", "no scheme"),
            ("ftp://a.example/hush", "https:// or http://"),
            ("file:///hush", "https:// or http://"),
            ("javascript:hush", "https:// or http://"),
            ("http://", "cannot be read"),
            ("https://hush:hush@a.example/", "user name or password"),
            (long.as_str(), "2,048"),
        ] {
            let error = ReceiverUrl::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("url: ") && error.contains(word), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn what_is_added_to_a_url_stays_within_its_part() {
        let base = ReceiverUrl::parse("https://a.example/api/").unwrap();
        let url = base.with_segments(&["bot1:a/b?c#d", "send message"]).with_query(&[("a&b", "1 ü\r\n")]);
        assert_eq!(url.request_target(), "/api/bot1:a%2Fb%3Fc%23d/send%20message?a%26b=1+%C3%BC%0D%0A");
        assert_eq!(
            ReceiverUrl::parse("https://a.example").unwrap().with_segments(&["x"]).request_target(),
            "/x"
        );
        assert_eq!(base.with_segments(&["..", "x"]).request_target(), "/api/x");
    }

    #[test]
    fn line_breaks_cannot_split_the_request() {
        let url = ReceiverUrl::parse("https://a.example/x\r\nhost: b?q=%0d%0a y").unwrap();
        assert!(!url.request_target().contains(['\r', '\n', ' ']), "{}", url.request_target());
    }
}
