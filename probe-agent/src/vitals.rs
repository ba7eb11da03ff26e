//! What the system says of the agent's process and its machine, from `/proc`: a few small reads, for each report.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::agent_status::Machine;
use model::{Clock, Timestamp};
use rustix::process::{Resource, getrlimit};

/// What a report says of everything outside the mind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Vitals {
    /// The wall clock.
    pub(crate) wall: Timestamp,
    /// How long the process has been running.
    pub(crate) uptime: Duration,
    pub(crate) machine: Machine,
}

/// Reads vitals.
pub(crate) struct Reader {
    clock: Arc<dyn Clock>,
    started_at: Timestamp,
    cores: u32,
}

impl Reader {
    /// A reader in a process that starts now.
    pub(crate) fn start(clock: Arc<dyn Clock>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { started_at: clock.now(), clock, cores: u32::try_from(cores).unwrap_or(u32::MAX) }
    }

    /// The vitals now.
    pub(crate) fn read(&self) -> Vitals {
        let limit = getrlimit(Resource::Nofile).current;
        Vitals {
            wall: self.clock.wall(),
            uptime: self.clock.now().since(self.started_at),
            machine: Machine {
                load: text("/proc/loadavg").as_deref().and_then(load),
                cores: self.cores,
                memory_bytes: text("/proc/self/statm").as_deref().and_then(resident_pages).map(bytes),
                open_files: open_files(Path::new("/proc/self/fd")),
                open_files_limit: limit,
            },
        }
    }
}

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The first number of `/proc/loadavg`: the average of one minute (proc_loadavg(5)).
fn load(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The second number of `/proc/self/statm` (proc_pid_statm(5)).
fn resident_pages(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// Since Linux 6.2 the size of the directory is the number of open files; before they are counted.
fn open_files(directory: &Path) -> Option<u64> {
    match std::fs::metadata(directory).ok()?.len() {
        0 => std::fs::read_dir(directory).ok().map(|entries| entries.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use model::SystemClock;

    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let clock = SystemClock::start();
        let wall = clock.wall();
        let reader = Reader::start(Arc::new(clock));
        let before = reader.read();
        let machine = before.machine;
        assert!(before.wall >= wall && before.wall.since(wall) < Duration::from_secs(60));
        assert!(before.uptime < Duration::from_secs(60) && machine.cores >= 1);
        assert!(machine.load.is_some_and(|load| (0.0..10_000.0).contains(&load)), "{machine:?}");
        assert!(machine.memory_bytes.is_some_and(|bytes| (1 << 20..1 << 34).contains(&bytes)), "{machine:?}");
        assert!(machine.open_files < machine.open_files_limit.or(Some(u64::MAX)), "{machine:?}");

        // Other tests of this process open and close files too, but not so many.
        let opened: Vec<File> = (0..64).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = reader.read().machine.open_files.unwrap();
        assert!(after >= machine.open_files.unwrap() + 32, "{after} {machine:?}");
        drop(opened);
    }

    #[test]
    fn files_are_counted_where_the_system_does_not() {
        // Directories of /proc that say nothing of their size.
        let counted = open_files(Path::new("/proc/self/task")).unwrap();
        assert!((1..10_000).contains(&counted), "{counted}");
        assert_eq!(open_files(Path::new("/proc/self/nothing")), None);
    }

    #[test]
    fn what_the_system_writes_otherwise_is_not_known() {
        assert_eq!(load("0.52 0.58 0.59 1/631 4242\n"), Some(0.52));
        assert_eq!(resident_pages("5000 1234 900 1 0 400 0\n"), Some(1_234));
        for text in ["", "\n", "much"] {
            assert_eq!((load(text), resident_pages(text)), (None, None));
        }
    }
}
