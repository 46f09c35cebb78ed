//! Rate limits and quotas in one word each, as people write and read them.

use prost_types::Duration;

use crate::transport::grpc::pb;

use super::span;

/// The name of a limit that was given none.
const NAME_FALLBACK: &str = "default";
/// The period of a rate limit that was given none.
const PERIOD_FALLBACK: Duration = Duration {
    seconds: 60,
    nanos: 0,
};

/// What `--help` says about both forms.
pub(crate) const FORMS: &str = "\
Rate limits: [NAME=]REQUESTS/PERIOD[,burst=N], such as 100/1m, 10/1h or api=5/1s,burst=20. Without
a name it is named default. burst is how many may come at once, without it REQUESTS; after them one
more each PERIOD / REQUESTS.
Quotas: LIMIT[/PERIOD][,left=N], such as 10000/30d, or 500 for a quota that is never full again.
left is how much shall be left of it now, without it all.";

/// A quota, and how much shall be left of it if not all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuotaSpec {
    pub limit: u64,
    pub period: Option<Duration>,
    pub left: Option<u64>,
}

/// Reads `[NAME=]REQUESTS/PERIOD[,burst=N]`.
pub(crate) fn rate_limit(text: &str) -> Result<pb::RateLimit, String> {
    let (head, burst) = with_option(text, "burst")?;
    let (name, pace) = match head.split_once('=') {
        Some(("", _)) => return Err("the name before = is empty".to_owned()),
        Some((name, pace)) => (name, pace),
        None => ("", head),
    };
    let (requests, period) = pace
        .split_once('/')
        .ok_or("must say per which time, such as 100/1m")?;
    if burst == Some(0) {
        return Err("burst must be at least 1; leave it out for as many as requests".to_owned());
    }
    Ok(pb::RateLimit {
        name: name.to_owned(),
        requests: number(requests)?,
        period: Some(span::parse(period)?),
        burst: burst.unwrap_or_default(),
    })
}

/// Reads `LIMIT[/PERIOD][,left=N]`.
pub(crate) fn quota(text: &str) -> Result<QuotaSpec, String> {
    let (head, left) = with_option(text, "left")?;
    let (limit, period) = match head.split_once('/') {
        Some((limit, period)) => (limit, Some(span::parse(period)?)),
        None => (head, None),
    };
    Ok(QuotaSpec {
        limit: number(limit)?,
        period,
        left,
    })
}

/// A rate limit in the form that [`rate_limit`] reads, without what would be so anyway.
pub(crate) fn rate_limit_text(limit: &pb::RateLimit) -> String {
    let pb::RateLimit {
        name,
        requests,
        period,
        burst,
    } = limit;
    let name = match name.as_str() {
        "" | NAME_FALLBACK => String::new(),
        name => format!("{name}="),
    };
    let period = span::exact(period.as_ref().unwrap_or(&PERIOD_FALLBACK));
    let burst = match burst {
        0 => String::new(),
        burst if burst == requests => String::new(),
        burst => format!(",burst={burst}"),
    };
    format!("{name}{requests}/{period}{burst}")
}

/// A quota in the form that [`quota`] reads, with what is left of it.
pub(crate) fn quota_text(quota: &pb::Quota) -> String {
    let pb::Quota {
        limit,
        remaining,
        period,
    } = quota;
    let period = period
        .as_ref()
        .map(|period| format!("/{}", span::exact(period)));
    format!("{limit}{},left={remaining}", period.unwrap_or_default())
}

/// What stands before the first comma, and the number of the one option that may follow it.
fn with_option<'a>(text: &'a str, option: &str) -> Result<(&'a str, Option<u64>), String> {
    let Some((head, rest)) = text.split_once(',') else {
        return Ok((text, None));
    };
    let known = rest.split_once('=').filter(|(name, _)| *name == option);
    let (_, value) = known.ok_or_else(|| format!("after the comma only {option}=N may follow"))?;
    Ok((head, Some(number(value)?)))
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| "must count in whole numbers, written in digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(name: &str, requests: u64, seconds: i64, burst: u64) -> pb::RateLimit {
        pb::RateLimit {
            name: name.to_owned(),
            requests,
            period: Some(Duration { seconds, nanos: 0 }),
            burst,
        }
    }

    #[test]
    fn a_rate_limit_is_requests_per_period_with_a_name_and_a_burst_if_given() {
        for (text, expected) in [
            ("100/1m", limit("", 100, 60, 0)),
            ("10/1h", limit("", 10, 3600, 0)),
            ("api=5/1s,burst=20", limit("api", 5, 1, 20)),
            ("burst=5/1s,burst=20", limit("burst", 5, 1, 20)),
        ] {
            assert_eq!(rate_limit(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_rate_limit() {
        for text in [
            "",
            "100",
            "100/",
            "/1m",
            "100/60",
            "=5/1s",
            "a=b=5/1s",
            "-1/1s",
            "+1/1s",
            "1.5/1s",
            "5/1s,",
            "5/1s,20",
            "5/1s,burst",
            "5/1s,burst=",
            "5/1s,burst=0",
            "5/1s,left=3",
            "5/1s,burst=1,burst=2",
            "18446744073709551616/1s",
        ] {
            assert!(rate_limit(text).is_err(), "{text}");
        }
        assert!(rate_limit("100").unwrap_err().contains("100/1m"));
    }

    #[test]
    fn a_quota_is_a_limit_with_a_period_and_a_rest_if_given() {
        let spec = |limit, seconds: Option<i64>, left| QuotaSpec {
            limit,
            period: seconds.map(|seconds| Duration { seconds, nanos: 0 }),
            left,
        };
        assert_eq!(quota("500"), Ok(spec(500, None, None)));
        assert_eq!(quota("10000/30d"), Ok(spec(10_000, Some(2_592_000), None)));
        assert_eq!(quota("9/1h,left=0"), Ok(spec(9, Some(3600), Some(0))));
        for text in [
            "",
            "x",
            "5/",
            "/1h",
            "5,left",
            "5,burst=1",
            "5,left=-1",
            "a=5",
        ] {
            assert!(quota(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_goes_without_saying_is_not_printed() {
        let bare = pb::RateLimit {
            period: None,
            ..limit("", 7, 0, 0)
        };
        assert_eq!(rate_limit_text(&bare), "7/1m");
        assert_eq!(rate_limit_text(&limit("default", 7, 60, 7)), "7/1m");
        assert_eq!(
            rate_limit_text(&limit("api", 5, 1, 20)),
            "api=5/1s,burst=20"
        );
        let whole = pb::Quota {
            limit: 500,
            remaining: 0,
            period: None,
        };
        assert_eq!(quota_text(&whole), "500,left=0");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (rate_limit(&text), quota(&text));
        }

        #[test]
        fn nearly_right_text_is_read_or_refused(text in "[a-c0-9=/,.burstlefhdm -]{0,24}") {
            let _ = (rate_limit(&text), quota(&text));
        }

        #[test]
        fn a_printed_rate_limit_is_read_back(
            name in "[a-z0-9._-]{0,63}",
            requests: u64,
            seconds in 0i64..1 << 32,
            nanos in 0i32..1_000_000_000,
            burst: u64,
        ) {
            let period = Some(Duration { seconds, nanos });
            let told = pb::RateLimit { name, requests, period, burst };
            let read = rate_limit(&rate_limit_text(&told)).unwrap();
            // What a server reads into both is the same limit.
            let whole = |limit: &pb::RateLimit| (
                if limit.name.is_empty() { NAME_FALLBACK.to_owned() } else { limit.name.clone() },
                limit.requests,
                limit.period,
                if limit.burst == 0 { limit.requests } else { limit.burst },
            );
            prop_assert_eq!(whole(&read), whole(&told));
        }

        #[test]
        fn a_printed_quota_is_read_back(
            limit: u64,
            remaining: u64,
            period in proptest::option::of((0i64..1 << 32, 0i32..1_000_000_000)),
        ) {
            let period = period.map(|(seconds, nanos)| Duration { seconds, nanos });
            let told = pb::Quota { limit, remaining, period };
            let left = Some(remaining);
            prop_assert_eq!(quota(&quota_text(&told)), Ok(QuotaSpec { limit, period, left }));
        }
    }
}
