//! What outlives a process that dies: which checks are in flight, and what is remembered of those that were.
//!
//! `running` has a place of 32 bytes for each check that can be in flight: the monitor's id, the revision of its
//! specification and a mark. It is written with plain writes and never synced: a process that is killed leaves it to the
//! kernel, and after a crash of the whole machine, which is no check's doing, it does not count (the header names the
//! boot). `suspects.json` is the memory of [`super::Ward`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::MonitorId;
use tracing::warn;

use super::{InFlight, Key, Record};
use crate::monitor::Job;

const RUNNING: &str = "running";
const SUSPECTS: &str = "suspects.json";
const MAGIC: &[u8; 8] = b"vigrun01";
const PLACE_BYTES: usize = 32;
/// Where a place has its mark: 0 free, or one of the two below.
const MARK_AT: usize = 24;
const SCHEDULED: u8 = 1;
const SINGLE: u8 = 2;
/// What the header's mark says of a process that ended by itself, or gave way.
const CLEAN: u8 = 1;

/// The files of the running process.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    running: File,
    free: Vec<u32>,
    taken: BTreeMap<u64, u32>,
    /// After one failure nothing is written any more, and only one is told of.
    has_failed: bool,
}

impl Files {
    /// What the process before left in `directory`: what it remembered, and what it had in flight if it died.
    pub(crate) fn left(directory: &Path, boot: [u8; 16]) -> (Vec<Record>, InFlight) {
        let suspects = match fs::read(directory.join(SUSPECTS)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!("{SUSPECTS} cannot be read, what was suspected is forgotten: {error}");
                vec![]
            }),
            Err(_) => vec![],
        };
        let running = fs::read(directory.join(RUNNING)).unwrap_or_default();
        (suspects, in_flight(&running, boot))
    }

    /// Forgets all of that.
    pub(crate) fn forget(directory: &Path) -> io::Result<()> {
        for name in [RUNNING, SUSPECTS] {
            match fs::remove_file(directory.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Begins anew, with room for so many checks in flight. A process that still has checks under way keeps its own file.
    pub(crate) fn begin(directory: &Path, boot: [u8; 16], places: usize) -> io::Result<Self> {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        let temporary = directory.join("running.new");
        let mut options = File::options();
        let running = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        running.set_len(offset(places))?;
        running.write_all_at(MAGIC, 0)?;
        running.write_all_at(&boot, MAGIC.len() as u64)?;
        fs::rename(temporary, directory.join(RUNNING))?;
        let (free, taken) = ((0..places).rev().collect(), BTreeMap::new());
        Ok(Self { directory: directory.to_owned(), running, free, taken, has_failed: false })
    }

    /// Notes that an attempt begins.
    pub(crate) fn started(&mut self, job: &Job) {
        let Some(place) = self.free.pop() else { return };
        let key = Key::of(job);
        let mut entry = [0; PLACE_BYTES];
        entry[..16].copy_from_slice(key.monitor.as_bytes());
        entry[16..MARK_AT].copy_from_slice(&key.spec_revision.to_be_bytes());
        entry[MARK_AT] = if job.is_single { SINGLE } else { SCHEDULED };
        self.taken.insert(job.number, place);
        self.write(&entry, offset(place));
    }

    /// Notes that it has ended.
    pub(crate) fn ended(&mut self, job: &Job) {
        let Some(place) = self.taken.remove(&job.number) else { return };
        self.free.push(place);
        self.write(&[0], offset(place) + MARK_AT as u64);
    }

    /// Remembers these.
    pub(crate) fn remember(&mut self, records: &[Record]) {
        let temporary = self.directory.join("suspects.new");
        let text = serde_json::to_vec_pretty(records).expect("records have only text keys");
        let written =
            fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, self.directory.join(SUSPECTS)));
        self.report(written);
    }

    /// The process ends by itself: what is given up now was not in flight at a death.
    pub(crate) fn close(mut self) {
        self.write(&[CLEAN], MARK_AT as u64);
    }

    fn write(&mut self, bytes: &[u8], at: u64) {
        if !self.has_failed {
            let written = self.running.write_all_at(bytes, at);
            self.report(written);
        }
    }

    fn report(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && !std::mem::replace(&mut self.has_failed, true)
        {
            warn!(
                "a check that brings the agent down will not be recognised, its spool cannot be written: {error}"
            );
        }
    }
}

/// Where a place begins, behind the header.
fn offset(place: u32) -> u64 {
    (u64::from(place) + 1) * PLACE_BYTES as u64
}

fn in_flight(bytes: &[u8], boot: [u8; 16]) -> InFlight {
    let mut found = InFlight::default();
    let (places, _) = bytes.as_chunks::<PLACE_BYTES>();
    let Some((header, places)) = places.split_first() else { return found };
    if header[..8] != *MAGIC || header[8..MARK_AT] != boot || header[MARK_AT] == CLEAN {
        return found;
    }
    for place in places {
        let (Some(monitor), Some(revision)) = (place.first_chunk::<16>(), place[16..].first_chunk::<8>())
        else {
            continue;
        };
        match place[MARK_AT] {
            SCHEDULED => {
                let (monitor, spec_revision) =
                    (MonitorId::from_bytes(*monitor), u64::from_be_bytes(*revision));
                found.keys.insert(Key { monitor, spec_revision });
            }
            SINGLE => found.others += 1,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::Timestamp;
    use model::check::Options;
    use proto::probe::convert::{Assignment, Role};

    use super::*;

    const BOOT: [u8; 16] = [7; 16];

    fn job(number: u64, is_single: bool) -> Job {
        let assignment = Assignment {
            monitor: MonitorId::from_bytes([number as u8; 16]),
            spec_revision: 10 + number,
            check: None,
            options: Options::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            phase: Duration::ZERO,
            role: Role::Primary,
            check_now: false,
        };
        let (slot, attempt, round, is_set_aside) = (0, 0, 0, false);
        let (assignment, host) = (Arc::new(assignment), "".into());
        Job {
            number,
            assignment,
            host,
            slot,
            attempt,
            round,
            is_single,
            is_close: false,
            is_set_aside,
            queued_at: Timestamp::EPOCH,
            planned_at: None,
        }
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vigilmon-ward-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn what_is_in_flight_when_a_process_dies_is_found_by_the_next_one() {
        let path = directory("died");
        let mut files = Files::begin(&path, BOOT, 4).unwrap();
        for number in 1..=6 {
            files.started(&job(number, number == 4));
        }
        files.ended(&job(1, false));
        files.started(&job(7, false));
        let (_, died) = Files::left(&path, BOOT);
        let found: Vec<_> = died.keys.iter().map(|key| key.spec_revision).collect();
        assert_eq!((found, died.others), (vec![12, 13, 17], 1));
        assert_eq!(Files::left(&path, [8; 16]).1, InFlight::default(), "the machine went down with it");

        files.close();
        assert_eq!(Files::left(&path, BOOT).1, InFlight::default(), "it ended by itself");
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_is_remembered_is_read_back_until_it_is_forgotten_and_damage_is_no_suspicion() {
        let path = directory("remembered");
        let record = Record {
            monitor: MonitorId::from_bytes([1; 16]),
            spec_revision: 3,
            deaths: 3,
            died_at: Timestamp::from_secs(1),
            quarantined: true,
        };
        let mut files = Files::begin(&path, BOOT, 4).unwrap();
        files.remember(&[record]);
        assert_eq!(Files::left(&path, BOOT).0, [record]);
        Files::forget(&path).unwrap();
        assert_eq!(Files::left(&path, BOOT), (vec![], InFlight::default()));
        fs::write(path.join(SUSPECTS), "[{").unwrap();
        fs::write(path.join(RUNNING), "vigrun01").unwrap();
        assert_eq!(Files::left(&path, BOOT), (vec![], InFlight::default()));
        fs::remove_dir_all(path).unwrap();
    }
}
