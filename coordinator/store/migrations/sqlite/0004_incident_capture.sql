-- What checks met on their way while an incident lasted: for each region the first capture of every period (`place` from
-- 0), which stays as it was written, and the latest one (`place` -1), which the next replaces; failures and passes apart.

CREATE TABLE incident_capture (
    incident TEXT NOT NULL,
    at INTEGER NOT NULL,
    region TEXT NOT NULL,
    verdict TEXT NOT NULL,
    place INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (incident, region, verdict, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_capture_at ON incident_capture (at);
