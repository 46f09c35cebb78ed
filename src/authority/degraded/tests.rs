//! What is answered while the store cannot be asked, and what is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::authority::access::{Proof, Root, Session};
use crate::authority::act;
use crate::authority::call::Call;
use crate::authority::mint::Mint;
use crate::authority::validate::{Question, Validation};
use crate::clock::SystemClock;
use crate::domain::caller::Namespaces;
use crate::domain::event::Alarms;
use crate::domain::freshness::Freshness;
use crate::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
use crate::domain::name::{Namespace, PoolName, Reason};
use crate::domain::pepper::Keyring;
use crate::domain::policy::{Policies, Policy};
use crate::domain::profile::Profile;
use crate::domain::retention::Retention;
use crate::domain::scope::{RequiredScope, Scope as Granted};
use crate::domain::secret::{Brand, Secret};
use crate::domain::token::tests::draft;
use crate::domain::token::{Draft, TokenId};
use crate::domain::usage::Keeping;
use crate::domain::verdict::{Consistency, Request};
use crate::entropy;
use crate::store::events::EventBounds;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Rule, TokenStore};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3600);
const ROOT: &str = "root-0123456789-0123456789-0123456789";

/// An authority that answers from memory, over a database that can be taken away and given back.
struct Site {
    authority: Arc<Authority>,
    store: Arc<SqliteStore>,
    folder: TempDir,
}

/// A token, and its secret.
struct Issued {
    id: TokenId,
    secret: Secret,
}

impl Site {
    /// Where answers about tokens of the namespace `default` may be so old.
    async fn allowing(staleness: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions {
            path: folder.path().join("a.db"),
            require_existing: false,
            peppers: Vec::new(),
            clock: Arc::new(SystemClock),
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        });
        let store = Arc::new(store.unwrap());
        let mint = Mint::new(Brand::parse("ta").unwrap(), [], Keyring::default());
        let digest = <sha2::Sha256 as sha2::Digest>::digest(ROOT).into();
        let roots = vec![Root::new("ops".to_owned(), digest)];
        let freshness = Freshness::new(Duration::ZERO, staleness).unwrap();
        let policy = Policy::default().with_freshness(freshness);
        let policies = Policies::new(BTreeMap::from([(Namespace::fallback(), policy)]));
        let authority = Authority::new(store.clone(), roots, mint).unwrap();
        let site = Self {
            authority: Arc::new(authority.with_policies(policies)),
            store,
            folder,
        };
        tokio::spawn(site.authority.coherence().keep());
        site.until(|site| site.lapsed() == Some(Duration::ZERO))
            .await;
        site
    }

    fn lapsed(&self) -> Option<Duration> {
        self.authority.coherence.lapsed()
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        let patience = Instant::now() + PATIENCE;
        while !reached(self) {
            assert!(Instant::now() < patience, "what is waited for never came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes the database away, and waits until nothing may be answered any more as if it were there.
    async fn take_away(&self) {
        fs::rename(self.path("a.db"), self.path("away.db")).unwrap();
        self.until(|site| site.lapsed() > Some(Duration::ZERO))
            .await;
    }

    fn give_back(&self) {
        fs::rename(self.path("away.db"), self.path("a.db")).unwrap();
    }

    async fn issue(&self, namespace: &str, profile: Profile) -> Issued {
        let id = entropy::token_id().unwrap();
        let (secret, digest) = self.authority.mint.make(&id).unwrap();
        let draft = Draft {
            id,
            digest,
            namespace: Namespace::parse(namespace).unwrap(),
            profile,
            ..draft()
        };
        self.store.create(draft).await.unwrap();
        Issued { id, secret }
    }

    /// A token that was asked about, so that it is remembered.
    async fn known(&self, profile: Profile) -> Issued {
        let issued = self.issue("default", profile).await;
        let answer = self.ask(&issued.secret).await.unwrap();
        assert!(!answer.degraded, "{answer:?}");
        issued
    }

    async fn session(&self, secret: &str) -> Result<Session, Error> {
        let (proof, call) = shown(&self.authority, secret);
        self.authority.authenticate("Validate", proof, call).await
    }

    async fn ask(&self, secret: &Secret) -> Result<Validation, Error> {
        self.ask_for(secret, Request::default(), Consistency::Cached)
            .await
    }

    async fn ask_for(
        &self,
        secret: &Secret,
        request: Request,
        consistency: Consistency,
    ) -> Result<Validation, Error> {
        let session = self.session(ROOT).await.unwrap();
        self.ask_as(&session, secret, request, consistency).await
    }

    async fn ask_as(
        &self,
        session: &Session,
        secret: &Secret,
        request: Request,
        consistency: Consistency,
    ) -> Result<Validation, Error> {
        let right = self.authority.permit::<act::Validate>(session)?;
        let question = Question {
            namespaces: Namespaces::Named(Namespace::fallback()),
            request,
            cost: 1,
            dry_run: false,
            consistency,
            user_agent: String::new(),
        };
        let validating = self.authority.validate(&right, secret.expose(), &question);
        validating.await
    }
}

fn shown<'a>(authority: &Authority, secret: &'a str) -> (Proof<'a>, Call) {
    let proof = Proof {
        secret: Some(secret),
        certificate: None,
    };
    let call = Call {
        id: authority.call_id(None),
        peer: None,
    };
    (proof, call)
}

fn scoped(scope: &str) -> Profile {
    Profile {
        scopes: vec![Granted::parse(scope).unwrap()],
        ..Profile::default()
    }
}

fn limited(requests: u64) -> Profile {
    let name = LimitName::parse("").unwrap();
    let limit = RateLimit::new(name, requests, Some(LONG), 0).unwrap();
    Profile {
        rate_limits: RateLimits::new(vec![limit]).unwrap(),
        ..Profile::default()
    }
}

fn requiring(scope: &str) -> Request {
    Request {
        required_scopes: vec![RequiredScope::parse(scope).unwrap()],
        ..Request::default()
    }
}

#[track_caller]
fn is_outage<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(
        matches!(answer, Err(Error::StoreUnavailable(_))),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_is_answered_while_the_store_is_away_and_says_so() {
    let site = Site::allowing(LONG).await;
    let token = site.known(scoped("orders:*")).await;
    let revoked = site.issue("default", Profile::default()).await;
    let revoke: Rule = Arc::new(|token, now| token.revoke(now, Reason::default()));
    site.store.change(revoked.id, revoke).await.unwrap();
    site.ask(&revoked.secret).await.unwrap();
    site.take_away().await;
    for (secret, required, verdict) in [
        (&token.secret, "orders:read", Verdict::Valid),
        (&token.secret, "refunds:pay", Verdict::ScopeDenied),
        (&revoked.secret, "orders:read", Verdict::Revoked),
    ] {
        let asked = site.ask_for(secret, requiring(required), Consistency::Cached);
        let answer = asked.await.unwrap();
        assert_eq!((answer.verdict, answer.degraded), (verdict, true));
        assert_eq!(answer.cache_ttl, Duration::ZERO);
    }
    assert_eq!(site.authority.metrics.cache.degraded.get(), 3);
    site.give_back();
    let answer = site.ask(&token.secret).await.unwrap();
    assert_eq!((answer.verdict, answer.degraded), (Verdict::Valid, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_store_can_answer_is_an_outage() {
    let site = Site::allowing(LONG).await;
    let token = site.known(Profile::default()).await;
    let unseen = site.issue("default", Profile::default()).await;
    let elsewhere = site.issue("elsewhere", Profile::default()).await;
    let metered = Profile {
        quota: Quota::new(10, None).ok(),
        ..Profile::default()
    };
    let metered = site.known(metered).await;
    let pooled = Profile {
        pool: PoolName::parse("gpu").ok(),
        ..Profile::default()
    };
    let pooled = site.known(pooled).await;
    site.take_away().await;
    for asked in [&unseen, &elsewhere, &metered, &pooled] {
        is_outage(site.ask(&asked.secret).await);
    }
    let strong = site.ask_for(&token.secret, Request::default(), Consistency::Strong);
    is_outage(strong.await);
    let (wrong, _) = site.authority.mint.make(&token.id).unwrap();
    is_outage(site.ask(&wrong).await);
    let (nobodys, _) = site
        .authority
        .mint
        .make(&entropy::token_id().unwrap())
        .unwrap();
    is_outage(site.ask(&nobodys).await);
    assert!(site.ask(&token.secret).await.unwrap().degraded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_policy_nothing_is_answered() {
    let site = Site::allowing(Duration::ZERO).await;
    let token = site.known(Profile::default()).await;
    site.take_away().await;
    is_outage(site.ask(&token.secret).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_any_more_when_the_time_is_used_up() {
    let allowed = Duration::from_millis(600);
    let site = Site::allowing(allowed).await;
    let token = site.known(Profile::default()).await;
    site.take_away().await;
    let mut answered = 0;
    let patience = Instant::now() + PATIENCE;
    loop {
        let before = site.lapsed();
        let answer = site.ask(&token.secret).await;
        match answer {
            Ok(answer) => {
                assert!(answer.degraded && before <= Some(allowed), "{before:?}");
                answered += 1;
            }
            Err(_) => break is_outage(answer),
        }
        assert!(Instant::now() < patience, "it is never used up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(site.lapsed() > Some(allowed) && answered > 0, "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_changed_or_may_have_been_is_not_answered() {
    let site = Site::allowing(LONG).await;
    let (doubtful, gone) = (
        site.known(Profile::default()).await,
        site.known(Profile::default()).await,
    );
    // Past the authority: it learns of it by reading.
    let delete: Rule = Arc::new(|_, _| crate::domain::token::Ruling::Keep);
    site.store.delete(gone.id, delete).await.unwrap();
    let read = site.ask_for(&gone.secret, Request::default(), Consistency::Strong);
    assert_eq!(read.await.unwrap().verdict, Verdict::NotFound);
    site.take_away().await;
    assert!(site.ask(&doubtful.secret).await.unwrap().degraded);
    let root = site.session(ROOT).await.unwrap();
    let mut right = site.authority.permit::<act::Revoke>(&root).unwrap();
    let revoking = site
        .authority
        .revoke(&mut right, doubtful.id, Reason::default());
    is_outage(revoking.await);
    is_outage(site.ask(&doubtful.secret).await);
    is_outage(site.ask(&gone.secret).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_token_is_used_as_much_as_its_share_allows() {
    let site = Site::allowing(LONG).await;
    let token = site.known(limited(4)).await;
    let caller = site.issue("default", limited(3)).await;
    site.session(caller.secret.expose()).await.unwrap();
    site.take_away().await;
    for left in (0..4).rev() {
        let answer = site.ask(&token.secret).await.unwrap();
        assert_eq!((answer.verdict, answer.degraded), (Verdict::Valid, true));
        let subject = answer.subject.unwrap();
        let told = subject.left.unwrap().statuses(subject.about.token(), None);
        assert_eq!((told[0].limit, told[0].remaining), (4, left));
    }
    let answer = site.ask(&token.secret).await.unwrap();
    assert_eq!(
        (answer.verdict, answer.degraded),
        (Verdict::RateLimited, true)
    );
    for _ in 0..3 {
        site.session(caller.secret.expose()).await.unwrap();
    }
    let refused = site.session(caller.secret.expose()).await;
    assert!(
        matches!(refused, Err(Error::CallerLimited { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_before_asks_for_verdicts_and_nothing_else_though_the_store_be_back() {
    let site = Site::allowing(LONG).await;
    let subject = site.known(Profile::default()).await;
    let caller = site.issue("default", scoped("authority:admin")).await;
    let secret = caller.secret.expose();
    site.session(secret).await.unwrap();
    site.take_away().await;
    let degraded = site.session(secret).await.unwrap();
    let (proof, call) = shown(&site.authority, secret);
    is_outage(site.authority.caller_by_now(proof, &call).await);
    site.give_back();
    is_outage(site.authority.permit::<act::Create>(&degraded));
    is_outage(site.authority.permit::<act::List>(&degraded));
    is_outage(site.authority.permit::<act::KeepAliveStream>(&degraded));
    is_outage(site.authority.own_token(degraded.clone()).await);
    let asked =
        |consistency| site.ask_as(&degraded, &subject.secret, Request::default(), consistency);
    let answer = asked(Consistency::Cached).await.unwrap();
    assert_eq!((answer.verdict, answer.degraded), (Verdict::Valid, true));
    is_outage(asked(Consistency::Strong).await);
    let known = site.session(secret).await.unwrap();
    site.authority.permit::<act::Create>(&known).unwrap();
    let asking = site.ask_as(
        &known,
        &subject.secret,
        Request::default(),
        Consistency::Strong,
    );
    assert!(!asking.await.unwrap().degraded);
}
