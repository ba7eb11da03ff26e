//! The data directory: held by one process at a time, and home of what is made at first start.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Secret;

/// How long a process that is ending may take to let go.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A data directory that this process holds until it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock goes with the file, however the process ends.
    _lock: File,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Another process holds it.
    #[error(
        "the data directory {path} is in use by another vigilmon{by}: stop that one, or give --data another directory"
    )]
    InUse {
        /// The directory.
        path: String,
        /// ` (process N)`, if it is known.
        by: String,
    },
    /// The system refuses.
    #[error("the data directory {path} cannot be used: {source}")]
    Io {
        /// The directory.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl DataDir {
    /// As [`DataDir::hold`], but gives a process that is just ending a moment to let go: a restart follows a kill at once.
    ///
    /// # Errors
    /// When another process goes on holding it or the system refuses.
    pub async fn take_over(path: &Path) -> Result<Self, Unusable> {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            match Self::hold(path) {
                Err(Unusable::InUse { .. }) if tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                held => return held,
            }
        }
    }

    /// Creates the directory if it is missing and takes its lock.
    ///
    /// # Errors
    /// When another process holds it or the system refuses.
    pub fn hold(path: &Path) -> Result<Self, Unusable> {
        let name = path.display().to_string();
        let io = |source| Unusable::Io { path: name.clone(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = lock.read_to_string(&mut holder).is_ok() && holder.trim().parse::<u32>().is_ok();
                let by = if known { format!(" (process {})", holder.trim()) } else { String::new() };
                return Err(Unusable::InUse { path: name, by });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        lock.set_len(0).map_err(io)?;
        lock.rewind().map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// A file in the directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file that only its owner may read; `None` if there is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn read_secret(&self, name: &str) -> std::io::Result<Option<Secret<String>>> {
        match std::fs::read_to_string(self.file(name)) {
            Ok(text) => Ok(Some(Secret::new(text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file that only its owner may read (0600), whole or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write_secret(&self, name: &str, text: &Secret<String>) -> std::io::Result<()> {
        let fresh = self.file(&format!("{name}.new"));
        drop(std::fs::remove_file(&fresh));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.expose().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, self.file(name))?;
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_process_id() {
        let path = std::env::temp_dir().join(format!("vigilmon-data-{}", std::process::id()));
        let held = DataDir::hold(&path).unwrap();
        let refusal = DataDir::hold(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("(process {})", std::process::id())), "{refusal}");
        held.write_secret("admin.key", &Secret::new("vk_x".into())).unwrap();
        let mode = std::fs::metadata(held.file("admin.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(held.read_secret("admin.key").unwrap().unwrap().expose(), "vk_x");
        drop(held);
        drop(DataDir::hold(&path).unwrap());
        std::fs::remove_dir_all(path).unwrap();
    }
}
