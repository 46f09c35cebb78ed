//! What a Validate costs: one round trip to Redis; two when the token is absent or refused a name, or
//! has limits and is seen for the first time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use token_authority::authority::Authority;
use token_authority::authority::access::{Proof, Right, Root, Session};
use token_authority::authority::act;
use token_authority::authority::call::Call;
use token_authority::authority::mint::Mint;
use token_authority::authority::tokens::Order;
use token_authority::authority::validate::Question;
use token_authority::domain::caller::Namespaces;
use token_authority::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
use token_authority::domain::name::{Namespace, TokenName};
use token_authority::domain::pepper::Keyring;
use token_authority::domain::profile::Profile;
use token_authority::domain::secret::Brand;
use token_authority::domain::token::{Expiration, TokenId};
use token_authority::domain::update::Patch;
use token_authority::domain::verdict::{Consistency, Request, Verdict};
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::{Store, StoreStatus};

use crate::harness::ROOT_TOKEN;
use crate::support::redis_server::RedisServer;

pub(crate) struct Bench {
    store: Arc<RedisStore>,
    pub(crate) authority: Authority,
    root: Session,
    _server: RedisServer,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let server = RedisServer::start();
        let options = RedisOptions {
            connections: 1,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            ..RedisOptions::new(server.url())
        };
        init(&options).await.unwrap();
        let store = Arc::new(RedisStore::start(options).unwrap());
        let patience = Instant::now() + Duration::from_secs(20);
        while store.probe_write().await.is_err() {
            assert!(Instant::now() < patience);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let shared: Arc<dyn Store> = store.clone();
        let digest = Sha256::digest(ROOT_TOKEN).into();
        let roots = vec![Root::new("test".to_owned(), digest)];
        let mint = Mint::new(Brand::parse("ta").unwrap(), [], Keyring::default());
        let authority = Authority::new(shared, roots, mint).unwrap();
        let (id, peer) = (authority.call_id(None), None);
        let proof = Proof {
            secret: Some(ROOT_TOKEN),
            certificate: None,
        };
        let root = authority.authenticate("Create", proof, Call { id, peer });
        Self {
            root: root.await.unwrap(),
            store,
            authority,
            _server: server,
        }
    }

    pub(crate) fn right<A: act::Act>(&self) -> Right<A> {
        self.authority.permit(&self.root).unwrap()
    }

    async fn create(&self) -> String {
        self.create_saying(Profile::default()).await
    }

    pub(crate) async fn create_saying(&self, profile: Profile) -> String {
        let order = Order {
            namespace: None,
            profile,
            quota_left: None,
            expiration: Expiration::Never,
            request_id: None,
        };
        let issued = self
            .authority
            .create(&mut self.right(), order)
            .await
            .unwrap();
        issued.secret.expose().to_owned()
    }

    /// The verdict on a secret, and the round trips that it took.
    async fn validate(&self, secret: &str, namespaces: Namespaces) -> (Verdict, u64) {
        let question = Question {
            namespaces,
            request: Request::default(),
            cost: 1,
            dry_run: false,
            consistency: Consistency::Cached,
        };
        self.ask(secret, &question).await
    }

    async fn ask(&self, secret: &str, question: &Question) -> (Verdict, u64) {
        let before = self.store.round_trips();
        let right = self.right::<act::Validate>();
        let validation = self.authority.validate(&right, secret, question).await;
        let verdict = validation.unwrap().verdict;
        (verdict, self.store.round_trips() - before)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validate_is_one_round_trip_and_an_unknown_token_two() {
    let bench = Bench::new().await;
    let secret = bench.create().await;
    // A script that this redis-server has never seen costs one trip more, once.
    bench.validate(&secret, Namespaces::Own).await;
    assert_eq!(
        bench.validate(&secret, Namespaces::Own).await,
        (Verdict::Valid, 1)
    );
    let elsewhere = Namespaces::Named(Namespace::parse("elsewhere").unwrap());
    assert_eq!(
        bench.validate(&secret, elsewhere).await,
        (Verdict::NotFound, 2),
        "one answer, one cost"
    );
    assert_eq!(
        bench.validate("rubbish", Namespaces::Own).await,
        (Verdict::Malformed, 0)
    );
    let deleted = {
        let secret = bench.create().await;
        bench
            .authority
            .delete(&mut bench.right(), id_of(&secret))
            .await
            .unwrap();
        secret
    };
    let (verdict, trips) = bench.validate(&deleted, Namespaces::Own).await;
    assert_eq!((verdict, trips), (Verdict::NotFound, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_create_is_two_round_trips() {
    let bench = Bench::new().await;
    // The first one also makes the namespace known.
    bench.create().await;
    let before = bench.store.round_trips();
    bench.create().await;
    assert_eq!(bench.store.round_trips() - before, 2);
}

fn id_of(secret: &str) -> TokenId {
    TokenId::parse(&secret[3..25]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_token_is_two_round_trips_at_first_sight_and_then_one() {
    let bench = Bench::new().await;
    let limit = |name: &str| RateLimit::new(LimitName::parse(name).unwrap(), 3, None, 0).unwrap();
    let profile = Profile {
        rate_limits: RateLimits::new(vec![limit("a"), limit("b")]).unwrap(),
        quota: Quota::new(100, None).ok(),
        ..Profile::default()
    };
    // Scripts that this redis-server has never seen cost one trip more, once.
    let warm = bench.create_saying(profile.clone()).await;
    bench.validate(&warm, Namespaces::Own).await;
    let secret = bench.create_saying(profile).await;
    let validate = async || bench.validate(&secret, Namespaces::Own).await;
    assert_eq!(validate().await, (Verdict::Valid, 2), "at first sight");
    assert_eq!(validate().await, (Verdict::Valid, 1));
    let dry = Question {
        namespaces: Namespaces::Own,
        request: Request::default(),
        cost: 1,
        dry_run: true,
        consistency: Consistency::Cached,
    };
    assert_eq!(bench.ask(&secret, &dry).await, (Verdict::Valid, 1));
    assert_eq!(validate().await, (Verdict::Valid, 1));
    assert_eq!(validate().await, (Verdict::RateLimited, 1));

    let patch = Patch {
        name: TokenName::parse("changed").ok(),
        ..Patch::default()
    };
    let mut right = bench.right();
    let updated = bench.authority.update(&mut right, id_of(&secret), patch);
    updated.await.unwrap();
    assert_eq!(
        validate().await,
        (Verdict::RateLimited, 2),
        "a token that changed is judged anew"
    );
    assert_eq!(validate().await, (Verdict::RateLimited, 1));
    let mut right = bench.right();
    let deleted = bench.authority.delete(&mut right, id_of(&secret));
    deleted.await.unwrap();
    assert_eq!(validate().await, (Verdict::NotFound, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_memory_ask_nobody_and_refusals_for_want_of_a_token_are_read() {
    const ANSWERS: u64 = 1000;
    let bench = Bench::new().await;
    let secret = bench.create().await;
    let renewing = tokio::spawn(bench.authority.coherence().keep());
    let patience = Instant::now() + Duration::from_secs(20);
    while bench.authority.coherence().remembered().records == 0 {
        assert!(Instant::now() < patience, "nothing is remembered");
        bench.validate(&secret, Namespaces::Own).await;
    }
    // Beside the answers there are renewals, and a read where a record has come of age.
    let mut trips = 0;
    for _ in 0..ANSWERS {
        let (verdict, taken) = bench.validate(&secret, Namespaces::Own).await;
        assert_eq!(verdict, Verdict::Valid);
        trips += taken;
    }
    assert!(trips < ANSWERS / 10, "{trips}");
    let elsewhere = Namespaces::Named(Namespace::parse("elsewhere").unwrap());
    let (verdict, taken) = bench.validate(&secret, elsewhere).await;
    assert_eq!(verdict, Verdict::NotFound);
    assert!(taken >= 2, "it is read, and the store shows its marker");
    let question = Question {
        namespaces: Namespaces::Own,
        request: Request::default(),
        cost: 1,
        dry_run: false,
        consistency: Consistency::Strong,
    };
    let (verdict, taken) = bench.ask(&secret, &question).await;
    assert!(verdict == Verdict::Valid && taken >= 1, "it is read");
    renewing.abort();
}
