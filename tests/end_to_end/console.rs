//! The console as a browser asks it: who gets in, what is shown to whom, and what cannot be done to it.

use token_authority::transport::grpc::pb::{
    AcquireRequest, CreateRequest, ListRequest, RevokeRequest, Token, ValidateRequest,
    ValidateResponse, create_request, revoke_request,
};

use crate::forwarding::{Reply, post, send};
use crate::harness::{
    Authority, Client, PATIENCE, ROOT_TOKEN, ask, create, named, presenting, until,
};

/// Starts the authority once more, with the console on a port of its own; answers where that is.
pub(crate) async fn consoled(mut authority: Authority) -> (Authority, String) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--console", "127.0.0.1:0"]);
    authority.start();
    let address = until(|| {
        let said = authority.stdout();
        let place = said
            .lines()
            .find_map(|line| line.strip_prefix("console on "));
        place.map(str::to_owned)
    })
    .await;
    authority.serving(true).await;
    (authority, address)
}

/// Somebody at a browser.
pub(crate) struct Visitor {
    address: String,
    cookie: String,
    csrf: String,
}

fn origin(address: &str) -> String {
    format!("origin: http://{address}")
}

/// Posts a form as a page of the console does.
fn sent(address: &str, path: &str, lines: &[&str], form: &str) -> Reply {
    let host = format!("host: {address}");
    let origin = origin(address);
    post(
        address,
        path,
        &[&[host.as_str(), origin.as_str()], lines].concat(),
        form,
    )
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl Visitor {
    pub(crate) fn sign_in(address: &str, secret: &str) -> Self {
        let form = format!("secret={}", encoded(secret));
        let reply = sent(address, "/sign-in", &[], &form);
        assert_eq!(reply.status, 303, "{reply:?}");
        assert_eq!(reply.header("location"), Some("/"));
        let cookie = reply.header("set-cookie").unwrap();
        let mut visitor = Self {
            address: address.to_owned(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
            csrf: String::new(),
        };
        visitor.csrf = field(&visitor.page("/me"), "csrf");
        visitor
    }

    fn get(&self, path: &str) -> Reply {
        let cookie = format!("cookie: {}", self.cookie);
        send(&self.address, "GET", path, &[&cookie], "")
    }

    /// The text of a page that must be there.
    pub(crate) fn page(&self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let fields = fields.iter().copied().chain([("csrf", self.csrf.as_str())]);
        let fields = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
        let form = fields.collect::<Vec<_>>().join("&");
        let cookie = format!("cookie: {}", self.cookie);
        sent(&self.address, path, &[&cookie], &form)
    }
}

/// The value of a hidden field of a page.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

fn secret_of(reply: &Reply) -> String {
    let (_, rest) = reply
        .body
        .split_once("<output id=\"issued\"><code>")
        .unwrap();
    rest.split('<').next().unwrap().to_owned()
}

async fn validate(client: &mut Client, secret: &str) -> ValidateResponse {
    ask(client, presenting(secret)).await
}

async fn caller(root: &mut Client, scopes: &[&str]) -> (Token, String) {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let asked = CreateRequest {
        scopes,
        ..named("caller")
    };
    create(root, asked).await
}

pub(crate) async fn who_signs_in_gets_a_session_that_scripts_and_other_sites_cannot_use(
    authority: Authority,
) {
    let (authority, console) = consoled(authority).await;
    let reply = send(&console, "GET", "/", &[], "");
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, Some("/sign-in"))
    );
    let page = send(&console, "GET", "/sign-in", &[], "");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    assert!(
        !page.body.contains("http:") && !page.body.contains("https:"),
        "{}",
        page.body
    );

    let form = format!("secret={}", encoded(ROOT_TOKEN));
    let host = format!("host: {console}");
    assert_eq!(
        post(&console, "/sign-in", &[&host], &form).status,
        403,
        "it says from nowhere"
    );
    let elsewhere = ["origin: http://evil.example", host.as_str()];
    assert_eq!(post(&console, "/sign-in", &elsewhere, &form).status, 403);
    let wrong = sent(&console, "/sign-in", &[], "secret=wrong");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let reply = sent(&console, "/sign-in", &[], &form);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("token-authority-console="), "{cookie}");
    for flag in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }

    let visitor = Visitor::sign_in(&console, ROOT_TOKEN);
    let page = visitor.page("/");
    for word in [
        "Active tokens",
        "Requests per hour",
        "root:environment",
        "New token",
    ] {
        assert!(page.contains(word), "{word}: {page}");
    }
    let style = page
        .split_once("<link rel=\"stylesheet\" href=\"")
        .unwrap()
        .1;
    let style = send(&console, "GET", style.split('"').next().unwrap(), &[], "");
    assert_eq!(style.status, 200);
    assert!(style.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(visitor.get("/nowhere").status, 404);
    assert_eq!(send(&console, "PUT", "/", &[], "").status, 405);
    assert_eq!(visitor.post("/sign-out", &[]).status, 303);
    assert_eq!(visitor.get("/").status, 303, "signed out");
    assert!(!authority.log().contains(ROOT_TOKEN));
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

pub(crate) async fn a_session_ends_with_its_token(authority: Authority) {
    let (authority, console) = consoled(authority).await;
    let mut root = authority.root().await;
    let (token, secret) = caller(&mut root, &["authority:read"]).await;
    let visitor = Visitor::sign_in(&console, &secret);
    assert_eq!(visitor.get("/tokens").status, 200);
    let revoke = RevokeRequest {
        target: Some(revoke_request::Target::TokenId(token.token_id)),
        ..RevokeRequest::default()
    };
    root.revoke(revoke).await.unwrap();
    let gone = visitor.get("/tokens");
    assert_eq!(
        (gone.status, gone.header("location")),
        (303, Some("/sign-in"))
    );
    assert!(gone.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(!authority.log().contains(&secret));
}

pub(crate) async fn who_guesses_secrets_is_told_to_wait(authority: Authority) {
    let (_authority, console) = consoled(authority).await;
    let tries = (0..30).map(|at| {
        let form = format!("secret=root-token-guess-number-{at}");
        sent(&console, "/sign-in", &[], &form)
    });
    let limited = tries.into_iter().find(|reply| reply.status == 429);
    let limited = limited.expect("no end to guessing");
    assert!(limited.header("retry-after").is_some());
    assert!(limited.body.contains("Too many attempts"), "{limited:?}");
}
