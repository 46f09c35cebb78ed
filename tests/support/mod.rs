//! What several test programs need: certificates, drafts, numbers, a redis-server of their own, and processes that end with them.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod certificates;
pub(crate) mod child;
pub(crate) mod drafts;
pub(crate) mod gains;
pub(crate) mod leases;
pub(crate) mod numbers;
pub(crate) mod redis_server;
pub(crate) mod registries;
