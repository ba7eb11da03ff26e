//! A delivery as it came: headers and body, from a listener or as bytes that somebody kept.

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Names in lower case, in their order.
    pub(super) headers: Vec<(String, String)>,
    /// Byte for byte: a signature covers nothing less.
    pub(super) body: Vec<u8>,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidRequest {
    #[error("stdin: must be the headers of a request, one `Name: value` a line, an empty line, and the body")]
    NoHeaders,
    #[error("stdin: the body is in chunks; keep it as the receiver decoded it")]
    Chunked,
}

impl Request {
    /// Reads headers, with or without a request line above them, and the body below the first empty line.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, InvalidRequest> {
        let (mut headers, mut rest) = (vec![], bytes);
        loop {
            let end = rest.iter().position(|&byte| byte == b'\n').ok_or(InvalidRequest::NoHeaders)?;
            let line = String::from_utf8_lossy(&rest[..end]);
            let line = line.trim_end_matches('\r');
            rest = &rest[end + 1..];
            if line.is_empty() {
                break;
            }
            let is_first = headers.is_empty();
            match line.split_once(':').filter(|(name, _)| !name.contains(' ')) {
                Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
                None if is_first => {}
                None => return Err(InvalidRequest::NoHeaders),
            }
        }
        let mut request = Self { headers, body: rest.to_vec() };
        if request.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Err(InvalidRequest::Chunked);
        }
        // What an editor or a shell put after the body.
        if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
            request.body.truncate(length);
        }
        Ok(request)
    }

    /// The first header of a name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_with_and_without_a_request_line() {
        for text in [
            "POST /hook HTTP/1.1\r\nHost: a:80\r\nWebhook-Id: x\r\n\r\nbody\n",
            "host: a:80\nwebhook-id:x\n\nbody\n",
        ] {
            let request = Request::parse(text.as_bytes()).unwrap();
            assert_eq!(request.header("webhook-id"), Some("x"), "{text}");
            assert_eq!(request.header("host"), Some("a:80"));
            assert_eq!(request.body, b"body\n");
        }
    }

    #[test]
    fn the_length_that_was_sent_cuts_what_was_added() {
        let request = Request::parse(b"Content-Length: 4\n\nbody\n").unwrap();
        assert_eq!(request.body, b"body");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(Request::parse(b""), Err(InvalidRequest::NoHeaders));
        assert_eq!(Request::parse(b"{\"type\": 1}"), Err(InvalidRequest::NoHeaders));
        assert_eq!(Request::parse(b"a: b\nno header\n\n"), Err(InvalidRequest::NoHeaders));
        assert_eq!(Request::parse(b"Transfer-Encoding: chunked\n\n"), Err(InvalidRequest::Chunked));
    }
}
