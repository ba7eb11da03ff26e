//! From what is held and what is wanted to what changes. Pure.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use model::MonitorId;
use proto::probe::convert::Assignment;

/// What the coordinator wants.
#[derive(Clone, Debug)]
pub(crate) enum Desired {
    /// Exactly these.
    Full(Vec<Assignment>),
    /// These too, or differently; and those no longer.
    Delta { assigned: Vec<Assignment>, removed: Vec<MonitorId> },
}

/// One step from what is held to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not held any more.
    Stop(MonitorId),
    /// Held from now on.
    Start(Assignment),
    /// Held already, but differently; or a check is wanted now.
    Update(Assignment),
}

/// The steps from `held` to `desired`, in order of monitors, stops first.
pub(crate) fn reconcile(
    held: &BTreeMap<MonitorId, impl Borrow<Assignment>>,
    desired: Desired,
) -> Vec<Change> {
    let (assigned, removed) = match desired {
        Desired::Full(assigned) => {
            let wanted: BTreeSet<_> = assigned.iter().map(|assignment| assignment.monitor).collect();
            let removed = held.keys().copied().filter(|monitor| !wanted.contains(monitor)).collect();
            (assigned, removed)
        }
        Desired::Delta { assigned, removed } => (assigned, removed),
    };
    // Named twice, the last word counts.
    let assigned: BTreeMap<_, _> =
        assigned.into_iter().map(|assignment| (assignment.monitor, assignment)).collect();
    let removed: BTreeSet<_> = removed.into_iter().collect();
    let stops = removed
        .into_iter()
        .filter(|monitor| held.contains_key(monitor) && !assigned.contains_key(monitor))
        .map(Change::Stop)
        .collect::<Vec<_>>();
    let others = assigned.into_values().filter_map(|wanted| match held.get(&wanted.monitor) {
        None => Some(Change::Start(wanted)),
        Some(held) if wanted.check_now || !is_same(held.borrow(), &wanted) => Some(Change::Update(wanted)),
        Some(_) => None,
    });
    stops.into_iter().chain(others).collect()
}

/// Whether two assignments ask for the same; a wish for a check now is no part of it.
pub(crate) fn is_same(held: &Assignment, wanted: &Assignment) -> bool {
    held.spec_revision == wanted.spec_revision
        && held.role == wanted.role
        && held.phase == wanted.phase
        && held.interval == wanted.interval
        && held.timeout == wanted.timeout
        && held.check == wanted.check
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proto::probe::convert::Role;

    use super::*;

    fn assignment(n: u8, revision: u64) -> Assignment {
        Assignment {
            monitor: MonitorId::from_bytes([n; 16]),
            spec_revision: revision,
            check: None,
            options: model::check::Options::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            phase: Duration::ZERO,
            role: Role::Primary,
            check_now: false,
        }
    }

    fn set(items: &[(u8, u64)]) -> BTreeMap<MonitorId, Assignment> {
        items.iter().map(|&(n, revision)| assignment(n, revision)).map(|a| (a.monitor, a)).collect()
    }

    fn apply(held: &mut BTreeMap<MonitorId, Assignment>, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Stop(monitor) => drop(held.remove(&monitor)),
                Change::Start(a) | Change::Update(a) => drop(held.insert(a.monitor, a)),
            }
        }
    }

    #[test]
    fn a_full_set_stops_what_is_not_in_it_and_leaves_the_same_alone() {
        let held = set(&[(1, 1), (2, 1), (3, 1)]);
        let changes =
            reconcile(&held, Desired::Full(vec![assignment(4, 1), assignment(3, 2), assignment(2, 1)]));
        assert_eq!(
            changes,
            [
                Change::Stop(MonitorId::from_bytes([1; 16])),
                Change::Update(assignment(3, 2)),
                Change::Start(assignment(4, 1)),
            ]
        );
    }

    #[test]
    fn a_wish_for_a_check_now_is_a_change_of_its_own() {
        let wanted = Assignment { check_now: true, ..assignment(1, 1) };
        let delta = Desired::Delta { assigned: vec![wanted.clone()], removed: vec![] };
        assert_eq!(reconcile(&set(&[(1, 1)]), delta), [Change::Update(wanted)]);
    }

    proptest! {
        #[test]
        fn reconciling_leads_to_what_is_wanted_and_then_to_nothing(
            held in proptest::collection::vec((0..9_u8, 0..3_u64), 0..12),
            wanted in proptest::collection::vec((0..9_u8, 0..3_u64), 0..12),
            removed in proptest::collection::vec(0..9_u8, 0..5),
            full in any::<bool>(),
        ) {
            let mut held = set(&held);
            let assigned: Vec<_> = wanted.iter().map(|&(n, revision)| assignment(n, revision)).collect();
            let removed: Vec<_> = removed.iter().map(|&n| MonitorId::from_bytes([n; 16])).collect();
            let mut expected = if full { BTreeMap::new() } else { held.clone() };
            for monitor in &removed {
                expected.remove(monitor);
            }
            expected.extend(set(&wanted));
            let desired = if full { Desired::Full(assigned) } else { Desired::Delta { assigned, removed } };
            let changes = reconcile(&held, desired.clone());
            apply(&mut held, changes);
            prop_assert_eq!(&held, &expected);
            prop_assert_eq!(reconcile(&held, desired), []);
        }
    }
}
