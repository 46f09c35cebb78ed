//! Token introspection (RFC 7662) and revocation (RFC 7009), as those who speak OAuth ask them.

use token_authority::transport::grpc::pb::{CreateRequest, RateLimit, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::encrypted::Encrypted;
use crate::forwarding::{Reply, TRUSTING, forwarding, post, send};
use crate::harness::{Authority, ROOT_TOKEN, create, named, until, verdict};
use crate::support::certificates::Wanted;

const PATH: &str = "/oauth2/introspect";

fn introspect(address: &str, caller: &str, token: &str) -> Reply {
    let caller = format!("authorization: {caller}");
    post(
        address,
        PATH,
        &[&caller],
        &format!("token={token}&token_type_hint=access_token"),
    )
}

fn root_caller() -> String {
    format!("Bearer {ROOT_TOKEN}")
}

pub(crate) async fn a_token_in_force_is_active_and_all_else_is_not(authority: Authority) {
    let (authority, forward) = forwarding(authority, "").await;
    let mut root = authority.root().await;
    let asked = CreateRequest {
        namespace: "shop".into(),
        owner: "ann".into(),
        scopes: vec!["orders:read".into(), "stock".into()],
        expiration: Some(expiring()),
        ..named("a")
    };
    let (token, secret) = create(&mut root, asked).await;
    let reply = introspect(&forward, &root_caller(), &secret);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let told = reply.json();
    let seconds = |time: Option<prost_types::Timestamp>| time.unwrap().seconds;
    assert_eq!(told["active"], true);
    assert_eq!(told["scope"], "orders:read stock");
    assert_eq!(told["sub"], "ann");
    assert_eq!(told["jti"], token.token_id.as_str());
    assert_eq!(told["token_type"], "Bearer");
    assert_eq!(told["namespace"], "shop");
    assert_eq!(told["exp"], seconds(token.expire_time));
    assert_eq!(told["iat"], seconds(token.create_time));
    let bare = create(&mut root, named("bare")).await.1;
    let told = introspect(&forward, &root_caller(), &bare).json();
    assert_eq!(
        (&told["exp"], &told["sub"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    let restricted = CreateRequest {
        allowed_endpoints: vec!["/orders".into()],
        ..named("restricted")
    };
    let restricted = create(&mut root, restricted).await.1;
    let revoked = create(&mut root, named("revoked")).await.1;
    assert_eq!(
        post(&forward, "/oauth2/revoke", &[], &format!("token={revoked}")).status,
        200
    );
    for token in [
        &*restricted,
        &*revoked,
        "rubbish",
        &format!("{secret}x"),
        &"a".repeat(600),
    ] {
        let reply = introspect(&forward, &root_caller(), token);
        assert_eq!(
            (reply.status, &*reply.body),
            (200, "{\"active\":false}"),
            "{token}"
        );
    }
    assert!(!authority.log().contains(&secret), "a secret is logged");
}

fn expiring() -> token_authority::transport::grpc::pb::create_request::Expiration {
    token_authority::transport::grpc::pb::create_request::Expiration::Ttl(prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    })
}

pub(crate) async fn who_asks_must_be_known_and_may_validate(authority: Authority) {
    let (authority, forward) = forwarding(authority, TRUSTING).await;
    let mut root = authority.root().await;
    let judge = CreateRequest {
        namespace: "shop".into(),
        scopes: vec!["authority:validate".into()],
        ..named("judge")
    };
    let judge = create(&mut root, judge).await.1;
    let in_shop = CreateRequest {
        namespace: "shop".into(),
        ..named("a")
    };
    let in_shop = create(&mut root, in_shop).await.1;
    let elsewhere = create(&mut root, named("b")).await.1;
    let bearer = format!("Bearer {judge}");
    let active =
        |caller: &str, token: &str| introspect(&forward, caller, token).json()["active"].clone();
    assert_eq!(active(&bearer, &in_shop), true);
    assert_eq!(active(&bearer, &elsewhere), false);
    assert_eq!(
        active(
            &format!("Basic {}", base64(&format!("resource:{judge}"))),
            &in_shop
        ),
        true
    );
    let form = format!("token={elsewhere}&namespace=shop");
    let named = post(
        &forward,
        PATH,
        &[&format!("authorization: {bearer}")],
        &form,
    );
    assert_eq!(named.json()["active"], false);
    let foreign = format!("token={elsewhere}&namespace=default");
    let foreign = post(
        &forward,
        PATH,
        &[&format!("authorization: {bearer}")],
        &foreign,
    );
    assert_eq!(foreign.status, 403, "{foreign:?}");
    for unknown in ["Bearer rubbish", "Basic !!!", "Digest x", "Bearer "] {
        let reply = introspect(&forward, unknown, &in_shop);
        assert_eq!(reply.status, 401, "{unknown}");
        assert_eq!(reply.json()["error"], "invalid_client");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .contains("Basic realm=")
        );
    }
    // That proxies are trusted there makes nobody a caller.
    assert_eq!(
        post(&forward, PATH, &[], &format!("token={in_shop}")).status,
        401
    );
    let powerless = introspect(&forward, &format!("Bearer {in_shop}"), &in_shop);
    assert_eq!(powerless.status, 403);
    assert!(
        powerless
            .header("www-authenticate")
            .unwrap()
            .contains("insufficient_scope")
    );
}

/// Base64 as Basic has it (RFC 4648, section 4).
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = text.as_bytes().chunks(3).map(|group| {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or_default())
        });
        let digit = |at: usize| match at <= group.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    });
    groups.collect()
}

pub(crate) async fn what_is_no_form_is_refused(authority: Authority) {
    let (_authority, forward) = forwarding(authority, "").await;
    let root = format!("authorization: {}", root_caller());
    let large = format!("token={}", "a".repeat(9_000));
    for path in [PATH, "/oauth2/revoke"] {
        for form in [
            "",
            "token=",
            "tokem=a",
            "token=a&token=a",
            "token=%zz",
            &large,
        ] {
            let reply = post(&forward, path, &[&root], form);
            assert_eq!(reply.status, 400, "{path} {form:.20}");
            assert_eq!(reply.json()["error"], "invalid_request");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
        let json = ["content-type: application/json", &root];
        assert_eq!(send(&forward, "POST", path, &json, "token=a").status, 400);
    }
    let long = format!("token={}", "a".repeat(600));
    assert_eq!(post(&forward, "/oauth2/revoke", &[], &long).status, 400);
}

pub(crate) async fn an_introspection_counts_as_a_use(authority: Authority) {
    let (authority, forward) = forwarding(authority, "").await;
    let mut root = authority.root().await;
    let asked = CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 2,
            ..RateLimit::default()
        }],
        ..named("a")
    };
    let secret = create(&mut root, asked).await.1;
    let active = || introspect(&forward, &root_caller(), &secret).json()["active"].clone();
    assert_eq!([active(), active(), active()], [true, true, false]);
}

pub(crate) async fn a_secret_revokes_its_token_and_is_answered_as_any_other(authority: Authority) {
    let (authority, forward) = forwarding(authority, "").await;
    let mut root = authority.root().await;
    let secret = create(&mut root, named("a")).await.1;
    let revoke = |token: &str| post(&forward, "/oauth2/revoke", &[], &format!("token={token}"));
    let mut other = secret.clone();
    other.replace_range(other.len() - 8.., "00000000");
    for token in ["rubbish", &*other] {
        let reply = revoke(token);
        assert_eq!((reply.status, &*reply.body), (200, ""), "{token}");
    }
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    let mut replies = Vec::new();
    for _ in 0..20 {
        replies.push(revoke(&secret));
    }
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Revoked);
    let last = replies.pop().unwrap();
    assert_eq!(replies[0].status, 200);
    assert_eq!(last.status, 429, "a peer is limited");
    assert!(last.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_introspects_over_tls() {
    const CALLERS: &str = "access.certificate_callers=[\
        { name = \"gateway\", uri = \"spiffe://example.org/gateway\", permissions = [\"validate@*\"] }]";
    let listen = "forward_auth.listen=127.0.0.1:0";
    let encrypted = Encrypted::mutual(&["--set", CALLERS, "--set", listen]);
    let address = || {
        let said = encrypted.authority.stdout();
        let mut lines = said.lines();
        lines.find_map(|line| line.strip_prefix("forward-auth on ").map(str::to_owned))
    };
    let address = until(address).await;
    let secret = create(&mut encrypted.root().await, named("a")).await.1;
    let form = format!("token={secret}");
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    let wanted = Wanted::client().uri("spiffe://example.org/gateway");
    let gateway = encrypted.visitor(&encrypted.clients.issue(wanted));
    for (visitor, expected) in [
        (gateway, "\"active\":true"),
        (encrypted.stranger(), "invalid_client"),
    ] {
        let visitor = visitor.offering(&[b"http/1.1"]);
        let mut stream = visitor.connect(&address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply).await;
        assert!(reply.contains(expected), "{reply}");
    }
}
