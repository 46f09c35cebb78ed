#!lua flags=allow-oom
-- Gives up the place of a call that waits no longer.
-- KEYS[1] base of the pool's slot; the prelude puts the others together
-- ARGV[1] the pool's place
-- ARGV[2] the waiter
-- ARGV[3] the time in microseconds since 1970; "" for the server's
-- ARGV[4] the channel of bells
-- Reply   1 if it had a place, else 0
-- Atomic, because whoever is next must be rung for.
return leave(pool_at(ARGV[1]), ARGV[2], instant(ARGV[3]), ARGV[4])
