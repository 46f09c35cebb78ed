//! Real proxies before a service, configured as `deploy/` says: nginx and Caddy hold each request until a
//! real authority has judged its token.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod held;
mod proxy;
mod upstream;

#[path = "../end_to_end/forwarding.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod forwarding;
#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../support/mod.rs"]
mod support;

/// Each test with each proxy.
macro_rules! before_each {
    ($($case:ident,)*) => {
        mod nginx {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::held::$case(crate::proxy::Kind::Nginx).await;
            })*
        }
        mod caddy {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::held::$case(crate::proxy::Kind::Caddy).await;
            })*
        }
    };
}

before_each! {
    an_allowed_request_reaches_the_service_as_its_owners_and_without_its_credential,
    nothing_that_a_client_writes_of_itself_is_believed,
    a_refused_request_reaches_nobody_and_says_why,
    without_the_authority_nothing_goes_on,
    what_the_service_answers_itself_stays_as_it_is,
}
