-- The first form of everything that is kept.
--
-- Ids are their text, instants and spans 64-bit microseconds, bodies JSON. There are no foreign keys: what belongs
-- together is written in one commit, and a row may outlive what it speaks of (an incident its monitor).
-- `workspace` is the tenant. State, timeline and attempt rows are parts of a subject, an incident and a delivery and
-- are read only through them, so they carry none of their own.

CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    installation TEXT NOT NULL,
    config_revision INTEGER NOT NULL,
    replay_from INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE coordinator (
    id TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    alive_at INTEGER,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shard (
    id INTEGER PRIMARY KEY,
    owner TEXT,
    generation INTEGER NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;

WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 1023)
INSERT INTO shard (id, owner, generation, epoch) SELECT n, NULL, 0, 0 FROM number;

CREATE TABLE journal (
    position INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    records BLOB NOT NULL
) STRICT;
CREATE INDEX journal_at ON journal (at);

CREATE TABLE snapshot (
    shard INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE agent_seen (
    agent TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    ranges TEXT NOT NULL,
    PRIMARY KEY (agent, epoch)
) STRICT;

CREATE TABLE subject (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('monitor', 'heartbeat')),
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX subject_name ON subject (workspace, kind, name);

CREATE TABLE subject_state (
    subject TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;

CREATE TABLE incident (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    workspace TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'resolved', 'closed')),
    started_at INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    resolved_at INTEGER,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX incident_open ON incident (subject) WHERE state = 'open';
CREATE INDEX incident_opened ON incident (opened_at, id);
CREATE INDEX incident_subject ON incident (subject, opened_at, id);

CREATE TABLE timeline (
    incident TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (incident, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    incident TEXT NOT NULL,
    subject TEXT NOT NULL,
    transition INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    channels TEXT NOT NULL,
    dispatched INTEGER NOT NULL CHECK (dispatched IN (0, 1))
) STRICT;
CREATE INDEX outbox_undispatched ON outbox (at) WHERE dispatched = 0;

-- The id is derived from event and channel, so its uniqueness is that of the pair.
CREATE TABLE delivery (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    event TEXT NOT NULL,
    channel TEXT NOT NULL,
    incident TEXT NOT NULL,
    subject TEXT NOT NULL,
    transition INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead', 'coalesced')),
    attempts INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    body BLOB
) STRICT;
CREATE INDEX delivery_incident ON delivery (incident);
CREATE INDEX delivery_waiting ON delivery (created_at) WHERE state = 'waiting';

CREATE TABLE attempt (
    delivery TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    status INTEGER,
    detail TEXT NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (delivery, number)
) STRICT;

CREATE TABLE region (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE agent (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    region TEXT NOT NULL,
    secret_digest BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    process_nonce BLOB,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX agent_name ON agent (name);

CREATE TABLE channel (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX channel_name ON channel (workspace, name);

CREATE TABLE page (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    components TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX page_name ON page (workspace, name);
CREATE UNIQUE INDEX page_slug ON page (slug);

CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
