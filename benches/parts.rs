//! What the parts of a Validate cost: reading a secret, its digest, the verdict, endpoints, a rate limit,
//! and an answer from memory as a whole, without the wire.
//!
//! `cargo bench --bench parts` measures all, `cargo bench --bench parts -- match` those whose names hold
//! a word. Figures of two machines are not comparable, those of two commits on one machine are.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use token_authority::authority::Authority;
use token_authority::authority::access::{Proof, Right, Root};
use token_authority::authority::act;
use token_authority::authority::call::Call;
use token_authority::authority::mint::Mint;
use token_authority::authority::validate::Question;
use token_authority::clock::SystemClock;
use token_authority::domain::address::Network;
use token_authority::domain::caller::{Namespaces, Reach};
use token_authority::domain::endpoint::{Endpoints, Pattern};
use token_authority::domain::event::Alarms;
use token_authority::domain::limit::{LimitName, RateLimit, RateLimits};
use token_authority::domain::pepper::{Keyring, Pepper};
use token_authority::domain::permits::Ahead;
use token_authority::domain::profile::Profile;
use token_authority::domain::retention::Retention;
use token_authority::domain::scope::{RequiredScope, Scope as Granted};
use token_authority::domain::secret::{Brand, Presented, Secret};
use token_authority::domain::spending::{Demand, Scope, Spending};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Token};
use token_authority::domain::usage::Keeping;
use token_authority::domain::verdict::{self, Consistency, Request, Verdict};
use token_authority::entropy;
use token_authority::store::events::EventBounds;
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Creation, TokenStore};

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "parts/usage.rs"]
mod usage;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROOT: &str = "root-of-the-benches-0123456789-0123456789";
const PATIENCE: Duration = Duration::from_secs(20);

fn brand() -> Brand {
    Brand::parse("ta").expect("a brand")
}

/// A secret, and a draft of its token that has something for every rule to judge.
fn issued(keyring: &Keyring) -> (Secret, Draft) {
    let bare = support::drafts::draft();
    let digits = entropy::secret_digits().expect("random bytes");
    let secret = Secret::assemble(&brand(), &bare.id, &digits);
    let granted = ["orders:*", "products:read"].map(|text| Granted::parse(text).expect("a scope"));
    let network = Network::parse("10.0.0.0/8").expect("a network");
    let draft = Draft {
        digest: keyring.digest(&secret),
        profile: Profile {
            scopes: granted.into(),
            endpoints: endpoints(),
            networks: vec![network],
            ..Profile::default()
        },
        ..bare
    };
    (secret, draft)
}

fn endpoints() -> Endpoints {
    let patterns = ["/products/*", "POST /carts/{cart}/items", "GET /orders/**"];
    let patterns = patterns.map(|text| Pattern::parse(text).expect("a pattern"));
    Endpoints::new(patterns.into())
}

/// What a gateway asks.
fn request() -> Request {
    Request {
        required_scopes: vec![RequiredScope::parse("orders:read").expect("a scope")],
        method: Some("GET".to_owned()),
        path: Some("/orders/1234/items".to_owned()),
        client_ip: Some("10.1.2.3".parse().expect("an address")),
        ..Request::default()
    }
}

fn noon() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn token(draft: &Draft) -> Token {
    draft.issue(noon()).expect("a sound draft")
}

fn secrets(criterion: &mut Criterion) {
    let plain = Keyring::default();
    let key = vec![7; 32].into();
    let pepper = Pepper::new(1, key).expect("a pepper");
    let peppered = Keyring::new(vec![pepper]).expect("a keyring");
    let (secret, _) = issued(&plain);
    let brands = [brand()];
    criterion.bench_function("secret: parse", |bencher| {
        bencher.iter(|| Presented::read(black_box(secret.expose()), &brands));
    });
    let wrong = secret.expose().replace("ta_", "to_");
    criterion.bench_function("secret: parse, of another brand", |bencher| {
        bencher.iter(|| Presented::read(black_box(&wrong), &brands));
    });
    for (name, keyring) in [("SHA-256", &plain), ("HMAC-SHA-256", &peppered)] {
        criterion.bench_function(&format!("hash: {name}"), |bencher| {
            bencher.iter(|| keyring.digest(black_box(&secret)));
        });
        let (secret, draft) = issued(keyring);
        let token = token(&draft);
        let presented = Presented::read(secret.expose(), &brands).expect("a secret");
        criterion.bench_function(&format!("recognise: {name}"), |bencher| {
            bencher.iter(|| {
                let found = verdict::recognise(&token, black_box(&presented), keyring, &Reach::All);
                assert!(matches!(found, Ok(Some(_))));
            });
        });
    }
}

fn verdicts(criterion: &mut Criterion) {
    let keyring = Keyring::default();
    let (secret, draft) = issued(&keyring);
    let (token, request) = (token(&draft), request());
    let presented = Presented::read(secret.expose(), &[brand()]).expect("a secret");
    let known = verdict::recognise(&token, &presented, &keyring, &Reach::All);
    let credential = known
        .expect("no pepper is missing")
        .expect("its own secret");
    criterion.bench_function("verdict: all rules pass", |bencher| {
        bencher.iter(|| {
            let verdict = verdict::judge(black_box(&token), credential, &request, noon());
            assert_eq!(verdict, Verdict::Valid);
        });
    });
    let endpoints = endpoints();
    for (name, path, allowed) in [
        ("match: an endpoint", "/orders/1234/items", true),
        ("match: no endpoint", "/refunds/1234/items", false),
        (
            "match: an encoded path",
            "/orders/%7E1234/items?page=2",
            true,
        ),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                assert_eq!(endpoints.allow(Some("GET"), black_box(Some(path))), allowed);
            });
        });
    }
}

/// A use that asks for nothing beside it.
const ONE_USE: Demand = Demand {
    cost: 1,
    scope: Scope::All,
    dry_run: false,
    ahead: Ahead {
        back: None,
        wish: None,
    },
};

/// GCRA: what is left, whether a use passes, and what is kept after it.
fn limits(criterion: &mut Criterion) {
    let name = LimitName::parse("ample").expect("a name");
    let most = 1_000_000;
    let limit = RateLimit::new(name, most, Some(Duration::from_secs(1)), most).expect("a limit");
    let (_, mut draft) = issued(&Keyring::default());
    draft.profile.rate_limits = RateLimits::new(vec![limit]).expect("few limits");
    let token = token(&draft);
    criterion.bench_function("GCRA: a use that passes", |bencher| {
        let (mut spending, mut now) = (Spending::default(), noon());
        bencher.iter(|| {
            now = Timestamp::from_micros(now.micros() + 2);
            let outcome = black_box(&spending).take(&token, ONE_USE, now);
            outcome.verdict.expect("an ample limit");
            spending = outcome.kept.expect("something was taken");
        });
    });
}

fn store(folder: &tempfile::TempDir, name: &str) -> SqliteStore {
    let store = SqliteStore::open(SqliteOptions {
        path: folder.path().join(name),
        require_existing: false,
        peppers: Vec::new(),
        clock: Arc::new(SystemClock),
        retention: Retention::default(),
        alarms: Alarms::default(),
        events: EventBounds::default(),
        keeping: Keeping::default(),
    });
    store.expect("the store opens")
}

/// An authority whose memory holds a token, and the right to ask it.
struct Site {
    authority: Arc<Authority>,
    right: Right<act::Validate>,
    secret: Secret,
}

impl Site {
    async fn open(folder: &tempfile::TempDir) -> Self {
        let store = Arc::new(store(folder, "parts.db"));
        let keyring = Keyring::default();
        let (secret, draft) = issued(&keyring);
        let created = store.create(draft).await;
        assert!(matches!(created, Ok(Creation::Created(_))), "{created:?}");
        let digest = <sha2::Sha256 as sha2::Digest>::digest(ROOT).into();
        let roots = vec![Root::new("ops".to_owned(), digest)];
        let mint = Mint::new(brand(), [], keyring);
        let authority = Arc::new(Authority::new(store, roots, mint).expect("random bytes"));
        tokio::spawn(authority.coherence().keep());
        let begun = Instant::now();
        while authority.coherence().lapsed() != Some(Duration::ZERO) {
            assert!(begun.elapsed() < PATIENCE, "no lease came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let call = Call {
            id: authority.call_id(None),
            peer: None,
        };
        let proof = Proof {
            secret: Some(ROOT),
            certificate: None,
        };
        let session = authority.authenticate("Validate", proof, call).await;
        let right = authority.permit(&session.expect("root is known"));
        Self {
            right: right.expect("root may do everything"),
            authority,
            secret,
        }
    }
}

/// A whole answer of a remembered token; one in some thousands reads it again.
fn memory(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let site = runtime.block_on(Site::open(&folder));
    let question = Question {
        namespaces: Namespaces::Own,
        request: request(),
        cost: 1,
        dry_run: false,
        consistency: Consistency::Cached,
        user_agent: String::new(),
    };
    criterion.bench_function("cache hit: a whole Validate", |bencher| {
        bencher.iter(|| {
            let secret = black_box(site.secret.expose());
            let asked = site.authority.validate(&site.right, secret, &question);
            let answer = runtime.block_on(asked).expect("the store answers");
            assert_eq!(answer.verdict, Verdict::Valid);
        });
    });
}

/// What is recorded of many tokens, behind the answers.
fn recording(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    usage::usage(criterion, |name| store(&folder, name));
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = secrets, verdicts, limits, memory, recording
}
criterion_main!(parts);
