//! Short pages: what ends soon, what was refused, which namespaces there are, how this server stands, and
//! who one is.

use askama::Template;

use crate::authority::act;
use crate::authority::replicas::Attending;
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::Desk;
use super::overview::{Named, namespace, told};
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::shown::{self, When, count, encoded};
use super::token::{Recent, usage};
use super::totals::Totals;
use super::visitor::Visitor;

/// The window over which the busiest tokens are told.
const WINDOW: &str = "24h";
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "expiring.html")]
struct ExpiringPage {
    frame: Frame,
    namespace: String,
    tokens: Vec<Named>,
}

pub(super) async fn expiring(visitor: &Visitor, query: &Form) -> Result<Reply, Problem> {
    let namespace = namespace(visitor, query);
    let told = told(visitor, &namespace, "1h").await?;
    let named = told.expiring_soon.iter().map(|own| Named {
        id: own.token_id.clone(),
        name: own.name.clone(),
        end: When::of(own.expire_time.as_ref()),
        totals: Totals::default(),
    });
    Ok(Reply::page(&ExpiringPage {
        frame: visitor.frame("Expiring soon"),
        tokens: named.collect(),
        namespace,
    }))
}

/// A request that was refused, and whose it was.
struct Refused {
    id: String,
    name: String,
    request: Recent,
}

#[derive(Template)]
#[template(path = "refusals.html")]
struct RefusalsPage {
    frame: Frame,
    namespace: String,
    totals: Totals,
    refused: Vec<Refused>,
}

/// The refusals of a namespace by verdict; and of those that the busiest tokens remember, each.
pub(super) async fn refusals(visitor: &Visitor, query: &Form) -> Result<Reply, Problem> {
    let namespace = namespace(visitor, query);
    let told = told(visitor, &namespace, WINDOW).await?;
    let mut refused = Vec::new();
    for token in &told.top_tokens {
        let usage = usage(visitor, &token.token_id, WINDOW).await?;
        let valid = i32::from(pb::Verdict::Valid);
        let own = usage.recent.iter().filter(|recent| recent.verdict != valid);
        refused.extend(own.map(|recent| {
            let at = recent.time.map_or(0, |at| at.seconds);
            let request = Refused {
                id: token.token_id.clone(),
                name: token.name.clone(),
                request: Recent::of(recent),
            };
            (at, request)
        }));
    }
    refused.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Ok(Reply::page(&RefusalsPage {
        frame: visitor.frame("Recent refusals"),
        namespace,
        totals: Totals::of(told.totals.as_ref()),
        refused: refused.into_iter().map(|(_, request)| request).collect(),
    }))
}

#[derive(Template)]
#[template(path = "namespaces.html")]
struct NamespacesPage {
    frame: Frame,
    /// Each with what it holds, and as a query writes it.
    namespaces: Vec<(String, String, String)>,
    next: String,
}

pub(super) async fn namespaces(visitor: &Visitor, query: &Form) -> Result<Reply, Problem> {
    let request = pb::ListNamespacesRequest {
        page_size: PAGE,
        page_token: query.text("page").to_owned(),
    };
    let right = visitor.permit::<act::ListNamespaces>()?;
    let asked = convert::namespaces_query(request);
    let result = visitor.authority.list_namespaces(&right, asked).await;
    let listed = convert::namespaces_listed(right.conclude(result)?);
    let row = |own: pb::NamespaceSummary| {
        let query = encoded(&own.namespace);
        (own.namespace, count(own.tokens), query)
    };
    Ok(Reply::page(&NamespacesPage {
        frame: visitor.frame("Namespaces"),
        namespaces: listed.namespaces.into_iter().map(row).collect(),
        next: match listed.next_page_token.as_str() {
            "" => String::new(),
            next => format!("page={}", encoded(next)),
        },
    }))
}

#[derive(Template)]
#[template(path = "me.html")]
struct MePage {
    frame: Frame,
    permissions: Vec<String>,
}

pub(super) fn me(visitor: &Visitor) -> Reply {
    Reply::page(&MePage {
        frame: visitor.frame("You"),
        permissions: visitor.session.caller.grants.names(),
    })
}

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    store: &'static str,
    durability: &'static str,
    validates: bool,
    manages: bool,
    calls: String,
    records: String,
    bytes: String,
    lease: String,
    version: &'static str,
    /// Each by its name: whether it is this one, and the last change that it knows.
    replicas: Vec<(String, bool, String)>,
    /// Why these cannot be told; empty where they are.
    trouble: String,
}

impl Desk {
    /// How this server and its store stand; told also while the store cannot answer.
    pub(super) async fn health(&self, visitor: &Visitor) -> Result<Reply, Problem> {
        let right = visitor.permit::<act::Overview>()?;
        let attending = visitor.authority.replicas(&right).await;
        let (replicas, trouble) = match right.conclude(attending) {
            Ok(attending) => (attending, String::new()),
            Err(error) => (Vec::new(), Problem::from(error).text),
        };
        let replica = |own: Attending| (own.id.as_str().to_owned(), own.own, count(own.applied));
        let now = (self.setup.look)();
        let lease = prost_types::Duration::try_from(now.cache.lease_left).ok();
        Ok(Reply::page(&HealthPage {
            frame: visitor.frame("Health"),
            store: self.setup.store,
            durability: now.durability.unwrap_or("not known yet"),
            validates: now.validates,
            manages: now.manages,
            calls: count(u64::try_from(now.calls_in_hand).unwrap_or(u64::MAX)),
            records: count(u64::try_from(now.cache.records).unwrap_or(u64::MAX)),
            bytes: count(now.cache.bytes),
            lease: shown::took(lease.as_ref()),
            version: env!("CARGO_PKG_VERSION"),
            replicas: replicas.into_iter().map(replica).collect(),
            trouble,
        }))
    }
}
