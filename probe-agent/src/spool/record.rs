//! The bytes of a segment: a header, then records, each with its own checksum. Pure; never panics on bytes.
//!
//! ```text
//! header   "vigspool" · version u8 · is_thinned u8 · nonce [16] · agent [16] · boot [16] · booted_at i64 · first_seq u64 · crc32
//! record   crc32 of what follows · length u32 · kind u8 · body
//!   result   seq − first_seq u32 · started_at i64 · protobuf          (kind 1: routine, kind 2: news)
//!   acks     at i64 · first u64 · last u64                            (kind 3)
//!   terms    epoch u64 · the coordinator's clock minus ours i64       (kind 4)
//!   dropped  results given up without an acknowledgement so far u64   (kind 5)
//! ```
//!
//! Integers are little-endian, instants microseconds. The first record that is incomplete or fails its checksum ends the
//! segment: what follows a torn write was never promised.

use std::ops::Range;

use model::{AgentId, Timestamp};

const MAGIC: &[u8; 8] = b"vigspool";
const VERSION: u8 = 1;
/// Length of the header.
pub(super) const HEADER_BYTES: usize = 8 + 1 + 1 + 16 + 16 + 16 + 8 + 8 + 4;
/// Checksum, length and kind.
const FRAME_BYTES: usize = 4 + 4 + 1;

const ROUTINE: u8 = 1;
const NEWS: u8 = 2;
const ACKS: u8 = 3;
const TERMS: u8 = 4;
const DROPPED: u8 = 5;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Rewritten without its routine results.
    pub(crate) is_thinned: bool,
    /// Of the numbering: the same one continues the same agent epoch.
    pub(crate) nonce: [u8; 16],
    /// Whose results these are.
    pub(crate) agent: AgentId,
    /// Since when the machine had been up, when this was written.
    pub(crate) boot: Boot,
    /// No result in the segment has a lower number.
    pub(crate) first_seq: u64,
}

/// One boot of a machine: within it, instants of two processes can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// The kernel's random id.
    pub(crate) id: [u8; 16],
    /// When it was, on the clock of the process that says so.
    pub(crate) at: Timestamp,
}

/// Something that a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A result; its protobuf is at `encoded` in the segment.
    Result { seq: u64, is_routine: bool, started_at: Timestamp, encoded: Range<usize> },
    /// The coordinator has committed `first … last`.
    Acks { at: Timestamp, first: u64, last: u64 },
    /// A session began.
    Terms { epoch: u64, offset_us: i64 },
    /// So many results were given up, since the spool was made.
    Dropped(u64),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.push(u8::from(self.is_thinned));
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(self.agent.as_bytes());
        bytes.extend_from_slice(&self.boot.id);
        bytes.extend_from_slice(&self.boot.at.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.first_seq.to_le_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the beginning of a segment; `None`: there is none that can be used.
    pub(super) fn decode(segment: &[u8]) -> Option<Self> {
        let (covered, checksum) = segment.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 4);
        let mut bytes = Reader(covered);
        let known = bytes.take::<8>()? == *MAGIC && bytes.take::<1>()? == [VERSION];
        if !known || crc32fast::hash(covered).to_le_bytes() != checksum {
            return None;
        }
        Some(Self {
            is_thinned: bytes.take::<1>()? != [0],
            nonce: bytes.take()?,
            agent: AgentId::from_bytes(bytes.take()?),
            boot: Boot { id: bytes.take()?, at: bytes.instant()? },
            first_seq: bytes.u64()?,
        })
    }
}

/// Appends a result; one that is 2³² numbers away from `first_seq` has no place here.
pub(super) fn put_result(
    into: &mut Vec<u8>,
    first_seq: u64,
    seq: u64,
    is_routine: bool,
    started_at: Timestamp,
    encoded: &[u8],
) {
    let Some(index) = seq.checked_sub(first_seq).and_then(|index| u32::try_from(index).ok()) else { return };
    let kind = if is_routine { ROUTINE } else { NEWS };
    put(into, kind, &[&index.to_le_bytes(), &started_at.as_micros().to_le_bytes(), encoded]);
}

pub(super) fn put_acks(into: &mut Vec<u8>, at: Timestamp, first: u64, last: u64) {
    put(into, ACKS, &[&at.as_micros().to_le_bytes(), &first.to_le_bytes(), &last.to_le_bytes()]);
}

pub(super) fn put_terms(into: &mut Vec<u8>, epoch: u64, offset_us: i64) {
    put(into, TERMS, &[&epoch.to_le_bytes(), &offset_us.to_le_bytes()]);
}

pub(super) fn put_dropped(into: &mut Vec<u8>, total: u64) {
    put(into, DROPPED, &[&total.to_le_bytes()]);
}

fn put(into: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let start = into.len();
    let length: usize = body.iter().map(|part| part.len()).sum();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&u32::try_from(length).expect("a result is far below 4 GiB").to_le_bytes());
    into.push(kind);
    for part in body {
        into.extend_from_slice(part);
    }
    let checksum = crc32fast::hash(&into[start + 4..]);
    into[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// The records of a segment, up to the first that cannot be read.
pub(super) struct Records<'a> {
    segment: &'a [u8],
    first_seq: u64,
    /// Everything before this was read.
    position: usize,
}

impl<'a> Records<'a> {
    pub(super) const fn new(segment: &'a [u8], header: &Header) -> Self {
        Self { segment, first_seq: header.first_seq, position: HEADER_BYTES }
    }

    /// How many bytes of the segment have been read, whole records only.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    fn read(&self) -> Option<(Option<Record>, usize)> {
        let mut frame = Reader(self.segment.get(self.position..)?);
        let checksum = u32::from_le_bytes(frame.take()?);
        let length = u32::from_le_bytes(frame.take()?) as usize;
        let body_at = self.position + FRAME_BYTES;
        let end = body_at.checked_add(length)?;
        let covered = self.segment.get(self.position + 4..end)?;
        if crc32fast::hash(covered) != checksum {
            return None;
        }
        let [kind] = frame.take()?;
        let mut body = Reader(&self.segment[body_at..end]);
        let record = match kind {
            ROUTINE | NEWS => Record::Result {
                seq: self.first_seq.checked_add(u64::from(u32::from_le_bytes(body.take()?)))?,
                is_routine: kind == ROUTINE,
                started_at: body.instant()?,
                encoded: body_at + 12..end,
            },
            ACKS => Record::Acks { at: body.instant()?, first: body.u64()?, last: body.u64()? },
            TERMS => Record::Terms { epoch: body.u64()?, offset_us: i64::from_le_bytes(body.take()?) },
            DROPPED => Record::Dropped(body.u64()?),
            // Of a later version, which may have more to say; what is known is still good.
            _ => return Some((None, end)),
        };
        Some((Some(record), end))
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let (record, end) = self.read()?;
            self.position = end;
            if record.is_some() {
                return record;
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn instant(&mut self) -> Option<Timestamp> {
        self.take().map(|micros| Timestamp::from_micros(i64::from_le_bytes(micros)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            is_thinned: false,
            nonce: [1; 16],
            agent: AgentId::from_bytes([2; 16]),
            boot: Boot { id: [3; 16], at: Timestamp::from_secs(4) },
            first_seq: 1_000,
        }
    }

    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = header().encode();
        let mut ends = vec![bytes.len()];
        put_terms(&mut bytes, 7, -3);
        ends.push(bytes.len());
        put_result(&mut bytes, 1_000, 1_002, true, Timestamp::from_secs(5), b"routine");
        ends.push(bytes.len());
        put_acks(&mut bytes, Timestamp::from_secs(6), 1_000, 1_001);
        ends.push(bytes.len());
        put_dropped(&mut bytes, 8);
        ends.push(bytes.len());
        put_result(&mut bytes, 1_000, 1_003, false, Timestamp::from_secs(7), b"");
        ends.push(bytes.len());
        (bytes, ends)
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, _) = segment();
        assert_eq!(Header::decode(&bytes), Some(header()));
        let mut records = Records::new(&bytes, &header());
        assert_eq!(records.next(), Some(Record::Terms { epoch: 7, offset_us: -3 }));
        let Some(Record::Result { seq: 1_002, is_routine: true, encoded, .. }) = records.next() else {
            panic!("the second is a routine result")
        };
        assert_eq!(&bytes[encoded], b"routine");
        let at = Timestamp::from_secs(6);
        assert_eq!(records.next(), Some(Record::Acks { at, first: 1_000, last: 1_001 }));
        assert_eq!(records.next(), Some(Record::Dropped(8)));
        assert!(matches!(records.next(), Some(Record::Result { seq: 1_003, is_routine: false, .. })));
        assert_eq!(records.next(), None);
        assert_eq!(records.position(), bytes.len());
    }

    #[test]
    fn the_format_does_not_change() {
        let (bytes, _) = segment();
        assert_eq!(
            (bytes.len(), crc32fast::hash(&bytes)),
            (202, 3_672_711_196),
            "files of released versions stay readable"
        );
    }

    proptest! {
        #[test]
        fn a_torn_or_damaged_segment_gives_its_whole_records_and_no_others(
            cut in 0..220_usize,
            damage in proptest::option::of((0..220_usize, 1..=255_u8)),
        ) {
            let (mut bytes, ends) = segment();
            bytes.truncate(cut);
            let mut good = bytes.len();
            if let Some((at, flip)) = damage && at < bytes.len() {
                bytes[at] ^= flip;
                good = at;
            }
            let whole = ends.iter().filter(|&&end| end <= good).count();
            match Header::decode(&bytes) {
                None => prop_assert_eq!(whole, 0),
                Some(read) => {
                    prop_assert_eq!(read, header());
                    prop_assert_eq!(Records::new(&bytes, &read).count(), whole - 1);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Header::decode(&bytes), None);
            let _ = Records::new(&bytes, &header()).count();
        }
    }
}
