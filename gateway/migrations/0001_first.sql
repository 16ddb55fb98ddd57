-- One schema for SQLite and PostgreSQL. Times are the wall clock in milliseconds since 1970, UTC; no
-- running deadline is ever read from here.

CREATE TABLE instance (
    instance_id       TEXT    NOT NULL PRIMARY KEY,
    hypervisor        TEXT    NOT NULL,
    host              TEXT    NOT NULL,
    graphics_port     INTEGER NOT NULL,
    graphics_protocol TEXT    NOT NULL,
    -- Written, used towards the console, never read back.
    graphics_passwd   TEXT,
    updated_at        BIGINT  NOT NULL
);

CREATE TABLE broker (
    broker_id   TEXT    NOT NULL PRIMARY KEY,
    instance_id TEXT    NOT NULL,
    broker_ip   TEXT    NOT NULL,
    broker_port INTEGER NOT NULL,
    created_at  BIGINT  NOT NULL,
    expires_at  BIGINT  NOT NULL,
    -- NULL while it is open.
    closed_at   BIGINT,
    reason      TEXT
);

CREATE INDEX broker_closed ON broker (closed_at);

CREATE TABLE ticket (
    -- SHA-256 of the ticket, hexadecimal; the ticket itself is known to its holder only.
    hash       TEXT   NOT NULL PRIMARY KEY,
    broker_id  TEXT   NOT NULL REFERENCES broker (broker_id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);

CREATE INDEX ticket_broker ON ticket (broker_id);
