//! Create on the wire.

use std::time::Duration;

use crate::authority::batch::Batch;
use crate::authority::error::Error;
use crate::authority::tokens::{Issued, Order};
use crate::domain::address::Network;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::name::{Description, Labels, Namespace, RequestId, TokenName};
use crate::domain::pool::LeaseTerms;
use crate::domain::profile::Profile;
use crate::domain::scope::Scope;
use crate::domain::token::Expiration;
use crate::transport::grpc::pb::{self, create_request};

use super::time::{instant, span};
use super::{given, items, limits, owner, pool, sound, whole_token};

/// What a CreateRequest asks for.
pub(in crate::transport) fn order(
    request: pb::CreateRequest,
    terms: LeaseTerms,
) -> Result<Order, Error> {
    let mut flaws = Violations::default();
    let order = parsed(&mut flaws, request, terms);
    sound(order, flaws)
}

/// What a BatchCreateRequest asks for.
pub(in crate::transport) fn batch(
    request: pb::BatchCreateRequest,
    terms: LeaseTerms,
) -> Result<Batch, Error> {
    let pb::BatchCreateRequest { template, count } = request;
    let mut flaws = Violations::default();
    let mut within = Violations::default();
    let order = match template {
        Some(template) => parsed(&mut within, template, terms),
        None => {
            flaws.add("template", Flaw::new("must be given"));
            None
        }
    };
    for (field, flaw) in within.iter() {
        flaws.add(format!("template.{field}"), flaw.clone());
    }
    let batch = match order {
        Some(order) => flaws.take("count", Batch::new(order, count)),
        None => {
            flaws.take("count", Batch::check(count));
            None
        }
    };
    sound(batch, flaws)
}

/// What is asked for, as far as it can be read; what is wrong with it goes into `v`.
fn parsed(v: &mut Violations, request: pb::CreateRequest, terms: LeaseTerms) -> Option<Order> {
    let pb::CreateRequest {
        namespace,
        name,
        description,
        owner: asked_owner,
        pool: asked_pool,
        scopes,
        allowed_endpoints,
        allowed_cidrs,
        labels,
        disabled,
        request_id,
        rate_limits,
        quota,
        keep_alive_ttl,
        expiration,
    } = request;
    let namespace = given(v, "namespace", &namespace, Namespace::parse);
    let name = v.take("name", TokenName::parse(&name));
    let description = v.take("description", Description::parse(&description));
    let owner = owner(v, &asked_owner);
    let pool = pool(v, &asked_pool);
    let scopes = items(v, "scopes", &scopes, Scope::COUNT_MAX, Scope::parse);
    let endpoints = items(
        v,
        "allowed_endpoints",
        &allowed_endpoints,
        Pattern::COUNT_MAX,
        Pattern::parse,
    );
    let networks = items(
        v,
        "allowed_cidrs",
        &allowed_cidrs,
        Profile::NETWORKS_MAX,
        Network::parse,
    );
    let rate_limits = limits::rate_limits(v, "rate_limits", &rate_limits);
    let quota = quota.and_then(|quota| limits::quota(v, "quota", &quota));
    let labels = self::labels(v, "labels", &labels);
    let expiration = self::expiration(v, expiration);
    let request_id = given(v, "request_id", &request_id, RequestId::parse);
    let pooled = !asked_pool.is_empty();
    let ttl = self::keep_alive_ttl(keep_alive_ttl.as_ref(), pooled, terms);
    let keep_alive_ttl = v.take("keep_alive_ttl", ttl);
    let profile = Profile {
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        owner,
        pool,
        scopes,
        endpoints: Endpoints::new(endpoints),
        networks,
        rate_limits,
        quota: quota.map(|(quota, _)| quota),
        labels: labels.unwrap_or_default(),
        disabled,
        keep_alive_ttl: keep_alive_ttl.flatten(),
    };
    if let Some((at, flaw)) = profile.pooled_scope_flaw() {
        v.add(format!("scopes[{at}]"), flaw);
    }
    expiration.map(|expiration| Order {
        namespace,
        profile,
        quota_left: quota.and_then(|(_, left)| left),
        expiration,
        request_id,
    })
}

/// How long the token lives without a beat; only a pooled token needs one.
fn keep_alive_ttl(
    asked: Option<&prost_types::Duration>,
    pooled: bool,
    terms: LeaseTerms,
) -> Result<Option<Duration>, Flaw> {
    let asked = asked.map(span).transpose()?;
    match (pooled, asked) {
        (true, asked) => terms.keep_alive_ttl(asked),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Flaw::new("must be left out: the token is in no pool")),
    }
}

fn expiration(v: &mut Violations, asked: Option<create_request::Expiration>) -> Option<Expiration> {
    match asked {
        None => Some(Expiration::Unsaid),
        Some(create_request::Expiration::ExpireTime(at)) => {
            v.take("expire_time", instant(&at)).map(Expiration::At)
        }
        Some(create_request::Expiration::Ttl(ttl)) => {
            v.take("ttl", span(&ttl).and_then(Expiration::after))
        }
    }
}

/// Parses labels; flaws are named `field[key]`.
pub(super) fn labels(
    violations: &mut Violations,
    field: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Option<Labels> {
    let pairs = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    match Labels::parse(pairs) {
        Ok(labels) => Some(labels),
        Err(flaws) => {
            for (key, flaw) in flaws {
                let field = if key.is_empty() {
                    field.to_owned()
                } else {
                    format!("{field}[{key}]")
                };
                violations.add(field, flaw);
            }
            None
        }
    }
}

pub(in crate::transport) fn issued(issued: &Issued) -> pb::CreateResponse {
    let token = Some(whole_token(&issued.seen));
    pb::CreateResponse {
        token,
        secret: issued.secret.expose().to_owned(),
    }
}
