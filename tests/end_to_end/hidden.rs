//! What a caller may not know of: a foreign token is as an absent one, in every method there is.

use token_authority::authority::act::{Needs, TABLE};
use token_authority::transport::grpc::pb::{CreateRequest, Quota, RateLimit};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Authority, create, get, named, told};
use crate::rpcs::{self, Rpc, name_of};

/// An id that no token has.
const ABSENT: &str = "zzzzzzzzzzzzzzzzzzzzzz";
/// Methods whose questions are each refused for itself; `many_questions` asks them.
const REFUSE_WITHIN: [&str; 2] = ["BatchValidate", "ValidateStream"];
/// Methods that name neither a token nor a namespace.
const NAME_NOTHING: [&str; 2] = ["WhoAmI", "ListNamespaces"];

/// The permission that a method needs, as the one table says.
fn permission(rpc: &Rpc) -> &'static str {
    let needs = TABLE.iter().find(|(name, _)| *name == rpc.name());
    match needs.unwrap_or_else(|| panic!("{} is in no table", rpc.name())) {
        (_, Needs::Permission(needed) | Needs::PermissionOrSecret(needed)) => needed.as_str(),
        // Those who name a token.
        (_, Needs::ByTarget { token, .. }) => token.as_str(),
        (_, Needs::Credential) => panic!("{} needs no permission", rpc.name()),
    }
}

/// The secret of a token of the namespace `home` with these scopes.
async fn caller(authority: &Authority, scopes: &[String]) -> String {
    let request = CreateRequest {
        namespace: "home".to_owned(),
        scopes: scopes.to_vec(),
        ..named("caller")
    };
    create(&mut authority.root().await, request).await.1
}

/// All that an error tells, with `id` in the place of the token's.
fn all_of(error: &Status, id: &str) -> (Code, String, Vec<u8>) {
    assert_eq!(id.len(), ABSENT.len());
    let message = error.message().replace(id, ABSENT);
    let mut details = error.details().to_vec();
    while let Some(at) = details
        .windows(id.len())
        .position(|part| part == id.as_bytes() && id != ABSENT)
    {
        details[at..at + id.len()].copy_from_slice(ABSENT.as_bytes());
    }
    (error.code(), message, details)
}

pub(crate) async fn in_every_method_a_foreign_token_is_exactly_as_an_absent_one(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let foreign = |scopes: &[&str]| CreateRequest {
        namespace: "foreign".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        rate_limits: vec![RateLimit {
            requests: 1,
            ..RateLimit::default()
        }],
        quota: Some(Quota {
            limit: 1,
            ..Quota::default()
        }),
        ..named("hidden")
    };
    let mut hidden = Vec::new();
    for scopes in [&[][..], &["authority:admin@*"], &["authority:read@home"]] {
        hidden.push(create(&mut root, foreign(scopes)).await.0);
    }
    let mut asked = Vec::new();
    // A beat on a stream names no token, and whoever watches such a one hears nothing.
    for rpc in rpcs::all().into_iter().filter(|rpc| !rpc.is_stream()) {
        for place in rpc.places_of("token_id") {
            let label = format!("{} {}", rpc.name(), name_of(&place));
            for held in [permission(&rpc), "admin"] {
                let caller = caller(&authority, &[format!("authority:{held}")]).await;
                let absent = rpc.saying(&place, ABSENT);
                let absent = rpc.call(&authority, &caller, &absent).await;
                let absent = absent.unwrap_or_else(|| panic!("{label}: an answer"));
                let expected = (Code::NotFound, "TOKEN_NOT_FOUND".to_owned());
                assert_eq!(told(&absent), expected, "{label} as {held}: {absent:?}");
                for token in &hidden {
                    let error = rpc.saying(&place, &token.token_id);
                    let error = rpc.call(&authority, &caller, &error).await;
                    let error = error.unwrap_or_else(|| panic!("{label}: an answer"));
                    assert_eq!(
                        all_of(&error, &token.token_id),
                        all_of(&absent, ABSENT),
                        "{label} as {held}"
                    );
                }
            }
            // Without the permission nothing is told apart either.
            let all = ["validate", "report", "lease", "read", "create", "revoke"];
            let others = all.into_iter().filter(|other| *other != permission(&rpc));
            let others: Vec<String> = others.map(|other| format!("authority:{other}")).collect();
            let powerless = caller(&authority, &others).await;
            for id in [ABSENT, &hidden[0].token_id, &hidden[1].token_id] {
                let error = rpc.saying(&place, id);
                let error = rpc.call(&authority, &powerless, &error).await;
                let error = error.unwrap_or_else(|| panic!("{label}: an answer"));
                let expected = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
                assert_eq!(told(&error), expected, "{label}: {error:?}");
            }
            asked.push(label);
        }
    }
    assert!(asked.contains(&"Update token.token_id".to_owned()));
    for token in hidden {
        let got = get(&mut root, &token.token_id).await.token;
        assert_eq!(got, Some(token), "it is untouched");
    }
}

pub(crate) async fn in_every_method_a_foreign_namespace_is_denied(authority: Authority) {
    let mut asked = Vec::new();
    let mut root = authority.root().await;
    for namespace in ["home", "elsewhere"] {
        for _ in 0..2 {
            let request = CreateRequest {
                namespace: namespace.to_owned(),
                pool: rpcs::POOL.to_owned(),
                ..named("pooled")
            };
            create(&mut root, request).await;
        }
    }
    let refusing = |rpc: &Rpc| !REFUSE_WITHIN.contains(&rpc.name());
    for rpc in rpcs::all().into_iter().filter(refusing) {
        // What stands in a whole token is for answers only.
        let places = rpc.places_of("namespace").into_iter();
        for place in places.filter(|place| place[0].name() != "token") {
            let label = format!("{} {}", rpc.name(), name_of(&place));
            let needed = permission(&rpc);
            let elsewhere = format!("authority:{needed}@elsewhere");
            let own = [format!("authority:{needed}"), elsewhere];
            let caller = caller(&authority, &own).await;
            for namespace in ["foreign", "default", "hom", "home2"] {
                let message = rpc.saying(&place, namespace);
                let error = rpc.call(&authority, &caller, &message).await;
                let error = error.unwrap_or_else(|| panic!("{label}: an answer"));
                let expected = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
                assert_eq!(told(&error), expected, "{label} {namespace}: {error:?}");
                let info = error.get_details_error_info().unwrap();
                assert_eq!(info.metadata["namespace"], namespace, "{label}");
            }
            let all = rpc.saying(&place, "-");
            let error = rpc.call(&authority, &caller, &all).await;
            let error = error.unwrap_or_else(|| panic!("{label}: an answer"));
            let refused = [Code::PermissionDenied, Code::InvalidArgument];
            assert!(refused.contains(&error.code()), "{label} -: {error:?}");
            for namespace in ["home", "elsewhere", ""] {
                let message = rpc.saying(&place, namespace);
                let error = rpc.call(&authority, &caller, &message).await;
                assert!(error.is_none(), "{label} {namespace}: {error:?}");
            }
            asked.push(rpc.name().to_owned());
        }
    }
    assert_eq!(
        asked,
        [
            "Validate",
            "Create",
            "BatchCreate",
            "Acquire",
            "ListPools",
            "List",
            "Watch",
            "Overview"
        ],
        "one more needs a look"
    );
}

#[test]
fn every_method_names_a_token_or_a_namespace_or_is_known_to_name_nothing() {
    for rpc in rpcs::all() {
        let names = |field| !rpc.places_of(field).is_empty();
        let something = names("token_id") || names("namespace");
        let nothing = NAME_NOTHING.contains(&rpc.name());
        assert!(something != nothing, "{} needs a case", rpc.name());
    }
}
