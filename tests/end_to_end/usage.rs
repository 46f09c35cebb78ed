//! How tokens were used, from the judgement and the report to the answers of Usage and Overview.

use std::time::Duration;

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::{
    CreateRequest, ListRequest, OverviewRequest, OverviewResponse, ReportRequest, Token,
    UsageCounts, UsageRequest, UsageResponse, UsageTotals, ValidateRequest, Verdict,
};
use tonic::Code;

use crate::harness::{
    Authority, Client, PATIENCE, ask, create, fields, get, named, presenting, reason, set, span,
    told,
};
use crate::leasing::caller;

pub(crate) fn of(token: &Token) -> UsageRequest {
    UsageRequest {
        token_id: token.token_id.clone(),
        window: None,
    }
}

pub(crate) fn totals(told: &UsageResponse) -> &UsageTotals {
    told.totals.as_ref().expect("totals")
}

/// What Usage answers about a token, once it is as `wanted`: counts arrive a little later.
pub(crate) async fn usage_once(
    client: &mut Client,
    token: &Token,
    wanted: impl Fn(&UsageTotals) -> bool,
) -> UsageResponse {
    let patience = std::time::Instant::now() + PATIENCE;
    loop {
        let told = client.usage(of(token)).await.expect("usage").into_inner();
        if wanted(totals(&told)) {
            return told;
        }
        assert!(
            std::time::Instant::now() < patience,
            "it never came: {told:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn overview_once(
    client: &mut Client,
    namespace: &str,
    wanted: impl Fn(&OverviewResponse) -> bool,
) -> OverviewResponse {
    let patience = std::time::Instant::now() + PATIENCE;
    loop {
        let request = OverviewRequest {
            namespace: namespace.to_owned(),
            window: None,
        };
        let told = client.overview(request).await.expect("an overview");
        let told = told.into_inner();
        if wanted(&told) {
            return told;
        }
        assert!(
            std::time::Instant::now() < patience,
            "it never came: {told:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Verdicts and how many requests had each.
fn verdicts(totals: &UsageTotals) -> Vec<(Verdict, u64)> {
    let verdicts = totals.verdicts.iter();
    verdicts.map(|one| (one.verdict(), one.requests)).collect()
}

/// Stops the authority and starts it with one setting more.
async fn with(mut authority: Authority, setting: &str) -> Authority {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", setting]);
    authority.start();
    authority
}

fn calling(secret: &str, method: &str, path: &str) -> ValidateRequest {
    ValidateRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        client_ip: "192.0.2.77".to_owned(),
        user_agent: "curl/8".to_owned(),
        ..presenting(secret)
    }
}

pub(crate) async fn what_is_judged_is_told_by_hour_endpoint_secret_and_client(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        allowed_endpoints: vec!["GET /orders/*".to_owned(), "/carts/**".to_owned()],
        ..named("used")
    };
    let (token, secret) = create(&mut root, request).await;
    for path in ["/orders/7", "/orders/8?all", "/orders/9"] {
        ask(&mut root, calling(&secret, "GET", path)).await;
    }
    let costly = ValidateRequest {
        cost: Some(5),
        ..calling(&secret, "PUT", "/carts/1")
    };
    ask(&mut root, costly).await;
    let last = ask(&mut root, calling(&secret, "PUT", "/orders/7")).await;
    let dry = ValidateRequest {
        dry_run: true,
        ..calling(&secret, "GET", "/orders/7")
    };
    ask(&mut root, dry).await;
    let told = usage_once(&mut root, &token, |totals| totals.requests == 5).await;
    let sum = totals(&told);
    assert_eq!((sum.cost, sum.successful, sum.failed), (8, 4, 1));
    assert_eq!(
        verdicts(sum),
        [(Verdict::Valid, 4), (Verdict::EndpointDenied, 1)]
    );
    assert_eq!((sum.completed, sum.average_latency), (0, None));
    assert_eq!(told.hourly.len(), 25);
    let by_hour = told.hourly.iter().map(|hour| hour.totals.as_ref().unwrap());
    assert_eq!(by_hour.map(|totals| totals.requests).sum::<u64>(), 5);
    let endpoints = told.endpoints.iter();
    let endpoints: Vec<_> = endpoints
        .map(|row| {
            let totals = row.totals.as_ref().unwrap();
            (&*row.method, &*row.endpoint, totals.requests)
        })
        .collect();
    assert_eq!(endpoints[0], ("GET", "/orders/*", 3));
    assert!(endpoints.contains(&("PUT", "/carts/**", 1)));
    assert!(endpoints.contains(&("PUT", "/orders/7", 1)));
    let [version] = &told.secret_versions[..] else {
        panic!("{told:?}");
    };
    assert_eq!((version.version, version.requests), (1, 5));
    let [client] = &told.client_ips[..] else {
        panic!("{told:?}");
    };
    assert_eq!((&*client.ip, client.requests), ("192.0.2.77", 5));
    assert!(client.first_seen.is_some());
    assert_eq!(told.recent.len(), 5);
    let newest = told
        .recent
        .iter()
        .find(|one| one.method == "PUT" && one.endpoint == "/orders/7");
    let newest = newest.expect("the refused one");
    assert_eq!(newest.validation_id, last.validation_id);
    assert_eq!(newest.verdict(), Verdict::EndpointDenied);
    assert_eq!(
        (&*newest.client_ip, &*newest.user_agent),
        ("192.0.2.77", "curl/8")
    );
    assert_eq!((newest.status_code, newest.latency), (None, None));
}

pub(crate) async fn lists_and_tokens_tell_of_their_use(authority: Authority) {
    let mut root = authority.root().await;
    let (used, secret) = create(&mut root, named("used")).await;
    let (idle, _) = create(&mut root, named("idle")).await;
    for _ in 0..3 {
        ask(&mut root, presenting(&secret)).await;
    }
    let scoped = ValidateRequest {
        required_scopes: vec!["orders:read".to_owned()],
        ..presenting(&secret)
    };
    ask(&mut root, scoped).await;
    usage_once(&mut root, &used, |totals| totals.requests == 4).await;
    let request = |with_usage| ListRequest {
        with_usage,
        ..ListRequest::default()
    };
    let listed = root.list(request(true)).await.unwrap().into_inner().tokens;
    let of = |id: &str| listed.iter().find(|token| token.token_id == id).unwrap();
    let counts = UsageCounts {
        requests_24h: 4,
        requests_7d: 4,
        requests_total: 4,
    };
    assert_eq!(of(&used.token_id).usage, Some(counts));
    assert_eq!(of(&idle.token_id).usage, Some(UsageCounts::default()));
    let plain = root.list(request(false)).await.unwrap().into_inner().tokens;
    assert!(plain.iter().all(|token| token.usage.is_none()));
    let own = get(&mut root, &used.token_id).await.token.unwrap();
    assert!(own.last_used_time.is_some() && own.usage.is_none());
    assert_eq!(own.secrets[0].last_used_time, own.last_used_time);
    assert!(
        plain
            .iter()
            .any(|token| token.last_used_time == own.last_used_time)
    );
    assert_eq!(of(&idle.token_id).last_used_time, None);
    // Whoever validates learns nothing of it.
    let judged = ask(&mut root, presenting(&secret)).await.token.unwrap();
    assert_eq!((judged.last_used_time, judged.usage), (None, None));
}

pub(crate) async fn an_overview_sums_up_a_namespace_and_all_of_them(authority: Authority) {
    let mut root = authority.root().await;
    let within = |namespace: &str, name: &str| CreateRequest {
        namespace: namespace.to_owned(),
        ..named(name)
    };
    let (busy, busy_secret) = create(&mut root, within("shop", "busy")).await;
    let (quiet, quiet_secret) = create(&mut root, within("shop", "quiet")).await;
    let soon = CreateRequest {
        expiration: Some(Expiration::Ttl(span(Duration::from_secs(3600)))),
        ..within("shop", "soon")
    };
    let (soon, _) = create(&mut root, soon).await;
    let off = CreateRequest {
        disabled: true,
        ..within("shop", "off")
    };
    create(&mut root, off).await;
    let (_, other_secret) = create(&mut root, within("bank", "other")).await;
    let mut gateway = caller(
        &authority,
        "shop",
        &["authority:validate", "authority:read"],
    )
    .await;
    for (secret, times) in [(&busy_secret, 5), (&quiet_secret, 2)] {
        for _ in 0..times {
            ask(&mut gateway, calling(secret, "GET", "/a")).await;
        }
    }
    ask(&mut gateway, presenting("rubbish")).await;
    let elsewhere = ValidateRequest {
        namespace: "bank".to_owned(),
        ..presenting(&other_secret)
    };
    ask(&mut root, elsewhere).await;
    let requests = |told: &OverviewResponse| told.totals.as_ref().unwrap().requests;
    let told = overview_once(&mut gateway, "", |told| requests(told) == 8).await;
    let sum = told.totals.as_ref().unwrap();
    assert_eq!(
        verdicts(sum),
        [(Verdict::Valid, 7), (Verdict::Malformed, 1)]
    );
    assert_eq!(told.active_tokens, 4, "and the gateway's own");
    let [first, second] = &told.top_tokens[..] else {
        panic!("{told:?}");
    };
    let row = |one: &token_authority::transport::grpc::pb::TokenUsage| {
        let requests = one.totals.as_ref().unwrap().requests;
        (one.token_id.clone(), one.name.clone(), requests)
    };
    assert_eq!(row(first), (busy.token_id.clone(), "busy".to_owned(), 5));
    assert_eq!(row(second), (quiet.token_id.clone(), "quiet".to_owned(), 2));
    let top = &told.top_endpoints[0];
    assert_eq!((&*top.endpoint, &*top.method), ("/a", "GET"));
    assert_eq!(top.totals.as_ref().unwrap().requests, 7);
    assert_eq!(told.hourly.len(), 25);
    let [expiring] = &told.expiring_soon[..] else {
        panic!("{told:?}");
    };
    assert_eq!(expiring.token_id, soon.token_id);
    assert_eq!(expiring.expire_time, soon.expire_time);
    let all = overview_once(&mut root, "-", |told| requests(told) == 9).await;
    assert_eq!((all.active_tokens, all.partial), (5, false));
    assert_eq!(all.top_tokens.len(), 3);
    let everywhere = OverviewRequest {
        namespace: "-".to_owned(),
        window: None,
    };
    let error = gateway.overview(everywhere).await.unwrap_err();
    assert_eq!(reason(&error), "PERMISSION_MISSING");
}

pub(crate) async fn a_window_that_cannot_be_is_refused(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let day = 24 * 3600;
    for (seconds, sound) in [
        (0, false),
        (1, true),
        (3660 * day, true),
        (3660 * day + 1, false),
    ] {
        let window = Some(span(Duration::from_secs(seconds)));
        let usage = UsageRequest {
            window,
            ..of(&token)
        };
        let overview = OverviewRequest {
            window,
            ..OverviewRequest::default()
        };
        let told = root.usage(usage).await.map(|told| told.into_inner().hourly);
        let seen = root.overview(overview).await;
        assert_eq!(told.is_ok(), sound, "{seconds}: {told:?}");
        assert_eq!(seen.is_ok(), sound, "{seconds}");
        if let Err(error) = told {
            assert_eq!(fields(&error), set(&["window"]));
            assert_eq!(fields(&seen.unwrap_err()), set(&["window"]));
        } else if seconds == 1 {
            assert!((1..=2).contains(&told.unwrap().len()));
        }
    }
    let wrong = UsageRequest {
        token_id: "short".to_owned(),
        window: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
    };
    let error = root.usage(wrong).await.unwrap_err();
    assert_eq!(fields(&error), set(&["token_id", "window"]));
}

pub(crate) async fn what_was_counted_before_a_stop_is_kept(authority: Authority) {
    let mut authority = with(authority, "usage.flush_interval=10s").await;
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("used")).await;
    for _ in 0..50 {
        ask(&mut root, presenting(&secret)).await;
    }
    let (code, _) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    authority.start();
    let mut root = authority.root().await;
    let told = root.usage(of(&token)).await.unwrap().into_inner();
    assert_eq!(totals(&told).requests, 50);
}

pub(crate) async fn where_no_usage_is_kept_asking_is_refused(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    let authority = with(authority, "usage.enabled=false").await;
    let mut root = authority.root().await;
    let answer = ask(&mut root, presenting(&secret)).await;
    assert!(answer.valid && answer.validation_id.starts_with(&token.token_id));
    let off = (Code::FailedPrecondition, "USAGE_OFF".to_owned());
    assert_eq!(told(&root.usage(of(&token)).await.unwrap_err()), off);
    let overview = root.overview(OverviewRequest::default()).await;
    assert_eq!(told(&overview.unwrap_err()), off);
    let report = root.report(tokio_stream::empty()).await;
    assert_eq!(told(&report.unwrap_err()), off);
    let with_usage = ListRequest {
        with_usage: true,
        ..ListRequest::default()
    };
    assert_eq!(told(&root.list(with_usage).await.unwrap_err()), off);
    let own = get(&mut root, &token.token_id).await.token.unwrap();
    assert_eq!(own.last_used_time, None);
}

pub(crate) async fn no_more_is_kept_of_clients_than_is_wanted(authority: Authority) {
    let authority = with(authority, "usage.client_addresses=network").await;
    let authority = with(authority, "usage.user_agents=false").await;
    let authority = with(authority, "usage.templates=[\"/users/*\"]").await;
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("used")).await;
    for path in ["/users/1", "/users/2", "/else"] {
        ask(&mut root, calling(&secret, "GET", path)).await;
    }
    let told = usage_once(&mut root, &token, |totals| totals.requests == 3).await;
    let clients: Vec<&str> = told.client_ips.iter().map(|row| &*row.ip).collect();
    assert_eq!(clients, ["192.0.2.0"]);
    assert!(told.recent.iter().all(|one| one.user_agent.is_empty()));
    assert!(told.recent.iter().all(|one| one.client_ip == "192.0.2.0"));
    let endpoints: Vec<&str> = told.endpoints.iter().map(|row| &*row.endpoint).collect();
    assert_eq!(endpoints, ["/users/*", "/else"]);
}

pub(crate) async fn no_secret_is_kept_that_a_path_or_a_user_agent_holds(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("bot")).await;
    let path = format!("/bot{secret}/send");
    let question = ValidateRequest {
        user_agent: format!("bot/1 ({secret})"),
        ..calling(&secret, "POST", &path)
    };
    let judged = ask(&mut root, question).await;
    let ended = ReportRequest {
        validation_id: judged.validation_id,
        endpoint: path,
        method: "POST".to_owned(),
        status_code: 200,
        ..ReportRequest::default()
    };
    let reports = tokio_stream::once(ended);
    root.report(reports).await.expect("a report");
    let told = usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    assert_eq!(told.endpoints.len(), 1, "{:?}", told.endpoints);
    assert_eq!(told.endpoints[0].endpoint, "/botta_*/send");
    assert_eq!(told.recent[0].endpoint, "/botta_*/send");
    assert_eq!(told.recent[0].user_agent, "bot/1 (ta_*)");
}
