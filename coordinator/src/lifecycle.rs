//! Tasks and their end: who runs, what it means when one stops, and the two stages of shutting down.
//!
//! Stage one (*drain*) asks every task to finish what it holds: agents are told to reconnect later, what is committed is
//! acked, deliveries in flight end. Stage two (*stop*) comes with a second signal or after [`DRAIN_LIMIT`], which
//! is a failure: something that had to end did not.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span, warn};

/// How long stage one may take.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// What a task is for, which decides what its end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Owns every subject's state and commits.
    Shards,
    /// Fans events out to deliveries.
    Outbox,
    /// Sends deliveries.
    Delivery,
    /// Computes what agents check.
    Assign,
    /// Watches agents fall silent.
    Fleet,
    /// Polls what belongs to no subject.
    Settings,
    /// Accepts connections of people, jobs and admin clients.
    HttpListener,
    /// Accepts connections of agents.
    AgentListener,
    /// Serves one connection.
    Connection,
    /// One delivery attempt.
    Attempt,
    /// The agent inside `vigilmon up`.
    EmbeddedAgent,
    /// Prints what happens to the terminal.
    Terminal,
}

/// What the end of a task means for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnEnd {
    /// The process cannot do its work any more: drain and exit with an error.
    Shutdown,
    /// Nothing.
    Ignore,
}

impl Task {
    const fn on_end(self) -> OnEnd {
        match self {
            Self::Shards
            | Self::Outbox
            | Self::Delivery
            | Self::Assign
            | Self::Fleet
            | Self::Settings
            | Self::HttpListener
            | Self::AgentListener
            | Self::EmbeddedAgent => OnEnd::Shutdown,
            Self::Connection | Self::Attempt | Self::Terminal => OnEnd::Ignore,
        }
    }
}

/// Starts tasks and ends them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    tracker: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Supervisor {
    /// A supervisor without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when everything is to finish what it holds.
    #[must_use]
    pub const fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled when everything is to end at once.
    #[must_use]
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a task. It is dropped at stage two; before that it watches [`Self::drain`] itself.
    pub fn spawn<F>(&self, task: Task, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let supervisor = self.clone();
        let guarded = async move {
            let mut end = EndOfTask { task, supervisor: supervisor.clone(), finished: false };
            tokio::select! {
                () = supervisor.stop.cancelled() => {}
                () = future => {}
            }
            end.finished = true;
        };
        self.tracker.spawn(guarded.instrument(info_span!("task", task = ?task)));
    }

    /// Waits for a signal or for a task whose end matters, then runs both stages. `true`: ended as asked.
    pub async fn run_until_signal(&self) -> bool {
        let mut signals = Signals::listen();
        tokio::select! {
            name = signals.next() => info!("{name}: draining"),
            () = self.drain.cancelled() => {}
        }
        self.drain.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            name = signals.next() => warn!("{name} again: stopping at once"),
            () = tokio::time::sleep(DRAIN_LIMIT) => {
                error!("draining took longer than {DRAIN_LIMIT:?}: stopping");
                self.failed.store(true, Ordering::SeqCst);
            }
        }
        self.stop.cancel();
        self.tracker.wait().await;
        !self.failed.load(Ordering::SeqCst)
    }
}

/// Notices the end of a task, by return or by panic.
struct EndOfTask {
    task: Task,
    supervisor: Supervisor,
    finished: bool,
}

impl Drop for EndOfTask {
    fn drop(&mut self) {
        if !self.finished {
            error!(task = ?self.task, "a task panicked");
        }
        let expected = self.supervisor.drain.is_cancelled() && self.finished;
        if self.task.on_end() == OnEnd::Shutdown && !expected {
            error!(task = ?self.task, "a task that must not end has ended: shutting down");
            self.supervisor.failed.store(true, Ordering::SeqCst);
            self.supervisor.drain.cancel();
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Option<tokio::signal::unix::Signal>,
    int: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self { term: signal(SignalKind::terminate()).ok(), int: signal(SignalKind::interrupt()).ok() }
    }

    async fn next(&mut self) -> &'static str {
        let Self { term: Some(term), int: Some(int) } = self else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_an_essential_task_shuts_the_process_down() {
        let supervisor = Supervisor::new();
        supervisor.spawn(Task::Shards, async {});
        assert!(!supervisor.run_until_signal().await);
    }

    #[tokio::test]
    async fn tasks_that_watch_the_drain_end_well() {
        let supervisor = Supervisor::new();
        let drain = supervisor.drain().clone();
        supervisor.spawn(Task::Delivery, async move { drain.cancelled().await });
        supervisor.spawn(Task::Connection, async {});
        supervisor.drain().cancel();
        assert!(supervisor.run_until_signal().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_has_to_be_cut_off_is_a_failure() {
        let supervisor = Supervisor::new();
        supervisor.spawn(Task::Connection, std::future::pending());
        supervisor.drain().cancel();
        assert!(!supervisor.run_until_signal().await);
    }
}
