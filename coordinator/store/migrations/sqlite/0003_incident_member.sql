-- What a grouped incident covers: subjects that failed with it, each from when it joined until it left.
--
-- A subject that fails, recovers and fails again joins twice, hence the instant in the key. The key's order is the
-- order of reading, so that the first hundred of ten thousand members are read without sorting.

CREATE TABLE incident_member (
    incident TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    cause TEXT NOT NULL,
    left_at INTEGER,
    PRIMARY KEY (incident, joined_at, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_member_present ON incident_member (incident, joined_at, subject) WHERE left_at IS NULL;
