//! From rows of the domain to the one text that a batch statement unpacks; see `dialect::batch`.

use std::fmt;

use serde::{Serialize, Serializer};

/// The items as one JSON array.
pub(super) fn batch<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let mut json = Vec::with_capacity(512);
    serde_json::Serializer::new(&mut json).collect_seq(items).expect("writing JSON to memory cannot fail");
    String::from_utf8(json).expect("JSON is UTF-8")
}

/// Written as its text.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Written as hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut chunk = [0; 128];
        for bytes in self.0.chunks(chunk.len() / 2) {
            for (pair, byte) in chunk.chunks_exact_mut(2).zip(bytes) {
                pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
            }
            let digits = &chunk[..2 * bytes.len()];
            f.write_str(str::from_utf8(digits).expect("digits are ASCII"))?;
        }
        Ok(())
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An unsigned number as databases know it; beyond their range it stays at the greatest.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A span in microseconds.
pub(super) fn micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// One row of a statement that only needs ids.
#[derive(Serialize)]
#[serde(bound = "T: fmt::Display")]
struct IdItem<T> {
    id: Text<T>,
}

/// Ids as a batch.
pub(super) fn ids<T: fmt::Display>(ids: impl IntoIterator<Item = T>) -> String {
    batch(ids.into_iter().map(|id| IdItem { id: Text(id) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_exact_across_chunks() {
        for length in [0, 1, 63, 64, 65, 200] {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(Hex(&bytes).to_string(), expected);
        }
    }

    #[test]
    fn numbers_beyond_the_databases_range_stay_at_the_greatest() {
        assert_eq!(bigint(u64::MAX), i64::MAX);
        assert_eq!(bigint(7), 7);
    }
}
