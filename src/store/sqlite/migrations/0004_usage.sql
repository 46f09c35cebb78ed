-- What servers counted, subject by subject, and how many tokens are in force.
--
-- A subject is the id of a token, or the name of a namespace behind "n:". Hours are counted since
-- 1970, in UTC.

-- What was added and is not folded into ledgers yet: rows of many gains, in the order in which they
-- came.
CREATE TABLE usage_journal (
    number INTEGER PRIMARY KEY,
    gains  BLOB    NOT NULL
) STRICT;

-- With a rowid, as tokens are: only the narrow index of the subjects is filled in random order.
CREATE TABLE usage_ledgers (
    id      INTEGER PRIMARY KEY,
    subject TEXT    NOT NULL,
    -- The hour from which on something of it is to be closed or dropped; NULL where nothing is.
    due     INTEGER,
    ledger  BLOB    NOT NULL,
    -- Sums of the closed hours of each day.
    days    BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX usage_subject ON usage_ledgers (subject);
CREATE INDEX usage_due ON usage_ledgers (due) WHERE due IS NOT NULL;

-- Details of closed hours.
CREATE TABLE usage_hours (
    ledger INTEGER NOT NULL,
    hour   INTEGER NOT NULL,
    used   BLOB    NOT NULL,
    PRIMARY KEY (ledger, hour)
) STRICT, WITHOUT ROWID;

-- Whoever removes a token removes this too.
CREATE TRIGGER tokens_usage AFTER DELETE ON tokens BEGIN
    DELETE FROM usage_hours WHERE ledger = (SELECT id FROM usage_ledgers WHERE subject = old.id);
    DELETE FROM usage_ledgers WHERE subject = old.id;
END;

-- From when on a token is not in force: 0 for one that is revoked or switched off, NULL for one that
-- stays in force for ever. Those of a namespace that are in force are all but some, which are counted.
ALTER TABLE tokens ADD COLUMN inactive_from INTEGER;
CREATE INDEX tokens_inactive ON tokens (namespace, inactive_from) WHERE inactive_from IS NOT NULL;
