//! Nobody comes by more than they hold: what callers may change, beside a model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, DeleteRequest, ListRequest, ResetLimitsRequest, RevokeRequest, Token,
    ValidateRequest, Verdict, WhoAmIRequest,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::harness::{
    Authority, Client, ask, change, create, fields, get, named, presenting, reason, rotation, set,
    told, update,
};

/// The namespaces of the model; `*` is every other one that there may be.
const NAMESPACES: [&str; 4] = ["a", "b", "c", "*"];
const PERMISSIONS: [&str; 8] = [
    "validate", "report", "lease", "read", "create", "revoke", "manage", "admin",
];

/// What somebody may do, and where.
type Rights = BTreeSet<(&'static str, &'static str)>;

/// The rights that scopes give a token of the namespace `home`: the rule, written once more.
fn rights(scopes: &[impl AsRef<str>], home: &str) -> Rights {
    let mut rights = Rights::new();
    for scope in scopes {
        let Some(granted) = scope.as_ref().strip_prefix("authority:") else {
            continue;
        };
        let (held, place) = granted.split_once('@').unwrap_or((granted, home));
        let included = |permission: &str| match held {
            "admin" => true,
            "manage" => ["manage", "read", "create", "revoke"].contains(&permission),
            _ => held == permission,
        };
        for permission in PERMISSIONS.into_iter().filter(|each| included(each)) {
            let places = NAMESPACES.into_iter();
            let places = places.filter(|each| place == "*" || place == *each);
            rights.extend(places.map(|each| (permission, each)));
        }
    }
    rights
}

fn texts(scopes: &[&str]) -> Vec<String> {
    scopes.iter().map(|scope| (*scope).to_owned()).collect()
}

fn carrying(namespace: &str, scopes: &[String]) -> CreateRequest {
    CreateRequest {
        namespace: namespace.to_owned(),
        scopes: scopes.to_vec(),
        ..named("t")
    }
}

/// What the model expects of a call that needs `needed` and is about a token of `namespace` with
/// the scopes `before`, which shall have the scopes `after`.
fn expected(
    caller: &Rights,
    needed: &'static str,
    namespace: &'static str,
    before: &[String],
    after: &[String],
) -> &'static str {
    let governs = before.iter().any(|scope| scope.starts_with("authority:"));
    if !caller.iter().any(|(held, _)| *held == needed) {
        "PERMISSION_MISSING"
    } else if !caller.contains(&(needed, namespace)) {
        "TOKEN_NOT_FOUND"
    } else if (governs && !caller.contains(&("admin", namespace)))
        || !rights(before, namespace).is_subset(caller)
        || !rights(after, namespace).is_subset(caller)
    {
        "GRANT_EXCEEDS_CALLER"
    } else {
        "done"
    }
}

fn outcome<T>(answer: Result<T, Status>) -> String {
    answer.map_or_else(|error| reason(&error), |_| "done".to_owned())
}

const SCOPES: [&[&str]; 8] = [
    &[],
    &["orders:*"],
    &["authority:read"],
    &["authority:read@b", "orders:*"],
    &["authority:manage"],
    &["authority:admin"],
    &["authority:admin@b"],
    &["authority:admin@*"],
];

/// Tries everything on tokens of `namespace` as a caller of the namespace `a` with one scope.
async fn tries_everything(mut root: Client, mut client: Client, scope: String) {
    let caller = rights(std::slice::from_ref(&scope), "a");
    // Whoever may only create has no part in any change.
    let changes = if scope.contains("create") {
        0
    } else {
        2 * SCOPES.len()
    };
    for case in 0..changes {
        let (namespace, before) = (["a", "b"][case % 2], texts(SCOPES[case / 2]));
        let (token, _) = create(&mut root, carrying(namespace, &before)).await;
        let id = token.token_id.clone();
        let label = format!("{scope} on {before:?} in {namespace}");
        let manage = expected(&caller, "manage", namespace, &before, &[]);
        for after in SCOPES.map(texts) {
            let wanted = Token {
                scopes: after.clone(),
                ..token.clone()
            };
            let answer = client.update(change(&wanted, &["scopes"])).await;
            let expected = expected(&caller, "manage", namespace, &before, &after);
            assert_eq!(outcome(answer), expected, "{label}: to {after:?}");
            if expected == "done" {
                let now = update(&mut root, &token, &["scopes"]).await;
                assert!(after == before || now.revision > token.revision, "{label}");
            }
        }
        let now = get(&mut root, &id).await.token.unwrap();
        assert_eq!(now.scopes, before, "{label}: refused, or put back");
        if manage != "done" {
            assert_eq!(now, token, "{label}: it is untouched");
        }
        let renamed = client.update(change(&token, &["name", "disabled"])).await;
        assert_eq!(outcome(renamed), manage, "{label}: update");
        let rotated = client.rotate(rotation(&id, Duration::ZERO)).await;
        assert_eq!(outcome(rotated), manage, "{label}: rotate");
        let token_id = id.clone();
        let reset = client.reset_limits(ResetLimitsRequest { token_id }).await;
        assert_eq!(outcome(reset), manage, "{label}: reset");
        let target = Some(Target::TokenId(id.clone()));
        let reason = String::new();
        let revoked = client.revoke(RevokeRequest { target, reason }).await;
        let revoke = expected(&caller, "revoke", namespace, &before, &[]);
        assert_eq!(outcome(revoked), revoke, "{label}: revoke");
        let deleted = client.delete(DeleteRequest { token_id: id }).await;
        assert_eq!(outcome(deleted), manage, "{label}: delete");
    }
    for namespace in ["a", "b", "c"] {
        for scopes in SCOPES.map(texts) {
            let answer = client.create(carrying(namespace, &scopes)).await;
            let may = caller.contains(&("create", namespace));
            let expected = match expected(&caller, "create", namespace, &[], &scopes) {
                _ if !may => "PERMISSION_MISSING",
                expected => expected,
            };
            let label = format!("{scope}: create {scopes:?} in {namespace}");
            assert_eq!(outcome(answer), expected, "{label}");
        }
    }
}

pub(crate) async fn callers_may_change_exactly_what_the_model_says(authority: Authority) {
    let mut root = authority.root().await;
    let mut trying = JoinSet::new();
    for permission in ["create", "revoke", "manage", "admin"] {
        for place in ["", "@b", "@*"] {
            let scope = format!("authority:{permission}{place}");
            let request = carrying("a", std::slice::from_ref(&scope));
            let (_, secret) = create(&mut root, request).await;
            let client = authority.client(Some(&secret));
            trying.spawn(tries_everything(authority.client_as_root(), client, scope));
        }
    }
    trying.join_all().await;
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        // Constants of Knuth's MMIX generator; the upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn one_of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    fn scopes(&mut self) -> Vec<String> {
        let count = self.below(3);
        let scope = |numbers: &mut Self| {
            let held = numbers.one_of(&["read", "validate", "create", "manage", "admin"]);
            let place = numbers.one_of(&["", "", "@a", "@b", "@c", "@*"]);
            format!("authority:{held}{place}")
        };
        (0..count).map(|_| scope(self)).collect()
    }
}

/// What a caller and all whose secrets it came by try, in turn.
async fn wander(authority: &Authority, scopes: &[&str], seed: u64) -> usize {
    let mut root = authority.root().await;
    let mut numbers = Numbers(seed);
    let scopes = texts(scopes);
    let bound = rights(&scopes, "a");
    let (own, secret) = create(&mut root, carrying("a", &scopes)).await;
    let mut known = BTreeMap::from([(own.token_id.clone(), secret)]);
    let mut tokens = vec![own];
    let mut beyond = Vec::new();
    for namespace in ["a", "b"] {
        for scopes in SCOPES.map(texts) {
            let (token, _) = create(&mut root, carrying(namespace, &scopes)).await;
            if !rights(&scopes, namespace).is_subset(&bound) {
                beyond.push(token.clone());
            }
            tokens.push(token);
        }
    }
    let mut done = 0;
    for step in 0..80 {
        let secrets: Vec<String> = known.values().cloned().collect();
        let mut client = authority.client(Some(&numbers.one_of(&secrets)));
        let subject = numbers.one_of(&tokens);
        let touched = match numbers.below(5) {
            0 | 1 => {
                let namespace = numbers.one_of(&["", "a", "b", "c"]);
                let request = CreateRequest {
                    request_id: numbers.one_of(&["", "r-1", "r-2"]).to_owned(),
                    ..carrying(namespace, &numbers.scopes())
                };
                let created = client.create(request).await.ok();
                created.map(|created| {
                    let created = created.into_inner();
                    (created.token.unwrap(), Some(created.secret))
                })
            }
            2 => {
                let request_id = numbers.one_of(&["", "r-1"]).to_owned();
                let mut request = rotation(&subject.token_id, Duration::from_secs(3600));
                request.request_id = request_id;
                let rotated = client.rotate(request).await.ok();
                rotated.map(|rotated| {
                    let rotated = rotated.into_inner();
                    (rotated.token.unwrap(), Some(rotated.secret))
                })
            }
            _ => {
                let wanted = Token {
                    scopes: numbers.scopes(),
                    ..subject
                };
                let updated = client.update(change(&wanted, &["scopes"])).await.ok();
                updated.map(|updated| (updated.into_inner().token.unwrap(), None))
            }
        };
        let Some((token, secret)) = touched else {
            continue;
        };
        done += 1;
        let given = rights(&token.scopes, &token.namespace);
        assert!(
            given.is_subset(&bound),
            "step {step}: {given:?} of {bound:?}"
        );
        if let Some(secret) = secret {
            known.insert(token.token_id.clone(), secret);
        }
        if let Some(secret) = known.get(&token.token_id) {
            let mut itself = authority.client(Some(secret));
            let answer = itself.who_am_i(WhoAmIRequest {});
            let held = answer.await.unwrap().into_inner().permissions;
            let held: Vec<String> = held
                .iter()
                .map(|each| format!("authority:{each}"))
                .collect();
            assert!(
                rights(&held, "-").is_subset(&bound),
                "step {step}: {held:?}"
            );
        }
        if !tokens.iter().any(|each| each.token_id == token.token_id) {
            tokens.push(token);
        }
    }
    for token in beyond {
        let now = get(&mut root, &token.token_id).await.token;
        assert_eq!(now, Some(token), "who holds more is out of reach");
    }
    done
}

pub(crate) async fn no_sequence_of_calls_yields_more_than_its_caller_holds(authority: Authority) {
    let callers: [&[&str]; 6] = [
        &["authority:manage"],
        &["authority:create", "authority:validate@b"],
        &["authority:admin"],
        &["authority:manage", "authority:admin@b"],
        &["authority:manage@*"],
        &["authority:admin", "authority:create@c", "orders:*"],
    ];
    for (scopes, seed) in callers.into_iter().zip(1..) {
        let done = wander(&authority, scopes, seed).await;
        assert!(done > 0, "{scopes:?} did nothing");
    }
}

pub(crate) async fn no_wildcard_grants_anything_on_the_authority(authority: Authority) {
    let mut root = authority.root().await;
    let (plain, _) = create(&mut root, named("plain")).await;
    for scope in ["*", "authority*", "authority:*", "authority:admin*", "a*"] {
        let scopes = texts(&[scope]);
        let error = root.create(carrying("a", &scopes)).await.unwrap_err();
        assert_eq!(fields(&error), set(&["scopes[0]"]), "{scope}");
        let wanted = Token {
            scopes,
            ..plain.clone()
        };
        let error = root.update(change(&wanted, &["scopes"])).await.unwrap_err();
        assert_eq!(fields(&error), set(&["token.scopes[0]"]), "{scope}");
    }
    let near = [
        "authority",
        "authority/*",
        "authority.*",
        "Authority:admin",
        "x:*",
    ];
    let (_, secret) = create(&mut root, carrying("a", &texts(&near))).await;
    let mut client = authority.client(Some(&secret));
    let own = client.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert!(own.into_inner().permissions.is_empty());
    let error = client.list(ListRequest::default()).await.unwrap_err();
    let missing = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    assert_eq!(told(&error), missing);
    for required in ["authority:admin", "authority:read@a", "authority:x"] {
        let request = ValidateRequest {
            namespace: "a".to_owned(),
            required_scopes: texts(&[required]),
            ..presenting(&secret)
        };
        assert_eq!(
            ask(&mut root, request).await.verdict(),
            Verdict::ScopeDenied
        );
    }
}

pub(crate) async fn a_caller_raises_itself_no_more_than_others(authority: Authority) {
    let mut root = authority.root().await;
    let (manager, secret) = create(&mut root, carrying("a", &texts(&["authority:manage"]))).await;
    let mut client = authority.client(Some(&secret));
    for scopes in [&["authority:admin"][..], &["authority:read"], &[]] {
        let wanted = Token {
            scopes: texts(scopes),
            ..manager.clone()
        };
        let answer = client.update(change(&wanted, &["scopes"])).await;
        assert_eq!(outcome(answer), "GRANT_EXCEEDS_CALLER", "{scopes:?}");
    }
    let rotated = client.rotate(rotation(&manager.token_id, Duration::ZERO));
    assert_eq!(outcome(rotated.await), "GRANT_EXCEEDS_CALLER");

    let (admin, secret) = create(&mut root, carrying("a", &texts(&["authority:admin"]))).await;
    let mut client = authority.client(Some(&secret));
    for (scopes, expected) in [
        (
            &["authority:admin", "authority:admin@b"][..],
            "GRANT_EXCEEDS_CALLER",
        ),
        (&["authority:admin@*"], "GRANT_EXCEEDS_CALLER"),
        (&["authority:admin@a", "authority:validate"], "done"),
        (&["authority:read"], "done"),
        (&["authority:admin"], "PERMISSION_MISSING"),
    ] {
        let wanted = Token {
            scopes: texts(scopes),
            ..admin.clone()
        };
        let answer = client.update(change(&wanted, &["scopes"])).await;
        assert_eq!(outcome(answer), expected, "{scopes:?}");
    }
}

pub(crate) async fn a_replay_yields_no_more_than_its_caller_holds(authority: Authority) {
    let mut root = authority.root().await;
    let creating = carrying("a", &texts(&["authority:create", "authority:read"]));
    let (_, secret) = create(&mut root, creating).await;
    let mut creator = authority.client(Some(&secret));
    let request = |request_id: &str| CreateRequest {
        request_id: request_id.to_owned(),
        ..carrying("a", &texts(&["authority:read"]))
    };
    let (token, _) = create(&mut creator, request("r")).await;
    let (again, _) = create(&mut creator, request("r")).await;
    assert_eq!(again.token_id, token.token_id);
    let scopes = texts(&["authority:read", "authority:admin@*"]);
    let raised = update(&mut root, &Token { scopes, ..again }, &["scopes"]).await;
    let error = creator.create(request("r")).await.unwrap_err();
    let expected = (Code::PermissionDenied, "GRANT_EXCEEDS_CALLER".to_owned());
    assert_eq!(told(&error), expected);
    let now = get(&mut root, &raised.token_id).await.token;
    assert_eq!(now, Some(raised), "it has no new secret");
}
