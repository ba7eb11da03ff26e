//! Who may write.

use model::Shard;

use super::sample;
use crate::{Commit, Error, Store};

pub(super) async fn a_claim_takes_every_shard_and_raises_generation_and_epochs(store: &dyn Store) {
    let first = store.claim("main", sample::at(0)).await.unwrap();
    assert_eq!(first.coordinator, "main");
    assert_eq!(first.generation, 1);
    let shards: Vec<Shard> = first.epochs.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(shards, Shard::all().collect::<Vec<_>>());

    let second = store.claim("main", sample::at(1)).await.unwrap();
    assert_eq!(second.generation, 2);
    for (before, after) in first.epochs.iter().zip(&second.epochs) {
        assert_eq!((before.0, before.1 + 1), *after);
    }
}

pub(super) async fn generations_are_counted_for_each_coordinator(store: &dyn Store) {
    store.claim("a", sample::at(0)).await.unwrap();
    let b = store.claim("b", sample::at(1)).await.unwrap();
    let a = store.claim("a", sample::at(2)).await.unwrap();
    assert_eq!((a.generation, b.generation), (2, 1));
    assert_eq!(a.epochs[0].1, 3);
}

pub(super) async fn an_older_generation_is_fenced_and_writes_nothing(store: &dyn Store) {
    let old = store.claim("main", sample::at(0)).await.unwrap();
    let new = store.claim("main", sample::at(1)).await.unwrap();
    let refused = store.commit(&sample::journal_commit(&old, 1)).await;
    assert!(matches!(refused, Err(Error::Fenced)), "{refused:?}");
    assert_eq!(store.journal_after(0, 10).await.unwrap(), []);
    store.commit(&sample::journal_commit(&new, 1)).await.unwrap();
}

pub(super) async fn a_coordinator_that_never_claimed_is_fenced(store: &dyn Store) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let stranger = Commit { coordinator: "other".into(), ..sample::commit(&lease) };
    assert!(matches!(store.commit(&stranger).await, Err(Error::Fenced)));
}

pub(super) async fn a_lost_shard_is_named_and_nothing_is_written(store: &dyn Store) {
    let a = store.claim("a", sample::at(0)).await.unwrap();
    let b = store.claim("b", sample::at(1)).await.unwrap();
    // A commit of `a` that touches two shards it still thinks it has, the greater first, and one it has the epoch of.
    let epochs = vec![a.epochs[700], b.epochs[5], a.epochs[3]];
    let refused = store.commit(&Commit { epochs, ..sample::journal_commit(&a, 1) }).await;
    let Err(Error::ShardsLost(lost)) = refused else { panic!("{refused:?}") };
    assert_eq!(lost, [Shard::new(3).unwrap(), Shard::new(700).unwrap()]);
    assert_eq!(store.journal_after(0, 10).await.unwrap(), []);
    assert_eq!(store.claim("a", sample::at(9)).await.unwrap().previous_alive_at, None);

    let epochs = b.epochs.clone();
    let refused = store.commit(&Commit { epochs, ..sample::journal_commit(&b, 1) }).await;
    assert!(matches!(&refused, Err(Error::ShardsLost(lost)) if lost.len() == 1_024), "{refused:?}");
    let now = store.claim("b", sample::at(10)).await.unwrap();
    let epochs = now.epochs.clone();
    store.commit(&Commit { epochs, ..sample::journal_commit(&now, 1) }).await.unwrap();
}

pub(super) async fn only_commits_move_the_instant_a_coordinator_was_last_alive(store: &dyn Store) {
    let first = store.claim("main", sample::at(0)).await.unwrap();
    assert_eq!(first.previous_alive_at, None);
    let second = store.claim("main", sample::at(5)).await.unwrap();
    assert_eq!(second.previous_alive_at, None, "a claim alone is no sign of life");
    store.commit(&Commit { now: sample::at(6), ..sample::commit(&second) }).await.unwrap();
    store.commit(&Commit { now: sample::at(7), ..sample::commit(&second) }).await.unwrap();
    let third = store.claim("main", sample::at(60)).await.unwrap();
    assert_eq!(third.previous_alive_at, Some(sample::at(7)));
    let fourth = store.claim("main", sample::at(61)).await.unwrap();
    assert_eq!(fourth.previous_alive_at, Some(sample::at(7)));
}
