-- Clients of a broker that may look, and do nothing: 0 or 1.
ALTER TABLE broker ADD COLUMN view_only INTEGER NOT NULL DEFAULT 0;
