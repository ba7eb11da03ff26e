//! What is kept of a ping's body: all of it if it is short, otherwise its beginning and its end.
//!
//! A job's output tells at its beginning what ran and at its end why it failed, so the middle is left out. However long
//! it is, only what is kept is held in memory; the rest is read past, up to a limit and within a bounded time: a slow
//! body does not hold the ping.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;

/// Bytes of a body that are kept (Healthchecks' figure), what is said of those left out included.
pub(super) const KEPT_BYTES: usize = 10_000;
/// Of these, from its beginning.
const HEAD_BYTES: usize = 2_500;
/// Bytes that are read; the end of a longer body is not seen.
const READ_BYTES: u64 = 16 << 20;
/// How long they may take to arrive; then what came is kept.
const PATIENCE: Duration = Duration::from_secs(5);
/// Said at the end of what was not read to its own.
const CUT_OFF: &[u8] = b"\n[the rest was not read]";

/// What is kept of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// At most [`KEPT_BYTES`].
    pub(super) bytes: Vec<u8>,
    /// How many bytes that were read are not among them.
    pub(super) left_out: u64,
    /// Whether the body was read to its end.
    pub(super) is_whole: bool,
}

/// Reads a body.
pub(super) async fn keep(mut body: Body) -> Kept {
    let mut reading = Reading::default();
    let is_whole = body.is_end_stream() || {
        // Out of time is as good as enough: what came by then is kept.
        tokio::time::timeout(PATIENCE, reading.read(&mut body)).await.unwrap_or(false)
    };
    reading.finish(is_whole)
}

/// A body on its way.
#[derive(Default)]
struct Reading {
    /// Its first bytes.
    head: Vec<u8>,
    /// The last ones after them; cut when they are twice as many as can be kept.
    tail: Vec<u8>,
    read: u64,
}

impl Reading {
    /// Reads until the end, whose coming it says, or the limit.
    async fn read(&mut self, body: &mut Body) -> bool {
        while self.read < READ_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => self.take(&frame.into_data().unwrap_or_default()),
                None => return true,
                // The job broke off; it did ping.
                Some(Err(_)) => return false,
            }
            if body.is_end_stream() {
                return true;
            }
        }
        false
    }

    fn take(&mut self, data: &[u8]) {
        self.read += data.len() as u64;
        let room = (HEAD_BYTES - self.head.len()).min(data.len());
        let (head, data) = data.split_at(room);
        self.head.extend_from_slice(head);
        // Of a piece that is larger than all that is kept only its end matters.
        let data = &data[data.len().saturating_sub(KEPT_BYTES)..];
        self.tail.extend_from_slice(data);
        if self.tail.len() > 2 * KEPT_BYTES {
            self.tail.drain(..self.tail.len() - KEPT_BYTES);
        }
    }

    fn finish(self, is_whole: bool) -> Kept {
        let Self { head: mut bytes, mut tail, read } = self;
        let end: &[u8] = if is_whole { b"" } else { CUT_OFF };
        let mut left_out = 0;
        if read > (KEPT_BYTES - end.len()) as u64 {
            bytes.truncate(boundary_before(&bytes, bytes.len()));
            // As long as the longest number that can stand in it.
            let room = KEPT_BYTES - bytes.len() - end.len() - marker(u64::from(u32::MAX)).len();
            tail.drain(..tail.len().saturating_sub(room));
            tail.drain(..boundary_after(&tail));
            left_out = read - (bytes.len() + tail.len()) as u64;
            bytes.extend_from_slice(marker(left_out).as_bytes());
        }
        bytes.extend_from_slice(&tail);
        bytes.extend_from_slice(end);
        Kept { bytes, left_out, is_whole }
    }
}

/// Stands where bytes were left out.
fn marker(left_out: u64) -> String {
    format!("\n[… {left_out} bytes left out …]\n")
}

/// Where to cut at `place` or a little before, so that no character of UTF-8 is cut in two. Other bytes are cut anywhere.
fn boundary_before(bytes: &[u8], place: usize) -> usize {
    let first = place.saturating_sub(3);
    let lead = (first..place).rev().find(|at| !is_continuation(bytes[*at]));
    match lead {
        Some(at) if at + char_bytes(bytes[at]) > place => at,
        _ => place,
    }
}

/// How many bytes at the beginning belong to a character of UTF-8 that began before.
fn boundary_after(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| is_continuation(**byte)).count()
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

const fn char_bytes(lead: u8) -> usize {
    match lead {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep_in(pieces: impl IntoIterator<Item = Vec<u8>>, is_whole: bool) -> Kept {
        let mut reading = Reading::default();
        for piece in pieces {
            reading.take(&piece);
        }
        reading.finish(is_whole)
    }

    #[test]
    fn what_fits_is_kept_as_it_is_however_it_comes() {
        for length in [0, 1, HEAD_BYTES, HEAD_BYTES + 1, KEPT_BYTES] {
            let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
            for size in [1, 7, 4_096, 20_000] {
                let kept = keep_in(body.chunks(size).map(Vec::from), true);
                assert_eq!(
                    kept,
                    Kept { bytes: body.clone(), left_out: 0, is_whole: true },
                    "{length} {size}"
                );
            }
        }
    }

    #[test]
    fn of_more_the_beginning_and_the_end_are_kept_and_the_middle_is_counted() {
        let text: String = (0..100_000).map(|n| format!("line {n}: grün\n")).collect();
        for length in [KEPT_BYTES + 1, KEPT_BYTES + 2, 10_100, 60_000, 1_000_001] {
            let body = &text.as_bytes()[..length];
            for size in [1, 1_000, 4_096, 1 << 20] {
                let kept = keep_in(body.chunks(size).map(Vec::from), true);
                assert!(kept.bytes.len() <= KEPT_BYTES && kept.bytes.len() > KEPT_BYTES - 20, "{length}");
                let marker = marker(kept.left_out);
                let place = kept.bytes.windows(marker.len()).position(|part| part == marker.as_bytes());
                let (head, rest) = kept.bytes.split_at(place.unwrap());
                let tail = &rest[marker.len()..];
                assert!(body.starts_with(head) && body.ends_with(tail), "{length} {size}");
                assert!(str::from_utf8(head).is_ok(), "no character is cut");
                assert_eq!(head.len() + tail.len() + usize::try_from(kept.left_out).unwrap(), length);
                assert!(head.len() > HEAD_BYTES - 4 && tail.len() > KEPT_BYTES - HEAD_BYTES - 60);
            }
        }
    }

    #[test]
    fn what_was_not_read_to_its_end_says_so() {
        let kept = keep_in([b"half".to_vec()], false);
        assert_eq!((kept.bytes.as_slice(), kept.left_out), ([b"half", CUT_OFF].concat().as_slice(), 0));
        let kept = keep_in([vec![b'x'; 50_000]], false);
        assert!(kept.bytes.ends_with(CUT_OFF) && kept.bytes.len() <= KEPT_BYTES);
    }

    #[test]
    fn bytes_that_are_no_text_are_cut_anywhere() {
        let kept = keep_in([vec![0xff; 20_000]], true);
        assert!(kept.bytes.len() > KEPT_BYTES - 20);
        let kept = keep_in([vec![0x80; 20_000]], true);
        assert!(kept.bytes.len() > KEPT_BYTES - 20);
    }
}
