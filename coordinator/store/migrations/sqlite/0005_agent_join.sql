-- Agents that join with a token of their own making: until when they may, and when they did.
ALTER TABLE agent ADD COLUMN join_digest BLOB;
ALTER TABLE agent ADD COLUMN join_expires_at INTEGER;
ALTER TABLE agent ADD COLUMN joined_at INTEGER;
