//! Pools: how their tokens stand, and who holds them.

use askama::Template;

use crate::authority::act;
use crate::domain::caller::Permission;
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::filters;
use super::overview::namespace;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::shown::encoded;
use super::tokens::{Row, listed};
use super::visitor::Visitor;

const PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "pools.html")]
struct PoolsPage {
    frame: Frame,
    namespace: String,
    pools: Vec<pb::PoolStanding>,
    next: String,
}

#[derive(Template)]
#[template(path = "pool.html")]
struct PoolPage {
    frame: Frame,
    namespace: String,
    pool: String,
    rows: Vec<Row>,
    may_release: bool,
    next: String,
}

pub(super) async fn page(visitor: &Visitor, query: &Form) -> Result<Reply, Problem> {
    let namespace = namespace(visitor, query);
    let request = pb::ListPoolsRequest {
        namespace: namespace.clone(),
        page_size: PAGE,
        page_token: query.text("page").to_owned(),
    };
    let right = visitor.permit::<act::ListPools>()?;
    let result = match convert::pools_query(request) {
        Ok(query) => visitor.authority.list_pools(&right, query).await,
        Err(error) => Err(error),
    };
    let listed = convert::pools_listed(right.conclude(result)?);
    let next = match listed.next_page_token.as_str() {
        "" => String::new(),
        next => format!("namespace={}&page={}", encoded(&namespace), encoded(next)),
    };
    Ok(Reply::page(&PoolsPage {
        frame: visitor.frame("Pools"),
        namespace,
        pools: listed.pools,
        next,
    }))
}

/// The tokens of one pool, with their holders.
pub(super) async fn one(
    visitor: &Visitor,
    namespace: &str,
    pool: &str,
    query: &Form,
) -> Result<Reply, Problem> {
    let request = pb::ListRequest {
        namespace: namespace.to_owned(),
        pool: pool.to_owned(),
        page_size: PAGE,
        page_token: query.text("page").to_owned(),
        ..pb::ListRequest::default()
    };
    let listed = listed(visitor, request).await?;
    let next = match listed.next_page_token.as_str() {
        "" => String::new(),
        next => format!("page={}", encoded(next)),
    };
    Ok(Reply::page(&PoolPage {
        frame: visitor.frame(&format!("Pool {pool}")),
        may_release: visitor.may_in(Permission::Manage, namespace),
        namespace: namespace.to_owned(),
        pool: pool.to_owned(),
        rows: listed.tokens.into_iter().map(Row::of).collect(),
        next,
    }))
}
