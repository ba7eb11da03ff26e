//! What belongs to no subject.

use super::sample;
use crate::{Config, ConfigChange, Error, JoinRow, PageRow, SilenceRow, Store};

async fn put(store: &dyn Store, change: ConfigChange) -> Result<u64, Error> {
    store.change_config(&change, sample::at(30)).await
}

pub(super) async fn every_change_raises_the_revision_by_one(store: &dyn Store) {
    assert_eq!(store.config().await.unwrap(), Config::default());
    assert_eq!(put(store, ConfigChange::PutRegion(sample::region(1))).await.unwrap(), 1);
    assert_eq!(put(store, ConfigChange::PutRegion(sample::region(1))).await.unwrap(), 2);
    assert_eq!(put(store, ConfigChange::DeleteChannel(sample::channel_id(1))).await.unwrap(), 3);
    assert_eq!(store.config_revision().await.unwrap(), 3);
    assert_eq!(store.config().await.unwrap().revision, 3);
}

pub(super) async fn everything_that_was_put_is_listed_by_id(store: &dyn Store) {
    let expected = Config {
        revision: 20,
        regions: vec![sample::region(1), sample::region(2)],
        agents: vec![sample::agent(1, "z"), sample::agent(2, "a")],
        channels: vec![sample::channel(1, "z"), sample::channel(2, "a")],
        pages: vec![sample::page(1, "z", "z"), sample::page(2, "a", "a")],
        maintenances: vec![sample::maintenance(1, "z"), sample::maintenance(2, "a")],
        policies: vec![sample::policy(1, "z"), sample::policy(2, "a")],
        silences: vec![sample::silence(1, 20), sample::silence(2, 30)],
        keys: vec![sample::key(1), sample::key(2)],
        ping_keys: vec![sample::ping_key(1, "z"), sample::ping_key(2, "a")],
        badges: vec![sample::badge("a", sample::monitor(1)), sample::badge("z", sample::heartbeat(1))],
    };
    for at in [1, 0] {
        put(store, ConfigChange::PutRegion(expected.regions[at].clone())).await.unwrap();
        put(store, ConfigChange::PutAgent(expected.agents[at].clone())).await.unwrap();
        put(store, ConfigChange::PutChannel(expected.channels[at].clone())).await.unwrap();
        put(store, ConfigChange::PutPage(expected.pages[at].clone())).await.unwrap();
        put(store, ConfigChange::PutMaintenance(expected.maintenances[at].clone())).await.unwrap();
        put(store, ConfigChange::PutPolicy(expected.policies[at].clone())).await.unwrap();
        put(store, ConfigChange::PutSilence(expected.silences[at].clone())).await.unwrap();
        put(store, ConfigChange::PutKey(expected.keys[at].clone())).await.unwrap();
        put(store, ConfigChange::PutPingKey(expected.ping_keys[at].clone())).await.unwrap();
        put(store, ConfigChange::PutBadge(expected.badges[at].clone())).await.unwrap();
    }
    assert_eq!(store.config().await.unwrap(), expected);

    let mut changed = expected.clone();
    changed.revision = 21;
    changed.agents[0].epoch += 1;
    changed.agents[0].process_nonce = Some([3; 16]);
    changed.agents[0].join =
        Some(JoinRow { digest: [4; 32], expires_at: sample::at(40), joined_at: Some(sample::at(35)) });
    put(store, ConfigChange::PutAgent(changed.agents[0].clone())).await.unwrap();
    assert_eq!(store.config().await.unwrap(), changed, "put replaces by id");
}

pub(super) async fn an_agent_brings_its_region_along_but_never_changes_it(store: &dyn Store) {
    put(store, ConfigChange::PutAgent(sample::agent(1, "first"))).await.unwrap();
    let made = store.config().await.unwrap().regions;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].display_name, sample::region_id(1).default_display_name());
    assert_eq!(made[0].created_at, sample::at(30));

    put(store, ConfigChange::PutRegion(sample::region(1))).await.unwrap();
    put(store, ConfigChange::PutAgent(sample::agent(1, "renamed"))).await.unwrap();
    assert_eq!(store.config().await.unwrap().regions, [sample::region(1)]);
}

pub(super) async fn taken_names_and_slugs_are_refused_and_change_nothing(store: &dyn Store) {
    put(store, ConfigChange::PutAgent(sample::agent(1, "a"))).await.unwrap();
    put(store, ConfigChange::PutChannel(sample::channel(1, "a"))).await.unwrap();
    put(store, ConfigChange::PutPage(sample::page(1, "a", "a"))).await.unwrap();
    put(store, ConfigChange::PutMaintenance(sample::maintenance(1, "a"))).await.unwrap();
    put(store, ConfigChange::PutPingKey(sample::ping_key(1, "a"))).await.unwrap();
    put(store, ConfigChange::PutPolicy(sample::policy(1, "a"))).await.unwrap();
    let before = store.config().await.unwrap();
    for (change, message) in [
        (ConfigChange::PutAgent(sample::agent(2, "a")), "an agent `a` already exists"),
        (ConfigChange::PutChannel(sample::channel(2, "a")), "a channel `a` already exists"),
        (ConfigChange::PutPage(sample::page(2, "a", "b")), "a status page `a` already exists"),
        (ConfigChange::PutPage(sample::page(2, "b", "a")), "a status page at `a` already exists"),
        (ConfigChange::PutMaintenance(sample::maintenance(2, "a")), "maintenance `a` already exists"),
        (ConfigChange::PutPingKey(sample::ping_key(2, "a")), "a ping key `a` already exists"),
        (ConfigChange::PutPolicy(sample::policy(2, "a")), "a policy `a` already exists"),
    ] {
        let refused = put(store, change).await.unwrap_err();
        assert!(matches!(refused, Error::Duplicate(_)), "{refused:?}");
        assert_eq!(refused.to_string(), message);
    }
    assert_eq!(store.config().await.unwrap(), before, "not even the region of the refused agent");

    let other_tenant = PageRow { workspace: "other".into(), ..sample::page(2, "a", "b") };
    put(store, ConfigChange::PutPage(other_tenant)).await.unwrap();
}

pub(super) async fn a_deleted_channel_is_gone_and_its_name_free(store: &dyn Store) {
    put(store, ConfigChange::PutChannel(sample::channel(1, "a"))).await.unwrap();
    put(store, ConfigChange::DeleteChannel(sample::channel_id(1))).await.unwrap();
    assert_eq!(store.config().await.unwrap().channels, []);
    put(store, ConfigChange::PutChannel(sample::channel(2, "a"))).await.unwrap();
}

pub(super) async fn maintenance_is_replaced_by_id_and_deleted_with_its_name(store: &dyn Store) {
    let mut row = sample::maintenance(1, "a");
    put(store, ConfigChange::PutMaintenance(row.clone())).await.unwrap();
    row.name = "b".into();
    row.definition = "{}".into();
    row.revision = 2;
    row.updated_at = sample::at(40);
    put(store, ConfigChange::PutMaintenance(row.clone())).await.unwrap();
    assert_eq!(store.config().await.unwrap().maintenances, [row.clone()]);
    put(store, ConfigChange::DeleteMaintenance(row.id)).await.unwrap();
    assert_eq!(store.config().await.unwrap().maintenances, []);
    put(store, ConfigChange::PutMaintenance(sample::maintenance(2, "b"))).await.unwrap();
}

pub(super) async fn a_deleted_ping_key_is_gone_and_its_name_free(store: &dyn Store) {
    put(store, ConfigChange::PutPingKey(sample::ping_key(1, "a"))).await.unwrap();
    put(store, ConfigChange::DeletePingKey(sample::ping_key(1, "a").id)).await.unwrap();
    assert_eq!(store.config().await.unwrap().ping_keys, []);
    put(store, ConfigChange::PutPingKey(sample::ping_key(2, "a"))).await.unwrap();
}

pub(super) async fn a_subject_has_one_badge_the_last_that_was_put(store: &dyn Store) {
    put(store, ConfigChange::PutBadge(sample::badge("a", sample::monitor(1)))).await.unwrap();
    put(store, ConfigChange::PutBadge(sample::badge("b", sample::monitor(2)))).await.unwrap();
    put(store, ConfigChange::PutBadge(sample::badge("c", sample::monitor(1)))).await.unwrap();
    let kept = [sample::badge("b", sample::monitor(2)), sample::badge("c", sample::monitor(1))];
    assert_eq!(store.config().await.unwrap().badges, kept);
    put(store, ConfigChange::DeleteBadge(sample::monitor(1))).await.unwrap();
    assert_eq!(store.config().await.unwrap().badges, kept[..1]);
}

pub(super) async fn policies_are_replaced_and_deleted_and_silences_end_or_expire(store: &dyn Store) {
    let mut policy = sample::policy(1, "a");
    put(store, ConfigChange::PutPolicy(policy.clone())).await.unwrap();
    policy.definition = "{}".into();
    policy.revision = 2;
    put(store, ConfigChange::PutPolicy(policy.clone())).await.unwrap();
    assert_eq!(store.config().await.unwrap().policies, [policy.clone()]);
    put(store, ConfigChange::DeletePolicy(policy.id)).await.unwrap();
    assert_eq!(store.config().await.unwrap().policies, []);

    let (short, long) = (sample::silence(1, 12), sample::silence(2, 90));
    for silence in [&short, &long] {
        put(store, ConfigChange::PutSilence(silence.clone())).await.unwrap();
    }
    assert_eq!(store.config().await.unwrap().silences, [short, long.clone()]);
    let later = SilenceRow { created_at: sample::at(12), ..sample::silence(3, 60) };
    put(store, ConfigChange::PutSilence(later.clone())).await.unwrap();
    assert_eq!(store.config().await.unwrap().silences, [long.clone(), later.clone()], "what is over goes");
    put(store, ConfigChange::DeleteSilence(long.id)).await.unwrap();
    assert_eq!(store.config().await.unwrap().silences, [later]);
}
