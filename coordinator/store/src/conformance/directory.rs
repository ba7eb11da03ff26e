//! A directory for one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Removed with everything in it when dropped.
pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vigilmon-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the test's database goes. The name needs escaping in a URL.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("vigil mon%?.db")
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail a test.
        std::fs::remove_dir_all(&self.0).ok();
    }
}
