-- Tokens, how many of them each namespace holds, the markers of deleted ones, and what the store
-- knows about itself.
--
-- Times are microseconds since 1970. Columns beside `record` exist only so that an index can see
-- them. Indexes ascend and are walked backwards: rows arrive in ascending order, and SQLite fills
-- the pages of an index that grows at its end, but leaves half of one that grows at its start.

CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    store_id   TEXT    NOT NULL,
    schema     INTEGER NOT NULL,
    min_reader INTEGER NOT NULL,
    -- The latest time that any decision was known to be made at.
    mark       INTEGER NOT NULL,
    -- Of the root token that was generated for this database: SHA-256 while it is in force, empty
    -- once a configured one replaced it.
    root       BLOB
) STRICT;

-- By which each pepper is known again that the store was used with; never changed.
CREATE TABLE peppers (
    id          INTEGER PRIMARY KEY,
    check_value BLOB    NOT NULL
) STRICT;

-- With a rowid: only the narrow index of the ids is filled in random order, not the records.
CREATE TABLE tokens (
    id          TEXT    NOT NULL,
    namespace   TEXT    NOT NULL,
    owner       TEXT,
    pool        TEXT,
    create_time INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    request_key BLOB,
    -- When a sweep looks whether the token goes; NULL for one that has no end.
    vanish_time INTEGER,
    record      BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX tokens_id ON tokens (id);
CREATE UNIQUE INDEX tokens_request ON tokens (request_key) WHERE request_key IS NOT NULL;

-- Listings of some namespaces: within one, no two tokens share a create_time.
CREATE UNIQUE INDEX tokens_namespace ON tokens (namespace, create_time);
CREATE INDEX tokens_namespace_owner ON tokens (namespace, owner, create_time) WHERE owner IS NOT NULL;
CREATE INDEX tokens_namespace_pool ON tokens (namespace, pool, create_time) WHERE pool IS NOT NULL;

-- Listings of all namespaces.
CREATE INDEX tokens_all ON tokens (create_time, id);
CREATE INDEX tokens_owner ON tokens (owner, create_time, id) WHERE owner IS NOT NULL;
CREATE INDEX tokens_pool ON tokens (pool, create_time, id) WHERE pool IS NOT NULL;

CREATE INDEX tokens_vanish ON tokens (vanish_time) WHERE vanish_time IS NOT NULL;

-- Deleted tokens, remembered until a late repetition of their request cannot come any more.
CREATE TABLE deleted (
    id          TEXT    NOT NULL,
    request_key BLOB,
    revision    INTEGER NOT NULL,
    until       INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX deleted_id ON deleted (id);
CREATE INDEX deleted_request ON deleted (request_key) WHERE request_key IS NOT NULL;
CREATE INDEX deleted_until ON deleted (until);

-- How many tokens each namespace holds; one that holds none has no row. Triggers keep it, so that
-- no statement which adds or removes tokens can forget to.
CREATE TABLE namespaces (
    namespace TEXT    PRIMARY KEY,
    tokens    INTEGER NOT NULL CHECK (tokens > 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tokens_counted_in AFTER INSERT ON tokens BEGIN
    INSERT INTO namespaces (namespace, tokens) VALUES (new.namespace, 1)
    ON CONFLICT (namespace) DO UPDATE SET tokens = tokens + 1;
END;

CREATE TRIGGER tokens_counted_out AFTER DELETE ON tokens BEGIN
    DELETE FROM namespaces WHERE namespace = old.namespace AND tokens = 1;
    UPDATE namespaces SET tokens = tokens - 1 WHERE namespace = old.namespace;
END;

-- What is spent of rate limits, as it was at most a second ago, and of quotas, as it is.
CREATE TABLE rate_spending (
    id     TEXT NOT NULL PRIMARY KEY,
    spent  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quota_spending (
    id     TEXT NOT NULL PRIMARY KEY,
    spent  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever removes a token removes this too.
CREATE TRIGGER tokens_spending AFTER DELETE ON tokens BEGIN
    DELETE FROM rate_spending WHERE id = old.id;
    DELETE FROM quota_spending WHERE id = old.id;
END;
