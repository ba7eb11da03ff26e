//! One copy of each policy, however many monitors have it: most of a fleet is checked alike.

use std::collections::HashSet;
use std::sync::Arc;

use engine::monitor::Policy;

/// Policies that are looked through for unused ones only once there are so many.
const FEW: usize = 64;

/// The policies in use, and some that no longer are.
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: HashSet<Arc<Policy>>,
    /// How many were in use when they were last looked through.
    in_use: usize,
}

impl Policies {
    /// The one copy of a policy.
    pub(super) fn share(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        if self.known.len() >= 2 * self.in_use.max(FEW) {
            self.drop_unused();
        }
        self.known.insert(Arc::clone(&policy));
        policy
    }

    fn drop_unused(&mut self) {
        self.known.retain(|policy| Arc::strong_count(policy) > 1);
        self.in_use = self.known.len();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::monitor::Thresholds;
    use engine::quorum;

    use super::*;

    fn policy(spec_revision: u64) -> Arc<Policy> {
        let regions = vec!["eu-west".parse().unwrap()];
        Arc::new(Policy {
            quorum: quorum::Policy::default().over(&regions),
            regions,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            confirmation_period: Duration::ZERO,
            recovery_checks: 2,
            thresholds: Thresholds::default(),
            has_parents: false,
            spec_revision,
        })
    }

    #[test]
    fn equal_policies_are_one_and_others_are_not() {
        let mut policies = Policies::default();
        let first = policies.share(policy(1));
        assert!(Arc::ptr_eq(&first, &policies.share(policy(1))));
        assert!(!Arc::ptr_eq(&first, &policies.share(policy(2))));
    }

    #[test]
    fn what_nobody_uses_is_forgotten_and_what_somebody_does_is_not() {
        let mut policies = Policies::default();
        let used: Vec<_> = (0..100).map(|revision| policies.share(policy(revision))).collect();
        for revision in 100..10_000 {
            policies.share(policy(revision));
        }
        assert!(policies.known.len() <= 2 * 100 + 1, "{} are kept", policies.known.len());
        for (revision, policy_in_use) in (0..).zip(&used) {
            assert!(Arc::ptr_eq(policy_in_use, &policies.share(policy(revision))));
        }
    }
}
