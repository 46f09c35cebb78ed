//! The rights on Redis that `deploy/redis/users.acl.example` gives: enough for all work, and no more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use redis::Value;
use token_authority::domain::caller::Reach;
use token_authority::domain::coherence::registry::News;
use token_authority::domain::event::EventCursor;
use token_authority::domain::name::Namespace;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::TokenId;
use token_authority::domain::usage::{Hour, Subject};
use token_authority::store::events::EventStore;
use token_authority::store::leases::{Acquired, LeaseTarget};
use token_authority::store::redis::{RedisOptions, RedisStore};
use token_authority::store::registry::Heard;
use token_authority::store::usage::Flush;
use token_authority::store::{
    Creation, LeaseStore, RegistryStore, StoreError, StoreStatus, TokenStore, UsageStore,
};
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, DeleteRequest, GetRequest, ListNamespacesRequest, ListRequest, Quota, RateLimit,
    ResetLimitsRequest, RevokeRequest, Verdict,
};

use crate::harness::{
    Authority, Client, PATIENCE, command, create, files_below, get, named, rotation, span, update,
    verdict,
};
use crate::support::drafts::{draft, giving_to, willing};
use crate::support::gains::{gain, mark};
use crate::support::leases::{asking, lasting, lease_id, pool, waiter, waiting};
use crate::support::redis_server::RedisServer;
use crate::support::registries::{absent, changes, having, member, renewed, standing};

const EXAMPLE: &str = include_str!("../../deploy/redis/users.acl.example");

struct Guarded {
    server: RedisServer,
    _folder: tempfile::TempDir,
}

impl Guarded {
    /// A Redis with the users of the example, and one for this test that may do everything.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.acl");
        let example = EXAMPLE.replace("#DIGEST", ">a-password");
        fs::write(
            &users,
            format!("{example}user test on nopass ~* &* +@all\n"),
        )
        .unwrap();
        let server = RedisServer::with(&["--aclfile", users.to_str().unwrap()]);
        Self {
            server,
            _folder: folder,
        }
    }

    fn url(&self, user: &str) -> String {
        format!("redis://{user}:a-password@127.0.0.1:{}", self.server.port)
    }

    /// Runs one command as `user`.
    async fn run(&self, user: &str, words: &[&str]) -> Result<Value, redis::RedisError> {
        let client = redis::Client::open(self.url(user))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut connection)
            .await
    }

    /// What was refused so far, as Redis keeps it.
    async fn refused(&self) -> String {
        let refused = self.run("test", &["ACL", "LOG"]).await.unwrap();
        match &refused {
            Value::Array(entries) if entries.is_empty() => String::new(),
            entries => format!("{entries:?}"),
        }
    }
}

/// A server whose tokens vanish soon, under a pepper, as the user of the example.
fn authority(guarded: &Guarded) -> Authority {
    let url = guarded.url("token-authority");
    let init = command(&["init", "--store", &url]).output().unwrap();
    assert!(
        init.status.success(),
        "{}",
        String::from_utf8_lossy(&init.stderr)
    );
    let pepper = "secrets.peppers=[{ id = 1, pepper = \"0123456789-0123456789-0123456789\" }]";
    let mut authority = Authority::over(&url).with(&[
        "--set",
        "retention.short_lived=1s",
        "--set",
        "retention.ended=1s",
        "--set",
        "retention.sweep_every=100ms",
        "--set",
        pepper,
        "--set",
        "namespaces.default.max_tokens=100",
    ]);
    authority.start();
    authority
}

fn rich() -> CreateRequest {
    CreateRequest {
        name: "rich".to_owned(),
        owner: "ann".to_owned(),
        pool: "gpu".to_owned(),
        request_id: "3f1c9b1e-8d0a-4f5e-9a57-2d6f4f3f9a10".to_owned(),
        rate_limits: vec![RateLimit {
            requests: 5,
            period: Some(span(Duration::from_secs(60))),
            ..RateLimit::default()
        }],
        quota: Some(Quota {
            limit: 10,
            ..Quota::default()
        }),
        ..CreateRequest::default()
    }
}

async fn everything_is_done(root: &mut Client) {
    let (token, secret) = create(root, rich()).await;
    let (replayed, _) = create(root, rich()).await;
    assert_eq!(replayed.token_id, token.token_id);
    for _ in 0..5 {
        assert_eq!(verdict(root, &secret).await, Verdict::Valid);
    }
    assert_eq!(verdict(root, &secret).await, Verdict::RateLimited);
    let token_id = token.token_id.clone();
    root.reset_limits(ResetLimitsRequest { token_id })
        .await
        .unwrap();
    assert_eq!(verdict(root, &secret).await, Verdict::Valid);
    let mut moved = token.clone();
    moved.owner = "bea".to_owned();
    update(root, &moved, &["owner"]).await;
    let rotated = root.rotate(rotation(&token.token_id, Duration::ZERO)).await;
    assert!(rotated.is_ok(), "{rotated:?}");
    assert_eq!(verdict(root, &secret).await, Verdict::Superseded);
    for (owner, pool) in [("", ""), ("bea", ""), ("", "gpu")] {
        let request = ListRequest {
            owner: owner.to_owned(),
            pool: pool.to_owned(),
            ..ListRequest::default()
        };
        let listed = root.list(request).await.unwrap().into_inner().tokens;
        assert_eq!(listed.len(), 1, "{owner:?} {pool:?}");
    }
    let namespaces = root.list_namespaces(ListNamespacesRequest::default()).await;
    assert_eq!(namespaces.unwrap().into_inner().namespaces.len(), 1);
    get(root, &token.token_id).await;
    let revoke = RevokeRequest {
        target: Some(Target::TokenId(token.token_id.clone())),
        reason: "done".to_owned(),
    };
    root.revoke(revoke).await.unwrap();
    let token_id = token.token_id;
    root.delete(DeleteRequest { token_id }).await.unwrap();
}

/// A lease passes from its holder to a call that waits, which is woken.
async fn a_lease_is_passed_on(guarded: &Guarded) {
    let mut options = RedisOptions::new(guarded.url("token-authority"));
    options.write_timeout = PATIENCE;
    let store = RedisStore::start(options).unwrap();
    store.settled().await;
    store.create(lasting()).await.unwrap();
    let (pool, next) = (pool("gpu"), waiter());
    let Ok(Acquired::Granted { token, lease, .. }) = store.acquire(&asking(&pool)).await else {
        panic!("the token is not leased");
    };
    let bell = store.bells().hang(next);
    store.acquire(&waiting(&pool, next)).await.unwrap();
    // Whoever begins to listen asks once more.
    tokio::time::timeout(PATIENCE, bell.rung()).await.unwrap();
    store.acquire(&waiting(&pool, next)).await.unwrap();
    let target = LeaseTarget::Lease(lease_id(&token, &lease));
    store.release(target, &Reach::All).await.unwrap();
    tokio::time::timeout(PATIENCE, bell.rung()).await.unwrap();
    store.delete(token.id, willing()).await.unwrap();
}

/// A replica renews its lease, hears what is announced and is told it, is struck off, and resigns.
async fn a_registry_is_kept(guarded: &Guarded) {
    let mut options = RedisOptions::new(guarded.url("token-authority"));
    (options.read_timeout, options.write_timeout) = (PATIENCE, PATIENCE);
    let store = RedisStore::start(options).unwrap();
    store.settled().await;
    let mut nudges = store.nudges();
    let (one, epoch) = member(&store).await;
    let heard = tokio::time::timeout(PATIENCE, nudges.recv()).await;
    assert_eq!(heard.unwrap(), Ok(Heard::Interrupted));
    store.announce(&changes(2)).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, nudges.recv()).await;
    assert!(matches!(heard.unwrap(), Ok(Heard::Nudge(_))));
    let told = renewed(&store, &having(one, epoch, 0)).await;
    assert!(matches!(told.news, News::Entries(_)), "{told:?}");
    let seen = standing(&store, one).await.unwrap();
    let struck = absent(epoch, one, seen.renewal);
    store.strike(&struck).await.unwrap();
    assert_eq!(standing(&store, one).await, None);
    store.resign(one).await.unwrap();
}

/// Events come to the log, are read, and go when there are too many of them.
async fn events_are_told(guarded: &Guarded) {
    let mut options = RedisOptions::new(guarded.url("token-authority"));
    (options.read_timeout, options.write_timeout) = (PATIENCE, PATIENCE);
    options.events.number = 1;
    let store = RedisStore::start(options).unwrap();
    store.settled().await;
    let token = new_token(&store).await;
    store.change(token, giving_to("ann")).await.unwrap();
    store.delete(token, willing()).await.unwrap();
    store.all_told().await;
    store.tell().await.unwrap();
    let beginning = EventCursor { major: 0, minor: 0 };
    let read = store.events(beginning).await.unwrap();
    assert!(read.missed && read.events.len() == 1, "{read:?}");
}

async fn new_token(store: &RedisStore) -> TokenId {
    match store.create(draft()).await.unwrap() {
        Creation::Created(token) => token.id,
        other => panic!("expected a new token, got {other:?}"),
    }
}

/// Use is added, folded and told.
async fn use_is_kept(guarded: &Guarded) {
    let mut options = RedisOptions::new(guarded.url("token-authority"));
    options.write_timeout = PATIENCE;
    let store = RedisStore::start(options).unwrap();
    let store = store.with_ledgers_folded_every(1);
    store.settled().await;
    let hour = Hour::from_number(480_000);
    let namespace = Namespace::fallback();
    let subject = Subject::Namespace(namespace.clone());
    let flush = Flush {
        mark: mark(1),
        gains: [(subject.clone(), gain(&[hour]))].into(),
    };
    store.add_usage(&flush).await.unwrap();
    let book = store.usage(&subject, hour).await.unwrap();
    assert_eq!(book.ledger.total.requests(), 1);
    let standing = store.standing(Some(&namespace), Timestamp::MAX, 9).await;
    standing.unwrap();
}

/// Where replicas are asked for, it is counted how many have a change; here are none.
async fn replicas_are_counted(guarded: &Guarded) {
    let mut options = RedisOptions::new(guarded.url("token-authority"));
    options.write_timeout = Duration::from_secs(2);
    options.replicas = 1;
    let store = RedisStore::start(options).unwrap();
    store.settled().await;
    let told = store.create(lasting()).await.err();
    let expected = StoreError::Unreplicated { have: 0, wanted: 1 };
    assert_eq!(told, Some(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_work_is_done_with_the_rights_of_the_example() {
    let guarded = Guarded::start();
    let authority = authority(&guarded);
    // A person's look at the store, which asks for the rights.
    let url = guarded.url("token-authority");
    let doctor = command(&["doctor", "--store", &url, "--timeout", "60s"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("may do all that is needed"), "{said}");
    let mut root = authority.root().await;
    everything_is_done(&mut root).await;
    a_lease_is_passed_on(&guarded).await;
    a_registry_is_kept(&guarded).await;
    events_are_told(&guarded).await;
    use_is_kept(&guarded).await;
    replicas_are_counted(&guarded).await;
    let ending = CreateRequest {
        expiration: Some(Expiration::Ttl(span(Duration::from_secs(1)))),
        ..named("swept")
    };
    let (swept, _) = create(&mut root, ending).await;
    let patience = Instant::now() + PATIENCE;
    let look = || GetRequest {
        token_id: swept.token_id.clone(),
    };
    while root.get(look()).await.is_ok() {
        assert!(Instant::now() < patience, "{}", authority.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(guarded.refused().await, "");
    let ran = guarded.run("test", &["INFO", "commandstats"]).await;
    let ran: String = redis::from_redis_value(ran.unwrap()).unwrap();
    let idle = allowed().into_iter().filter(|name| {
        let (whole, first) = (format!("cmdstat_{name}:"), format!("cmdstat_{name}|"));
        !ran.contains(&whole) && !ran.contains(&first)
    });
    let idle: Vec<String> = idle.collect();
    assert!(
        idle.is_empty(),
        "allowed, but of no use to this work: {idle:?}"
    );
}

#[tokio::test]
async fn whoever_has_the_authoritys_password_can_do_nothing_else() {
    let guarded = Guarded::start();
    let forbidden: &[&[&str]] = &[
        &["CONFIG", "SET", "appendonly", "no"],
        &["CONFIG", "REWRITE"],
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["KEYS", "*"],
        &["SHUTDOWN", "NOSAVE"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["ACL", "LIST"],
        &["MONITOR"],
        &["SCRIPT", "FLUSH"],
        &["FUNCTION", "FLUSH"],
        &["MODULE", "LIST"],
        &["PUBLISH", "any", "word"],
        &["GET", "another:key"],
        &["SET", "another:key", "1"],
        &["DEL", "tax:1"],
        &[
            "EVAL",
            "return redis.call('GET', KEYS[1])",
            "1",
            "another:key",
        ],
        &["EVAL", "return redis.call('SET', 'another:key', '1')", "0"],
        &["EVAL", "return redis.call('FLUSHALL')", "0"],
    ];
    for words in forbidden {
        let error = guarded.run("token-authority", words).await.unwrap_err();
        let told = error.to_string();
        // Of scripts Redis says it in other words.
        let denied = ["NoPerm", "can't access", "can't run"];
        let denied = denied.iter().any(|words| told.contains(words));
        assert!(denied, "{words:?}: {told}");
    }
    guarded.run("health", &["PING"]).await.unwrap();
    guarded.run("health", &["INFO"]).await.unwrap_err();
    let stranger = redis::Client::open(guarded.server.url()).unwrap();
    let mut stranger = stranger.get_multiplexed_async_connection().await.unwrap();
    let told: redis::RedisResult<Value> = redis::cmd("PING").query_async(&mut stranger).await;
    assert!(told.unwrap_err().to_string().contains("NOAUTH"));
}

/// The commands that the example allows to the authority.
fn allowed() -> BTreeSet<String> {
    let mut lines = EXAMPLE.lines();
    let user = lines.find(|line| line.starts_with("user token-authority "));
    let words = user.unwrap().split(" +").skip(1);
    let command = |word: &str| word.split('|').next().unwrap_or_default().trim().to_owned();
    words.map(command).collect()
}

/// What follows each `mark` in the text, up to the next quote, in small letters.
fn words_after(text: &str, mark: &str, quote: char) -> BTreeSet<String> {
    let words = text.split(mark).skip(1);
    let words = words.filter_map(|rest| rest.split_once(quote).map(|(word, _)| word));
    words.map(str::to_lowercase).collect()
}

#[test]
fn the_example_allows_exactly_the_commands_that_the_store_sends() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis");
    // The scripts themselves, by digest or whole; and what the driver sends to listen.
    let mut sent = BTreeSet::from(["eval", "evalsha", "subscribe"].map(str::to_owned));
    for file in files_below(&folder) {
        let text = fs::read_to_string(&file).unwrap();
        sent.extend(words_after(&text, "cmd(\"", '"'));
        sent.extend(words_after(&text, "redis.call('", '\''));
        sent.extend(words_after(&text, "redis.pcall('", '\''));
    }
    assert_eq!(allowed(), sent);
}
