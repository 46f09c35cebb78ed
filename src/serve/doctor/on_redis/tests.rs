//! What is said of each state of a Redis.

use super::*;
use crate::config::Environment;
use crate::config::args::ServeArgs;

fn config(settings: &[&str]) -> Config {
    let mut args = ServeArgs {
        store: Some("redis://host".to_owned()),
        ..ServeArgs::default()
    };
    args.settings = settings.iter().map(|text| (*text).to_owned()).collect();
    Config::load(&args, &Environment::new()).unwrap()
}

fn server(text: &str) -> Server {
    Server::of_text(&text.replace(' ', "\r\n"))
}

#[test]
fn clocks_apart_are_told_by_how_far_they_surely_are() {
    for (span, uncertainty, told) in [
        (0, 0, "ok"),
        (1_000, 0, "ok"),
        (1_001, 0, "warn"),
        (1_500, 600, "ok"),
        (30_000, 0, "warn"),
        (30_001, 0, "FAIL"),
        (31_000, 2_000, "warn"),
    ] {
        for ahead in [true, false] {
            let offset = Offset {
                span: Duration::from_millis(span),
                ahead,
                uncertainty: Duration::from_millis(uncertainty),
            };
            assert_eq!(time(offset).judgement.word(), told, "{offset:?}");
        }
    }
}

#[test]
fn memory_is_told_before_it_is_full() {
    let demanding = config(&[]);
    let indulgent = config(&["store.accept_eviction=true"]);
    for (info, strict, mild) in [
        (
            "used_memory:9 maxmemory:0 maxmemory_policy:allkeys-lru",
            "ok",
            "ok",
        ),
        (
            "used_memory:9 maxmemory:100 maxmemory_policy:noeviction",
            "ok",
            "ok",
        ),
        (
            "used_memory:80 maxmemory:100 maxmemory_policy:noeviction",
            "warn",
            "warn",
        ),
        (
            "used_memory:95 maxmemory:100 maxmemory_policy:noeviction",
            "FAIL",
            "FAIL",
        ),
        (
            "used_memory:9 maxmemory:100 maxmemory_policy:allkeys-lru",
            "FAIL",
            "warn",
        ),
        ("used_memory:9 maxmemory:0 evicted_keys:1", "FAIL", "FAIL"),
    ] {
        assert_eq!(
            memory(&demanding, &server(info)).judgement.word(),
            strict,
            "{info}"
        );
        assert_eq!(
            memory(&indulgent, &server(info)).judgement.word(),
            mild,
            "{info}"
        );
    }
}

#[test]
fn a_redis_that_cannot_write_or_turns_clients_away_is_told() {
    let sound = "aof_last_write_status:ok aof_last_bgrewrite_status:ok rdb_last_bgsave_status:ok";
    assert_eq!(persistence(&server(sound)).judgement.word(), "ok");
    for name in ["aof_last_write", "aof_last_bgrewrite", "rdb_last_bgsave"] {
        let broken = sound.replace(&format!("{name}_status:ok"), &format!("{name}_status:err"));
        assert_eq!(
            persistence(&server(&broken)).judgement.word(),
            "FAIL",
            "{name}"
        );
    }
    for (info, told) in [
        (
            "connected_clients:8 maxclients:10 rejected_connections:0",
            "ok",
        ),
        (
            "connected_clients:9 maxclients:10 rejected_connections:0",
            "warn",
        ),
        (
            "connected_clients:1 maxclients:10 rejected_connections:1",
            "warn",
        ),
    ] {
        assert_eq!(clients(&server(info)).judgement.word(), told, "{info}");
    }
}

#[test]
fn a_slow_redis_is_measured_against_the_read_timeout() {
    let config = config(&["store.read_timeout=100ms"]);
    for (median, longest, told) in [
        (1, 99, "ok"),
        (1, 100, "warn"),
        (50, 60, "warn"),
        (100, 100, "FAIL"),
    ] {
        let latency = Latency {
            median: Duration::from_millis(median),
            longest: Duration::from_millis(longest),
        };
        assert_eq!(
            quickness(&config, latency).judgement.word(),
            told,
            "{latency:?}"
        );
    }
}

#[test]
fn replicas_are_counted_where_changes_wait_for_them() {
    let none = config(&[]);
    assert!(replicas(&none, &server("connected_slaves:0")).is_none());
    let two = config(&["store.replicas=2"]);
    let syncing = "slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0";
    let follows = "slave0:ip=10.0.0.1,port=6379,state=online,offset=7,lag=0";
    let another = "slave1:ip=10.0.0.2,port=6379,state=online,offset=7,lag=1";
    for (lines, told) in [
        (vec![], "FAIL"),
        (vec![follows], "FAIL"),
        (vec![follows, syncing], "FAIL"),
        (vec![follows, another], "ok"),
    ] {
        let finding = replicas(&two, &server(&lines.join(" "))).unwrap();
        assert_eq!(finding.judgement.word(), told, "{lines:?}");
    }
}

#[test]
fn who_demands_replicas_is_told_to_name_how_many() {
    let flushing = |class, suffices| Flushing {
        class,
        suffices,
        append_only: true,
        appendfsync: Some("everysec".to_owned()),
    };
    let demanding = config(&["store.min_durability=replicated"]);
    let finding = kept(&demanding, &flushing(Durability::OneSecond, false));
    assert!(format!("{finding:?}").contains("set store.replicas to"));
    let served = config(&["store.min_durability=replicated", "store.replicas=1"]);
    let finding = kept(&served, &flushing(Durability::Replicated, true));
    assert_eq!(finding.judgement.word(), "ok");
}
