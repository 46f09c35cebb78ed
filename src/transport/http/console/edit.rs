//! Changing what is said about a token, and switching it off and on.

use askama::Template;
use axum::http::StatusCode;
use prost_types::FieldMask;

use crate::authority::act;
use crate::authority::error::Error;
use crate::domain::caller::Permission;
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::flaws::Flaws;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::token::whole;
use super::token_form::TokenForm;
use super::visitor::Visitor;

#[derive(Template)]
#[template(path = "edit.html")]
struct EditPage {
    frame: Frame,
    id: String,
    revision: u64,
    form: TokenForm,
    flaws: Flaws,
}

pub(super) async fn page(visitor: &Visitor, id: &str) -> Result<Reply, Problem> {
    let token = whole(visitor, id).await?;
    visitor.needs(Permission::Manage, Some(&token.namespace))?;
    let form = TokenForm::of(&token);
    Ok(shown(visitor, id, token.revision, form, Flaws::default()))
}

fn shown(visitor: &Visitor, id: &str, revision: u64, form: TokenForm, flaws: Flaws) -> Reply {
    let status = match flaws.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::BAD_REQUEST,
    };
    let page = EditPage {
        frame: visitor.frame("Edit token"),
        id: id.to_owned(),
        revision,
        form,
        flaws,
    };
    Reply::page_with(status, &page)
}

pub(super) async fn edit(visitor: &Visitor, id: &str, form: &Form) -> Result<Reply, Problem> {
    let token = whole(visitor, id).await?;
    let before = TokenForm::of(&token);
    if form.text("revision") != token.revision.to_string() {
        return Err(Problem::stale());
    }
    // What is no field of this form stays as it is.
    let typed = TokenForm {
        namespace: before.namespace.clone(),
        pool: before.pool.clone(),
        ..TokenForm::read(form)
    };
    if typed == before {
        return Ok(Reply::see(&format!("/tokens/{id}")));
    }
    let request = match typed.update(&before, id, token.revision) {
        Ok(request) => request,
        Err(flaws) => return Ok(shown(visitor, id, token.revision, typed, flaws)),
    };
    match updated(visitor, request).await {
        Ok(()) => Ok(Reply::see(&format!("/tokens/{id}"))),
        Err(Error::Invalid(violations)) => {
            let flaws = Flaws::of(&violations);
            Ok(shown(visitor, id, token.revision, typed, flaws))
        }
        Err(error) => Err(error.into()),
    }
}

/// Switches a token off, or on again.
pub(super) async fn switch(visitor: &Visitor, id: &str, off: bool) -> Result<Reply, Problem> {
    let token = pb::Token {
        token_id: id.to_owned(),
        disabled: off,
        ..pb::Token::default()
    };
    let request = pb::UpdateRequest {
        token: Some(token),
        update_mask: Some(FieldMask {
            paths: vec!["disabled".to_owned()],
        }),
        revision: None,
    };
    updated(visitor, request).await?;
    Ok(Reply::see(&format!("/tokens/{id}")))
}

async fn updated(visitor: &Visitor, request: pb::UpdateRequest) -> Result<(), Error> {
    let mut right = visitor.permit::<act::Update>()?;
    let authority = visitor.authority.clone();
    let updated = visitor.see_through(async move {
        let result = match convert::patch(request, authority.lease_terms()) {
            Ok((id, patch)) => authority.update(&mut right, id, patch).await,
            Err(error) => Err(error),
        };
        right.conclude(result)
    });
    updated.await.map(|_| ())
}
