//! One token: what it is, what is left of its limits, and how it is used.

use askama::Template;

use crate::authority::act;
use crate::domain::caller::Permission;
use crate::transport::grpc::pb::limit_spec::{quota_text, rate_limit_text};
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::chart::Chart;
use super::filters;
use super::overview::spanned;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::shown::{self, When, count, took};
use super::totals::{Choice, EndpointRow, Totals, endpoints, windows};
use super::visitor::Visitor;

/// A limit, and what is left of it now.
struct Limit {
    text: String,
    left: String,
    whole_in: String,
}

/// A secret that the token knows.
struct Version {
    version: u32,
    created: When,
    until: When,
    used: When,
    requests: String,
}

/// A request that was judged.
pub(super) struct Recent {
    pub(super) at: When,
    pub(super) verdict: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) status: String,
    pub(super) took: String,
    pub(super) client: String,
    pub(super) agent: String,
}

impl Recent {
    pub(super) fn of(own: &pb::RecentRequest) -> Self {
        Self {
            at: When::of(own.time.as_ref()),
            verdict: shown::verdict(own.verdict),
            method: own.method.clone(),
            path: own.endpoint.clone(),
            status: own
                .status_code
                .map_or("–".to_owned(), |code| code.to_string()),
            took: took(own.latency.as_ref()),
            client: own.client_ip.clone(),
            agent: own.user_agent.clone(),
        }
    }
}

/// Who holds the token, or held it last.
struct Held {
    holder: String,
    fence: u64,
    from: When,
    until: When,
    ended: When,
    why: String,
}

impl Held {
    fn of(lease: &pb::Lease) -> Self {
        Self {
            holder: lease.holder.clone(),
            fence: lease.fence,
            from: When::of(lease.acquire_time.as_ref()),
            until: When::of(lease.expire_time.as_ref()),
            ended: When::of(lease.end_time.as_ref()),
            why: shown::lease_end(lease.end_reason),
        }
    }
}

/// How it was used; nothing where that is not kept.
struct Used {
    totals: Totals,
    chart: Chart,
    endpoints: Vec<EndpointRow>,
    recent: Vec<Recent>,
    clients: Vec<(String, String, When)>,
}

#[derive(Template)]
#[template(path = "token.html")]
struct TokenPage {
    frame: Frame,
    token: pb::Token,
    state: &'static str,
    labels: Vec<(String, String)>,
    created: When,
    updated: When,
    expires: When,
    revoked: When,
    last_used: When,
    beat: When,
    beats: String,
    limits: Vec<Limit>,
    versions: Vec<Version>,
    lease: Option<Held>,
    last_lease: Option<Held>,
    used: Option<Used>,
    windows: Vec<Choice>,
    may_manage: bool,
    may_revoke: bool,
}

/// What Get answers.
pub(super) async fn got(visitor: &Visitor, id: &str) -> Result<pb::GetResponse, Problem> {
    let mut right = visitor.permit::<act::Get>()?;
    let result = match convert::token_id(id) {
        Ok(id) => visitor.authority.get(&mut right, id).await,
        Err(error) => Err(error),
    };
    Ok(convert::got(&right.conclude(result)?))
}

/// The token itself.
pub(super) async fn whole(visitor: &Visitor, id: &str) -> Result<pb::Token, Problem> {
    Ok(got(visitor, id).await?.token.unwrap_or_default())
}

/// What Usage answers.
pub(super) async fn usage(
    visitor: &Visitor,
    id: &str,
    window: &str,
) -> Result<pb::UsageResponse, Problem> {
    let request = pb::UsageRequest {
        token_id: id.to_owned(),
        window: Some(spanned(window)?),
    };
    let mut right = visitor.permit::<act::Usage>()?;
    let result = match convert::usage_query(request) {
        Ok((id, window)) => visitor.authority.usage_of(&mut right, id, window).await,
        Err(error) => Err(error),
    };
    Ok(convert::usage_told(right.conclude(result)?))
}

pub(super) async fn page(visitor: &Visitor, id: &str, query: &Form) -> Result<Reply, Problem> {
    let got = got(visitor, id).await?;
    let limits = limits(&got);
    let token = got.token.unwrap_or_default();
    let (window, windows) = windows(query.text("window"));
    let usage = match visitor.authority.needs_usage() {
        Ok(()) => Some(usage(visitor, id, window).await?),
        Err(_) => None,
    };
    let at = |time: &Option<prost_types::Timestamp>| When::of(time.as_ref());
    let title = match token.name.as_str() {
        "" => format!("Token {}", token.token_id),
        name => format!("Token {name}"),
    };
    Ok(Reply::page(&TokenPage {
        frame: visitor.frame(&title),
        state: shown::state(token.state),
        labels: token.labels.clone().into_iter().collect(),
        created: at(&token.create_time),
        updated: at(&token.update_time),
        expires: at(&token.expire_time),
        revoked: at(&token.revoke_time),
        last_used: at(&token.last_used_time),
        beat: at(&token.keep_alive_deadline),
        beats: shown::span(token.keep_alive_ttl.as_ref()),
        limits,
        versions: versions(&token, usage.as_ref()),
        lease: token.lease.as_ref().map(Held::of),
        last_lease: token.last_lease.as_ref().map(Held::of),
        used: usage.as_ref().map(used),
        windows,
        may_manage: visitor.may_in(Permission::Manage, &token.namespace),
        may_revoke: visitor.may_in(Permission::Revoke, &token.namespace),
        token,
    }))
}

fn limits(got: &pb::GetResponse) -> Vec<Limit> {
    let Some(token) = &got.token else {
        return Vec::new();
    };
    let standing = |name: &str| got.rate_limits.iter().find(|own| own.name == name);
    let rates = token.rate_limits.iter().map(|limit| {
        let now = standing(&limit.name);
        Limit {
            text: format!("{} ({})", limit.name, rate_limit_text(limit)),
            left: now.map_or("–".to_owned(), |now| count(now.remaining)),
            whole_in: shown::span(now.and_then(|now| now.reset_after.as_ref())),
        }
    });
    let quota = token.quota.iter().map(|quota| Limit {
        text: format!(
            "quota ({})",
            quota_text(quota).split(',').next().unwrap_or_default()
        ),
        left: count(quota.remaining),
        whole_in: "–".to_owned(),
    });
    rates.chain(quota).collect()
}

fn versions(token: &pb::Token, usage: Option<&pb::UsageResponse>) -> Vec<Version> {
    let requests = |version: u32| {
        let told = usage.map(|usage| usage.secret_versions.iter());
        let own = told?.find(|own| own.version == version);
        Some(count(own.map_or(0, |own| own.requests)))
    };
    let version = |own: &pb::SecretInfo| Version {
        version: own.version,
        created: When::of(own.create_time.as_ref()),
        until: When::of(own.expire_time.as_ref()),
        used: When::of(own.last_used_time.as_ref()),
        requests: requests(own.version).unwrap_or_else(|| "–".to_owned()),
    };
    token.secrets.iter().map(version).collect()
}

fn used(usage: &pb::UsageResponse) -> Used {
    let client = |own: &pb::ClientIpUsage| {
        let first = When::of(own.first_seen.as_ref());
        (own.ip.clone(), count(own.requests), first)
    };
    Used {
        totals: Totals::of(usage.totals.as_ref()),
        chart: Chart::of(&usage.hourly),
        endpoints: endpoints(&usage.endpoints),
        recent: usage.recent.iter().map(Recent::of).collect(),
        clients: usage.client_ips.iter().take(10).map(client).collect(),
    }
}
