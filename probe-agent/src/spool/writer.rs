//! The thread that does the spool's file operations, and the spool's opening.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use model::{AgentId, Clock, Random, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use super::disk::{Disk, Done, Opened, Order, Unopened};
use super::files::{Directory, Files, Memory};
use super::record::Boot;
use super::{HOT_BYTES, Spool};
use crate::take_over;

/// What was written is made durable at least so often.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// The most bytes that wait for a slow disk.
const MAX_QUEUED: usize = 8 << 20;
/// The most bytes of a spool without a directory.
const MEMORY_CAPACITY: u64 = 16 << 20;
/// How long a process that is just ending may take to let go of the directory, and an ending one to write the rest.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const LOCK: &str = "lock";

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// Another process holds the directory.
    #[error("another vigilmon-agent uses it: give each agent a directory of its own")]
    InUse,
    /// What is in it is not ours, or the system refuses.
    #[error(transparent)]
    Unopened(#[from] Unopened),
}

/// Where orders go.
pub(crate) struct Writer {
    orders: Sender<Order>,
    /// Bytes that wait to be written.
    queued: Arc<AtomicUsize>,
    /// A segment that missed something.
    abandoned: Option<u64>,
    done: mpsc::UnboundedSender<Done>,
    ended: oneshot::Receiver<()>,
}

/// Opens the spool in `directory`, or in memory without one. The receiver says what came of the orders.
pub(crate) async fn open(
    directory: Option<&Path>,
    capacity: u64,
    agent: AgentId,
    clock: Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<(Spool, Writer, mpsc::UnboundedReceiver<Done>), Unusable> {
    let boot = boot(&*clock, random);
    let nonce = model::random::bytes(random);
    match directory {
        None => start(Disk::open(Memory::default(), agent, boot, nonce)?, None, MEMORY_CAPACITY, clock),
        Some(path) => {
            let lock = hold(path).await?;
            let files = Directory::new(path);
            let read = move || Disk::open(files, agent, boot, nonce);
            let opened = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::from);
            start(opened.map_err(Unopened::Io)??, Some(lock), capacity, clock)
        }
    }
}

fn start<F: Files + 'static>(
    (disk, opened): (Disk<F>, Opened),
    lock: Option<File>,
    capacity: u64,
    clock: Arc<dyn Clock>,
) -> Result<(Spool, Writer, mpsc::UnboundedReceiver<Done>), Unusable> {
    let torn: u64 = opened.segments.iter().map(|segment| segment.torn).sum();
    if opened.unreadable > 0 || torn > 0 {
        warn!(
            files = opened.unreadable,
            bytes = torn,
            "parts of the spool cannot be read: the process or the machine ended while they were written"
        );
    }
    let spool = Spool::new(capacity, HOT_BYTES, opened, clock.now());
    if spool.has_waiting() {
        info!(results = spool.depth(), "results of an earlier process wait for the coordinator");
    }
    let (orders, incoming) = channel();
    let (done, results) = mpsc::unbounded_channel();
    let (ends, ended) = oneshot::channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let (left, said) = (Arc::clone(&queued), done.clone());
    let thread = std::thread::Builder::new().name("spool".to_owned());
    thread
        .spawn(move || {
            write(disk, &incoming, &left, &said, &*clock);
            // Whoever waits may take the directory over from here on.
            drop(lock);
            let _ = ends.send(());
        })
        .map_err(Unopened::Io)?;
    Ok((spool, Writer { orders, queued, abandoned: None, done, ended }, results))
}

impl Writer {
    /// Passes an order on. A disk that is far behind is given up for now instead of being waited for.
    pub(crate) fn submit(&mut self, order: Order) {
        if let Order::Append { segment, first_seq, records } = &order {
            if self.abandoned == Some(*segment) {
                return;
            }
            if self.queued.load(Ordering::Relaxed) > MAX_QUEUED {
                self.abandoned = Some(*segment);
                let why = std::io::Error::other("it is too slow");
                let _ = self.done.send(Done::Broken { from: *first_seq, why });
                return;
            }
            self.queued.fetch_add(records.len(), Ordering::Relaxed);
        }
        // The thread ends after this end is dropped.
        let _ = self.orders.send(order);
    }

    /// Waits until everything is durable and the directory is free, for a while; `false` if it is not.
    pub(crate) async fn finish(self) -> bool {
        drop(self.orders);
        let has_ended = tokio::time::timeout(PATIENCE, self.ended).await.is_ok();
        if !has_ended {
            warn!("the spool could not be written to its end: results of the last seconds may be lost");
        }
        has_ended
    }
}

fn write<F: Files>(
    mut disk: Disk<F>,
    orders: &Receiver<Order>,
    queued: &AtomicUsize,
    done: &mpsc::UnboundedSender<Done>,
    clock: &dyn Clock,
) {
    let say = |said: Option<Done>| {
        if let Some(said) = said {
            // Nobody listens any more: what is written is still good for the next process.
            let _ = done.send(said);
        }
    };
    let mut sync_at: Option<Timestamp> = None;
    loop {
        let next = match sync_at {
            Some(at) => orders.recv_timeout(at.since(clock.now())),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(order) => {
                let length = if let Order::Append { records, .. } = &order { records.len() } else { 0 };
                say(disk.execute(order));
                queued.fetch_sub(length, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return say(disk.sync()),
        }
        let now = clock.now();
        if sync_at.is_some_and(|at| at <= now) {
            say(disk.sync());
        }
        sync_at = if disk.is_dirty() {
            sync_at.filter(|at| *at > now).or_else(|| Some(now.plus(SYNC_INTERVAL)))
        } else {
            None
        };
    }
}

/// Whether another process has the directory now.
pub(crate) fn is_held(path: &Path) -> bool {
    let lock = OpenOptions::new().read(true).write(true).open(path.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Takes the directory's lock, which goes with the file, however the process ends. A process that is just ending gets
/// a moment to let go: a restart follows a kill at once.
async fn hold(path: &Path) -> Result<File, Unusable> {
    std::fs::create_dir_all(path).map_err(Unopened::Io)?;
    let mut options = OpenOptions::new();
    let lock = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK));
    let lock = lock.map_err(Unopened::Io)?;
    let patience = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(TryLockError::WouldBlock) => return Err(Unusable::InUse),
            Err(TryLockError::Error(error)) => return Err(Unopened::Io(error).into()),
        }
    }
}

/// This boot of the machine. Where the kernel does not tell, every process is a boot of its own.
fn boot(clock: &dyn Clock, random: &dyn Random) -> Boot {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&hex, 16).ok();
    let id = number.map_or_else(|| model::random::bytes(random), u128::to_be_bytes);
    Boot { id, at: take_over::wire::boot(clock) }
}
