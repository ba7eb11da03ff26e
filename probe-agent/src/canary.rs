//! Canaries: targets that the agent's own operator names and that are known to be well. When most of them fail, it is
//! the agent's uplink, not everybody else.
//!
//! Comes in: the targets, from the local configuration. Goes out: what they say, to the mind, which tells the
//! coordinator with every message. Whether the agent is believed is decided there.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use model::Check;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::check::Checker;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Time for one of them.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What fails is looked at once more after this: one lost packet says nothing.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);

/// What the canaries say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canaries {
    /// Half of them and more pass.
    Well,
    /// Most of them fail.
    Failing,
}

/// What a look at the canaries comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) verdict: Canaries,
    /// The names of those that fail.
    pub(crate) failing: Vec<String>,
}

/// Looks at the canaries for ever. Without any it only waits.
pub(crate) async fn watch(
    checker: &Checker,
    targets: &[Check],
    say: &watch::Sender<Option<Said>>,
) -> Infallible {
    if targets.is_empty() {
        return std::future::pending().await;
    }
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut failing = look(checker, targets.iter()).await;
        if !failing.is_empty() {
            sleep(SECOND_LOOK_AFTER).await;
            failing = look(checker, failing.into_iter()).await;
        }
        let verdict = verdict(targets.len() - failing.len(), targets.len());
        let failing: Vec<String> = failing.into_iter().map(Check::default_name).collect();
        let names = failing.join(", ");
        let found = Said { verdict, failing };
        let is_news = say.send_if_modified(|said| said.replace(found.clone()) != Some(found));
        match verdict {
            Canaries::Failing if is_news => {
                warn!(names, "the canaries fail: this agent may not see straight");
            }
            Canaries::Well if is_news && names.is_empty() => info!("the canaries are well"),
            Canaries::Well if is_news => warn!(names, "some of the canaries fail"),
            Canaries::Failing | Canaries::Well => {}
        }
    }
}

/// Those of the canaries that do not pass.
async fn look<'a>(checker: &Checker, targets: impl Iterator<Item = &'a Check>) -> Vec<&'a Check> {
    let attempts = targets.map(async |check| (check, checker.run(Some(check), TIMEOUT).await));
    let found = join_all(attempts).await;
    found.into_iter().filter(|(_, finding)| !finding.outcome.is_pass()).map(|(check, _)| check).collect()
}

const fn verdict(passed: usize, of: usize) -> Canaries {
    if passed * 2 < of { Canaries::Failing } else { Canaries::Well }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_must_fail_before_it_is_the_agent() {
        for (passed, of, says) in [
            (0, 1, Canaries::Failing),
            (1, 1, Canaries::Well),
            (1, 2, Canaries::Well),
            (1, 3, Canaries::Failing),
            (2, 3, Canaries::Well),
        ] {
            assert_eq!(verdict(passed, of), says, "{passed} of {of}");
        }
    }
}
