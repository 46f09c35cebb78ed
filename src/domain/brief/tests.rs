//! A brief says of a token what the token says.

use super::*;
use crate::domain::address::client_address;
use crate::domain::caller::Reach;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::name::{Labels, Namespace, PoolName, Reason, TokenName};
use crate::domain::pepper::Keyring;
use crate::domain::rotation::{Grace, Rotation};
use crate::domain::scope::Scope;
use crate::domain::secret::{Presented, RANDOM_DIGITS, Secret};
use crate::domain::token::tests::{at, draft, replaced};
use crate::domain::token::{Draft, Expiration};
use crate::domain::verdict::{self, Request};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::time::Duration;

const SCOPES: [&str; 4] = ["orders:*", "orders:read", "products/*", "authority:read"];
const PATTERNS: [&str; 5] = ["GET /orders/**", "/orders/*", "/a*b/c", "*", "POST /"];
const NETWORKS: [&str; 3] = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"];
const LABELS: [(&str, &str); 3] = [("env", "prod"), ("team", ""), ("note", "a=b c")];
const PATHS: [&str; 6] = [
    "/orders/1",
    "/orders",
    "/",
    "/axb/c",
    "/a/../b",
    "/orders/%31?x",
];

fn secret(random: &str) -> Secret {
    Secret::assemble(&draft().brand, &draft().id, &random.repeat(RANDOM_DIGITS))
}

fn presented(secret: &Secret) -> Presented<'_> {
    Presented::read(secret.expose(), &[draft().brand]).unwrap()
}

fn profiles() -> impl Strategy<Value = Profile> {
    let owner = select(vec!["", "ann", "bob b"]);
    let (scopes, patterns) = (subsequence(&SCOPES, 0..=4), subsequence(&PATTERNS, 0..=5));
    let (networks, labels) = (subsequence(&NETWORKS, 0..=3), subsequence(&LABELS, 0..=3));
    let parts = (owner, scopes, patterns, networks, labels, any::<bool>());
    parts.prop_map(
        |(owner, scopes, patterns, networks, labels, disabled)| Profile {
            name: TokenName::parse("a name").unwrap(),
            owner: Owner::parse(owner).ok(),
            scopes: parsed(&scopes, Scope::parse),
            endpoints: Endpoints::new(parsed(&patterns, Pattern::parse)),
            networks: parsed(&networks, Network::parse),
            labels: Labels::parse(labels.into_iter()).unwrap(),
            disabled,
            ..Profile::default()
        },
    )
}

fn parsed<T, E: std::fmt::Debug>(texts: &[&str], parse: fn(&str) -> Result<T, E>) -> Vec<T> {
    texts.iter().map(|text| parse(text).unwrap()).collect()
}

fn requests() -> impl Strategy<Value = Request> {
    let owner = select(vec!["", "ann", "bob"]);
    let required = subsequence(&["orders:read", "orders:write", "products/7"], 0..=3);
    let method = select(vec![None, Some("GET"), Some("POST")]);
    let path = proptest::option::of(select(PATHS.to_vec()));
    let client = select(vec!["", "10.1.2.3", "2001:db8::1", "192.0.2.8"]);
    let parts = (owner, required, method, path, client);
    parts.prop_map(|(owner, required, method, path, client)| Request {
        owner: Owner::parse(owner).ok(),
        required_scopes: parsed(&required, RequiredScope::parse),
        method: method.map(str::to_owned),
        path: path.map(str::to_owned),
        client_ip: client_address(client).ok(),
    })
}

/// A token that was rotated as often, and perhaps revoked.
fn token(profile: Profile, rotations: usize, revoked: bool) -> Arc<Token> {
    let keyring = Keyring::default();
    let first = Draft {
        profile,
        digest: keyring.digest(&secret("0")),
        expiration: Expiration::After(Duration::from_secs(60)),
        ..draft()
    };
    let mut token = first.issue(at(0)).unwrap();
    for number in ["1", "2"].iter().take(rotations) {
        let rotation = Rotation {
            brand: draft().brand,
            digest: keyring.digest(&secret(number)),
            grace: Grace::new(Duration::from_secs(20)).unwrap(),
            revision: None,
            origin: None,
        };
        token = replaced(token.rotate(at(1), &rotation));
    }
    if revoked {
        token = replaced(token.revoke(at(2), Reason::default()));
    }
    Arc::new(token)
}

proptest! {
    #[test]
    fn a_brief_is_judged_as_its_token_is(
        profile in profiles(),
        request in requests(),
        rotations in 0usize..3,
        revoked in prop::bool::weighted(0.1),
        shown in select(vec!["0", "1", "2", "3"]),
        now in select(vec![0u64, 20, 21, 59, 60]),
        elsewhere in prop::bool::weighted(0.1),
    ) {
        let token = token(profile, rotations, revoked);
        let brief = Brief::of(&token).unwrap();
        let (secret, keyring) = (secret(shown), Keyring::default());
        let presented = presented(&secret);
        let reach = match elsewhere {
            true => Reach::only(Namespace::parse("elsewhere").unwrap()),
            false => Reach::only(Namespace::fallback()),
        };
        let known = verdict::recognise(&token, &presented, &keyring, &reach);
        let briefly = verdict::recognise_briefly(&brief, &presented, &keyring, &reach);
        prop_assert_eq!(known, briefly);
        if let Ok(Some(credential)) = known {
            let whole = verdict::judge(&*token, credential, &request, at(now));
            prop_assert_eq!(verdict::judge(&brief, credential, &request, at(now)), whole);
        }
    }

    #[test]
    fn a_brief_tells_what_its_token_tells(profile in profiles()) {
        let token = token(profile, 0, false);
        let (brief, profile) = (Brief::of(&token).unwrap(), &token.profile);
        prop_assert_eq!(brief.namespace(), token.namespace.as_str());
        prop_assert_eq!(brief.name(), profile.name.as_str());
        prop_assert_eq!(brief.owner(), profile.owner_text());
        prop_assert!(brief.scopes().eq(profile.scopes.iter().map(Scope::as_str)));
        prop_assert!(brief.endpoints().eq(profile.endpoints.texts()));
        prop_assert!(brief.labels().eq(profile.labels.iter()));
        let told = (brief.id, brief.revision, brief.expire_time, brief.is_limited);
        prop_assert_eq!(told, (token.id, token.revision, token.expire_time, false));
    }
}

#[test]
fn a_pooled_token_has_no_brief() {
    let profile = Profile {
        pool: PoolName::parse("gpu").ok(),
        ..Profile::default()
    };
    assert!(Brief::of(&token(profile, 0, false)).is_none());
}

#[test]
fn a_brief_prints_no_digest() {
    let brief = Brief::of(&token(Profile::default(), 2, false)).unwrap();
    let digest = format!("{:?}", Keyring::default().digest(&secret("0")).bytes);
    assert!(!format!("{brief:?}").contains(&digest));
}
