//! How tokens were used, in words, tables and charts for people.

use crate::transport::grpc::pb;

use super::chart::{self, Ink};
use super::facts::{moment, number, word};
use super::table;

/// Most rows of a table; all are in JSON.
const ROWS_MAX: usize = 10;

/// What was told of one token.
pub(super) fn usage(used: &pb::UsageResponse, ink: Ink) -> String {
    let pb::UsageResponse {
        totals,
        hourly,
        endpoints,
        secret_versions,
        client_ips,
        recent,
    } = used;
    let versions: Vec<_> = secret_versions.iter().map(version).collect();
    let clients: Vec<_> = client_ips.iter().map(client).collect();
    let recent: Vec<_> = recent.iter().map(last).collect();
    [
        sums(totals.as_ref()),
        by_hour(hourly, ink),
        under("endpoints", ENDPOINT_HEAD, &endpoint_rows(endpoints)),
        under("secrets", ["VERSION", "REQUESTS"], &versions),
        under("clients", ["ADDRESS", "REQUESTS", "FIRST SEEN"], &clients),
        under("last requests", RECENT_HEAD, &recent),
    ]
    .concat()
}

/// What was told of a namespace.
pub(super) fn overview(seen: &pb::OverviewResponse, ink: Ink) -> String {
    let pb::OverviewResponse {
        active_tokens,
        totals,
        top_tokens,
        top_endpoints,
        hourly,
        expiring_soon,
        partial: _,
    } = seen;
    let tokens: Vec<_> = top_tokens.iter().map(token).collect();
    let expiring: Vec<_> = expiring_soon.iter().map(expiring).collect();
    [
        table::pairs(&[("tokens_in_force", active_tokens.to_string())]),
        sums(totals.as_ref()),
        by_hour(hourly, ink),
        under("busiest tokens", TOKEN_HEAD, &tokens),
        under("endpoints", ENDPOINT_HEAD, &endpoint_rows(top_endpoints)),
        under("expire soon", ["TOKEN_ID", "NAME", "EXPIRES"], &expiring),
    ]
    .concat()
}

/// A table under its title, cut to so many rows as are read; nothing where it is empty.
fn under<const N: usize>(title: &str, head: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown = &rows[..rows.len().min(ROWS_MAX)];
    let more = match rows.len() - shown.len() {
        0 => String::new(),
        more => format!("and {more} more, see --json\n"),
    };
    format!("\n{title}\n{}{more}", table::columns(head, shown))
}

fn sums(totals: Option<&pb::UsageTotals>) -> String {
    let totals = totals.cloned().unwrap_or_default();
    let verdicts: Vec<String> = totals
        .verdicts
        .iter()
        .map(|count| format!("{} {}", verdict(count.verdict), count.requests))
        .collect();
    let classes: Vec<String> = totals
        .status_classes
        .iter()
        .map(|count| format!("{}xx {}", count.class, count.requests))
        .collect();
    let latency = [
        ("average", &totals.average_latency),
        ("p50", &totals.p50_latency),
        ("p95", &totals.p95_latency),
        ("p99", &totals.p99_latency),
    ]
    .map(|(name, span)| {
        span.as_ref()
            .map(|span| format!("{name} {}", rounded(span)))
    });
    let latency: Vec<String> = latency.into_iter().flatten().collect();
    let rate = match totals.successful + totals.failed {
        0 => String::new(),
        all => format!(" ({:.1} %)", 100.0 * totals.successful as f64 / all as f64),
    };
    table::pairs(&[
        ("requests", totals.requests.to_string()),
        ("successful", format!("{}{rate}", totals.successful)),
        ("failed", totals.failed.to_string()),
        ("verdicts", verdicts.join(", ")),
        ("cost", number(totals.cost)),
        ("reported", number(totals.completed)),
        ("statuses", classes.join(", ")),
        ("latency", latency.join(", ")),
        ("bytes_in", number(totals.request_bytes)),
        ("bytes_out", number(totals.response_bytes)),
    ])
}

/// The hours as a chart, with what it begins with, ends with, and its highest column.
fn by_hour(hourly: &[pb::HourlyUsage], ink: Ink) -> String {
    let of = |hour: &pb::HourlyUsage| hour.totals.as_ref().map_or(0, |totals| totals.requests);
    let requests: Vec<u64> = hourly.iter().map(of).collect();
    let (Some(first), Some(last)) = (hourly.first(), hourly.last()) else {
        return String::new();
    };
    if requests.iter().all(|requests| *requests == 0) {
        return String::new();
    }
    let (drawn, each) = chart::row(&requests, ink);
    let most = requests.iter().max().copied().unwrap_or_default();
    let column = match each {
        1 => "an hour each".to_owned(),
        hours => format!("{hours} hours each"),
    };
    let hour = |hour: &pb::HourlyUsage| moment(hour.hour.as_ref());
    format!(
        "\nrequests, {column}, at most {most} in an hour\n|{drawn}|\nfrom the hour of {} to that of {}\n",
        hour(first),
        hour(last)
    )
}

const ENDPOINT_HEAD: [&str; 6] = ["METHOD", "ENDPOINT", "REQUESTS", "OK", "FAILED", "P95"];

fn endpoint_rows(endpoints: &[pb::EndpointUsage]) -> Vec<[String; 6]> {
    let row = |used: &pb::EndpointUsage| {
        let pb::EndpointUsage {
            endpoint,
            method,
            totals,
        } = used;
        let totals = totals.clone().unwrap_or_default();
        [
            method.clone(),
            endpoint.clone(),
            totals.requests.to_string(),
            totals.successful.to_string(),
            totals.failed.to_string(),
            totals.p95_latency.as_ref().map(rounded).unwrap_or_default(),
        ]
    };
    endpoints.iter().map(row).collect()
}

const TOKEN_HEAD: [&str; 5] = ["TOKEN_ID", "NAME", "REQUESTS", "OK", "FAILED"];

fn token(used: &pb::TokenUsage) -> [String; 5] {
    let pb::TokenUsage {
        token_id,
        name,
        totals,
    } = used;
    let totals = totals.clone().unwrap_or_default();
    [
        token_id.clone(),
        name.clone(),
        totals.requests.to_string(),
        totals.successful.to_string(),
        totals.failed.to_string(),
    ]
}

fn expiring(token: &pb::ExpiringToken) -> [String; 3] {
    let pb::ExpiringToken {
        token_id,
        name,
        expire_time,
    } = token;
    [token_id.clone(), name.clone(), moment(expire_time.as_ref())]
}

fn version(used: &pb::SecretVersionUsage) -> [String; 2] {
    let pb::SecretVersionUsage { version, requests } = used;
    let name = match version {
        0 => "of leases".to_owned(),
        version => version.to_string(),
    };
    [name, requests.to_string()]
}

fn client(used: &pb::ClientIpUsage) -> [String; 3] {
    let pb::ClientIpUsage {
        ip,
        requests,
        first_seen,
    } = used;
    [
        ip.clone(),
        requests.to_string(),
        moment(first_seen.as_ref()),
    ]
}

const RECENT_HEAD: [&str; 7] = [
    "TIME", "VERDICT", "METHOD", "ENDPOINT", "STATUS", "LATENCY", "CLIENT",
];

fn last(request: &pb::RecentRequest) -> [String; 7] {
    let pb::RecentRequest {
        // In JSON.
        validation_id: _,
        time,
        endpoint,
        method,
        verdict: judged,
        status_code,
        latency,
        request_bytes: _,
        response_bytes: _,
        client_ip,
        user_agent: _,
    } = request;
    [
        moment(time.as_ref()),
        verdict(*judged),
        method.clone(),
        endpoint.clone(),
        status_code
            .map(|status| status.to_string())
            .unwrap_or_default(),
        latency.as_ref().map(rounded).unwrap_or_default(),
        client_ip.clone(),
    ]
}

/// The verdict in lower case.
fn verdict(verdict: i32) -> String {
    match pb::Verdict::try_from(verdict) {
        Ok(verdict) => word(verdict.as_str_name(), "VERDICT_").to_lowercase(),
        Err(_) => format!("unknown ({verdict})"),
    }
}

/// A span in three digits: what is estimated needs no more.
fn rounded(span: &prost_types::Duration) -> String {
    let micros = span.seconds as f64 * 1e6 + f64::from(span.nanos) / 1e3;
    let (number, unit) = match micros {
        micros if micros < 1e3 => (micros, "us"),
        micros if micros < 1e6 => (micros / 1e3, "ms"),
        micros => (micros / 1e6, "s"),
    };
    let digits = match number {
        number if number < 10.0 => 2,
        number if number < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn totals(requests: u64) -> pb::UsageTotals {
        pb::UsageTotals {
            requests,
            successful: requests,
            verdicts: vec![pb::VerdictCount {
                verdict: pb::Verdict::Valid.into(),
                requests,
            }],
            ..pb::UsageTotals::default()
        }
    }

    fn hour(number: i64, requests: u64) -> pb::HourlyUsage {
        pb::HourlyUsage {
            hour: Some(Timestamp {
                seconds: number * 3600,
                nanos: 0,
            }),
            totals: Some(totals(requests)),
        }
    }

    #[test]
    fn a_token_is_told_with_a_chart_and_tables_of_what_there_is() {
        let used = pb::UsageResponse {
            totals: Some(pb::UsageTotals {
                failed: 1,
                p95_latency: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 1_234_567,
                }),
                ..totals(3)
            }),
            hourly: vec![hour(0, 1), hour(1, 0), hour(2, 2)],
            endpoints: vec![pb::EndpointUsage {
                endpoint: "/orders/*".to_owned(),
                method: "GET".to_owned(),
                totals: Some(totals(3)),
            }],
            ..pb::UsageResponse::default()
        };
        assert_eq!(
            usage(&used, Ink::Blocks),
            "requests    3\n\
             successful  3 (75.0 %)\n\
             failed      1\n\
             verdicts    valid 3\n\
             latency     p95 1.23 ms\n\
             \n\
             requests, an hour each, at most 2 in an hour\n\
             |▄ █|\n\
             from the hour of 1970-01-01T00:00:00Z to that of 1970-01-01T02:00:00Z\n\
             \n\
             endpoints\n\
             METHOD  ENDPOINT   REQUESTS  OK  FAILED  P95\n\
             GET     /orders/*  3         3   0       -\n"
        );
    }

    #[test]
    fn a_token_that_was_never_used_is_told_in_three_lines() {
        let text = usage(&pb::UsageResponse::default(), Ink::Plain);
        assert_eq!(text, "requests    0\nsuccessful  0\nfailed      0\n");
    }

    #[test]
    fn long_tables_are_cut_and_say_so() {
        let seen = pb::OverviewResponse {
            active_tokens: 12,
            top_tokens: (0..12)
                .map(|number| pb::TokenUsage {
                    token_id: format!("t{number}"),
                    name: "\u{1b}[2J".to_owned(),
                    totals: Some(totals(number)),
                })
                .collect(),
            ..pb::OverviewResponse::default()
        };
        let text = overview(&seen, Ink::Plain);
        assert!(text.starts_with("tokens_in_force  12\n"), "{text}");
        assert!(text.ends_with("and 2 more, see --json\n"), "{text}");
        assert!(text.contains("t9") && !text.contains("t10"), "{text}");
        assert!(!text.contains('\u{1b}'), "a name commands the terminal");
    }

    #[test]
    fn spans_are_told_in_three_digits() {
        let span = |seconds, nanos| rounded(&prost_types::Duration { seconds, nanos });
        assert_eq!(span(0, 8_000), "8.00 us");
        assert_eq!(span(0, 12_345_678), "12.3 ms");
        assert_eq!(span(123, 456_000_000), "123 s");
    }
}
