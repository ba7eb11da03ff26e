//! Background work that ends with the test.

use std::future::Future;

use tokio::task::JoinHandle;

/// A task that is aborted when it is dropped.
#[derive(Debug)]
pub struct Task<T = ()>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts `work`.
    #[expect(clippy::disallowed_methods, reason = "the one door: a test's tasks end with their handle")]
    pub fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it panicked.
    pub async fn join(mut self) -> anyhow::Result<T> {
        Ok((&mut self.0).await?)
    }

    /// Ends it and waits until what it held is released.
    pub async fn stop(mut self) {
        self.0.abort();
        // Aborted is what it should be; a panic has already been printed.
        drop((&mut self.0).await);
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
