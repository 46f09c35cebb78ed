//! What several test programs need: a redis-server of their own, and a process that dies with them.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod child;
pub(crate) mod redis_server;
