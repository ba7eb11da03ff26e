-- Deliveries are listed, replayed, stood in for, and deleted when they are old.
--
-- `replayed_after` is the number of attempts after which the schedule began anew, `stands_in_for` the delivery to another
-- channel in whose place this one was made, `reason` why it ended without an attempt. `timing` is where an attempt's
-- time went, as JSON.

ALTER TABLE delivery ADD COLUMN replayed_after INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN first_attempt_at INTEGER;
ALTER TABLE delivery ADD COLUMN stands_in_for TEXT;
ALTER TABLE delivery ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN timing TEXT NOT NULL DEFAULT '{}';

CREATE INDEX delivery_created ON delivery (created_at, id);
CREATE INDEX delivery_channel ON delivery (channel, created_at, id);
CREATE INDEX delivery_dead ON delivery (created_at, id) WHERE state = 'dead';
