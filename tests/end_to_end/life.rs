//! The life of a token as its owner sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, Credential, DeleteRequest, GetRequest, ListRequest, RevokeRequest, State,
    Verdict,
};
use tonic::Code;

use crate::harness::{Authority, ROOT_TOKEN, ask, create, named, presenting, reason, verdict};

fn by_id(token_id: &str, reason: &str) -> RevokeRequest {
    RevokeRequest {
        target: Some(Target::TokenId(token_id.to_owned())),
        reason: reason.to_owned(),
    }
}

fn by_secret(secret: &str) -> RevokeRequest {
    RevokeRequest {
        target: Some(Target::Secret(secret.to_owned())),
        reason: "surrendered".to_owned(),
    }
}

pub(crate) async fn a_token_is_created_validated_listed_revoked_and_deleted(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("first")).await;
    assert!(secret.starts_with(&format!("ta_{}", token.token_id)));
    assert!(secret.starts_with(&token.secret_hint) && token.secret_hint.len() == 11);
    assert_eq!(
        (
            token.state(),
            token.secret_version,
            token.namespace.as_str()
        ),
        (State::Active, 1, "default")
    );

    let answer = ask(&mut root, presenting(&secret)).await;
    assert!(answer.valid && answer.verdict() == Verdict::Valid);
    assert_eq!(answer.credential(), Credential::Current);
    assert_eq!(
        (answer.secret_version, answer.revision),
        (1, token.revision)
    );
    assert_eq!(
        answer.token.as_ref().map(|token| token.name.as_str()),
        Some("first")
    );
    let again = ask(&mut root, presenting(&secret)).await;
    assert_ne!(answer.validation_id, again.validation_id);

    let listed = root
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.tokens, std::slice::from_ref(&token));
    let got = root
        .get(GetRequest {
            token_id: token.token_id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got.token.as_ref(), Some(&token));

    let revoked = root
        .revoke(by_id(&token.token_id, "leaked"))
        .await
        .unwrap()
        .into_inner();
    let answer = ask(&mut root, presenting(&secret)).await;
    assert!(!answer.valid && answer.verdict() == Verdict::Revoked);
    let got = root
        .get(GetRequest {
            token_id: token.token_id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let got = got.token.unwrap();
    assert_eq!(
        (got.state(), got.revoke_reason.as_str()),
        (State::Revoked, "leaked")
    );
    assert_eq!(got.revoke_time, revoked.revoke_time);
    assert!(got.revision > token.revision);

    root.delete(DeleteRequest {
        token_id: token.token_id.clone(),
    })
    .await
    .unwrap();
    let answer = ask(&mut root, presenting(&secret)).await;
    assert_eq!((answer.verdict(), answer.token), (Verdict::NotFound, None));
    let gone = root
        .get(GetRequest {
            token_id: token.token_id.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone).as_str()),
        (Code::NotFound, "TOKEN_NOT_FOUND")
    );
    let gone = root
        .delete(DeleteRequest {
            token_id: token.token_id,
        })
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

pub(crate) async fn a_revocation_is_idempotent_and_keeps_its_first_reason(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let first = root
        .revoke(by_id(&token.token_id, "first"))
        .await
        .unwrap()
        .into_inner();
    let second = root
        .revoke(by_id(&token.token_id, "second"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, second);
    let got = root
        .get(GetRequest {
            token_id: token.token_id,
        })
        .await
        .unwrap()
        .into_inner()
        .token
        .unwrap();
    assert_eq!(got.revoke_reason, "first");
    let unknown = root.revoke(by_id(&"z".repeat(22), "")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

pub(crate) async fn a_secret_revokes_its_own_token_without_a_credential(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    let answer = authority
        .client(None)
        .revoke(by_secret(&secret))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.revoke_time, None, "nothing is told");
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Revoked);
    authority
        .client(None)
        .revoke(by_secret(&secret))
        .await
        .expect("again is the same answer");
}

pub(crate) async fn a_wrong_secret_revokes_nothing_and_is_answered_alike(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("kept")).await;
    let (other, other_secret) = create(&mut root, named("deleted")).await;
    root.delete(DeleteRequest {
        token_id: other.token_id,
    })
    .await
    .unwrap();
    let mut wrong = secret.clone();
    wrong.truncate(60);
    let mut answers = Vec::new();
    for presented in [
        wrong.as_str(),
        "rubbish",
        "",
        ROOT_TOKEN,
        &other_secret,
        &secret,
    ] {
        let answer = authority
            .client(None)
            .revoke(by_secret(presented))
            .await
            .unwrap();
        answers.push(format!("{:?}", answer.into_inner()));
        if presented != secret {
            assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
        }
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
}

pub(crate) async fn a_replayed_create_answers_one_more_secret_of_the_same_token(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        request_id: "r-1".to_owned(),
        ..named("once")
    };
    let mut secrets = Vec::new();
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let (token, secret) = create(&mut root, request.clone()).await;
        assert_eq!(token.secret_version, 1);
        ids.insert(token.token_id);
        secrets.push(secret);
    }
    assert_eq!(ids.len(), 1);
    for secret in &secrets {
        assert_eq!(
            verdict(&mut root, secret).await,
            Verdict::Valid,
            "earlier secrets stay in force"
        );
    }
    let fourth = root.create(request.clone()).await.unwrap_err();
    assert_eq!(
        (fourth.code(), reason(&fourth).as_str()),
        (Code::AlreadyExists, "REQUEST_ID_USED")
    );
    let changed = root
        .create(CreateRequest {
            request_id: "r-1".to_owned(),
            ..named("other")
        })
        .await
        .unwrap_err();
    assert_eq!(changed.code(), Code::InvalidArgument);
    let pooled = CreateRequest {
        pool: "gpu".to_owned(),
        ..request.clone()
    };
    assert_eq!(
        root.create(pooled).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let elsewhere = CreateRequest {
        namespace: "other".to_owned(),
        ..request
    };
    let (token, _) = create(&mut root, elsewhere).await;
    assert!(
        !ids.contains(&token.token_id),
        "another namespace, another request"
    );
}

pub(crate) async fn lists_are_paged_and_filtered(authority: Authority) {
    let mut root = authority.root().await;
    let mut created = Vec::new();
    for n in 0..7 {
        let owner = if n % 2 == 0 { "ann" } else { "bob" };
        let request = CreateRequest {
            owner: owner.to_owned(),
            pool: "gpu".to_owned(),
            labels: [("n".to_owned(), n.to_string())].into(),
            ..named(&n.to_string())
        };
        created.push(create(&mut root, request).await.0);
    }
    created.reverse();
    let mut listed = Vec::new();
    let mut request = ListRequest {
        page_size: 3,
        ..ListRequest::default()
    };
    loop {
        let page = root.list(request.clone()).await.unwrap().into_inner();
        assert!(page.tokens.len() <= 3);
        listed.extend(page.tokens);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, created);
    let mut names = async |request: ListRequest| {
        let page = root.list(request).await.unwrap().into_inner();
        page.tokens
            .into_iter()
            .map(|token| token.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let all = ListRequest {
        pool: "gpu".to_owned(),
        ..ListRequest::default()
    };
    assert_eq!(
        names(ListRequest {
            owner: "bob".to_owned(),
            ..all.clone()
        })
        .await,
        "5 3 1"
    );
    assert_eq!(
        names(ListRequest {
            labels: [("n".to_owned(), "4".to_owned())].into(),
            ..all.clone()
        })
        .await,
        "4"
    );
    assert_eq!(
        names(ListRequest {
            owner: "nobody".to_owned(),
            ..all.clone()
        })
        .await,
        ""
    );
    assert_eq!(
        names(ListRequest {
            states: vec![State::Revoked.into()],
            ..all.clone()
        })
        .await,
        ""
    );
    assert_eq!(
        names(ListRequest {
            namespace: "-".to_owned(),
            ..all
        })
        .await,
        "6 5 4 3 2 1 0"
    );
}

pub(crate) async fn tokens_survive_a_restart(mut authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("kept")).await;
    let (gone, gone_secret) = create(&mut root, named("revoked")).await;
    root.revoke(by_id(&gone.token_id, "")).await.unwrap();
    assert_eq!(authority.stop("TERM").0, Some(0), "{}", authority.log());
    authority.start();
    let mut root = authority.root().await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    assert_eq!(verdict(&mut root, &gone_secret).await, Verdict::Revoked);
    assert_eq!(
        root.list(ListRequest::default())
            .await
            .unwrap()
            .into_inner()
            .tokens,
        [token]
    );
}

pub(crate) async fn what_was_acknowledged_survives_a_kill(mut authority: Authority) {
    let root = authority.root().await;
    let creating: Vec<_> = (0..8)
        .map(|n| {
            let mut root = root.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                // Until the authority is gone.
                while let Ok(answer) = root.create(named(&n.to_string())).await {
                    acknowledged.push(answer.into_inner().secret);
                }
                acknowledged
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    authority.kill();
    let mut secrets = Vec::new();
    for task in creating {
        secrets.extend(task.await.unwrap());
    }
    assert!(secrets.len() > 8, "only {} were created", secrets.len());
    authority.start();
    let mut root = authority.root().await;
    for secret in &secrets {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
    }
    let mut listed = 0;
    let mut request = ListRequest {
        page_size: 1000,
        ..ListRequest::default()
    };
    loop {
        let page = root.list(request.clone()).await.unwrap().into_inner();
        listed += page.tokens.len();
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    // At most one call of each task was under way and may be stored unacknowledged.
    assert!(
        (secrets.len()..=secrets.len() + 8).contains(&listed),
        "{listed} of {}",
        secrets.len()
    );
}
