//! The overview: how namespaces are used, and how they stand.

use askama::Template;

use crate::authority::act;
use crate::authority::error::Error;
use crate::domain::caller::Permission;
use crate::domain::flaw::{Flaw, Violations};
use crate::transport::grpc::pb::span;
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::chart::Chart;
use super::filters;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::shown::{When, count};
use super::totals::{Choice, EndpointRow, Totals, endpoints, windows};
use super::visitor::Visitor;

/// A token that is much used, or ends soon.
pub(super) struct Named {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) end: When,
    pub(super) totals: Totals,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    namespace: String,
    places: Vec<String>,
    windows: Vec<Choice>,
    active: String,
    totals: Totals,
    chart: Chart,
    tokens: Vec<Named>,
    endpoints: Vec<EndpointRow>,
    expiring: usize,
    partial: bool,
}

pub(super) async fn page(visitor: &Visitor, query: &Form) -> Result<Reply, Problem> {
    if !visitor.may(Permission::Read) {
        return Ok(Reply::see("/me"));
    }
    let namespace = namespace(visitor, query);
    let (window, windows) = windows(query.text("window"));
    let told = told(visitor, &namespace, window).await?;
    let busy = told.top_tokens.iter().map(|own| Named {
        id: own.token_id.clone(),
        name: own.name.clone(),
        end: When::default(),
        totals: Totals::of(own.totals.as_ref()),
    });
    Ok(Reply::page(&OverviewPage {
        frame: visitor.frame("Overview"),
        places: visitor.places(Permission::Read),
        namespace,
        windows,
        active: count(told.active_tokens),
        totals: Totals::of(told.totals.as_ref()),
        chart: Chart::of(&told.hourly),
        tokens: busy.collect(),
        endpoints: endpoints(&told.top_endpoints),
        expiring: told.expiring_soon.len(),
        partial: told.partial,
    }))
}

/// The namespace that is asked about, as requests write it.
pub(super) fn namespace(visitor: &Visitor, query: &Form) -> String {
    match query.text("namespace") {
        "" => visitor.home(Permission::Read),
        named => named.to_owned(),
    }
}

/// What Overview answers.
pub(super) async fn told(
    visitor: &Visitor,
    namespace: &str,
    window: &str,
) -> Result<pb::OverviewResponse, Problem> {
    let request = pb::OverviewRequest {
        namespace: namespace.to_owned(),
        window: Some(spanned(window)?),
    };
    let right = visitor.permit::<act::Overview>()?;
    let result = match convert::overview_query(request) {
        Ok((asked, window)) => visitor.authority.overview(&right, &asked, window).await,
        Err(error) => Err(error),
    };
    Ok(convert::overview_told(right.conclude(result)?))
}

/// A window as a query writes it.
pub(super) fn spanned(text: &str) -> Result<prost_types::Duration, Error> {
    span::parse(text).map_err(|why| Error::Invalid(Violations::one("window", Flaw::new(why))))
}
