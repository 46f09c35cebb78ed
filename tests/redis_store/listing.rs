//! Listing: order, filters, buckets, and entries that lead nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use token_authority::clock::ManualClock;
use token_authority::domain::caller::Reach;
use token_authority::domain::name::{Owner, PoolName};
use token_authority::domain::page::{Cursor, Filter};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Token, TokenId};
use token_authority::store::redis::RedisStore;
use token_authority::store::{StoreError, TokenStore};

use crate::kit::{Log, created, everything, listed, marked_server, open, usable};
use crate::support::drafts::{
    draft, namespace, owned, pooled, requested, revoking, willing, within,
};
use crate::support::redis_server::RedisServer;

fn ids(tokens: &[Token]) -> Vec<TokenId> {
    tokens.iter().map(|token| token.id).collect()
}

/// The tokens in the order of a list.
fn newest_first(mut tokens: Vec<Token>) -> Vec<TokenId> {
    tokens.sort_by_key(|token| std::cmp::Reverse(Cursor::of(token)));
    ids(&tokens)
}

/// Creates `count` tokens from many tasks at once.
async fn race(store: &Arc<RedisStore>, count: usize, draft: impl Fn(usize) -> Draft) -> Vec<Token> {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..count {
        let (store, draft) = (store.clone(), draft(n));
        tasks.spawn(async move { created(&store, draft).await });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn buckets_roll_under_a_race_and_keep_every_token_in_strict_order() {
    let (server, options) = marked_server().await;
    // Two processes, that learn of the buckets apart from each other.
    let open = async || Arc::new(open(options.clone()).await.with_bucket_size(7));
    let (one, other) = (open().await, open().await);
    let both = |_| pooled(owned("ann"), "gpu");
    let (mut tokens, more) = tokio::join!(race(&one, 150, both), race(&other, 150, both));
    tokens.extend(more);

    let times: BTreeSet<_> = tokens.iter().map(|token| token.create_time).collect();
    assert_eq!(times.len(), 300);
    let expected = newest_first(tokens);
    let by_owner = Filter {
        owner: Owner::parse("ann").ok(),
        ..everything()
    };
    let by_pool = Filter {
        pool: PoolName::parse("gpu").ok(),
        ..everything()
    };
    for filter in [everything(), by_owner, by_pool] {
        for size in [1, 10, 1000] {
            assert_eq!(ids(&listed(&one, &filter, size).await), expected);
        }
    }
    assert_buckets_do_not_overlap(&server, "n:default", 300, 7).await;
}

/// Checks that each bucket is full and entirely newer than the one before.
async fn assert_buckets_do_not_overlap(
    server: &RedisServer,
    series: &str,
    count: usize,
    size: usize,
) {
    let mut last = 0;
    let mut seen = 0;
    for bucket in 0.. {
        let key = format!("ta:{{{series}:{bucket}}}:i");
        let entries: Vec<(String, u64)> =
            server.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await;
        seen += entries.len();
        let (Some((_, oldest)), Some((_, newest))) = (entries.first(), entries.last()) else {
            break;
        };
        assert!(*oldest > last, "bucket {bucket} overlaps the one before");
        assert!(entries.len() == size || seen == count, "bucket {bucket}");
        last = *newest;
    }
    assert_eq!(seen, count);
    let directory = format!("ta:{{{series}}}:d");
    let buckets: usize = server.ask(&["ZCARD", &directory]).await;
    assert_eq!(buckets, count.div_ceil(size) - 1);
}

#[tokio::test]
async fn time_that_stands_still_or_goes_back_gives_every_token_a_time_of_its_own() {
    let (_server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(
        1_700_000_000_000_000,
    )));
    options.clock = Some(clock.clone());
    let store = open(options).await.with_bucket_size(3);
    let mut tokens = Vec::new();
    for n in 0..10 {
        if n == 5 {
            clock.set(Timestamp::from_micros(1_600_000_000_000_000));
        }
        tokens.push(created(&store, draft()).await);
    }
    assert!(tokens.is_sorted_by(|a, b| a.create_time < b.create_time));
    tokens.reverse();
    assert_eq!(listed(&store, &everything(), 4).await, tokens);
}

#[tokio::test]
async fn a_list_over_all_namespaces_is_merged_in_one_order() {
    let (_server, mut options) = marked_server().await;
    // All namespaces assign the same times, so that ids must decide.
    let start = Timestamp::from_micros(1_700_000_000_000_000);
    options.clock = Some(Arc::new(ManualClock::at(start)));
    let store = open(options).await.with_bucket_size(4);
    let mut tokens = Vec::new();
    for n in 0..60 {
        let namespace = namespace(&format!("n{}", n % 5));
        let draft = Draft {
            namespace,
            ..draft()
        };
        tokens.push(created(&store, draft).await);
    }
    let expected = newest_first(tokens.clone());
    for size in [1, 7, 100] {
        assert_eq!(ids(&listed(&store, &everything(), size).await), expected);
    }
    let some = Filter {
        reach: Reach::Only(BTreeSet::from([
            namespace("n1"),
            namespace("n3"),
            namespace("no"),
        ])),
        ..everything()
    };
    tokens.retain(|token| some.reach.covers(&token.namespace));
    assert_eq!(ids(&listed(&store, &some, 5).await), newest_first(tokens));
}

#[tokio::test]
async fn long_stretches_of_deleted_tokens_are_passed() {
    let (_server, options) = marked_server().await;
    let store = open(options).await.with_bucket_size(2);
    let mut tokens = Vec::new();
    for _ in 0..60 {
        tokens.push(created(&store, draft()).await);
    }
    for token in &tokens[1..59] {
        store.delete(token.id, willing()).await.unwrap();
    }
    let expected = [tokens[59].clone(), tokens[0].clone()];
    assert_eq!(listed(&store, &everything(), 1).await, expected);
}

#[tokio::test]
async fn entries_without_their_record_are_passed_over() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, owned("ann")).await;
    let add = async |key: &str, time: u64, id: TokenId| {
        let added: u64 = server
            .ask(&["ZADD", key, &time.to_string(), &format!("{id}{time}")])
            .await;
        assert_eq!(added, 1);
    };
    let time = token.create_time.micros();
    let series = "ta:{n:default:0}:i";
    add(series, time + 5, draft().id).await;
    add(series, time - 5, draft().id).await;
    // An entry of a creation that came to nothing, since the id's token was made at another time.
    add("ta:{n:other:0}:i", time + 9, token.id).await;
    let reach = Reach::Only(BTreeSet::from([namespace("default"), namespace("other")]));
    let filter = Filter {
        reach,
        ..everything()
    };
    assert_eq!(listed(&store, &filter, 1).await, [token]);
}

#[tokio::test]
async fn a_deleted_token_leaves_no_entry_behind() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let mut draft = pooled(requested(1), "gpu");
    draft.profile.owner = Owner::parse("{ann}:*").ok();
    let token = created(&store, draft).await;
    let series = async || {
        let keys: Vec<String> = server.ask(&["KEYS", "ta:*:i"]).await;
        keys.len()
    };
    assert_eq!(series().await, 3);
    store.delete(token.id, willing()).await.unwrap();
    assert_eq!(series().await, 0);
    store.all_told().await;
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    for key in keys {
        let permanent = ["ta:store", "ta:{s}:", "ta:{r}:", "ta:{e}:l"]
            .iter()
            .any(|prefix| key.starts_with(prefix));
        let ttl: i64 = server.ask(&["PTTL", &key]).await;
        assert!(
            permanent || (600_000..=660_000).contains(&ttl),
            "{key}: {ttl} ms"
        );
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_hides_no_other() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(created(&store, owned("ann")).await);
    }
    let cut = record_key(tokens[1].id);
    let () = server.ask(&["SET", &cut, "1234"]).await;
    let garbled = record_key(tokens[2].id);
    let () = server
        .ask(&["SET", &garbled, "12345678\u{ff}\u{ff}\u{ff}"])
        .await;
    let other_type = record_key(tokens[3].id);
    let _: u64 = server.ask(&["DEL", &other_type]).await;
    let _: u64 = server.ask(&["RPUSH", &other_type, "x"]).await;
    for size in [1, 10] {
        let log = Log::start();
        let seen = listed(&store, &everything(), size).await;
        assert_eq!(seen, [tokens[4].clone(), tokens[0].clone()]);
        let told = log.lines("ERROR");
        for broken in &tokens[1..4] {
            let names = |line: &String| line.contains(broken.id.as_str());
            assert!(told.iter().any(names), "{} in {told:?}", broken.id);
        }
    }
    for broken in &tokens[1..4] {
        let find = store.find(broken.id).await.map(drop);
        let change = store.change(broken.id, revoking("lost")).await.map(drop);
        let delete = store.delete(broken.id, willing()).await.map(drop);
        for answer in [find, change, delete] {
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
        }
    }
}

fn record_key(id: TokenId) -> String {
    format!("ta:{{{}}}:t:{}", id.tag(), id.after_tag())
}

#[tokio::test]
async fn an_entry_that_names_no_namespace_is_passed_over() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    let _: i64 = server.ask(&["ZADD", "ta:{s}:n", "0", "Bad Name"]).await;
    assert_eq!(listed(&store, &everything(), 9).await, [token]);
}

#[tokio::test]
async fn a_namespace_is_noted_in_a_store_with_its_marker_only() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    created(&store, within("old")).await;
    let () = server.ask(&["RENAME", "ta:store", "hidden"]).await;
    for name in ["old", "new"] {
        let lost = store.create(within(name)).await;
        assert!(lost.is_err(), "{name}: {lost:?}");
    }
    // Whatever was written meanwhile is lost with the store that it was written to.
    let _: u64 = server.ask(&["DEL", "ta:{s}:n"]).await;
    let () = server.ask(&["RENAME", "hidden", "ta:store"]).await;
    usable(&store).await;
    let tokens = [
        created(&store, within("old")).await,
        created(&store, within("new")).await,
    ];
    let seen = listed(&store, &everything(), 9).await;
    assert_eq!(ids(&seen)[..2], newest_first(tokens.to_vec()));
}
