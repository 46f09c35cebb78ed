-- How pooled tokens are held, and where each stands in its pool.
--
-- The columns stand behind the record, in its row: whoever reads a token needs them too, and whoever
-- removes it removes them.

-- How many tokens of each pool stand where; a pool without tokens has no row.
CREATE TABLE pools (
    id        INTEGER PRIMARY KEY,
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    -- In force and nobody's, as far as was noticed.
    free      INTEGER NOT NULL DEFAULT 0 CHECK (free >= 0),
    -- Leased, as far as was noticed.
    held      INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
    -- Revoked, switched off, or expired.
    out       INTEGER NOT NULL DEFAULT 0 CHECK (out >= 0)
) STRICT;

CREATE UNIQUE INDEX pools_name ON pools (namespace, name);

-- NULL for a token in no pool, and for one that is known to have gone because nobody kept it alive.
ALTER TABLE tokens ADD COLUMN pool_id INTEGER;
-- 0 free, 1 held, 2 out.
ALTER TABLE tokens ADD COLUMN place INTEGER;
-- The free ones of a pool are numbered from 0 without a gap, so that one can be drawn.
ALTER TABLE tokens ADD COLUMN position INTEGER;
-- When it may belong to another place: no later than that. NULL where time alone changes nothing.
ALTER TABLE tokens ADD COLUMN due INTEGER;
-- Who holds it and held it, and when it goes; NULL for a token in no pool.
ALTER TABLE tokens ADD COLUMN tenure BLOB;

CREATE UNIQUE INDEX tokens_position ON tokens (pool_id, position) WHERE position IS NOT NULL;
CREATE INDEX tokens_due ON tokens (pool_id, place, due) WHERE due IS NOT NULL;

-- Requests that acquired a lease, remembered as long as they may be repeated.
CREATE TABLE acquired (
    request_key BLOB    NOT NULL PRIMARY KEY,
    -- Hash of its arguments.
    fingerprint BLOB    NOT NULL,
    token       TEXT    NOT NULL,
    until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX acquired_until ON acquired (until);

-- When the authority was seen last, and when it was not there; NULL before the first time.
ALTER TABLE meta ADD COLUMN absences BLOB;
