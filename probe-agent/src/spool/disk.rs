//! What is done to the segments on disk, one order at a time, and how they are found again.
//!
//! A segment comes into being whole and durable (written under another name, synced, renamed) and then only grows; so
//! a crash at any step leaves segments whose records are good up to a point, and at most one file to sweep away.

use std::io;
use std::ops::RangeInclusive;

use model::{AgentId, Timestamp};

use super::files::Files;
use super::record::{self, Boot, Header, Record, Records};

/// Each opening numbers its results from within the next multiple of this: what was sent before a crash, and perhaps not
/// kept, never shares a number with what comes after.
pub(super) const RUN: u64 = 1 << 40;
const SUFFIX: &str = ".results";
const TEMPORARY: &str = "next.tmp";

/// Something to be done with segments.
#[derive(Debug)]
pub(crate) enum Order {
    /// Makes the segment that is appended to from now on.
    Begin { segment: u64, header: Header },
    /// Adds records; no result among them has a lower number than `first_seq`.
    Append { segment: u64, first_seq: u64, records: Vec<u8> },
    /// Reads a segment.
    Load { segment: u64 },
    /// Rewrites a segment with nothing but what is news among `unacked`; `dropped` results were given up before.
    Thin { segment: u64, unacked: Vec<RangeInclusive<u64>>, dropped: u64 },
    /// Removes a segment.
    Remove { segment: u64 },
}

/// What came of an order.
#[derive(Debug)]
pub(crate) enum Done {
    /// [`Order::Load`].
    Loaded { segment: u64, contents: Contents },
    /// [`Order::Load`]: it cannot be read now.
    NotLoaded { segment: u64, why: io::Error },
    /// [`Order::Thin`]: so many bytes are left, and these results.
    Thinned { segment: u64, bytes: u64, kept: Vec<u64> },
    /// [`Order::Thin`]: it is as it was.
    NotThinned { segment: u64, why: io::Error },
    /// Nothing with this number or a higher one is on the disk, nor will be in this segment.
    Broken { from: u64, why: io::Error },
}

/// The results of a segment.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    bytes: Vec<u8>,
    index: Vec<Stored>,
}

/// Where a result is in its segment, and what dates it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    /// On the clock of the process that wrote it.
    pub(crate) started_at: Timestamp,
    /// The coordinator's clock minus that one, if it was known.
    pub(crate) offset_us: Option<i64>,
    from: u32,
    to: u32,
}

impl Contents {
    /// A result and its protobuf.
    pub(crate) fn get(&self, seq: u64) -> Option<(Stored, &[u8])> {
        let at = self.index.binary_search_by_key(&seq, |stored| stored.seq).ok()?;
        let stored = self.index[at];
        Some((stored, &self.bytes[stored.from as usize..stored.to as usize]))
    }

    fn read(bytes: Vec<u8>) -> Self {
        let Some(header) = Header::decode(&bytes) else { return Self::default() };
        let mut index = Vec::new();
        let mut offset = None;
        for record in Records::new(&bytes, &header) {
            match record {
                Record::Result { seq, started_at, encoded, .. } => {
                    let place = (u32::try_from(encoded.start), u32::try_from(encoded.end));
                    let (Ok(from), Ok(to)) = place else { break };
                    index.push(Stored { seq, started_at, offset_us: offset, from, to });
                }
                Record::Terms { offset_us, .. } => offset = Some(offset_us),
                Record::Acks { .. } | Record::Dropped(_) => {}
            }
        }
        index.sort_by_key(|stored| stored.seq);
        index.dedup_by_key(|stored| stored.seq);
        Self { bytes, index }
    }
}

/// A segment that was there already.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) number: u64,
    pub(crate) header: Header,
    pub(crate) bytes: u64,
    /// The results it holds, as ranges in the order they were met.
    pub(crate) results: Vec<RangeInclusive<u64>>,
    /// When the first of them was begun, on the clock of the process that wrote it.
    pub(crate) begun_at: Option<Timestamp>,
    /// What was acknowledged, when, on that clock too.
    pub(crate) acks: Vec<(Timestamp, RangeInclusive<u64>)>,
    /// The last session's epoch.
    pub(crate) epoch: Option<u64>,
    /// How many results had been given up.
    pub(crate) dropped: u64,
    /// Bytes at its end that are no whole record.
    pub(crate) torn: u64,
}

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error(
        "it holds results of another agent ({0}): give each agent a directory of its own, or remove this one"
    )]
    OfAnotherAgent(AgentId),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The segments of one agent.
pub(super) struct Disk<F> {
    files: F,
    /// What is appended to; `None`: nothing, until the next one is begun.
    active: Option<u64>,
    /// The lowest number that may be lost with the power.
    unsynced_from: Option<u64>,
}

/// Where in the lower half of a run its numbers begin: of two copies of one directory, each in another's.
fn somewhere(random: [u8; 16]) -> u64 {
    u128::from_le_bytes(random) as u64 % (RUN / 2)
}

/// A spool that has just been opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What was there, by rising number; the last one is new, and empty.
    pub(crate) segments: Vec<Found>,
    /// Files that could not be read at all, and were removed.
    pub(crate) unreadable: u64,
}

impl<F: Files> Disk<F> {
    /// Reads what there is and begins a new segment.
    pub(super) fn open(
        mut files: F,
        agent: AgentId,
        boot: Boot,
        new_nonce: [u8; 16],
    ) -> Result<(Self, Opened), Unopened> {
        let mut numbers = Vec::new();
        for name in files.list()? {
            if name == TEMPORARY {
                files.remove(&name)?;
            } else if let Some(number) =
                name.strip_suffix(SUFFIX).and_then(|number| number.parse::<u64>().ok())
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        let (mut segments, mut unreadable) = (Vec::new(), 0);
        for &number in &numbers {
            match find(number, &files.read(&name(number))?) {
                Some(found) if found.header.agent != agent => {
                    return Err(Unopened::OfAnotherAgent(found.header.agent));
                }
                Some(found) => segments.push(found),
                None => {
                    files.remove(&name(number))?;
                    unreadable += 1;
                }
            }
        }
        let highest = segments.iter().map(Found::highest).max();
        let header = Header {
            is_thinned: false,
            nonce: segments.last().map_or(new_nonce, |found| found.header.nonce),
            agent,
            boot,
            first_seq: highest
                .map_or(1, |seq| (seq / RUN + 1).saturating_mul(RUN).saturating_add(somewhere(new_nonce))),
        };
        let number = numbers.last().map_or(1, |number| number + 1);
        let mut disk = Self { files, active: None, unsynced_from: None };
        disk.begin(number, &header)?;
        segments.push(Found::empty(number, header));
        Ok((disk, Opened { segments, unreadable }))
    }

    /// Does what is ordered.
    pub(super) fn execute(&mut self, order: Order) -> Option<Done> {
        match order {
            Order::Begin { segment, header } => {
                let synced = self.sync();
                if synced.is_some() {
                    return synced;
                }
                self.active = None;
                let begun = self.begin(segment, &header);
                begun.err().map(|why| Done::Broken { from: header.first_seq, why })
            }
            Order::Append { segment, first_seq, records } => {
                // After a failure the segment is not touched again: behind a torn record nothing would be found.
                if self.active != Some(segment) {
                    return None;
                }
                self.unsynced_from.get_or_insert(first_seq);
                let appended = self.files.append(&name(segment), &records);
                appended.err().map(|why| self.broken(first_seq, why))
            }
            Order::Load { segment } => Some(match self.files.read(&name(segment)) {
                Ok(bytes) => Done::Loaded { segment, contents: Contents::read(bytes) },
                Err(why) if why.kind() == io::ErrorKind::NotFound => {
                    Done::Loaded { segment, contents: Contents::default() }
                }
                Err(why) => Done::NotLoaded { segment, why },
            }),
            Order::Thin { segment, unacked, dropped } => Some(
                self.thin(segment, &unacked, dropped).unwrap_or_else(|why| Done::NotThinned { segment, why }),
            ),
            Order::Remove { segment } => {
                // A file that stays is found, and removed, at the next start.
                let _ = self.files.remove(&name(segment));
                None
            }
        }
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self) -> Option<Done> {
        let first_seq = self.unsynced_from.take()?;
        let synced = self.files.sync(&name(self.active?));
        synced.err().map(|why| self.broken(first_seq, why))
    }

    /// Whether something waits for [`Disk::sync`].
    pub(super) const fn is_dirty(&self) -> bool {
        self.unsynced_from.is_some()
    }

    #[cfg(test)]
    pub(super) const fn files(&self) -> &F {
        &self.files
    }

    #[cfg(test)]
    pub(super) fn into_files(self) -> F {
        self.files
    }

    fn broken(&mut self, first_seq: u64, why: io::Error) -> Done {
        self.active = None;
        let from = self.unsynced_from.take().unwrap_or(first_seq).min(first_seq);
        Done::Broken { from, why }
    }

    fn begin(&mut self, number: u64, header: &Header) -> io::Result<()> {
        self.place(number, &header.encode())?;
        self.active = Some(number);
        Ok(())
    }

    /// Puts a file with these contents in its place, durably, or changes nothing.
    fn place(&mut self, number: u64, contents: &[u8]) -> io::Result<()> {
        self.files.create(TEMPORARY)?;
        self.files.append(TEMPORARY, contents)?;
        self.files.sync(TEMPORARY)?;
        self.files.rename(TEMPORARY, &name(number))?;
        self.files.sync_names()
    }

    fn thin(&mut self, segment: u64, unacked: &[RangeInclusive<u64>], dropped: u64) -> io::Result<Done> {
        let bytes = self.files.read(&name(segment))?;
        let mut kept = Vec::new();
        let mut thinned = Vec::new();
        if let Some(header) = Header::decode(&bytes) {
            thinned = Header { is_thinned: true, ..header }.encode();
            for record in Records::new(&bytes, &header) {
                match record {
                    Record::Result { seq, is_routine: false, started_at, encoded }
                        if unacked.iter().any(|range| range.contains(&seq)) =>
                    {
                        let encoded = &bytes[encoded];
                        record::put_result(&mut thinned, header.first_seq, seq, false, started_at, encoded);
                        kept.push(seq);
                    }
                    Record::Terms { epoch, offset_us } => record::put_terms(&mut thinned, epoch, offset_us),
                    Record::Result { .. } | Record::Acks { .. } | Record::Dropped(_) => {}
                }
            }
            // In the same stroke: whoever is killed now has counted already.
            let before: u64 = unacked.iter().map(|range| range.end() - range.start() + 1).sum();
            record::put_dropped(&mut thinned, dropped + before.saturating_sub(kept.len() as u64));
        }
        self.place(segment, &thinned)?;
        Ok(Done::Thinned { segment, bytes: thinned.len() as u64, kept })
    }
}

impl Found {
    const fn empty(number: u64, header: Header) -> Self {
        Self {
            number,
            header,
            bytes: record::HEADER_BYTES as u64,
            results: Vec::new(),
            begun_at: None,
            acks: Vec::new(),
            epoch: None,
            dropped: 0,
            torn: 0,
        }
    }

    /// The highest number that is known to be taken.
    fn highest(&self) -> u64 {
        let results = self.results.iter().map(|range| *range.end());
        results.chain([self.header.first_seq]).max().unwrap_or_default()
    }
}

fn find(number: u64, bytes: &[u8]) -> Option<Found> {
    let header = Header::decode(bytes)?;
    let mut found = Found { bytes: bytes.len() as u64, ..Found::empty(number, header) };
    let mut records = Records::new(bytes, &header);
    for record in records.by_ref() {
        match record {
            Record::Result { seq, started_at, .. } => {
                found.begun_at.get_or_insert(started_at);
                match found.results.last_mut() {
                    Some(range) if range.end().checked_add(1) == Some(seq) => *range = *range.start()..=seq,
                    _ => found.results.push(seq..=seq),
                }
            }
            Record::Acks { at, first, last } => found.acks.push((at, first..=last)),
            Record::Terms { epoch, .. } => found.epoch = Some(epoch),
            Record::Dropped(total) => found.dropped = total,
        }
    }
    found.torn = (bytes.len() - records.position()) as u64;
    Some(found)
}

fn name(segment: u64) -> String {
    format!("{segment:010}{SUFFIX}")
}
