//! Sessions of the console: who gets one, what protects it, and when it is over.

use token_authority::transport::grpc::pb::{RevokeRequest, revoke_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::consoling::{Visitor, caller, console_of, consoled, encoded, sent};
use crate::encrypted::Encrypted;
use crate::forwarding::{post, send};
use crate::harness::{Authority, ROOT_TOKEN, until};

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

pub(crate) async fn a_session_ends_when_its_time_is_over(authority: Authority) {
    let authority = authority.with(&["--set", "console.session_max=2s"]);
    let (_authority, console) = consoled(authority).await;
    let visitor = Visitor::sign_in(&console, ROOT_TOKEN);
    let ended = until(|| Some(visitor.get("/me")).filter(|reply| reply.status == 303)).await;
    assert_eq!(ended.header("location"), Some("/sign-in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_cookie_is_for_this_host_and_tls_alone() {
    let encrypted = Encrypted::mutual(&["--console", "127.0.0.1:0"]);
    let address = until(|| console_of(&encrypted.authority)).await;
    let form = format!("secret={ROOT_TOKEN}");
    let request = format!(
        "POST /sign-in HTTP/1.1\r\nhost: x\r\norigin: https://x\r\nconnection: close\r\n\
         content-length: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    encrypted.root().await;
    let visitor = encrypted.stranger().offering(&[b"http/1.1"]);
    let mut stream = visitor.connect(&address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply).await;
    let cookie = reply.lines().find(|line| line.starts_with("set-cookie: "));
    let cookie = cookie.unwrap_or_else(|| panic!("{reply}"));
    assert!(
        cookie.contains("__Host-token-authority-console="),
        "{cookie}"
    );
    assert!(
        cookie.contains("; Secure") && cookie.contains("; HttpOnly"),
        "{cookie}"
    );
}
