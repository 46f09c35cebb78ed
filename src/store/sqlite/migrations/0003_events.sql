-- What happened to tokens, in the order of its commits, and how far time alone was told of.

-- Nothing but the number says where an event stands. Numbers have no gaps: the last event is never
-- dropped, so the next number is always one more than that.
CREATE TABLE events (
    number   INTEGER PRIMARY KEY,
    -- When it was written down.
    told     INTEGER NOT NULL,
    -- When it happened.
    time     INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    token    TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    record   BLOB    NOT NULL,
    -- Of an event about a lease only.
    tenure   BLOB,
    detail   TEXT    NOT NULL
) STRICT;

-- How far each span before an end was told, 0 for the end itself: all ends up to this one, and of
-- those at this very instant all rows up to this one.
CREATE TABLE alarms (
    span INTEGER PRIMARY KEY,
    end  INTEGER NOT NULL,
    row  INTEGER NOT NULL
) STRICT;

-- When the token ends; NULL for one without an end.
ALTER TABLE tokens ADD COLUMN expire_time INTEGER;

CREATE INDEX tokens_expire ON tokens (expire_time) WHERE expire_time IS NOT NULL;
-- Leased tokens of all pools, by the ends of their leases.
CREATE INDEX tokens_held ON tokens (due) WHERE place = 1;
