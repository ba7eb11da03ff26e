-- Planned times in which nothing is judged. What and when is JSON, as with subjects: no statement looks into it.
CREATE TABLE maintenance (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX maintenance_name ON maintenance (workspace, name);
