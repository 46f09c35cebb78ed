//! What a Redis says about itself, and whether it is one that may hold a store.

use crate::store::{Durability, StoreError};

/// How what a Redis acknowledged is kept, by itself and by its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keeping {
    /// By its own disk.
    flushed: Durability,
    /// How many replicas have a change before it is answered.
    replicas: usize,
}

impl Keeping {
    /// Of a Redis with or without append-only file, flushed by `appendfsync`.
    pub(super) fn new(append_only: bool, appendfsync: Option<&str>, replicas: usize) -> Self {
        let flushed = match (append_only, appendfsync) {
            (true, Some("always")) => Durability::Strict,
            (true, Some("everysec")) => Durability::OneSecond,
            _ => Durability::None,
        };
        Self { flushed, replicas }
    }

    /// Replicas count only beside a file: a master that restarts empty empties them, too.
    pub(super) fn class(self) -> Durability {
        match self.replicas {
            1.. if self.flushed >= Durability::OneSecond => Durability::Replicated,
            _ => self.flushed,
        }
    }

    /// Whether this is what is demanded, or better. Who demands a flush gets one: replicas are
    /// no stand-in where all machines may lose power at once.
    pub(super) fn meets(self, demanded: Durability) -> bool {
        match demanded {
            Durability::None | Durability::OneSecond | Durability::Strict => {
                self.flushed >= demanded
            }
            Durability::Replicated | Durability::Embedded => self.class() >= demanded,
        }
    }
}

/// The answer to `INFO`.
pub(super) struct Info<'a>(pub(super) &'a str);

impl<'a> Info<'a> {
    /// The value of `name`; empty where Redis does not say.
    pub(super) fn get(&self, name: &str) -> &'a str {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim_end)
            .unwrap_or_default()
    }

    /// Names the server's run, if it does; each start is another.
    pub(super) fn run(&self) -> Option<&'a str> {
        Some(self.get("run_id")).filter(|run| !run.is_empty())
    }

    /// Whether this Redis may hold a store: new enough, alone, a master, and keeping what it got
    /// unless `accept_eviction`.
    pub(super) fn check(&self, accept_eviction: bool) -> Result<(), StoreError> {
        let unacceptable = |why: String| Err(StoreError::Unacceptable(why));
        let version = self.get("redis_version");
        let major = version.split('.').next().and_then(|text| text.parse().ok());
        if major.is_none_or(|major: u32| major < 7) {
            return unacceptable(format!("Redis 7 or newer is needed; this is {version:?}"));
        }
        // Valkey renamed it.
        let mode = match self.get("redis_mode") {
            "" => self.get("server_mode"),
            mode => mode,
        };
        if mode != "standalone" {
            return unacceptable(format!(
                "this Redis runs in {mode} mode; this release supports a standalone one"
            ));
        }
        if self.get("loading") == "1" {
            return Err(StoreError::Unreachable("Redis is loading its data".into()));
        }
        if self.get("role") != "master" {
            return unacceptable("this Redis is a replica; the master must be named".to_owned());
        }
        let policy = self.get("maxmemory_policy");
        let evicts = self.get("maxmemory") != "0" && policy != "noeviction";
        if evicts && !accept_eviction {
            return unacceptable(format!(
                "this Redis may evict tokens (maxmemory-policy {policy}); set maxmemory-policy \
                 noeviction, or set store.accept_eviction"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_must_be_new_alone_a_master_and_keep_what_it_got() {
        let good = "redis_version:7.0.15\r\nredis_mode:standalone\r\nloading:0\r\nrole:master\r\n\
                    maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(Info(good).check(false), Ok(()));
        for (from, to) in [
            ("7.0.15", "6.2.1"),
            ("standalone", "cluster"),
            ("loading:0", "loading:1"),
            ("master", "slave"),
            ("maxmemory:0", "maxmemory:9"),
        ] {
            let bad = good.replace(from, to);
            assert!(Info(&bad).check(false).is_err(), "{to}");
        }
        let evicting = good.replace("maxmemory:0", "maxmemory:9");
        assert_eq!(Info(&evicting).check(true), Ok(()));
        let refused = Info(&evicting).check(false).unwrap_err().to_string();
        assert!(refused.contains("store.accept_eviction"), "{refused}");
    }

    #[test]
    fn an_unknown_flush_policy_counts_as_the_weakest() {
        let class = |append_only, policy| Keeping::new(append_only, policy, 0).class();
        assert_eq!(class(true, None), Durability::None);
        assert_eq!(class(true, Some("no")), Durability::None);
        assert_eq!(class(false, Some("always")), Durability::None);
        assert_eq!(class(true, Some("everysec")), Durability::OneSecond);
        assert_eq!(class(true, Some("always")), Durability::Strict);
    }

    #[test]
    fn replicas_count_beside_a_file_and_in_place_of_no_flush() {
        use Durability::{OneSecond, Replicated, Strict};
        let without_file = Keeping::new(false, Some("always"), 2);
        assert_eq!(without_file.class(), Durability::None);
        assert!(!without_file.meets(Replicated));
        let kept = Keeping::new(true, Some("everysec"), 1);
        assert_eq!(kept.class(), Replicated);
        assert!(kept.meets(OneSecond) && kept.meets(Replicated) && !kept.meets(Strict));
        let flushed = Keeping::new(true, Some("always"), 1);
        assert!(flushed.meets(Strict) && flushed.meets(Replicated));
        assert!(!Keeping::new(true, Some("always"), 0).meets(Replicated));
    }

    #[test]
    fn a_valkey_says_its_mode_under_another_name() {
        let info = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n\
                    valkey_version:8.0.1\r\nvalkey_release_stage:ga\r\n\
                    server_mode:standalone\r\nos:Linux 6.1 x86_64\r\n# Memory\r\n\
                    maxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\n\
                    loading:0\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\n";
        assert_eq!(Info(info).check(false), Ok(()));
        let cluster = info.replace("standalone", "cluster");
        let refused = Info(&cluster).check(false).unwrap_err().to_string();
        assert!(refused.contains("cluster mode"), "{refused}");
    }
}
