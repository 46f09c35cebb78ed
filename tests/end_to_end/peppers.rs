//! Peppers: rotated with two live, told apart by their check values, and useless to miss.

use std::fs;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, GetRequest, Quota, RevokeRequest, RotateRequest, Verdict, WhoAmIRequest,
};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{
    Authority, Client, ROOT_TOKEN, create, is_outage, named, presenting, verdict,
};
use crate::outages::{nothing_is_known, refused_because};
use crate::scrape::Scrape;
use crate::secrecy::stolen;

/// Files of peppers, away from everything that a server writes.
struct Peppers(TempDir);

impl Peppers {
    fn new() -> Self {
        let peppers = Self(tempfile::tempdir().unwrap());
        for name in ["1", "2", "2-wrong"] {
            fs::write(peppers.path(name), format!("{}\n", text(name))).unwrap();
        }
        peppers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("pepper-{name}"))
    }

    /// The setting for these peppers, the present one first; an id is what its name begins with.
    fn setting(&self, names: &[&str]) -> String {
        let entries = names.iter().map(|name| {
            let (id, path) = (&name[..1], self.path(name));
            format!("{{ id = {id}, pepper_file = {path:?} }}")
        });
        let entries: Vec<_> = entries.collect();
        format!("secrets.peppers=[{}]", entries.join(", "))
    }

    /// Restarts an authority with these peppers.
    fn restart(&self, mut authority: Authority, names: &[&str]) -> Authority {
        authority.stop("TERM");
        let mut authority = authority.with(&["--set", &self.setting(names)]);
        authority.start();
        authority
    }
}

fn text(name: &str) -> String {
    name.repeat(40)
}

fn of(token_id: &str) -> GetRequest {
    let token_id = token_id.to_owned();
    GetRequest { token_id }
}

async fn rotate(client: &mut Client, token_id: &str) -> String {
    let request = RotateRequest {
        token_id: token_id.to_owned(),
        ..RotateRequest::default()
    };
    client.rotate(request).await.unwrap().into_inner().secret
}

/// Asserts that whether a secret is good cannot be told, in whatever way it is presented.
async fn cannot_be_told(authority: &Authority, root: &mut Client, secret: &str) {
    is_outage("Validate", root.validate(presenting(secret)).await);
    let mut caller = authority.client(Some(secret));
    is_outage("WhoAmI", caller.who_am_i(WhoAmIRequest {}).await);
    let request = RevokeRequest {
        target: Some(Target::Secret(secret.to_owned())),
        reason: String::new(),
    };
    is_outage("Revoke", authority.client(None).revoke(request).await);
}

pub(crate) async fn two_peppers_live_until_the_older_one_is_taken_away(authority: Authority) {
    let peppers = Peppers::new();
    let plain = create(&mut authority.root().await, named("plain")).await.1;

    let authority = peppers.restart(authority, &["1"]);
    let mut root = authority.root().await;
    let (_, old) = create(&mut root, named("old")).await;
    let (rotated, replaced) = create(&mut root, named("rotated")).await;
    let caller = CreateRequest {
        scopes: vec!["authority:read".to_owned()],
        ..named("caller")
    };
    let (_, caller) = create(&mut root, caller).await;
    assert_eq!(verdict(&mut root, &old).await, Verdict::Valid);
    assert_eq!(verdict(&mut root, &plain).await, Verdict::Valid);

    let authority = peppers.restart(authority, &["2", "1"]);
    let mut root = authority.root().await;
    let (_, new) = create(&mut root, named("new")).await;
    let moved = rotate(&mut root, &rotated.token_id).await;
    for secret in [&plain, &old, &new, &moved] {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
    }
    assert_eq!(verdict(&mut root, &replaced).await, Verdict::Superseded);
    let mut reader = authority.client(Some(&caller));
    let get = reader.get(of(&rotated.token_id)).await;
    get.expect("a caller of before");

    let authority = peppers.restart(authority, &["2"]);
    let mut root = authority.root().await;
    for secret in [&plain, &new, &moved] {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
    }
    for secret in [&old, &caller, &replaced] {
        cannot_be_told(&authority, &mut root, secret).await;
    }
    // The token itself is there, and can be ended.
    let get = root.get(of(&rotated.token_id)).await;
    get.expect("a token that is known");
    let log = authority.log();
    let told = |line: &&str| line.contains("WARN") && line.contains("pepper=1");
    assert_eq!(log.lines().filter(told).count(), 1, "not with each call");
    let told = |line: &&str| line.contains("WARN") && line.contains("peppers=[1]");
    assert_eq!(log.lines().filter(told).count(), 1, "at the start: {log}");
    assert!(Scrape::of(&authority).value("missing_pepper_total") >= 3.0);

    let authority = peppers.restart(authority, &["2", "1"]);
    let mut root = authority.root().await;
    for secret in [&plain, &old, &new, &moved, &caller] {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
    }
}

pub(crate) async fn a_wrong_pepper_is_an_outage_and_the_right_one_ends_it(authority: Authority) {
    let peppers = Peppers::new();
    let mut authority = peppers.restart(authority, &["2"]);
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    let before = root.get(of(&token.token_id)).await.unwrap().into_inner();
    for wrong in [["2-wrong"].as_slice(), &["1", "2-wrong"]] {
        authority = peppers.restart(authority, wrong);
        refused_because(&authority, "pepper 2 is not the one").await;
        let mut root = authority.client(Some(ROOT_TOKEN));
        nothing_is_known(&mut root, &token.token_id, &secret).await;
        cannot_be_told(&authority, &mut root, &secret).await;
        for name in ["", "tokenauthority.v1.TokenService.management"] {
            let health = authority.health(name).await;
            assert_eq!(health, Some(ServingStatus::NotServing), "{name:?}");
        }
        let log = authority.log();
        let told = |line: &&str| line.contains("ERROR") && line.contains("pepper 2 is not the one");
        assert!(log.lines().any(|line| told(&line)), "{log}");
    }
    let authority = peppers.restart(authority, &["2"]);
    let mut root = authority.root().await;
    let after = root.get(of(&token.token_id)).await.unwrap().into_inner();
    assert_eq!(after, before);
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    // The pepper that was there beside the wrong one is as new as ever: its id is still free.
    let other = text("other");
    fs::write(peppers.path("1"), &other).unwrap();
    let authority = peppers.restart(authority, &["1", "2"]);
    let mut root = authority.root().await;
    create(&mut root, named("under the other")).await;
}

pub(crate) async fn a_store_that_was_stolen_without_its_pepper_is_of_no_use(authority: Authority) {
    let peppers = Peppers::new();
    let authority = peppers.restart(authority, &["1"]);
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    let rotated = rotate(&mut root, &token.token_id).await;
    let stolen = stolen(&authority).await;
    let holds = |digest: &[u8]| stolen.windows(digest.len()).any(|window| window == digest);
    let hmac = |key: &[u8], secret: &str| -> [u8; 32] {
        let hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        hmac.chain_update(secret).finalize().into_bytes().into()
    };
    for secret in [secret, rotated] {
        let pepper = text("1");
        let found = holds(&hmac(pepper.as_bytes(), &secret));
        assert!(found, "with the pepper the digest is found");
        let guesses: [[u8; 32]; 4] = [
            Sha256::digest(&secret).into(),
            hmac(b"", &secret),
            hmac(b"1", &secret),
            hmac(secret.as_bytes(), ""),
        ];
        for guess in guesses {
            let hex: String = guess.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!holds(&guess) && !holds(hex.as_bytes()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_with_different_peppers_the_second_does_not_serve() {
    let peppers = Peppers::new();
    let first = Authority::before_redis_start();
    let url = format!("store.url={}", first.redis().url());
    let mut first = first.with(&["--set", &peppers.setting(&["2"])]);
    first.start();
    let mut root = first.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    let wrong = peppers.setting(&["2-wrong"]);
    let mut second = Authority::before_redis_start().with(&["--set", &url, "--set", &wrong]);
    second.start();
    refused_because(&second, "pepper 2 is not the one").await;
    let mut stranger = second.client(Some(ROOT_TOKEN));
    nothing_is_known(&mut stranger, &token.token_id, &secret).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    create(&mut root, named("undisturbed")).await;
    let mut second = second.with(&["--set", &peppers.setting(&["2"])]);
    second.stop("TERM");
    second.start();
    let mut other = second.root().await;
    assert_eq!(verdict(&mut other, &secret).await, Verdict::Valid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_another_replica_moved_to_a_known_pepper_is_judged_again() {
    let peppers = Peppers::new();
    let first = Authority::before_redis_start();
    let url = format!("store.url={}", first.redis().url());
    let mut first = first.with(&["--set", &peppers.setting(&["1"])]);
    first.start();
    // Limited tokens are remembered as they were seen last.
    let limited = CreateRequest {
        quota: Some(Quota {
            limit: 1000,
            ..Quota::default()
        }),
        ..named("limited")
    };
    let (token, old) = create(&mut first.root().await, limited).await;
    let first = peppers.restart(first, &["2", "1"]);
    let later = peppers.setting(&["2"]);
    let mut second = Authority::before_redis_start().with(&["--set", &url, "--set", &later]);
    second.start();
    let mut root = second.root().await;
    for _ in 0..2 {
        cannot_be_told(&second, &mut root, &old).await;
    }
    let new = rotate(&mut first.root().await, &token.token_id).await;
    assert_eq!(verdict(&mut root, &new).await, Verdict::Valid);
}
