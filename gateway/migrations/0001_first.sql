-- One schema for SQLite and PostgreSQL. Times are the wall clock in milliseconds since 1970, UTC.

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
    -- Prefix that clients come from; NULL for anywhere.
    client      TEXT,
    -- 'required' or 'optional'.
    tickets     TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    expires_at  BIGINT  NOT NULL,
    -- NULL while it is open.
    closed_at   BIGINT,
    reason      TEXT
);

CREATE INDEX broker_closed ON broker (closed_at);

CREATE TABLE session (
    session_id        TEXT    NOT NULL PRIMARY KEY,
    broker_id         TEXT    NOT NULL,
    instance_id       TEXT    NOT NULL,
    graphics_protocol TEXT    NOT NULL,
    client            TEXT    NOT NULL,
    connections       INTEGER NOT NULL,
    up_bytes          BIGINT  NOT NULL,
    down_bytes        BIGINT  NOT NULL,
    started_at        BIGINT  NOT NULL,
    -- NULL while it has a connection.
    ended_at          BIGINT,
    end_reason        TEXT
);

CREATE INDEX session_ended ON session (ended_at);
CREATE INDEX session_broker ON session (broker_id);

CREATE TABLE ticket (
    -- SHA-256 of the ticket, hexadecimal; the ticket itself is known to its holder only.
    hash       TEXT   NOT NULL PRIMARY KEY,
    broker_id  TEXT   NOT NULL REFERENCES broker (broker_id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    -- The session that it let in.
    session_id TEXT
);

CREATE INDEX ticket_broker ON ticket (broker_id);
