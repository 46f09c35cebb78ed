//! How a token's limits stand, in words for people.

use std::time::Duration;

use crate::transport::grpc::pb;

use super::span;

/// A row for each rate limit and one for the quota, as they stand for a use of `cost`.
pub(super) fn rows(
    limits: &[pb::RateLimitStatus],
    quota_left: Option<u64>,
    cost: u64,
) -> Vec<(&'static str, String)> {
    let limits = limits.iter().map(|limit| ("limit", words(limit, cost)));
    let quota = quota_left.map(|left| ("quota_left", left.to_string()));
    limits.chain(quota).collect()
}

fn words(limit: &pb::RateLimitStatus, cost: u64) -> String {
    let pb::RateLimitStatus {
        name,
        limit,
        remaining,
        reset_after,
        retry_after,
    } = limit;
    let known = |span: &Option<prost_types::Duration>| span.and_then(|span| span.try_into().ok());
    let mut text = format!("{name}: {remaining} of {limit} left");
    if let Some(reset) = known(reset_after).filter(|reset| *reset > Duration::ZERO) {
        text += &format!(", all again in {}", span::wait(reset));
    }
    if let Some(retry) = known(retry_after) {
        text += &format!(", try again in {}", span::wait(retry));
    }
    if cost > *limit {
        text += &format!(", a cost of {cost} never passes");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(remaining: u64, reset: i64, retry: Option<i64>) -> pb::RateLimitStatus {
        let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
        pb::RateLimitStatus {
            name: "api".to_owned(),
            limit: 5,
            remaining,
            reset_after: Some(span(reset)),
            retry_after: retry.map(span),
        }
    }

    #[test]
    fn a_limit_tells_what_is_left_and_how_long_to_wait() {
        for (status, cost, expected) in [
            (status(5, 0, None), 1, "api: 5 of 5 left"),
            (status(3, 24, None), 1, "api: 3 of 5 left, all again in 24s"),
            (
                status(0, 90, Some(12)),
                1,
                "api: 0 of 5 left, all again in 1m 30s, try again in 12s",
            ),
            (
                status(5, 0, None),
                6,
                "api: 5 of 5 left, a cost of 6 never passes",
            ),
        ] {
            assert_eq!(words(&status, cost), expected);
        }
    }

    #[test]
    fn an_exhausted_quota_is_told_and_an_absent_one_is_not() {
        assert_eq!(rows(&[], Some(0), 1), [("quota_left", "0".to_owned())]);
        assert_eq!(rows(&[], None, 1), []);
    }
}
