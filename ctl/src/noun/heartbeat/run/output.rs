//! What is kept of a command's output: its beginning and its end, within what a ping may carry.

use std::collections::VecDeque;

/// Bytes kept of the beginning, where a job says what it is about to do.
const HEAD_BYTES: usize = 2_000;
/// Bytes kept of the end, where it says what went wrong. With the head and the lines between and after them, a ping stays
/// within the 10,000 bytes that are kept of its body.
const TAIL_BYTES: usize = 7_700;
/// Bytes that a keep-alive carries.
const RECENT_BYTES: usize = 1_000;

/// The beginning and the end of everything that was added.
#[derive(Debug, Default)]
pub(super) struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Kept {
    /// Adds what was printed.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.left_out += surplus as u64;
    }

    /// The last of it.
    pub(super) fn recent(&self) -> Vec<u8> {
        let all = self.head.len() + self.tail.len();
        self.head.iter().chain(&self.tail).skip(all.saturating_sub(RECENT_BYTES)).copied().collect()
    }

    /// The whole, with a line where something was left out, and a remark as its last line.
    pub(super) fn with_last_line(self, remark: Option<String>) -> Vec<u8> {
        let mut whole = self.head;
        if self.left_out > 0 {
            whole.extend_from_slice(format!("\n[{} bytes left out]\n", self.left_out).as_bytes());
        }
        whole.extend(self.tail);
        if let Some(remark) = remark {
            let needs_break = whole.last().is_some_and(|&last| last != b'\n');
            whole.extend_from_slice(if needs_break { b"\n" } else { b"" });
            whole.extend_from_slice(format!("vigilctl: {remark}\n").as_bytes());
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(chunks: &[&[u8]]) -> Kept {
        let mut kept = Kept::default();
        for chunk in chunks {
            kept.add(chunk);
        }
        kept
    }

    #[test]
    fn little_is_kept_whole() {
        assert_eq!(kept(&[b"one\n", b"two"]).with_last_line(None), b"one\ntwo");
        assert_eq!(kept(&[b"one"]).with_last_line(Some("why".to_owned())), b"one\nvigilctl: why\n");
        assert_eq!(kept(&[]).with_last_line(None), b"");
    }

    #[test]
    fn of_much_the_beginning_and_the_end_are_kept_however_it_comes() {
        let much: Vec<u8> = (0..100_000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        for size in [1, 7, 4_096, much.len()] {
            let chunks: Vec<&[u8]> = much.chunks(size).collect();
            let body = kept(&chunks).with_last_line(Some("x".repeat(200)));
            assert!(body.len() <= 10_000, "{} bytes", body.len());
            let text = String::from_utf8(body).unwrap();
            assert!(text.starts_with("0\n1\n2\n"), "in chunks of {size}");
            let left_out = much.len() - HEAD_BYTES - TAIL_BYTES;
            assert!(text.contains(&format!("\n[{left_out} bytes left out]\n")), "in chunks of {size}");
            assert!(text.contains("\n99999\nvigilctl: xxx"), "in chunks of {size}");
        }
    }

    #[test]
    fn a_keep_alive_carries_the_last_of_it() {
        assert_eq!(kept(&[b"abc"]).recent(), b"abc");
        let recent = kept(&[&[b'x'; 20_000], b"end"]).recent();
        assert_eq!(recent.len(), RECENT_BYTES);
        assert!(recent.ends_with(b"xend"));
    }
}
