//! What must be found in the bytes that a target sends, in any order.

use std::fmt::Write as _;

use model::check::{MAX_BODY_BYTES, text};
use model::{Failure, FailureKind, result};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Stopped, Trace, dial};

/// How much of what was expected, or came instead, is told.
const MAX_TOLD_CHARS: usize = 80;

/// What has not been found yet.
#[derive(Debug)]
pub(super) struct Expected {
    /// As the user wrote it, and as bytes.
    missing: Vec<(String, Vec<u8>)>,
    heard: Vec<u8>,
    /// Where in it that begins in which something may be found.
    begun: usize,
    is_full: bool,
}

impl Expected {
    pub(super) fn new(expect: &[String]) -> Self {
        let bytes = |text: &String| (text.clone(), text::to_bytes(text).unwrap_or_default());
        Self { missing: expect.iter().map(bytes).collect(), heard: vec![], begun: 0, is_full: false }
    }

    /// Whether all has been found.
    pub(super) const fn is_met(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether as much has come as is searched.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes a message, which stands for itself: nothing is found that ends in the next one.
    pub(super) fn hear_apart(&mut self, message: &[u8]) {
        self.begun = self.heard.len();
        self.hear(message);
    }

    /// Takes what came.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let searched = self.heard.len();
        let room = MAX_BODY_BYTES.saturating_sub(searched);
        self.is_full = bytes.len() >= room;
        self.heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let (heard, begun) = (&self.heard, self.begun);
        self.missing.retain(|(_, wanted)| {
            // It may have begun in what came before.
            let from = searched.saturating_sub(wanted.len()).max(begun);
            !heard[from..].windows(wanted.len().max(1)).any(|window| window == wanted)
        });
    }

    /// What is waited for, in a few words; `None` once all has been found.
    pub(super) fn awaited(&self) -> Option<String> {
        self.missing.first().map(|(text, _)| format!("`{}`", result::clean(text, MAX_TOLD_CHARS)))
    }

    /// What it means that no more comes.
    pub(super) fn disappointed(&self) -> Stopped {
        self.disappointed_by("")
    }

    /// What it means that no more comes after such an end, as in `closed with code 1011`.
    pub(super) fn disappointed_by(&self, end: &str) -> Stopped {
        let wanted = self.awaited().unwrap_or_default();
        let mut detail = format!("{wanted} did not come");
        if self.is_full {
            let _ = write!(detail, " in the first {} MiB", MAX_BODY_BYTES >> 20);
        } else if self.heard.is_empty() {
            let end = if end.is_empty() { "closed" } else { end };
            detail = format!("connection {end} before {wanted} came");
        } else {
            let came = String::from_utf8_lossy(&self.heard[..self.heard.len().min(4 * MAX_TOLD_CHARS)]);
            let _ = write!(detail, ", but `{}`", result::clean(&came, MAX_TOLD_CHARS));
            if !end.is_empty() {
                let _ = write!(detail, "; connection {end}");
            }
        }
        Stopped::failed(FailureKind::Body, detail)
    }

    /// What it means that an HTTP answer's body ends here; `None` if all has been found. What it holds instead may be
    /// nobody else's business.
    pub(super) fn missing_from_body(&self) -> Option<Failure> {
        let part = if self.is_full {
            format!("first {} MiB of the body", MAX_BODY_BYTES >> 20)
        } else {
            "body".to_owned()
        };
        let wanted = self.awaited()?;
        Some(Failure::new(FailureKind::Body, format_args!("{wanted} is not in the {part}")))
    }

    /// Reads until all has been found.
    pub(super) async fn read(
        mut self,
        stream: &mut (impl AsyncRead + Unpin),
        trace: &mut Trace,
    ) -> Result<(), Stopped> {
        let mut buffer = [0; 4_096];
        loop {
            trace.awaited = self.awaited();
            if self.is_met() {
                return Ok(());
            }
            let count = stream.read(&mut buffer).await.map_err(|error| dial::refusal(&error))?;
            self.hear(&buffer[..count]);
            trace.beginning.hear(&buffer[..count]);
            if count == 0 || (self.is_full && !self.is_met()) {
                return Err(self.disappointed());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(texts: &[&str]) -> Expected {
        Expected::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn everything_is_found_in_any_order_and_however_it_is_cut() {
        let whole = b"220 mail.example\r\n250 OK\r\n";
        for size in 1..whole.len() {
            let mut expected = expected(&[r"OK\r\n", "220 ", "mail"]);
            for part in whole.chunks(size) {
                assert!(!expected.is_met());
                expected.hear(part);
            }
            assert!(expected.is_met(), "in parts of {size}");
        }
    }

    #[test]
    fn what_is_missing_is_named_beside_what_came() {
        let mut expected = expected(&["+PONG"]);
        assert_eq!(expected.awaited().as_deref(), Some("`+PONG`"));
        let failed = |detail: &str| Stopped::failed(FailureKind::Body, detail);
        assert_eq!(expected.disappointed(), failed("connection closed before `+PONG` came"));
        expected.hear(b"-NOAUTH Authentication required.\r\n");
        let told = "`+PONG` did not come, but `-NOAUTH Authentication required.`";
        assert_eq!(expected.disappointed(), failed(told));
    }

    #[test]
    fn no_more_than_a_mebibyte_is_kept() {
        let mut expected = expected(&["end"]);
        for _ in 0..3 {
            expected.hear(&vec![b'x'; MAX_BODY_BYTES / 2]);
        }
        assert_eq!((expected.heard.len(), expected.is_full), (MAX_BODY_BYTES, true));
        let failed = Stopped::failed(FailureKind::Body, "`end` did not come in the first 1 MiB");
        assert_eq!(expected.disappointed(), failed);
    }
}
