-- Runs of heartbeats' jobs that have something to tell. `at` is when a run began or, if it did not say so, when it ended;
-- `run` is the job's own id for it, or nothing. What came of it is JSON in `body`; `log` is what the job sent along.
-- Not WITHOUT ROWID: logs are large, and what is looked at most is the key.

CREATE TABLE heartbeat_run (
    heartbeat TEXT NOT NULL,
    at INTEGER NOT NULL,
    run TEXT NOT NULL,
    ended_at INTEGER,
    body TEXT NOT NULL,
    log BLOB NOT NULL,
    PRIMARY KEY (heartbeat, at, run)
) STRICT;
CREATE INDEX heartbeat_run_at ON heartbeat_run (at);

-- Who may ping heartbeats by their slugs, and have them created.
CREATE TABLE ping_key (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ping_key_name ON ping_key (workspace, name);

-- Under which unguessable ids the world may see how a monitor or heartbeat is.
CREATE TABLE badge (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    subject TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX badge_subject ON badge (subject);
