//! Who may do what, and that everybody else learns nothing.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use token_authority::authority::act::{BESIDE, TABLE};
use token_authority::transport::grpc::envoy;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, DeleteRequest, GetRequest, ListRequest, RevokeRequest, ValidateRequest,
    Verdict, WhoAmIRequest,
};
use tonic::{Code, Status};

use crate::every_method::errors;
use crate::harness::{Authority, Client, ROOT_TOKEN, create, named, presenting, reason};

const NOBODY: &str = "zzzzzzzzzzzzzzzzzzzzzz";

#[test]
fn the_permission_table_names_every_method_of_the_service() {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("sound descriptors");
    let service = pool
        .get_service_by_name("tokenauthority.v1.TokenService")
        .expect("the service");
    let methods: BTreeSet<String> = service
        .methods()
        .map(|method| method.name().to_owned())
        .collect();
    let table: BTreeSet<String> = TABLE.iter().map(|(rpc, _)| (*rpc).to_owned()).collect();
    assert_eq!(methods, table);
    assert_eq!(table.len(), TABLE.len(), "no method twice");
    let envoys = DescriptorPool::decode(envoy::FILE_DESCRIPTOR_SET).expect("sound descriptors");
    for (rpc, _) in BESIDE {
        let named =
            |service: ServiceDescriptor| service.methods().any(|method| method.name() == rpc);
        assert!(envoys.services().any(named), "{rpc} is served");
        assert!(!table.contains(rpc), "{rpc} is counted apart");
    }
}

/// The secret of a token with these scopes.
async fn caller(authority: &Authority, namespace: &str, scopes: &[&str]) -> Client {
    let mut root = authority.root().await;
    let request = CreateRequest {
        namespace: namespace.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..named("caller")
    };
    let (_, secret) = create(&mut root, request).await;
    authority.client(Some(&secret))
}

pub(crate) async fn nothing_is_answered_without_a_credential(authority: Authority) {
    authority.serving(true).await;
    for credential in [
        None,
        Some("wrong"),
        Some("ta_wrong"),
        Some(&ROOT_TOKEN[1..]),
    ] {
        let mut client = authority.client(credential);
        let mut failed = errors(&mut client, NOBODY).await;
        failed.push(("WhoAmI", client.who_am_i(WhoAmIRequest {}).await.err()));
        assert_eq!(failed.len(), TABLE.len(), "a new method needs a line here");
        for (rpc, error) in failed {
            let error = error.unwrap_or_else(|| panic!("{rpc} answers {credential:?}"));
            assert_eq!(
                (error.code(), reason(&error).as_str()),
                (Code::Unauthenticated, "CREDENTIAL_INVALID"),
                "{rpc}"
            );
        }
    }
}

pub(crate) async fn two_different_credentials_are_refused(authority: Authority) {
    let mut root = authority.root().await;
    let mut request = tonic::Request::new(WhoAmIRequest {});
    request
        .metadata_mut()
        .insert("x-api-key", ROOT_TOKEN.parse().unwrap());
    root.who_am_i(request)
        .await
        .expect("the same credential twice is one");
    let mut request = tonic::Request::new(WhoAmIRequest {});
    request
        .metadata_mut()
        .insert("x-api-key", "another".parse().unwrap());
    let error = root.who_am_i(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(WhoAmIRequest {});
    request
        .metadata_mut()
        .insert("x-api-key", ROOT_TOKEN.parse().unwrap());
    let answer = authority
        .client(None)
        .who_am_i(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (answer.token, answer.permissions),
        (None, vec!["admin@*".to_owned()])
    );
}

pub(crate) async fn a_token_without_permissions_may_only_ask_who_it_is(authority: Authority) {
    let mut root = authority.root().await;
    let (known, _) = create(&mut root, named("known")).await;
    let mut plain = caller(&authority, "", &["orders:*"]).await;
    for id in [known.token_id.as_str(), NOBODY] {
        for (rpc, error) in errors(&mut plain, id).await {
            let error = error.unwrap_or_else(|| panic!("{rpc} answers"));
            assert_eq!(
                (error.code(), reason(&error).as_str()),
                (Code::PermissionDenied, "PERMISSION_MISSING"),
                "{rpc}"
            );
        }
    }
    let answer = plain.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert!(answer.permissions.is_empty());
    assert_eq!(
        answer.token.map(|token| token.name),
        Some("caller".to_owned())
    );
}

pub(crate) async fn permissions_hold_in_their_namespace_only(authority: Authority) {
    let mut manager = caller(
        &authority,
        "a",
        &["authority:manage", "authority:validate@b"],
    )
    .await;
    let (token, secret) = create(&mut manager, named("own")).await;
    assert_eq!(token.namespace, "a", "absent means the caller's own");
    let denied = |status: Status| {
        (status.code(), reason(&status)) == (Code::PermissionDenied, "PERMISSION_MISSING".into())
    };
    let in_b = CreateRequest {
        namespace: "b".to_owned(),
        ..named("x")
    };
    assert!(denied(manager.create(in_b).await.unwrap_err()));
    for namespace in ["b", "-", "default"] {
        let request = ListRequest {
            namespace: namespace.to_owned(),
            ..ListRequest::default()
        };
        assert!(
            denied(manager.list(request).await.unwrap_err()),
            "{namespace}"
        );
    }
    // `manage` does not include `validate`; that is granted in b, which the call must name.
    let validate = |namespace: &str| ValidateRequest {
        namespace: namespace.to_owned(),
        ..presenting(&secret)
    };
    assert!(denied(manager.validate(validate("")).await.unwrap_err()));
    let answer = manager.validate(validate("b")).await.unwrap().into_inner();
    assert_eq!(answer.verdict(), Verdict::NotFound);
    let listed = manager
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        listed.tokens.len(),
        2,
        "the caller's own token, and the one it made"
    );
}

pub(crate) async fn a_foreign_token_is_exactly_as_an_absent_one(authority: Authority) {
    let mut root = authority.root().await;
    let (foreign, _) = create(
        &mut root,
        CreateRequest {
            namespace: "b".to_owned(),
            ..named("x")
        },
    )
    .await;
    let mut manager = caller(&authority, "a", &["authority:manage"]).await;
    let absent = errors(&mut manager, NOBODY).await;
    let hidden = errors(&mut manager, &foreign.token_id).await;
    let mut compared = 0;
    for ((rpc, absent), (_, hidden)) in absent.into_iter().zip(hidden) {
        let (Some(absent), Some(hidden)) = (absent, hidden) else {
            continue;
        };
        if !matches!(rpc, "Get" | "Revoke" | "Delete" | "Usage") {
            continue;
        }
        compared += 1;
        assert_eq!(absent.code(), Code::NotFound, "{rpc}");
        assert_eq!(hidden.code(), absent.code(), "{rpc}");
        assert_eq!(
            hidden.message().replace(&foreign.token_id, NOBODY),
            absent.message(),
            "{rpc}"
        );
        assert_eq!(hidden.details().len(), absent.details().len(), "{rpc}");
    }
    assert_eq!(compared, 4);
    root.get(GetRequest {
        token_id: foreign.token_id,
    })
    .await
    .expect("it is untouched");
}

pub(crate) async fn nobody_grants_or_ends_more_than_they_hold(authority: Authority) {
    let mut root = authority.root().await;
    let admin = CreateRequest {
        scopes: vec!["authority:admin".to_owned()],
        ..named("admin")
    };
    let (admin, _) = create(&mut root, admin).await;
    let mut manager = caller(&authority, "", &["authority:manage"]).await;
    for scope in [
        "authority:admin",
        "authority:manage@*",
        "authority:validate",
        "authority:read@b",
    ] {
        let request = CreateRequest {
            scopes: vec![scope.to_owned()],
            ..named("x")
        };
        let error = manager.create(request).await.unwrap_err();
        assert_eq!(
            (error.code(), reason(&error).as_str()),
            (Code::PermissionDenied, "GRANT_EXCEEDS_CALLER"),
            "{scope}"
        );
    }
    for scope in [
        "*",
        "authority*",
        "authority:*",
        "authority:nothing",
        "authority:admin@",
    ] {
        let request = CreateRequest {
            scopes: vec![scope.to_owned()],
            ..named("x")
        };
        assert_eq!(
            root.create(request).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{scope}"
        );
    }
    let held = CreateRequest {
        scopes: vec!["authority:read".to_owned()],
        ..named("x")
    };
    manager
        .create(held)
        .await
        .expect("what one holds, one may grant");
    let target = Some(Target::TokenId(admin.token_id.clone()));
    let error = manager
        .revoke(RevokeRequest {
            target,
            reason: String::new(),
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&error), "GRANT_EXCEEDS_CALLER");
    let error = manager
        .delete(DeleteRequest {
            token_id: admin.token_id,
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&error), "GRANT_EXCEEDS_CALLER");
}

pub(crate) async fn an_expired_or_revoked_caller_is_refused(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        scopes: vec!["authority:read".to_owned()],
        ..named("caller")
    };
    let (token, secret) = create(&mut root, request.clone()).await;
    let mut client = authority.client(Some(&secret));
    client
        .list(ListRequest::default())
        .await
        .expect("it may read");
    let target = Some(Target::TokenId(token.token_id));
    root.revoke(RevokeRequest {
        target,
        reason: String::new(),
    })
    .await
    .unwrap();
    let error = client.list(ListRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let elsewhere = CreateRequest {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..request.clone()
    };
    let (_, secret) = create(&mut root, elsewhere).await;
    let error = authority
        .client(Some(&secret))
        .list(ListRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.code(),
        Code::Unauthenticated,
        "the peer's address is judged"
    );
    let disabled = CreateRequest {
        disabled: true,
        ..request
    };
    let (_, secret) = create(&mut root, disabled).await;
    let error = authority
        .client(Some(&secret))
        .who_am_i(WhoAmIRequest {})
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
}

pub(crate) async fn every_management_call_and_refusal_leaves_an_audit_line(
    mut authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let id = token.token_id;
    root.get(GetRequest {
        token_id: id.clone(),
    })
    .await
    .unwrap();
    root.list(ListRequest::default()).await.unwrap();
    let target = Some(Target::TokenId(id.clone()));
    root.revoke(RevokeRequest {
        target,
        reason: String::new(),
    })
    .await
    .unwrap();
    root.delete(DeleteRequest {
        token_id: id.clone(),
    })
    .await
    .unwrap();
    root.get(GetRequest {
        token_id: id.clone(),
    })
    .await
    .unwrap_err();
    root.get(GetRequest {
        token_id: "short".to_owned(),
    })
    .await
    .unwrap_err();
    authority
        .client(None)
        .list(ListRequest::default())
        .await
        .unwrap_err();
    let mut two = tonic::Request::new(ListRequest::default());
    two.metadata_mut()
        .insert("x-api-key", "another".parse().unwrap());
    root.list(two).await.unwrap_err();
    for secret in ["malformed".to_owned(), "s".repeat(600)] {
        let target = Some(Target::Secret(secret));
        let reason = String::new();
        let mut anonymous = authority.client(None);
        let _ = anonymous.revoke(RevokeRequest { target, reason }).await;
    }
    let mut plain = caller(&authority, "", &[]).await;
    plain
        .delete(DeleteRequest {
            token_id: id.clone(),
        })
        .await
        .unwrap_err();
    authority.stop("TERM");
    let log = authority.log();
    let audit: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" audit: "))
        .collect();
    for (rpc, caller, subject, outcome) in [
        ("Create", "root:environment", id.as_str(), "done"),
        ("Get", "root:environment", &id, "done"),
        ("List", "root:environment", "", "done"),
        ("Revoke", "root:environment", &id, "done"),
        ("Delete", "root:environment", &id, "done"),
        ("Get", "root:environment", &id, "not_found"),
        ("Get", "root:environment", "", "invalid"),
        ("List", "unknown", "", "unauthenticated"),
        ("Revoke", "secret", "", "malformed"),
        ("Revoke", "secret", "", "invalid"),
        ("Delete", "token:", "", "permission_missing"),
    ] {
        let matching = |line: &&&str| {
            line.contains(&format!("rpc={rpc} "))
                && line.contains(caller)
                && line.contains(subject)
                && line.contains(&format!("outcome={outcome}"))
        };
        let count = audit.iter().filter(matching).count();
        assert!(
            count >= 1,
            "{rpc} {caller} {subject} {outcome} in\n{}",
            audit.join("\n")
        );
    }
    assert_eq!(
        audit.len(),
        13,
        "one line each, and one for the second Create:\n{}",
        audit.join("\n")
    );
}
