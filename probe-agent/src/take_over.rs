//! Hot upgrade: a new process takes over from the one that runs, on the same spool, and no scheduled check is missed or
//! made twice.
//!
//! ```text
//!   new: configuration read, checker built ─ Request ─▶  old: starts nothing any more, leaves its session,
//!                                          ◀─ State ──        makes the spool durable and lets go of it
//!        opens the spool                   ── Nod ──▶
//!        checks from here on               ◀── Nod ──        the point of no return
//!                                          ◀─ Finished …     what was under way ends, then the process
//! ```
//!
//! Whoever fails before the point of no return changes nothing: the old process takes its spool back and goes on; slots
//! that fell into the meantime are run late. The socket `take-over` is in the spool's directory, for the agent's own
//! user (and root) alone.

pub(crate) mod wire;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::AgentId;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use wire::{Finished, Nod, Request, State, receive, send};

/// Time for each step of the other process: it reads or writes a whole spool.
const STEP: Duration = Duration::from_secs(10);
/// Time to say what is wanted.
const ASKING: Duration = Duration::from_secs(2);
/// The longest that a process which gave way can have to say anything.
const LAST_WORDS: Duration = model::check::MAX_TIMEOUT.saturating_add(Duration::from_secs(30));
const SOCKET: &str = "take-over";

/// Where a process that runs hears of one that takes over.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    agent: AgentId,
}

/// The process that takes over from this one.
#[derive(Debug)]
pub(crate) struct Successor {
    stream: UnixStream,
    /// Its version.
    pub(crate) version: String,
}

/// The process that this one takes over from.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: UnixStream,
}

/// What is heard of the process that this one took over from.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An attempt of its has ended.
    Finished(Box<Finished>),
    /// It has ended, and with it whatever it has not told.
    Gone,
}

impl Door {
    /// Opens the door in a spool's directory, whose lock this process holds: what is there is left over.
    pub(crate) fn open(directory: &Path, agent: AgentId) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        let path = socket(directory);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, agent })
    }

    async fn serve(self, successors: &mpsc::Sender<Successor>) -> Infallible {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match timeout(ASKING, self.admit(stream)).await {
                    // Its end is heard of where it is used.
                    Ok(Ok(successor)) => drop(successors.send(successor).await),
                    Ok(Err(error)) => warn!("somebody asked to take over and may not: {error}"),
                    Err(_) => warn!("somebody opened the door to take over and said nothing"),
                },
                Err(error) => {
                    warn!("cannot hear of processes that take over: {error}");
                    tokio::time::sleep(STEP).await;
                }
            }
        }
    }

    async fn admit(&self, mut stream: UnixStream) -> io::Result<Successor> {
        let (own, theirs) = (rustix::process::geteuid().as_raw(), stream.peer_cred()?.uid());
        if theirs != own && theirs != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let request: Request = receive(&mut stream).await?;
        if request.agent != self.agent.as_bytes() {
            return Err(io::Error::other("it is another agent"));
        }
        Ok(Successor { stream, version: model::result::clean(&request.version, 64) })
    }
}

impl Successor {
    /// Hands over, and waits until it is ready to go on alone. After `Ok` it does.
    pub(crate) async fn hand_over(&mut self, state: &State) -> io::Result<()> {
        timeout(STEP, async {
            send(&mut self.stream, state).await?;
            let Nod {} = receive(&mut self.stream).await?;
            send(&mut self.stream, &Nod {}).await
        })
        .await?
    }

    /// Tells it what an attempt found.
    pub(crate) async fn tell(&mut self, finished: &Finished) -> io::Result<()> {
        timeout(STEP, send(&mut self.stream, finished)).await?
    }
}

impl Predecessor {
    /// The process that runs on a spool, if there is one that can be taken over from.
    pub(crate) async fn find(directory: &Path, agent: AgentId) -> Option<Self> {
        let mut stream = UnixStream::connect(socket(directory)).await.ok()?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let request = Request { agent: agent.as_bytes().to_vec(), version };
        send(&mut stream, &request).await.ok()?;
        info!("taking over from the process that runs");
        Some(Self { stream })
    }

    /// Waits until it has let go.
    pub(crate) async fn state(&mut self) -> io::Result<State> {
        timeout(STEP, receive(&mut self.stream)).await?
    }

    /// Says that this process can go on alone. After `Ok` it has to.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        timeout(STEP, async {
            send(&mut self.stream, &Nod {}).await?;
            let Nod {} = receive(&mut self.stream).await?;
            Ok(())
        })
        .await?
    }

    /// Passes its last words on.
    async fn listen(mut self, heard: &mpsc::Sender<Heard>) {
        let words = async {
            while let Ok(finished) = receive::<Finished>(&mut self.stream).await {
                // Fails only when nobody listens, which is the end of this future too.
                let _ = heard.send(Heard::Finished(Box::new(finished))).await;
            }
        };
        // No check takes longer; a process that is stopped says nothing, for ever.
        let _ = timeout(LAST_WORDS, words).await;
        let _ = heard.send(Heard::Gone).await;
    }
}

/// Passes on whoever may take over, for ever.
pub(crate) async fn serve(door: Option<Door>, successors: mpsc::Sender<Successor>) -> Infallible {
    match door {
        Some(door) => door.serve(&successors).await,
        None => std::future::pending().await,
    }
}

/// Passes on the last words of the process before, if there is one; then waits for ever.
pub(crate) async fn listen(predecessor: Option<Predecessor>, heard: mpsc::Sender<Heard>) -> Infallible {
    if let Some(predecessor) = predecessor {
        predecessor.listen(&heard).await;
    }
    std::future::pending().await
}

/// Reads a spool once, so that opening it after the other process has let go does not wait for the disk.
pub(crate) async fn warm(directory: PathBuf) {
    let read = move || {
        let mut buffer = vec![0; 1 << 20];
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file())
                && let Ok(mut file) = std::fs::File::open(entry.path())
            {
                while io::Read::read(&mut file, &mut buffer).is_ok_and(|read| read > 0) {}
            }
        }
    };
    // What cannot be read now is told by whoever opens it.
    let _ = tokio::task::spawn_blocking(read).await;
}

fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}
