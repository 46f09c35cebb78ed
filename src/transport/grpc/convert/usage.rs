//! Usage and Overview on the wire.

use std::net::IpAddr;
use std::time::Duration;

use crate::authority::error::Error;
use crate::authority::usage::Overlook;
use crate::domain::caller::Namespaces;
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::{
    Client, Completed, Counts, Endpoint, Hour, Outcome, Recent, Report, Window,
};
use crate::transport::grpc::pb;

use super::time::{duration, span, timestamp};
use super::validate::wire_verdict;
use super::{namespaces, sound};

/// What stands for all that found no place of its own.
const OTHER: &str = "other";

pub(in crate::transport) fn usage_query(
    request: pb::UsageRequest,
) -> Result<(TokenId, Duration), Error> {
    let pb::UsageRequest { token_id, window } = request;
    let mut flaws = Violations::default();
    let id = flaws.take("token_id", TokenId::parse(&token_id));
    let window = flaws.take("window", windowed(window.as_ref()));
    sound(id.zip(window), flaws)
}

pub(in crate::transport) fn overview_query(
    request: pb::OverviewRequest,
) -> Result<(Namespaces, Duration), Error> {
    let pb::OverviewRequest { namespace, window } = request;
    let mut flaws = Violations::default();
    let namespaces = namespaces(&mut flaws, &namespace);
    let window = flaws.take("window", windowed(window.as_ref()));
    sound(namespaces.zip(window), flaws)
}

fn windowed(asked: Option<&prost_types::Duration>) -> Result<Duration, Flaw> {
    let asked = asked.map_or(Ok(Window::DEFAULT), span)?;
    // Whenever it ends.
    Window::of(Timestamp::MAX, asked).map(|_| asked)
}

pub(in crate::transport) fn usage_told(report: Report) -> pb::UsageResponse {
    let Report {
        totals,
        hourly,
        endpoints,
        clients,
        tokens: _,
        versions,
        recent,
    } = report;
    let versions = versions
        .into_iter()
        .map(|(version, requests)| pb::SecretVersionUsage { version, requests });
    pb::UsageResponse {
        totals: Some(wire_totals(&totals)),
        hourly: hourly.iter().map(wire_hour).collect(),
        endpoints: endpoints.into_iter().map(wire_endpoint).collect(),
        secret_versions: versions.collect(),
        client_ips: clients.into_iter().map(wire_client).collect(),
        recent: recent.into_iter().map(wire_recent).collect(),
    }
}

pub(in crate::transport) fn overview_told(told: Overlook) -> pb::OverviewResponse {
    let Overlook {
        active,
        expiring,
        report,
        busiest,
        partial,
    } = told;
    let Report {
        totals,
        hourly,
        endpoints,
        clients: _,
        tokens: _,
        versions: _,
        recent: _,
    } = report;
    let busy = busiest.iter().map(|(token, totals)| pb::TokenUsage {
        token_id: token.id.to_string(),
        name: token.profile.name.as_str().to_owned(),
        totals: Some(wire_totals(totals)),
    });
    let soon = |token: &Token| pb::ExpiringToken {
        token_id: token.id.to_string(),
        name: token.profile.name.as_str().to_owned(),
        expire_time: token.expire_time.map(timestamp),
    };
    pb::OverviewResponse {
        active_tokens: active,
        totals: Some(wire_totals(&totals)),
        top_tokens: busy.collect(),
        top_endpoints: endpoints.into_iter().map(wire_endpoint).collect(),
        hourly: hourly.iter().map(wire_hour).collect(),
        expiring_soon: expiring.iter().map(soon).collect(),
        partial,
    }
}

fn wire_totals(counts: &Counts) -> pb::UsageTotals {
    let mut verdicts: Vec<_> = counts.verdicts().copied().collect();
    verdicts.sort_by_key(|(verdict, _)| verdict.number());
    let judged = pb::UsageTotals {
        requests: counts.requests(),
        cost: counts.cost(),
        verdicts: verdicts
            .into_iter()
            .map(|(verdict, requests)| pb::VerdictCount {
                verdict: wire_verdict(verdict).into(),
                requests,
            })
            .collect(),
        successful: counts.successful(),
        failed: counts.failed(),
        ..pb::UsageTotals::default()
    };
    let Some(completed) = counts.completed() else {
        return judged;
    };
    let Completed {
        requests,
        unjudged: _,
        unjudged_failed: _,
        failed: _,
        succeeded: _,
        latency,
        request_bytes,
        response_bytes,
        classes,
    } = completed;
    let percentile = |share| latency.percentile(share).map(duration);
    let classes = (1..).zip(classes).filter(|(_, requests)| **requests > 0);
    pb::UsageTotals {
        completed: *requests,
        average_latency: latency.average().map(duration),
        p50_latency: percentile(0.5),
        p95_latency: percentile(0.95),
        p99_latency: percentile(0.99),
        request_bytes: *request_bytes,
        response_bytes: *response_bytes,
        status_classes: classes
            .map(|(class, requests)| pb::StatusClassCount {
                class,
                requests: *requests,
            })
            .collect(),
        ..judged
    }
}

fn wire_hour((hour, counts): &(Hour, Counts)) -> pb::HourlyUsage {
    pb::HourlyUsage {
        hour: Some(timestamp(hour.begin())),
        totals: Some(wire_totals(counts)),
    }
}

fn wire_endpoint((endpoint, counts): (Option<Endpoint>, Counts)) -> pb::EndpointUsage {
    let endpoint = endpoint.unwrap_or_else(|| Endpoint::of("", OTHER));
    pb::EndpointUsage {
        endpoint: endpoint.path().to_owned(),
        method: endpoint.method().to_owned(),
        totals: Some(wire_totals(&counts)),
    }
}

fn wire_client((address, client): (Option<IpAddr>, Client)) -> pb::ClientIpUsage {
    let Client {
        requests,
        first_seen,
    } = client;
    pb::ClientIpUsage {
        ip: address.map_or(OTHER.to_owned(), |address| address.to_string()),
        requests,
        first_seen: Some(timestamp(first_seen)),
    }
}

fn wire_recent((recent, ended): (Recent, Option<Outcome>)) -> pb::RecentRequest {
    let Outcome {
        verdict: _,
        status,
        grpc_status: _,
        latency,
        request_bytes,
        response_bytes,
    } = ended.unwrap_or_default();
    pb::RecentRequest {
        validation_id: recent.validation_id().to_owned(),
        time: Some(timestamp(recent.at)),
        endpoint: recent.path().to_owned(),
        method: recent.method().to_owned(),
        verdict: wire_verdict(recent.verdict).into(),
        status_code: status.map(u32::from),
        latency: latency.map(duration),
        request_bytes,
        response_bytes,
        client_ip: recent
            .client
            .map(|address| address.to_string())
            .unwrap_or_default(),
        user_agent: recent.user_agent().to_owned(),
    }
}
