//! Check, as Envoy asks it: what is let pass, with which headers, and what the proxy may read of it.

use std::time::Duration;

use prost_types::value::Kind;
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::{CreateRequest, Quota, RateLimit, UsageRequest};

use crate::checking::{Held, as_root, check, proxy};
use crate::harness::{Authority, ask, create, named, presenting, span, until};
use crate::leasing::{acquire, any, fill};
use crate::scrape::Scrape;

/// Every name by which an upstream could take a header for one of ours.
fn lookalikes() -> Vec<String> {
    let mut names = Vec::new();
    for name in [
        "token-id",
        "token-owner",
        "token-namespace",
        "token-scopes",
        "token-fence",
        "validation-id",
    ] {
        let words: Vec<&str> = name.split('-').collect();
        for first in ["-", "_"] {
            names.extend(["-", "_"].map(|second| format!("x{first}{}", words.join(second))));
        }
    }
    names
}

fn described() -> CreateRequest {
    CreateRequest {
        owner: "Ann Ümit, 100%".to_owned(),
        scopes: vec!["orders:read".to_owned(), "stock".to_owned()],
        expiration: Some(Expiration::Ttl(span(Duration::from_secs(3600)))),
        ..named("described")
    }
}

pub(crate) async fn an_allowed_request_is_told_whose_it_is_in_both_encodings(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, described()).await;
    let mut proxy = as_root(&authority);
    for held in [
        Held::of(&secret),
        Held::of(&secret).raw(),
        Held::with(&[("x-api-key", &secret)]),
        Held::with(&[("x-api-key", &secret)]).raw(),
        Held::with(&[("authorization", &format!("bEARER {secret}"))]),
    ] {
        let answer = check(&mut proxy, held).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-token-id"), Some(token.token_id.as_str()));
        assert_eq!(
            answer.header("x-token-owner"),
            Some("Ann%20%C3%9Cmit,%20100%25")
        );
        assert_eq!(answer.header("x-token-namespace"), Some("default"));
        assert_eq!(answer.header("x-token-scopes"), Some("orders:read stock"));
        assert_eq!(answer.header("x-token-fence"), None);
        let id = answer.header("x-validation-id").unwrap();
        assert!(id.starts_with(&token.token_id) && id.len() == 43, "{id}");
        assert_eq!(answer.headers.len(), 5);
        assert!(answer.response_headers.is_empty(), "there are no limits");
        assert_eq!(answer.body, "");

        assert_eq!(answer.text("validation_id"), Some(id));
        assert_eq!(answer.text("token_id"), Some(token.token_id.as_str()));
        assert_eq!(answer.text("owner"), Some("Ann Ümit, 100%"));
        assert_eq!(answer.text("namespace"), Some("default"));
        assert_eq!(answer.text("verdict"), Some("VERDICT_VALID"));
        let end = token.expire_time.unwrap().seconds;
        assert_eq!(answer.metadata["expires_at"], Kind::NumberValue(end as f64));
        assert_eq!(answer.metadata["degraded"], Kind::BoolValue(false));
        let Kind::ListValue(scopes) = &answer.metadata["scopes"] else {
            panic!("{answer:?}");
        };
        assert_eq!(scopes.values.len(), 2);
        assert!(!format!("{answer:?}").contains(&secret));
    }
}

pub(crate) async fn what_a_client_says_of_itself_never_reaches_the_upstream(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("plain")).await;
    let mut proxy = as_root(&authority);
    let mut held = Held::of(&secret);
    for name in lookalikes() {
        held = held.header(&name, "spoofed");
    }
    let answer = check(&mut proxy, held).await;
    let set: Vec<&str> = answer.headers.keys().map(String::as_str).collect();
    assert_eq!(set, ["x-token-id", "x-token-namespace", "x-validation-id"]);
    assert!(answer.headers.values().all(|value| value != "spoofed"));
    for name in lookalikes() {
        let ours = answer.headers.contains_key(&name);
        let removed = answer.removed.contains(&name);
        // What is in both would be removed after it was set.
        assert!(ours ^ removed, "{name}: set {ours}, removed {removed}");
    }
    for credential in ["authorization", "x-api-key"] {
        assert!(
            answer.removed.iter().any(|name| name == credential),
            "{credential}"
        );
    }
}

pub(crate) async fn the_secret_of_a_lease_is_told_with_its_fence(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let mut proxy = as_root(&authority);
    let answer = check(&mut proxy, Held::of(&held.secret)).await;
    let fence = held.lease.fence.to_string();
    assert_eq!(answer.header("x-token-fence"), Some(fence.as_str()));
    assert_eq!(
        answer.metadata["fence"],
        Kind::NumberValue(held.lease.fence as f64)
    );
    assert!(!format!("{answer:?}").contains(&held.lease.lease_id[22..]));
}

pub(crate) async fn limits_are_told_with_every_answer(authority: Authority) {
    let mut root = authority.root().await;
    let limited = CreateRequest {
        rate_limits: vec![RateLimit {
            name: "hour".to_owned(),
            requests: 2,
            period: Some(span(Duration::from_secs(3600))),
            burst: 0,
        }],
        quota: Some(Quota {
            limit: 10,
            ..Quota::default()
        }),
        ..named("limited")
    };
    let (_, secret) = create(&mut root, limited).await;
    let mut proxy = as_root(&authority);
    let first = check(&mut proxy, Held::of(&secret)).await;
    let told = |name: &str| first.response_headers.get(name).map(String::as_str);
    assert_eq!(told("x-ratelimit-limit"), Some("2"));
    assert_eq!(told("x-ratelimit-remaining"), Some("1"));
    let reset: u64 = told("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((1790..=1800).contains(&reset), "{reset}");
    assert_eq!(
        told("ratelimit-policy"),
        Some("\"hour\";q=2;w=3600, \"token quota\";q=10")
    );
    let standing = format!("\"hour\";r=1;t={reset}, \"token quota\";r=9");
    assert_eq!(told("ratelimit"), Some(standing.as_str()));
    assert!(
        first.headers.keys().all(|name| !name.contains("ratelimit")),
        "the upstream's are others"
    );

    assert_eq!(check(&mut proxy, Held::of(&secret)).await.status, 200);
    let refused = check(&mut proxy, Held::of(&secret)).await;
    assert_eq!((refused.status, refused.code), (429, 8));
    assert_eq!(refused.error(), "rate_limited");
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let retry: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1790..=1800).contains(&retry), "{retry}");
    assert!(
        refused
            .header("ratelimit")
            .unwrap()
            .starts_with("\"hour\";r=0;t=")
    );
    assert_eq!(refused.header("content-type"), Some("application/json"));
}

pub(crate) async fn routes_of_envoy_say_what_they_demand(authority: Authority) {
    let mut root = authority.root().await;
    let limited = CreateRequest {
        namespace: "shop".to_owned(),
        rate_limits: vec![RateLimit {
            requests: 10,
            period: Some(span(Duration::from_secs(86_400))),
            ..RateLimit::default()
        }],
        ..described()
    };
    let (_, secret) = create(&mut root, limited).await;
    let mut proxy = as_root(&authority);
    let elsewhere = check(&mut proxy, Held::of(&secret)).await;
    assert_eq!(
        (elsewhere.status, elsewhere.error().as_str()),
        (401, "invalid_token")
    );
    let shop = || {
        Held::of(&secret)
            .demanding("namespace", "shop")
            .demanding("audience", "x")
    };
    assert_eq!(
        check(&mut proxy, shop()).await.header("x-token-namespace"),
        Some("shop")
    );
    let everywhere = Held::of(&secret).demanding("namespace", "-");
    assert_eq!(check(&mut proxy, everywhere).await.status, 200);

    let granted = shop().demanding("required_scopes", "orders:read, stock");
    assert_eq!(check(&mut proxy, granted).await.status, 200);
    let beyond = shop().demanding("required_scopes", "orders:read orders:write");
    let refused = check(&mut proxy, beyond).await;
    assert_eq!((refused.status, refused.code), (403, 7));
    assert_eq!(
        refused.header("www-authenticate"),
        Some(
            "Bearer realm=\"token-authority\", error=\"insufficient_scope\", scope=\"orders:read orders:write\""
        )
    );
    let owned = shop().demanding("owner", "Ann Ümit, 100%");
    assert_eq!(check(&mut proxy, owned).await.status, 200);
    let foreign = check(&mut proxy, shop().demanding("owner", "bob")).await;
    assert_eq!(
        (foreign.status, foreign.error().as_str()),
        (403, "owner_mismatch")
    );

    let dear = check(&mut proxy, shop().demanding("cost", "6")).await;
    assert_eq!(dear.response_headers["x-ratelimit-remaining"], "0");
    let broke = check(&mut proxy, shop()).await;
    assert_eq!(
        (broke.status, broke.error().as_str()),
        (429, "rate_limited")
    );
    let free = check(&mut proxy, shop().demanding("cost", "0")).await;
    assert_eq!(free.status, 200);
    for (key, value) in [
        ("namespace", "Shop!"),
        ("required_scopes", "\"x\""),
        ("owner", "a\nb"),
        ("cost", "much"),
    ] {
        let unread = check(&mut proxy, shop().demanding(key, value)).await;
        assert_eq!((unread.status, unread.code), (500, 13), "{key}");
        assert_eq!(unread.error(), "demand_unreadable");
    }
    assert!(
        authority
            .log()
            .contains("context_extensions cannot be read")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_the_configuration_win_over_what_envoy_says() {
    let mut authority = Authority::before_sqlite_start().with(&["--set", ROUTES]);
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, described()).await;
    let mut proxy = as_root(&authority);
    let status = async |proxy: &mut crate::checking::Proxy, held: Held| {
        let answer = check(proxy, held).await;
        (
            answer.status,
            match answer.status {
                200 => String::new(),
                _ => answer.error(),
            },
        )
    };
    let granted = || Held::of(&secret).demanding("required_scopes", "nobody:has");
    assert_eq!(status(&mut proxy, granted()).await, (200, String::new()));
    let written = Held::of(&secret).asking("POST", "/orders/7");
    assert_eq!(
        status(&mut proxy, written).await,
        (403, "insufficient_scope".to_owned())
    );
    let without = granted().asking("GET", "/elsewhere");
    assert_eq!(
        status(&mut proxy, without).await,
        (403, "insufficient_scope".to_owned())
    );
    for trick in [
        "/orders/../free",
        "/orders%2f7",
        "//orders",
        "/orders/%2e%2e/free",
        "orders",
        "",
    ] {
        let tricky = Held::of(&secret).asking("GET", trick);
        assert_eq!(
            status(&mut proxy, tricky).await,
            (400, "invalid_request".to_owned()),
            "{trick}"
        );
    }
}

const ROUTES: &str = r#"ext_authz.route=[
  { path = "/orders/**", method = "GET", required_scopes = ["orders:read"] },
  { path = "/orders/**", required_scopes = ["orders:write"] },
]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_is_read_through_trusted_hops_and_reset_is_written_as_configured() {
    let mut authority = Authority::before_sqlite_start().with(&[
        "--set",
        "ext_authz.trusted_hops=1",
        "--set",
        "ext_authz.reset=rfc3339",
        "--set",
        "ext_authz.credential_headers=[\"x-token\"]",
        "--set",
        "ext_authz.realm=shop",
    ]);
    authority.start();
    let mut root = authority.root().await;
    let homely = CreateRequest {
        allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
        rate_limits: vec![RateLimit {
            requests: 10,
            ..RateLimit::default()
        }],
        ..named("homely")
    };
    let (_, secret) = create(&mut root, homely).await;
    let mut proxy = as_root(&authority);
    let from = |forwarded: &str| Held::of(&secret).header("x-forwarded-for", forwarded);
    let home = check(&mut proxy, from("192.0.2.1, 10.1.2.3")).await;
    assert_eq!(home.status, 200);
    let reset = &home.response_headers["x-ratelimit-reset"];
    assert!(humantime::parse_rfc3339(reset).is_ok(), "{reset}");
    let away = check(&mut proxy, from("10.1.2.3, 192.0.2.1")).await;
    assert_eq!(
        (away.status, away.error().as_str()),
        (403, "address_denied")
    );
    for unread in ["10.1.2.3, unknown", ""] {
        let refused = check(&mut proxy, from(unread)).await;
        assert_eq!(
            (refused.status, refused.error().as_str()),
            (400, "invalid_request")
        );
    }
    let without = check(&mut proxy, Held::of(&secret).from("10.1.2.3")).await;
    assert_eq!(without.status, 400);
    let named = Held::with(&[("x-token", &secret), ("x-forwarded-for", "10.0.0.1")]);
    let named = check(&mut proxy, named).await;
    assert_eq!(named.status, 200);
    assert!(named.removed.iter().any(|name| name == "x-token"));
    let other = Held::with(&[("x-api-key", &secret), ("x-forwarded-for", "10.0.0.1")]);
    let other = check(&mut proxy, other).await;
    assert_eq!(
        other.header("www-authenticate"),
        Some("Bearer realm=\"shop\"")
    );
}

pub(crate) async fn what_is_checked_counts_as_what_is_validated(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("counted")).await;
    let gateway = CreateRequest {
        scopes: vec!["authority:validate".to_owned()],
        ..named("gateway")
    };
    let (_, gateway) = create(&mut root, gateway).await;
    let mut proxy = proxy(&authority, Some(&gateway));
    let held = Held::of(&secret).header("user-agent", "curl/8");
    let answer = check(&mut proxy, held).await;
    assert_eq!(answer.status, 200);
    assert!(ask(&mut root, presenting(&secret)).await.valid);
    let usage = until_counted(&mut root, &token.token_id).await;
    let recent = usage.recent.iter();
    let mut own =
        recent.filter(|one| Some(one.validation_id.as_str()) == answer.text("validation_id"));
    let own = own.next().unwrap();
    assert_eq!(
        (own.method.as_str(), own.endpoint.as_str()),
        ("GET", "/orders")
    );
    assert_eq!(
        (own.client_ip.as_str(), own.user_agent.as_str()),
        ("192.0.2.7", "curl/8")
    );
    let calls = "rpc_duration_seconds_count{method=\"Check\",code=\"OK\"}";
    until(|| (Scrape::of(&authority).value(calls) == 1.0).then_some(())).await;
}

async fn until_counted(
    root: &mut crate::harness::Client,
    token_id: &str,
) -> token_authority::transport::grpc::pb::UsageResponse {
    let patience = std::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let request = UsageRequest {
            token_id: token_id.to_owned(),
            window: None,
        };
        let usage = root.usage(request).await.unwrap().into_inner();
        if usage
            .totals
            .as_ref()
            .is_some_and(|totals| totals.requests == 2)
        {
            return usage;
        }
        assert!(std::time::Instant::now() < patience, "{usage:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
