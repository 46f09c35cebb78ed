//! The console as a browser asks it: who gets in, what is shown to whom, and what cannot be done to it.

use token_authority::transport::grpc::pb::{
    AcquireRequest, CreateRequest, ListRequest, RevokeRequest, ValidateRequest, ValidateResponse,
    create_request, revoke_request,
};

use crate::consoling::{Visitor, caller, consoled, encoded, field, origin, secret_of, sent};
use crate::forwarding::post;
use crate::harness::{Authority, Client, PATIENCE, ROOT_TOKEN, ask, create, named, presenting};

async fn validate(client: &mut Client, secret: &str) -> ValidateResponse {
    ask(client, presenting(secret)).await
}

pub(crate) async fn a_token_is_made_changed_and_ended_by_forms(authority: Authority) {
    let (authority, console) = consoled(authority).await;
    let mut root = authority.root().await;
    let visitor = Visitor::sign_in(&console, ROOT_TOKEN);
    let once = field(&visitor.page("/tokens/new"), "once");
    let fields = [
        ("namespace", "default"),
        ("name", "till 7"),
        ("scopes", "orders:read\r\norders:write"),
        ("rate_limits", "100/1m"),
        ("quota", "1000/30d"),
        ("labels", "env=prod"),
        ("expires", "30d"),
        ("once", &once),
    ];
    let wrong = [("scopes", "or ders"), ("quota", "many"), ("once", "a")];
    let refused = visitor.post("/tokens/new", &wrong);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("aria-invalid"), "{}", refused.body);
    assert!(refused.body.contains("or ders"), "what was typed stays");
    let refused = visitor.post("/tokens/new", &[("scopes", "or ders"), ("once", "b")]);
    assert!(refused.body.contains("scopes[0]"), "{}", refused.body);

    let made = visitor.post("/tokens/new", &fields);
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let secret = secret_of(&made);
    assert!(validate(&mut root, &secret).await.valid);
    let again = visitor.post("/tokens/new", &fields);
    assert_eq!(again.status, 409, "a reload");
    assert!(again.body.contains("Already shown"));
    let listed = root
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.tokens.len(), 1);
    let token = &listed.tokens[0];
    assert_eq!(token.scopes, ["orders:read", "orders:write"]);
    assert_eq!(token.labels["env"], "prod");
    assert!(token.expire_time.is_some());
    let id = token.token_id.as_str();

    let path = format!("/tokens/{id}");
    let page = visitor.page(&path);
    for word in ["till 7", "orders:read", "100", "env=prod", "active"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    for asked in [id, secret.as_str()] {
        let found = visitor.post("/search", &[("q", asked)]);
        assert_eq!(found.header("location"), Some(path.as_str()));
    }
    let edit = visitor.page(&format!("{path}/edit"));
    let revision = field(&edit, "revision");
    let end = field(&edit, "expires");
    let changed = [
        ("name", "till 8"),
        ("scopes", "orders:read"),
        ("rate_limits", "100/1m"),
        ("labels", "env=prod"),
        ("expires", end.as_str()),
        ("revision", revision.as_str()),
    ];
    assert_eq!(visitor.post(&format!("{path}/edit"), &changed).status, 303);
    let stale = visitor.post(&format!("{path}/edit"), &changed);
    assert_eq!(stale.status, 409, "another change came between");
    let page = visitor.page(&path);
    assert!(
        page.contains("till 8") && !page.contains("orders:write"),
        "{page}"
    );

    assert_eq!(visitor.post(&format!("{path}/disable"), &[]).status, 303);
    assert!(!validate(&mut root, &secret).await.valid);
    assert_eq!(visitor.post(&format!("{path}/enable"), &[]).status, 303);
    assert!(validate(&mut root, &secret).await.valid);
    let once = field(&visitor.page(&format!("{path}/rotate")), "once");
    let grace = [("grace_period", "1h"), ("once", &once)];
    let rotated = visitor.post(&format!("{path}/rotate"), &grace);
    let newer = secret_of(&rotated);
    assert_ne!(newer, secret);
    assert!(validate(&mut root, &secret).await.valid, "in its grace");
    assert!(validate(&mut root, &newer).await.valid);
    assert_eq!(visitor.post(&format!("{path}/rotate"), &grace).status, 409);
    assert_eq!(
        visitor.post(&format!("{path}/reset-limits"), &[]).status,
        303
    );

    let reason = [("reason", "lost")];
    assert_eq!(visitor.post(&format!("{path}/revoke"), &reason).status, 303);
    assert!(!validate(&mut root, &newer).await.valid);
    assert!(visitor.page(&path).contains("lost"));
    assert_eq!(
        visitor
            .post(&format!("{path}/delete"), &[("confirm", "x")])
            .status,
        400
    );
    assert_eq!(
        visitor
            .post(&format!("{path}/delete"), &[("confirm", id)])
            .status,
        303
    );
    assert_eq!(visitor.get(&path).status, 404);
    for secret in [&secret, &newer] {
        assert!(!authority.log().contains(secret.as_str()));
    }
}

pub(crate) async fn several_tokens_are_revoked_and_a_lease_is_taken_back(authority: Authority) {
    let (authority, console) = consoled(authority).await;
    let mut root = authority.root().await;
    let visitor = Visitor::sign_in(&console, ROOT_TOKEN);
    let (one, first) = create(&mut root, named("one")).await;
    let (two, second) = create(&mut root, named("two")).await;
    let selected = [("id", one.token_id.as_str()), ("id", two.token_id.as_str())];
    let asked = visitor.post("/tokens/revoke", &selected);
    assert!(asked.body.contains("Revoke them all"), "{asked:?}");
    assert!(validate(&mut root, &first).await.valid, "not confirmed yet");
    let confirmed = [&selected[..], &[("confirm", "yes"), ("reason", "spring")]].concat();
    let done = visitor.post("/tokens/revoke", &confirmed);
    assert_eq!(done.body.matches(": revoked").count(), 2, "{done:?}");
    for secret in [&first, &second] {
        assert!(!validate(&mut root, secret).await.valid);
    }
    assert_eq!(visitor.post("/tokens/revoke", &[]).status, 400);

    let pooled = CreateRequest {
        pool: "gpu".into(),
        ..named("pooled")
    };
    let (pooled, _) = create(&mut root, pooled).await;
    let acquire = AcquireRequest {
        pool: "gpu".into(),
        holder: "worker-7".into(),
        ..AcquireRequest::default()
    };
    let leased = root.acquire(acquire).await.unwrap().into_inner();
    assert!(visitor.page("/pools").contains("gpu"));
    let page = visitor.page("/pools/default/gpu");
    assert!(
        page.contains("worker-7") && page.contains("Take back"),
        "{page}"
    );
    let release = format!("/tokens/{}/release", pooled.token_id);
    assert_eq!(visitor.post(&release, &[]).status, 303);
    assert!(!validate(&mut root, &leased.secret).await.valid);
    assert!(!visitor.page("/pools/default/gpu").contains("worker-7"));
    let unpooled = format!("/tokens/{}/release", one.token_id);
    assert_eq!(visitor.post(&unpooled, &[]).status, 409, "it is in no pool");
}

pub(crate) async fn no_page_lets_a_hostile_name_out_of_its_place(authority: Authority) {
    const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let (authority, console) = consoled(authority).await;
    let mut root = authority.root().await;
    let asked = CreateRequest {
        description: HOSTILE.into(),
        owner: HOSTILE.into(),
        pool: "p".into(),
        labels: [("k".to_owned(), HOSTILE.to_owned())].into(),
        ..named(HOSTILE)
    };
    let (token, _) = create(&mut root, asked).await;
    let acquire = AcquireRequest {
        pool: "p".into(),
        holder: HOSTILE.into(),
        ..AcquireRequest::default()
    };
    root.acquire(acquire).await.unwrap();
    let asked = CreateRequest {
        expiration: Some(create_request::Expiration::Ttl(prost_types::Duration {
            seconds: 3600,
            nanos: 0,
        })),
        ..named(HOSTILE)
    };
    let (used, secret) = create(&mut root, asked).await;
    let question = ValidateRequest {
        secret: secret.clone(),
        path: "/a%3Cscript%3Ealert(1)".into(),
        method: "GET".into(),
        user_agent: HOSTILE.into(),
        required_scopes: vec!["none:at-all".into()],
        ..ValidateRequest::default()
    };
    root.validate(question).await.unwrap();
    let (revoked, _) = create(&mut root, named(HOSTILE)).await;
    let revoke = RevokeRequest {
        target: Some(revoke_request::Target::TokenId(revoked.token_id.clone())),
        reason: HOSTILE.into(),
    };
    root.revoke(revoke).await.unwrap();
    let visitor = Visitor::sign_in(&console, ROOT_TOKEN);
    let refusals = async {
        loop {
            let page = visitor.page("/refusals");
            if page.contains("scope denied") && page.contains("&#60;script") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refusals).await.unwrap();
    let hostile = encoded(HOSTILE);
    let paths = [
        "/".to_owned(),
        "/tokens".to_owned(),
        "/tokens?state=revoked".to_owned(),
        format!("/tokens?owner={}", encoded("<script>")),
        format!("/tokens/{}", token.token_id),
        format!("/tokens/{}", used.token_id),
        format!("/tokens/{}", revoked.token_id),
        format!("/tokens/{}/edit", token.token_id),
        format!("/tokens/{}/rotate", token.token_id),
        format!("/tokens/{}/revoke", token.token_id),
        format!("/tokens/{}/delete", token.token_id),
        "/tokens/new".to_owned(),
        "/pools".to_owned(),
        "/pools/default/p".to_owned(),
        "/expiring".to_owned(),
        "/refusals".to_owned(),
        "/namespaces".to_owned(),
        "/health".to_owned(),
        "/me".to_owned(),
        format!("/?namespace={hostile}"),
        format!("/?window={hostile}"),
        format!("/tokens?label={hostile}&owner={hostile}&pool={hostile}&state={hostile}"),
        format!("/tokens/{hostile}"),
        format!("/pools/default/{hostile}"),
    ];
    let mut escaped = 0;
    for path in paths {
        let page = visitor.get(&path).body;
        for wrong in ["<script>alert", "<img", "\"'>"] {
            assert!(!page.contains(wrong), "{path}: {page}");
        }
        escaped += usize::from(page.contains("&#60;script&#62;alert(1)"));
    }
    assert!(escaped >= 10, "{escaped}");
    let typed = [
        ("name", HOSTILE),
        ("quota", HOSTILE),
        ("scopes", HOSTILE),
        ("once", "x"),
    ];
    let page = visitor.post("/tokens/new", &typed).body;
    assert!(
        !page.contains("<script>alert") && page.contains("&#60;script"),
        "{page}"
    );
}

pub(crate) async fn a_form_of_another_site_does_nothing(authority: Authority) {
    let (authority, console) = consoled(authority).await;
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("a")).await;
    let visitor = Visitor::sign_in(&console, ROOT_TOKEN);
    let path = format!("/tokens/{}/revoke", token.token_id);
    let cookie = format!("cookie: {}", visitor.cookie);
    let host = format!("host: {console}");
    let own = origin(&console);
    let marked = format!("csrf={}", visitor.csrf);
    for (lines, form) in [
        (&[cookie.as_str(), &host, &own][..], "reason=x"),
        (&[&cookie, &host, &own], "csrf=wrong"),
        (&[&cookie, &host], &marked),
        (&[&cookie, &host, "origin: http://evil.example"], &marked),
        (&[&cookie, &host, "origin: null"], &marked),
        (
            &[&cookie, &host, &own, "sec-fetch-site: cross-site"],
            &marked,
        ),
    ] {
        let reply = post(&console, &path, lines, form);
        assert_eq!(reply.status, 403, "{lines:?} {form}");
    }
    let nobody = post(&console, &path, &[&host, &own], &marked);
    assert_eq!(nobody.header("location"), Some("/sign-in"));
    let other = Visitor::sign_in(&console, ROOT_TOKEN);
    let foreign = format!("csrf={}", other.csrf);
    assert_eq!(
        post(&console, &path, &[&cookie, &host, &own], &foreign).status,
        403
    );
    assert!(validate(&mut root, &secret).await.valid, "nothing was done");
    assert_eq!(
        post(&console, &path, &[&cookie, &host, &own], &marked).status,
        303
    );
    assert!(!validate(&mut root, &secret).await.valid);
}

pub(crate) async fn what_one_may_not_do_is_neither_shown_nor_done(authority: Authority) {
    let (authority, console) = consoled(authority).await;
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("a")).await;
    let elsewhere = CreateRequest {
        namespace: "other".into(),
        ..named("hidden")
    };
    let (hidden, _) = create(&mut root, elsewhere).await;
    let (_, reader) = caller(&mut root, &["authority:read"]).await;
    let visitor = Visitor::sign_in(&console, &reader);
    let page = visitor.page("/tokens");
    for absent in ["New token", "Revoke", "type=\"checkbox\" name=\"id\""] {
        assert!(!page.contains(absent), "{absent}: {page}");
    }
    let own = format!("/tokens/{}", token.token_id);
    let page = visitor.page(&own);
    for absent in ["Edit", "Rotate", "Disable", "Revoke", "Delete"] {
        assert!(!page.contains(absent), "{absent}: {page}");
    }
    for (path, fields) in [
        ("/tokens/new".to_owned(), &[("once", "x")][..]),
        (format!("{own}/revoke"), &[]),
        (format!("{own}/disable"), &[]),
        (format!("{own}/rotate"), &[("once", "y")]),
        (
            format!("{own}/delete"),
            &[("confirm", token.token_id.as_str())],
        ),
        (format!("{own}/reset-limits"), &[]),
        (format!("{own}/release"), &[]),
    ] {
        let reply = visitor.post(&path, fields);
        assert_eq!(reply.status, 403, "{path}: {reply:?}");
    }
    for act in ["edit", "rotate", "revoke", "delete"] {
        assert_eq!(visitor.get(&format!("{own}/{act}")).status, 403, "{act}");
    }
    assert!(validate(&mut root, &secret).await.valid, "nothing was done");
    assert_eq!(
        visitor.get(&format!("/tokens/{}", hidden.token_id)).status,
        404
    );
    assert_eq!(visitor.get("/?namespace=other").status, 403);
    assert_eq!(visitor.get("/?namespace=-").status, 403);

    let (_, creator) = caller(&mut root, &["authority:create"]).await;
    let visitor = Visitor::sign_in(&console, &creator);
    assert_eq!(visitor.get("/").header("location"), Some("/me"));
    assert!(visitor.page("/tokens/new").contains("Create the token"));
    assert_eq!(visitor.get("/tokens").status, 403);
    let (_, plain) = create(&mut root, named("plain")).await;
    let refused = sent(&console, "/sign-in", &[], &format!("secret={plain}"));
    assert_eq!((refused.status, refused.header("set-cookie")), (403, None));
}
