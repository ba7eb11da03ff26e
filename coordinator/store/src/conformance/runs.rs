//! Runs of heartbeats' jobs.

use super::sample;
use crate::{Commit, KEPT_RUNS, RunQuery, RunRow, Store, TRIMMED_RUNS_PER_COMMIT};

fn all(heartbeat: u32) -> RunQuery {
    RunQuery {
        heartbeat: sample::heartbeat_id(heartbeat),
        since: sample::at(-1_000),
        after: None,
        run: None,
        limit: 5_000,
    }
}

async fn put(store: &dyn Store, runs: Vec<RunRow>) {
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    store.commit(&Commit { runs, ..sample::commit(&lease) }).await.unwrap();
}

pub(super) async fn runs_are_listed_newest_first_and_pages_neither_repeat_nor_skip(store: &dyn Store) {
    let mut runs: Vec<_> = (0..9).map(|second| sample::run(1, second)).collect();
    runs.push(RunRow { run: sample::run(1, 6).run, ..sample::run(1, 3) });
    put(store, [runs.clone(), vec![sample::run(2, 4)]].concat()).await;
    runs.sort_by_key(RunRow::place);
    runs.reverse();
    for limit in [1, 3, 10, 11] {
        let mut query = RunQuery { limit, ..all(1) };
        let mut listed = Vec::new();
        while listed.len() <= runs.len() {
            let page = store.runs(query).await.unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            query.after = Some(last.place());
            listed.extend(page);
        }
        assert_eq!(listed, runs, "pages of {limit}");
    }
    let since = RunQuery { since: sample::at(6), ..all(1) };
    assert_eq!(store.runs(since).await.unwrap(), runs[..3]);
    let of_one_id = RunQuery { run: sample::run(1, 6).run, ..all(1) };
    assert_eq!(store.runs(of_one_id).await.unwrap(), [runs[2].clone(), runs[5].clone()]);
}

pub(super) async fn what_became_of_a_run_replaces_it_but_for_a_log_that_is_not_there(store: &dyn Store) {
    let begun = RunRow { log: vec![0, 255, 10], ..sample::run(1, 1) };
    put(store, vec![begun.clone()]).await;
    let ended = RunRow { ended_at: Some(sample::at(9)), body: "{}".into(), log: vec![], ..begun.clone() };
    put(store, vec![ended.clone()]).await;
    let kept = RunRow { log: begun.log, ..ended.clone() };
    assert_eq!(store.runs(all(1)).await.unwrap(), [kept]);
    let told = RunRow { log: b"done".to_vec(), ..ended };
    put(store, vec![told.clone()]).await;
    assert_eq!(store.runs(all(1)).await.unwrap(), [told]);
}

pub(super) async fn runs_go_with_their_heartbeat(store: &dyn Store) {
    put(store, vec![sample::run(1, 1), sample::run(2, 1)]).await;
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let delete = Commit {
        deleted: vec![sample::heartbeat(1)],
        runs: vec![sample::run(1, 2)],
        ..sample::commit(&lease)
    };
    store.commit(&delete).await.unwrap();
    assert_eq!(store.runs(all(1)).await.unwrap(), []);
    assert_eq!(store.runs(all(2)).await.unwrap(), [sample::run(2, 1)]);
}

pub(super) async fn old_runs_go_a_bounded_number_at_a_time(store: &dyn Store) {
    let beyond = i64::from(TRIMMED_RUNS_PER_COMMIT) + 9;
    put(store, (0..beyond).map(|second| sample::run(1, second)).collect()).await;
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let trim = |before| Commit { trim_runs_before: Some(sample::at(before)), ..sample::commit(&lease) };
    let oldest = async || store.runs(all(1)).await.unwrap().pop().unwrap().at;
    store.commit(&trim(5)).await.unwrap();
    assert_eq!(oldest().await, sample::at(5), "older than the instant only");
    store.commit(&trim(10_000)).await.unwrap();
    assert_eq!(oldest().await, sample::at(5 + i64::from(TRIMMED_RUNS_PER_COMMIT)), "bounded");
}

pub(super) async fn of_a_heartbeat_the_newest_runs_are_kept(store: &dyn Store) {
    let count = i64::from(KEPT_RUNS) + 50;
    put(store, (0..count).flat_map(|second| [sample::run(1, second), sample::run(2, second)]).collect())
        .await;
    let lease = store.claim("main", sample::at(0)).await.unwrap();
    let trim = Commit {
        trim_runs_of: vec![sample::heartbeat_id(1), sample::heartbeat_id(3)],
        ..sample::commit(&lease)
    };
    store.commit(&trim).await.unwrap();
    let kept: Vec<_> = (50..count).rev().map(|second| sample::run(1, second)).collect();
    assert_eq!(store.runs(all(1)).await.unwrap(), kept);
    assert_eq!(
        store.runs(all(2)).await.unwrap().len(),
        usize::try_from(count).unwrap(),
        "of others nothing goes"
    );
}
