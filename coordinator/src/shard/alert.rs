//! Policies and silences as the owner last looked at them.
//!
//! They are settings: nothing of them is journaled. When they change, and in the first turn of a process, every incident
//! of which somebody is told is looked at again.

use std::sync::Arc;

use store::{Config, PolicyRow, SilenceRow};

use crate::alert::Book;

/// The book, and whether everybody knows it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    book: Arc<Book>,
    policies: Vec<PolicyRow>,
    silences: Vec<SilenceRow>,
    /// The configuration that the rows are of.
    revision: Option<u64>,
    /// Every incident was looked at by this book, and that is committed.
    settled: bool,
}

impl Watch {
    /// The present book, and whether every incident must be looked at by it.
    pub(super) fn look(&mut self, config: &Config) -> (Arc<Book>, bool) {
        if self.revision != Some(config.revision) {
            self.revision = Some(config.revision);
            if self.policies != config.policies || self.silences != config.silences {
                self.policies.clone_from(&config.policies);
                self.silences.clone_from(&config.silences);
                self.book = Arc::new(Book::of(config));
                self.settled = false;
            }
        }
        (Arc::clone(&self.book), !self.settled)
    }

    /// What was told is committed.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }

    /// The incidents were loaded again.
    pub(super) fn unsettle(&mut self) {
        self.settled = false;
    }
}
