//! A job that pings, and remembers every 200.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::http;
use crate::task::Task;

/// How soon a ping is tried again that was not answered with 200.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Pings until it is dropped: at its interval, and again soon when there was no 200.
#[derive(Debug)]
pub struct Pinger {
    answered: Arc<Mutex<Vec<String>>>,
    _pinging: Task,
}

impl Pinger {
    /// Starts pinging `url`; each ping's body is unique and begins with `name`.
    #[must_use]
    pub fn start(name: String, url: String, interval: Duration) -> Self {
        let answered = Arc::new(Mutex::new(Vec::new()));
        let pinging = Task::start(ping(name, url, interval, Arc::clone(&answered)));
        Self { answered, _pinging: pinging }
    }

    /// The bodies of all pings that were answered with 200.
    #[must_use]
    pub fn answered(&self) -> Vec<String> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn ping(name: String, url: String, interval: Duration, answered: Arc<Mutex<Vec<String>>>) {
    for number in 0_u64.. {
        let body = format!("{name} {number}");
        match http::post(&url, body.clone()).await {
            Ok(answer) if answer.status == 200 => {
                answered.lock().unwrap_or_else(PoisonError::into_inner).push(body);
                tokio::time::sleep(interval).await;
            }
            Ok(_) | Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
}
