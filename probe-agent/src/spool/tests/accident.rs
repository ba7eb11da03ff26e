//! A disk on which the process is killed, or the power fails, at any step.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::*;

/// What a machine keeps of a directory: the names and contents that programs see, and those that survive power loss.
#[derive(Clone, Debug, Default)]
struct Machine {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Contents by file, and how many bytes of each are durable.
    contents: Vec<(Vec<u8>, usize)>,
    /// Operations until the accident.
    steps_left: usize,
}

/// The directory as a process sees it: after the accident, nothing works.
#[derive(Clone, Debug, Default)]
struct Accident(Arc<Mutex<Machine>>);

impl Accident {
    /// One operation; the last one before the accident does a part of what it should.
    fn step<T>(&self, act: impl FnOnce(&mut Machine, bool) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.0.lock().unwrap();
        let Some(left) = machine.steps_left.checked_sub(1) else { return Err(io::Error::other("dead")) };
        machine.steps_left = left;
        let is_last = left == 0;
        let result = act(&mut machine, is_last);
        if is_last { Err(io::Error::other("dead")) } else { result }
    }

    /// The directory after the accident. `whim` decides what of the rest reached the disk.
    fn aftermath(&self, is_power_loss: bool, whim: usize) -> Self {
        let mut machine = self.0.lock().unwrap().clone();
        machine.steps_left = usize::MAX;
        if is_power_loss {
            if whim.is_multiple_of(2) {
                machine.names = machine.durable_names.clone();
            }
            for (content, durable) in &mut machine.contents {
                let tail = content.len() - *durable;
                match whim % 3 {
                    0 => content.truncate(*durable),
                    1 => content.truncate(*durable + whim * 7 % (tail + 1)),
                    // The length reached the disk, the bytes did not.
                    _ => content[*durable..].fill(0),
                }
                *durable = content.len();
            }
            machine.durable_names = machine.names.clone();
        }
        Self(Arc::new(Mutex::new(machine)))
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Files for Accident {
    fn list(&self) -> io::Result<Vec<String>> {
        self.step(|machine, _| Ok(machine.names.keys().cloned().collect()))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.step(|machine, _| {
            let &file = machine.names.get(name).ok_or_else(missing)?;
            Ok(machine.contents[file].0.clone())
        })
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.step(|machine, _| {
            machine.contents.push((Vec::new(), 0));
            machine.names.insert(name.to_owned(), machine.contents.len() - 1);
            Ok(())
        })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.step(|machine, is_last| {
            let &file = machine.names.get(name).ok_or_else(missing)?;
            let written = if is_last { bytes.len() / 2 } else { bytes.len() };
            machine.contents[file].0.extend_from_slice(&bytes[..written]);
            Ok(())
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.step(|machine, is_last| {
            let &file = machine.names.get(name).ok_or_else(missing)?;
            if !is_last {
                let (content, durable) = &mut machine.contents[file];
                *durable = content.len();
            }
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.step(|machine, _| {
            let file = machine.names.remove(from).ok_or_else(missing)?;
            machine.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.step(|machine, _| machine.names.remove(name).map(drop).ok_or_else(missing))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.step(|machine, is_last| {
            if !is_last {
                machine.durable_names = machine.names.clone();
            }
            Ok(())
        })
    }
}

/// What is known of the results when the accident happens.
#[derive(Debug, Default)]
struct Ledger {
    pushed: BTreeSet<u64>,
    /// Written to files without an error.
    written: BTreeSet<u64>,
    /// Synced as well.
    durable: BTreeSet<u64>,
    acked: BTreeSet<u64>,
}

/// Works until the accident, or the end of the steps.
fn work(world: &mut World<Accident>, ledger: &mut Ledger, steps: &[(u8, u64)]) {
    for &(step, amount) in steps {
        match step {
            0..=3 => {
                for _ in 0..=amount {
                    let seq = world.push_one(amount % 3 != 0);
                    ledger.pushed.insert(seq);
                    if world.spool.broken.is_none() {
                        ledger.written.insert(seq);
                    }
                }
            }
            4 => drop(world.send(WINDOW)),
            5 => world.spool.connected(1, 0),
            6 => {
                world.send(WINDOW);
                let sent: Vec<_> = world.spool.under_way.clone();
                for range in sent.into_iter().take(2) {
                    ledger.acked.extend(world.spool.unacked_in(&range).flatten());
                    world.spool.ack(*range.start(), *range.end(), NOW);
                }
                world.store();
            }
            _ => {
                world.spool.prune(NOW);
                world.store();
                world.sync();
                if world.spool.broken.is_none() {
                    ledger.durable.clone_from(&ledger.written);
                }
            }
        }
        if world.spool.broken.is_some() {
            return;
        }
    }
}

proptest! {
    #[test]
    fn after_an_accident_at_any_step_the_spool_opens_and_has_what_it_promised(
        capacity in prop_oneof![Just(1_u64 << 20), 2_000..20_000_u64],
        steps in proptest::collection::vec((0..8_u8, 0..12_u64), 1..60),
        accident in 0..400_usize,
        is_power_loss: bool,
        whim in 0..1_000_usize,
        second in proptest::option::of(0..40_usize),
    ) {
        let files = Accident::default();
        files.0.lock().unwrap().steps_left = usize::MAX;
        let mut world = World::open(files.clone(), capacity, 500, BOOT);
        world.spool.connected(1, 0);
        files.0.lock().unwrap().steps_left = accident;
        let mut ledger = Ledger::default();
        work(&mut world, &mut ledger, &steps);
        let mut dropped = world.spool.dropped();
        // A file that can't be written leaves nothing to be said of what came after.
        let mut after = files.aftermath(is_power_loss, whim);
        if let Some(second) = second {
            // The process that finds it has an accident too, while it opens or soon after.
            after.0.lock().unwrap().steps_left = second;
            if let Ok((disk, opened)) = Disk::open(after.clone(), AGENT, BOOT, [9; 16]) {
                let spool = Spool::new(capacity, 500, opened, NOW);
                let mut early = World { spool, disk };
                early.spool.prune(NOW);
                early.store();
                dropped += early.spool.dropped();
            }
            after = after.aftermath(is_power_loss, whim + 1);
        }

        let mut again = World::open(after, capacity, 500, BOOT);
        prop_assert_eq!(again.spool.nonce(), [9; 16]);
        prop_assert!(ledger.pushed.last().is_none_or(|&last| last < again.spool.next_seq), "a number is used twice");
        let found = again.drain();
        prop_assert!(found.is_subset(&ledger.pushed), "found what was never there");
        let promised = if is_power_loss { &ledger.durable } else { &ledger.written };
        let lost = promised.iter().filter(|seq| !found.contains(seq) && !ledger.acked.contains(seq)).count() as u64;
        prop_assert!(lost <= dropped + again.spool.dropped(), "{lost} lost, {dropped} counted");
        if capacity == 1 << 20 {
            prop_assert_eq!(lost, 0);
        }
    }
}
