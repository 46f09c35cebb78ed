//! A limited token as it was seen last is a guess, and never an answer.

use std::sync::Arc;

use token_authority::authority::Authority;
use token_authority::authority::access::Right;
use token_authority::authority::act::Act;
use token_authority::authority::changes::RotateOrder;
use token_authority::authority::error::Error;
use token_authority::authority::mint::Mint;
use token_authority::authority::tokens::Order;
use token_authority::authority::validate::Question;
use token_authority::clock::SystemClock;
use token_authority::domain::caller::{Caller, Grants, Identity, Namespaces};
use token_authority::domain::limit::Quota;
use token_authority::domain::pepper::{Keyring, Pepper};
use token_authority::domain::profile::Profile;
use token_authority::domain::rotation::Grace;
use token_authority::domain::secret::Brand;
use token_authority::domain::token::Expiration;
use token_authority::domain::verdict::{Request, Verdict};
use token_authority::store::Store;
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};

fn root<A: Act>(authority: &Authority) -> Right<A> {
    let identity = Identity::Root {
        name: "test".to_owned(),
    };
    let grants = Grants::root();
    let caller = Caller { identity, grants };
    authority.permit(&Arc::new(caller)).unwrap()
}

async fn verdict(authority: &Authority, secret: &str) -> Result<Verdict, Error> {
    let question = Question {
        namespaces: Namespaces::Own,
        request: Request::default(),
        cost: 1,
        dry_run: false,
    };
    let right = root(authority);
    let answer = authority.validate(&right, secret, &question);
    answer.await.map(|validation| validation.verdict)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_undecidable_is_judged_anew_once_it_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        path: folder.path().join("token-authority.db"),
        require_existing: false,
        clock: Arc::new(SystemClock),
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options).unwrap());
    let with_pepper = |id| {
        let pepper = Pepper::new(id, vec![7; Pepper::BYTES_MIN].into()).unwrap();
        let keyring = Keyring::new(vec![pepper]).unwrap();
        let mint = Mint::new(Brand::parse("ta").unwrap(), [], keyring);
        Authority::new(store.clone(), Vec::new(), mint).unwrap()
    };
    let (before, after) = (with_pepper(1), with_pepper(2));
    let order = Order {
        namespace: None,
        profile: Profile {
            quota: Quota::new(9, None).ok(),
            ..Profile::default()
        },
        quota_left: None,
        expiration: Expiration::Never,
        request_id: None,
    };
    let issued = before.create(&mut root(&before), order).await.unwrap();
    let old = issued.secret.expose().to_owned();
    assert_eq!(verdict(&before, &old).await, Ok(Verdict::Valid));
    let undecidable = verdict(&after, &old).await;
    assert!(matches!(undecidable, Err(Error::StoreUnavailable(_))));
    let order = RotateOrder {
        id: issued.seen.token.id,
        grace: Grace::default(),
        revision: None,
        request_id: None,
    };
    let rotated = after.rotate(&mut root(&after), order).await.unwrap();
    let new = rotated.secret.expose().to_owned();
    assert_eq!(verdict(&after, &new).await, Ok(Verdict::Valid));
}
