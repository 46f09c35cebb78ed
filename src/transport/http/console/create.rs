//! Making a token, whose secret is shown once.

use askama::Template;
use axum::http::StatusCode;

use crate::authority::act;
use crate::authority::error::Error;
use crate::domain::caller::Permission;
use crate::entropy;
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::Desk;
use super::flaws::Flaws;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::token_form::TokenForm;
use super::visitor::Visitor;

/// Digits of the name of a form that may be sent once.
const ONCE_DIGITS: usize = 22;
/// The field that carries it.
pub(super) const ONCE: &str = "once";

#[derive(Template)]
#[template(path = "create.html")]
struct CreatePage {
    frame: Frame,
    form: TokenForm,
    flaws: Flaws,
    places: Vec<String>,
    once: String,
}

#[derive(Template)]
#[template(path = "issued.html")]
pub(super) struct IssuedPage {
    pub(super) frame: Frame,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) secret: String,
    /// What became of the secret before; empty for a new token.
    pub(super) before: String,
}

/// A name for a form that may be sent once.
pub(super) fn once() -> Result<String, Problem> {
    let digits = entropy::digits(ONCE_DIGITS).map_err(Error::from)?;
    Ok(digits.to_string())
}

/// What is said where a form that shows a secret is sent again, as by a reload.
pub(super) fn shown_already() -> Problem {
    let text = "This form was sent before, and its secret is shown only once. Nothing was done again. \
                If you did not keep the secret, rotate the token to get another.";
    Problem::new(StatusCode::CONFLICT, "Already shown", text)
}

pub(super) fn page(visitor: &Visitor) -> Result<Reply, Problem> {
    visitor.needs(Permission::Create, None)?;
    let form = TokenForm {
        namespace: match visitor.home(Permission::Create).as_str() {
            "-" => "default".to_owned(),
            home => home.to_owned(),
        },
        ..TokenForm::default()
    };
    shown(visitor, form, Flaws::default())
}

fn shown(visitor: &Visitor, form: TokenForm, flaws: Flaws) -> Result<Reply, Problem> {
    let status = match flaws.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::BAD_REQUEST,
    };
    let page = CreatePage {
        frame: visitor.frame("New token"),
        places: visitor.places(Permission::Create),
        form,
        flaws,
        once: once()?,
    };
    Ok(Reply::page_with(status, &page))
}

pub(super) async fn create(desk: &Desk, visitor: &Visitor, form: &Form) -> Result<Reply, Problem> {
    let typed = TokenForm::read(form);
    let request = match typed.create() {
        Ok(request) => request,
        Err(flaws) => return shown(visitor, typed, flaws),
    };
    if !desk.sessions.spend(&visitor.visit, form.text(ONCE)) {
        return Err(shown_already());
    }
    match created(visitor, request).await {
        Ok(issued) => {
            let token = issued.token.unwrap_or_default();
            Ok(Reply::page(&IssuedPage {
                frame: visitor.frame("Token created"),
                id: token.token_id,
                name: token.name,
                secret: issued.secret,
                before: String::new(),
            }))
        }
        Err(Error::Invalid(violations)) => shown(visitor, typed, Flaws::of(&violations)),
        Err(error) => Err(error.into()),
    }
}

async fn created(
    visitor: &Visitor,
    request: pb::CreateRequest,
) -> Result<pb::CreateResponse, Error> {
    let mut right = visitor.permit::<act::Create>()?;
    let authority = visitor.authority.clone();
    let issued = visitor.see_through(async move {
        let result = match convert::order(request, authority.lease_terms()) {
            Ok(order) => authority.create(&mut right, order).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    Ok(convert::issued(&issued.await?))
}
