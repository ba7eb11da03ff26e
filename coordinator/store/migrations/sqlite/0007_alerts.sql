-- Who is told, and when nobody is: policies, which hold for what carries their tags, and silences. What they say is
-- JSON, as with subjects: no statement looks into it.
CREATE TABLE policy (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX policy_name ON policy (workspace, name);

CREATE TABLE silence (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- When somebody may next have to be told of an incident. Of one that is over: its end is owed to those who were told of
-- the opening, and could not be told yet.
ALTER TABLE incident ADD COLUMN alert_due_at INTEGER;
CREATE INDEX incident_owed ON incident (alert_due_at) WHERE alert_due_at IS NOT NULL AND state <> 'open';
