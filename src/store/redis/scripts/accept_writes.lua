#!lua
-- Asks whether Redis accepts writes, and writes nothing: Redis refuses a script that may write
-- when it is a replica, when memory is full, or when it cannot persist.
-- KEYS[1] the marker, which says where to ask
-- ARGV    none
-- Reply   1
-- Atomic, because it is a single look.
return 1
