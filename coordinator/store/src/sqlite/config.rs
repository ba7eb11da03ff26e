//! What belongs to no subject: `region`, `agent`, `channel`, `page`, `maintenance`, `api_key`, `ping_key`, `badge`, and the
//! revision of all in `meta`. What is said about alerts is in [`super::alert`].

use model::{RegionId, Secret, SubjectId, Timestamp};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::connection::Database;
use super::encode::bigint;
use super::failure::{failure, failure_or_duplicate};
use super::{alert, decode};
use crate::{
    AgentRow, BadgeRow, ChannelRow, Config, ConfigChange, Error, JoinRow, KeyRow, MaintenanceRow, PageRow,
    PingKeyRow, RegionRow,
};

const REVISION: &str = "SELECT config_revision FROM meta";
const RAISE_REVISION: &str =
    "UPDATE meta SET config_revision = config_revision + 1 RETURNING config_revision";

const REGIONS: &str = "SELECT id, display_name, created_at FROM region ORDER BY id";
const AGENTS: &str = "SELECT id, name, region, secret_digest, epoch, process_nonce, created_at, join_digest, join_expires_at, joined_at \
     FROM agent ORDER BY id";
const CHANNELS: &str =
    "SELECT id, workspace, name, settings, revision, created_at, updated_at FROM channel ORDER BY id";
const PAGES: &str = "SELECT id, workspace, name, slug, components, created_at FROM page ORDER BY id";
const MAINTENANCES: &str =
    "SELECT id, workspace, name, definition, revision, created_at, updated_at FROM maintenance ORDER BY id";
const KEYS: &str = "SELECT id, workspace, name, digest, created_at FROM api_key ORDER BY id";
const PING_KEYS: &str = "SELECT id, workspace, name, digest, created_at FROM ping_key ORDER BY id";
const BADGES: &str = "SELECT id, workspace, subject, created_at FROM badge ORDER BY id";

const PUT_REGION: &str = "INSERT INTO region (id, display_name, created_at) VALUES ($1, $2, $3) \
    ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name, created_at = excluded.created_at";
const ADD_REGION: &str =
    "INSERT INTO region (id, display_name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
const PUT_AGENT: &str = "INSERT INTO agent (id, name, region, secret_digest, epoch, process_nonce, created_at, \
    join_digest, join_expires_at, joined_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
    region = excluded.region, secret_digest = excluded.secret_digest, epoch = excluded.epoch, \
    process_nonce = excluded.process_nonce, created_at = excluded.created_at, \
    join_digest = excluded.join_digest, join_expires_at = excluded.join_expires_at, joined_at = excluded.joined_at";
const PUT_CHANNEL: &str = "INSERT INTO channel (id, workspace, name, settings, revision, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, \
    name = excluded.name, settings = excluded.settings, revision = excluded.revision, \
    created_at = excluded.created_at, updated_at = excluded.updated_at";
const DELETE_CHANNEL: &str = "DELETE FROM channel WHERE id = $1";
const PUT_PAGE: &str = "INSERT INTO page (id, workspace, name, slug, components, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, \
    name = excluded.name, slug = excluded.slug, components = excluded.components, \
    created_at = excluded.created_at";
const SLUG_OWNER: &str = "SELECT id FROM page WHERE slug = $1 AND id <> $2";
const PUT_MAINTENANCE: &str = "INSERT INTO maintenance \
    (id, workspace, name, definition, revision, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
    ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, name = excluded.name, \
    definition = excluded.definition, revision = excluded.revision, created_at = excluded.created_at, \
    updated_at = excluded.updated_at";
const DELETE_MAINTENANCE: &str = "DELETE FROM maintenance WHERE id = $1";
const PUT_KEY: &str = "INSERT INTO api_key (id, workspace, name, digest, created_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, name = excluded.name, \
    digest = excluded.digest, created_at = excluded.created_at";
const PUT_PING_KEY: &str = "INSERT INTO ping_key (id, workspace, name, digest, created_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET workspace = excluded.workspace, \
    name = excluded.name, digest = excluded.digest, created_at = excluded.created_at";
const DELETE_PING_KEY: &str = "DELETE FROM ping_key WHERE id = $1";
const PUT_BADGE: &str = "INSERT INTO badge (id, workspace, subject, created_at) VALUES ($1, $2, $3, $4)";
const DELETE_BADGE: &str = "DELETE FROM badge WHERE subject = $1";

/// See [`crate::Store::config`].
pub(super) async fn load(database: &Database) -> Result<Config, Error> {
    let mut transaction = database.read().await?;
    let connection = &mut *transaction;
    let row = sqlx::query(REVISION).fetch_one(&mut *connection).await.map_err(failure)?;
    Ok(Config {
        revision: decode::number(&row, "config_revision")?,
        regions: list(connection, REGIONS, region_row).await?,
        agents: list(connection, AGENTS, agent_row).await?,
        channels: list(connection, CHANNELS, channel_row).await?,
        pages: list(connection, PAGES, page_row).await?,
        maintenances: list(connection, MAINTENANCES, maintenance_row).await?,
        policies: alert::policies(connection).await?,
        silences: alert::silences(connection).await?,
        keys: list(connection, KEYS, key_row).await?,
        ping_keys: list(connection, PING_KEYS, ping_key_row).await?,
        badges: list(connection, BADGES, badge_row).await?,
    })
}

pub(super) async fn revision(database: &Database) -> Result<u64, Error> {
    let row = sqlx::query(REVISION).fetch_one(database.readers()).await.map_err(failure)?;
    decode::number(&row, "config_revision")
}

/// See [`crate::Store::change_config`].
pub(super) async fn change(database: &Database, change: &ConfigChange, now: Timestamp) -> Result<u64, Error> {
    let mut transaction = database.write().await?;
    match write(transaction.connection(), change, now).await {
        Ok(revision) => transaction.commit().await.map(|()| revision),
        Err(error) => {
            transaction.rollback().await;
            Err(error)
        }
    }
}

async fn write(connection: &mut AnyConnection, change: &ConfigChange, now: Timestamp) -> Result<u64, Error> {
    match change {
        ConfigChange::PutRegion(row) => {
            write_region(connection, PUT_REGION, &row.id, &row.display_name, row.created_at).await?;
        }
        ConfigChange::PutAgent(row) => {
            write_region(connection, ADD_REGION, &row.region, &row.region.default_display_name(), now)
                .await?;
            put_agent(connection, row).await?;
        }
        ConfigChange::PutChannel(row) => put_channel(connection, row).await?,
        ConfigChange::DeleteChannel(id) => delete(connection, DELETE_CHANNEL, id.to_string()).await?,
        ConfigChange::PutPage(row) => put_page(connection, row).await?,
        ConfigChange::PutMaintenance(row) => put_maintenance(connection, row).await?,
        ConfigChange::DeleteMaintenance(id) => delete(connection, DELETE_MAINTENANCE, id.to_string()).await?,
        ConfigChange::PutPolicy(row) => alert::put_policy(connection, row).await?,
        ConfigChange::DeletePolicy(id) => alert::delete_policy(connection, *id).await?,
        ConfigChange::PutSilence(row) => alert::put_silence(connection, row).await?,
        ConfigChange::DeleteSilence(id) => alert::delete_silence(connection, *id).await?,
        ConfigChange::PutKey(row) => put_key(connection, row).await?,
        ConfigChange::PutPingKey(row) => put_ping_key(connection, row).await?,
        ConfigChange::DeletePingKey(id) => delete(connection, DELETE_PING_KEY, id.to_string()).await?,
        ConfigChange::PutBadge(row) => put_badge(connection, row).await?,
        ConfigChange::DeleteBadge(subject) => delete(connection, DELETE_BADGE, subject.to_string()).await?,
    }
    let row = sqlx::query(RAISE_REVISION).fetch_one(connection).await.map_err(failure)?;
    decode::number(&row, "config_revision")
}

async fn write_region(
    connection: &mut AnyConnection,
    statement: &'static str,
    id: &RegionId,
    display_name: &str,
    created_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query(statement)
        .bind(id.as_str())
        .bind(display_name)
        .bind(created_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(failure)
}

async fn put_agent(connection: &mut AnyConnection, row: &AgentRow) -> Result<(), Error> {
    sqlx::query(PUT_AGENT)
        .bind(row.id.to_string())
        .bind(row.name.as_str())
        .bind(row.region.as_str())
        .bind(row.secret_digest.as_slice())
        .bind(bigint(row.epoch))
        .bind(row.process_nonce.map(Vec::from))
        .bind(row.created_at.as_micros())
        .bind(row.join.map(|join| Vec::from(join.digest)))
        .bind(row.join.map(|join| join.expires_at.as_micros()))
        .bind(row.join.and_then(|join| join.joined_at).map(Timestamp::as_micros))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken()))
}

async fn put_channel(connection: &mut AnyConnection, row: &ChannelRow) -> Result<(), Error> {
    sqlx::query(PUT_CHANNEL)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.name.as_str())
        .bind(row.settings.expose().as_str())
        .bind(bigint(row.revision))
        .bind(row.created_at.as_micros())
        .bind(row.updated_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken()))
}

async fn put_page(connection: &mut AnyConnection, row: &PageRow) -> Result<(), Error> {
    // Asked first because a violated uniqueness does not say, in every database's words, which one it was.
    let slug_owner = sqlx::query(SLUG_OWNER)
        .bind(row.slug.as_str())
        .bind(row.id.to_string())
        .fetch_optional(&mut *connection)
        .await
        .map_err(failure)?;
    if slug_owner.is_some() {
        return Err(Error::Duplicate(row.taken_slug()));
    }
    let components: Vec<String> = row.components.iter().map(SubjectId::to_string).collect();
    sqlx::query(PUT_PAGE)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.name.as_str())
        .bind(row.slug.as_str())
        .bind(serde_json::to_string(&components).expect("a list of texts is JSON"))
        .bind(row.created_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken_name()))
}

async fn put_maintenance(connection: &mut AnyConnection, row: &MaintenanceRow) -> Result<(), Error> {
    sqlx::query(PUT_MAINTENANCE)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.name.as_str())
        .bind(row.definition.as_str())
        .bind(bigint(row.revision))
        .bind(row.created_at.as_micros())
        .bind(row.updated_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken()))
}

async fn delete(connection: &mut AnyConnection, statement: &'static str, id: String) -> Result<(), Error> {
    sqlx::query(statement).bind(id).execute(connection).await.map(|_| ()).map_err(failure)
}

async fn put_key(connection: &mut AnyConnection, row: &KeyRow) -> Result<(), Error> {
    sqlx::query(PUT_KEY)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.name.as_str())
        .bind(row.digest.as_slice())
        .bind(row.created_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(failure)
}

async fn put_ping_key(connection: &mut AnyConnection, row: &PingKeyRow) -> Result<(), Error> {
    sqlx::query(PUT_PING_KEY)
        .bind(row.id.to_string())
        .bind(row.workspace.as_str())
        .bind(row.name.as_str())
        .bind(row.digest.as_slice())
        .bind(row.created_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failure_or_duplicate(error, || row.taken()))
}

async fn put_badge(connection: &mut AnyConnection, row: &BadgeRow) -> Result<(), Error> {
    delete(&mut *connection, DELETE_BADGE, row.subject.to_string()).await?;
    sqlx::query(PUT_BADGE)
        .bind(row.id.as_str())
        .bind(row.workspace.as_str())
        .bind(row.subject.to_string())
        .bind(row.created_at.as_micros())
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(failure)
}

async fn list<T>(
    connection: &mut AnyConnection,
    statement: &'static str,
    decode: fn(&AnyRow) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let rows = sqlx::query(statement).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(decode).collect()
}

fn region_row(row: &AnyRow) -> Result<RegionRow, Error> {
    Ok(RegionRow {
        id: decode::parsed(row, "id")?,
        display_name: decode::text(row, "display_name")?,
        created_at: decode::instant(row, "created_at")?,
    })
}

fn agent_row(row: &AnyRow) -> Result<AgentRow, Error> {
    Ok(AgentRow {
        id: decode::parsed(row, "id")?,
        name: decode::text(row, "name")?,
        region: decode::parsed(row, "region")?,
        secret_digest: decode::bytes(row, "secret_digest")?,
        epoch: decode::number(row, "epoch")?,
        process_nonce: decode::optional_bytes(row, "process_nonce")?,
        created_at: decode::instant(row, "created_at")?,
        join: join_row(row)?,
    })
}

fn join_row(row: &AnyRow) -> Result<Option<JoinRow>, Error> {
    let Some(digest) = decode::optional_bytes(row, "join_digest")? else { return Ok(None) };
    Ok(Some(JoinRow {
        digest,
        expires_at: decode::instant(row, "join_expires_at")?,
        joined_at: decode::optional_instant(row, "joined_at")?,
    }))
}

fn channel_row(row: &AnyRow) -> Result<ChannelRow, Error> {
    Ok(ChannelRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        settings: Secret::new(decode::text(row, "settings")?),
        revision: decode::number(row, "revision")?,
        created_at: decode::instant(row, "created_at")?,
        updated_at: decode::instant(row, "updated_at")?,
    })
}

fn page_row(row: &AnyRow) -> Result<PageRow, Error> {
    let component = |text: &String| {
        SubjectId::parse(text).ok_or_else(|| Error::Corrupt(format!("`components`: {text} is not a subject")))
    };
    let components: Vec<String> = decode::json(row, "components")?;
    Ok(PageRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        slug: decode::text(row, "slug")?,
        components: components.iter().map(component).collect::<Result<_, _>>()?,
        created_at: decode::instant(row, "created_at")?,
    })
}

fn maintenance_row(row: &AnyRow) -> Result<MaintenanceRow, Error> {
    Ok(MaintenanceRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        definition: decode::text(row, "definition")?,
        revision: decode::number(row, "revision")?,
        created_at: decode::instant(row, "created_at")?,
        updated_at: decode::instant(row, "updated_at")?,
    })
}

fn key_row(row: &AnyRow) -> Result<KeyRow, Error> {
    Ok(KeyRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        digest: decode::bytes(row, "digest")?,
        created_at: decode::instant(row, "created_at")?,
    })
}

fn ping_key_row(row: &AnyRow) -> Result<PingKeyRow, Error> {
    Ok(PingKeyRow {
        id: decode::parsed(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        name: decode::text(row, "name")?,
        digest: decode::bytes(row, "digest")?,
        created_at: decode::instant(row, "created_at")?,
    })
}

fn badge_row(row: &AnyRow) -> Result<BadgeRow, Error> {
    Ok(BadgeRow {
        id: decode::text(row, "id")?,
        workspace: decode::text(row, "workspace")?,
        subject: decode::subject(row, "subject")?,
        created_at: decode::instant(row, "created_at")?,
    })
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    REVISION,
    RAISE_REVISION,
    REGIONS,
    AGENTS,
    CHANNELS,
    PAGES,
    MAINTENANCES,
    KEYS,
    PING_KEYS,
    BADGES,
    PUT_REGION,
    ADD_REGION,
    PUT_AGENT,
    PUT_CHANNEL,
    DELETE_CHANNEL,
    PUT_PAGE,
    SLUG_OWNER,
    PUT_MAINTENANCE,
    DELETE_MAINTENANCE,
    PUT_KEY,
    PUT_PING_KEY,
    DELETE_PING_KEY,
    PUT_BADGE,
    DELETE_BADGE,
];
